/** What the client makes of `rate_limited`: it waits as told and keeps the order of writes, or says so. */
import { expect, test } from 'vitest'
import { get, onMessage, onValue, presence, ref, runTransaction, send, set } from './index.ts'
import { type ScriptedConnection, ScriptedServer } from './test/scripted-server.ts'

function limit(connection: ScriptedConnection, id: number, retryAfterMs = 500): Promise<void> {
  return connection.send({
    type: 'error',
    id,
    code: 111,
    name: 'rate_limited',
    message: 'too many messages',
    retryAfterMs,
  })
}

test('writes refused for now are sent again in their order, and later ones behind them', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const done = Promise.all([1, 2].map((n) => set(ref(db, 'a'), n)))
  const [first, second] = await connection.take()
  await limit(connection, first!.id)
  await limit(connection, second!.id)
  const third = set(ref(db, 'a'), 3)
  expect(await connection.take()).toEqual([])

  await server.pass(500)
  const again: unknown[] = []
  for (const many of [1, 2]) {
    const messages = await connection.take()
    expect(messages).toHaveLength(many)
    again.push(...messages.map((message) => 'value' in message && message.value))
    for (const { id } of messages) await connection.ack(id)
  }
  expect(again).toEqual([1, 2, 3])
  await Promise.all([done, third])
})

test('a write is not repeated after one made later has been done', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const first = set(ref(db, 'a'), 1)
  const second = set(ref(db, 'a'), 2)
  const refused = expect(first).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 500 })
  const [one, two] = await connection.take()

  await limit(connection, one!.id)
  await connection.ack(two!.id)
  await server.pass(500)

  expect(await connection.take()).toEqual([])
  await Promise.all([refused, second])
})

test('a listen, a read, a transaction and a message are asked for again', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'a'), (snapshot) => heard.push(snapshot.val()))
  await limit(connection, (await connection.next('listen')).id)
  await server.pass(500)
  await connection.snapshot('value')
  expect(heard).toEqual(['value'])

  const read = get(ref(db, 'b'))
  await limit(connection, (await connection.next('get')).id)
  await server.pass(500)
  const again = await connection.next('get')
  await connection.send({ type: 'value', id: again.id, revision: 1, value: 'b' })
  expect((await read).val()).toBe('b')

  const counted = runTransaction(ref(db, 'a'), () => 1)
  await limit(connection, (await connection.next('compareAndSet')).id)
  await server.pass(500)
  await connection.ack((await connection.next('compareAndSet')).id)
  expect((await counted).committed).toBe(true)

  const sent = send(ref(db, 'room'), 'hello')
  await limit(connection, (await connection.next('send')).id)
  await server.pass(500)
  await connection.ack((await connection.next('send')).id)
  await sent
})

test('a read that waits to be asked again ends at its time', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const read = expect(get(ref(db, 'b'), { timeoutMs: 300 })).rejects.toMatchObject({ code: 'timeout' })
  await limit(connection, (await connection.next('get')).id)
  await server.pass(300)
  await read

  await server.pass(500)
  expect(await connection.take()).toEqual([])
})

test('what is asked after a read that was given up waits for the same time', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const givenUp = expect(get(ref(db, 'a'), { timeoutMs: 300 })).rejects.toMatchObject({ code: 'timeout' })
  await limit(connection, (await connection.next('get')).id)
  await server.pass(300)
  await givenUp

  const read = get(ref(db, 'b'))
  await server.pass(100)
  expect(await connection.take()).toEqual([])
  await server.pass(100)
  const again = await connection.next('get')
  await connection.send({ type: 'value', id: again.id, revision: 1, value: 'b' })

  expect((await read).val()).toBe('b')
})

test('what the server refuses without a time to come back is refused', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const read = expect(get(ref(db, 'b'))).rejects.toMatchObject({ code: 'rate_limited' })

  await limit(connection, (await connection.next('get')).id, 0)

  await read
})

test('what waits when the connection is lost is sent once on the next one', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  onValue(ref(db, 'a'), () => {})
  const written = set(ref(db, 'b'), 1)
  const [listen, write] = await connection.take()
  await limit(connection, listen!.id)
  await limit(connection, write!.id)
  await connection.close()
  await server.pass(1000)
  await server.connection.greet()

  await server.connection.snapshot('value')
  await server.connection.ack((await server.connection.next('set')).id)
  await written
  await server.pass(1000)
  expect((await server.connection.take()).filter(({ type }) => type !== 'ping')).toEqual([])
})

test('one whose connection was closed for its flood comes back slower, and gets through', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const done = Promise.all([1, 2, 3, 4, 5, 6].map((n) => set(ref(db, 'a'), n)))
  for (const { id } of (await connection.take()).slice(2)) await limit(connection, id)
  await connection.close(4003)
  await server.pass(1000)
  await server.connection.greet()

  const sizes: number[] = []
  for (let left = 6; left > 0; left -= sizes.at(-1)!) {
    const messages = await server.connection.take()
    sizes.push(messages.length)
    for (const { id } of messages) await server.connection.ack(id)
  }
  expect(sizes).toEqual([1, 2, 3])
  await done
})

test('presence and listening to messages are asked for again', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const problems: string[] = []
  onMessage(
    ref(db, 'room'),
    () => {},
    ({ code }) => problems.push(code),
  )
  const here = presence(ref(db, 'online'), 1, { onError: ({ code }) => problems.push(code) })
  for (const { id } of await connection.take()) {
    await connection.send({ type: 'pushed', id, revision: 0, key: 'me' })
  }
  await here.joined
  await connection.close()
  await server.pass(1000)
  await server.connection.greet()

  for (const { id } of await server.connection.take()) await limit(server.connection, id)
  await server.pass(500)
  const listen = await server.connection.next('listenMessages')
  await server.connection.send({ type: 'snapshot', id: listen.id, queryId: 1, revision: 1, value: null })
  await server.connection.next('presenceSet')
  expect(problems).toEqual([])
})
