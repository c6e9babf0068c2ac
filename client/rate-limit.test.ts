/** What the client makes of `rate_limited`: it waits as told and keeps the order of writes, or says so. */
import { expect, test } from 'vitest'
import { get, onValue, ref, runTransaction, set } from './index.ts'
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
  const again = await connection.take()
  expect(again.map((message) => 'value' in message && message.value)).toEqual([1, 2, 3])
  for (const { id } of again) await connection.ack(id)
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

test('a listen is asked for again; a read and a transaction are refused', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'a'), (snapshot) => heard.push(snapshot.val()))
  await limit(connection, (await connection.next('listen')).id)
  await server.pass(500)
  await connection.snapshot('value')
  expect(heard).toEqual(['value'])

  const read = expect(get(ref(db, 'b'))).rejects.toMatchObject({ code: 'rate_limited' })
  await limit(connection, (await connection.next('get')).id)
  await read
  const counted = expect(runTransaction(ref(db, 'a'), () => 1)).rejects.toMatchObject({
    code: 'rate_limited',
  })
  await limit(connection, (await connection.next('compareAndSet')).id)
  await counted
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

  const again = await server.connection.take()
  expect(again.map(({ type }) => type)).toEqual(['listen', 'set'])
  await server.connection.ack(again[1]!.id)
  await written
  await server.pass(1000)
  expect((await server.connection.take()).filter(({ type }) => type !== 'ping')).toEqual([])
})
