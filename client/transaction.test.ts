import { expect, test } from 'vitest'
import { goOffline, onValue, ref, runTransaction, set, setPriority } from './index.ts'
import { type ScriptedConnection, ScriptedServer, settle } from './test/scripted-server.ts'

/** A transaction without a listener first listens and reads. */
async function tell(connection: ScriptedConnection, value: unknown, revision = 1): Promise<void> {
  const [listen, read] = await connection.take()
  await connection.send(
    { type: 'snapshot', id: listen!.id, queryId: 1, revision, value: value as never },
    { type: 'value', id: read!.id, revision, value: value as never },
  )
}

test('it reads, works out, and writes only if nothing changed since', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const done = runTransaction(ref<number>(db, 'n'), (n) => (n ?? 0) + 1)
  await tell(connection, 41, 7)
  const write = await connection.next('compareAndSet')
  expect(write).toMatchObject({ path: ['n'], revision: 7, value: 42 })
  await connection.ack(write.id, 8)

  const { committed, snapshot } = await done
  expect([committed, snapshot.val()]).toEqual([true, 42])
  expect(await connection.next('unlisten')).toMatchObject({ path: ['n'] })
})

test('with a listener there, the first try is made at once and heard at once', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot(1, 1, 5)

  runTransaction(ref<number>(db, 'n'), (n) => n! + 1).catch(() => {})

  expect(heard).toEqual([1, 2])
  expect(await connection.next('compareAndSet')).toMatchObject({ revision: 5, value: 2 })
})

test('when it was stale it works on what was pushed meanwhile, without a false value in between', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot(1, 1, 5)

  const done = runTransaction(ref<number>(db, 'n'), (n) => n! + 1)
  const first = await connection.next('compareAndSet')
  await connection.patch(6, ['', 10])
  await connection.refuse(first.id, 'stale')
  const second = await connection.next('compareAndSet')
  expect(second).toMatchObject({ revision: 6, value: 11 })
  await connection.patch(7, ['', 11])
  await connection.ack(second.id, 7)

  expect((await done).snapshot.val()).toBe(11)
  expect(heard).toEqual([1, 2, 11])
})

test('when nothing newer was pushed it asks', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'n'), () => {})
  await connection.snapshot(1, 1, 5)

  runTransaction(ref<number>(db, 'n'), (n) => n! + 1).catch(() => {})
  await connection.refuse((await connection.next('compareAndSet')).id, 'stale')
  const { id } = await connection.next('get')
  await connection.send({ type: 'value', id, revision: 9, value: 1 })

  expect(await connection.next('compareAndSet')).toMatchObject({ revision: 9, value: 2 })
})

test('undefined gives up: nothing is sent, the snapshot is what is there', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const done = runTransaction(ref(db, 'n'), () => undefined)
  await tell(connection, 'taken')

  const { committed, snapshot } = await done
  expect([committed, snapshot.val()]).toEqual([false, 'taken'])
  expect((await connection.take()).map(({ type }) => type)).toEqual(['unlisten'])
})

test('after 25 tries it fails with max_retries and takes back what it showed', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot(0, 1, 1)
  let tries = 0

  const done = expect(
    runTransaction(ref<number>(db, 'n'), () => {
      tries += 1
      return 99
    }),
  ).rejects.toMatchObject({ code: 'max_retries' })
  for (let i = 1; i <= 25; i++) {
    await connection.refuse((await connection.next('compareAndSet')).id, 'stale')
    await server.pass(1000)
    const [read] = await connection.take()
    if (read === undefined) break
    await connection.send({ type: 'value', id: read.id, revision: 1 + i, value: 0 })
  }

  await done
  expect(tries).toBe(25)
  expect(heard).toEqual([0, 99, 0])
})

test('a connection lost before the answer fails it: running it twice could count twice', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const done = expect(runTransaction(ref<number>(db, 'n'), (n) => (n ?? 0) + 1)).rejects.toMatchObject({
    code: 'disconnect',
  })
  await tell(connection, 1)
  await connection.next('compareAndSet')

  await connection.close()
  await server.pass(1000)
  await server.connection.greet()

  await done
  expect(await server.connection.take()).toEqual([])
})

test('one started while the connection is away waits for it', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  const done = runTransaction(ref<number>(db, 'n'), (n) => (n ?? 0) + 1)

  await server.connection.greet()
  await tell(server.connection, null)
  await server.connection.ack((await server.connection.next('compareAndSet')).id)

  expect((await done).snapshot.val()).toBe(1)
})

test('goOffline fails it', async () => {
  const { db } = await new ScriptedServer().connected()
  const done = expect(runTransaction(ref(db, 'n'), () => 1)).rejects.toMatchObject({ code: 'offline' })

  goOffline(db)

  await done
})

test('those of one place run one after the other, after writes made before them', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'n'), () => {})
  await connection.snapshot(0, 1, 1)

  const written = set(ref(db, 'n'), 10)
  const done = [1, 2].map((by) => runTransaction(ref<number>(db, 'n'), (n) => n! + by))
  const write = await connection.next('set')
  await connection.patch(2, ['', 10])
  await connection.ack(write.id, 2)
  await written
  const first = await connection.next('compareAndSet')
  expect(first).toMatchObject({ revision: 2, value: 11 })
  await connection.patch(3, ['', 11])
  await connection.ack(first.id, 3)
  const second = await connection.next('compareAndSet')
  expect(second).toMatchObject({ revision: 3, value: 13 })
  await connection.ack(second.id, 4)

  expect((await Promise.all(done)).map(({ committed }) => committed)).toEqual([true, true])
})

test('without applyLocally listeners hear only what the server took', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot(1, 1, 1)

  const done = runTransaction(ref<number>(db, 'n'), (n) => n! + 1, { applyLocally: false })
  const { id } = await connection.next('compareAndSet')
  expect(heard).toEqual([1])
  await connection.patch(2, ['', 2])
  await connection.ack(id, 2)

  await done
  expect(heard).toEqual([1, 2])
})

test('an error of the update function, or a value that is none, rejects and sends nothing', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'n'), () => {})
  await connection.snapshot(1)

  const thrown = runTransaction(ref(db, 'n'), () => {
    throw new Error('mine')
  })
  const invalid = runTransaction(ref(db, 'n'), () => ({ f() {} }))

  await expect(thrown).rejects.toThrow('mine')
  await expect(invalid).rejects.toMatchObject({ code: 'invalid_value' })
  expect(await connection.take()).toEqual([])
})

test('it keeps the priority unless it gives one', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'a'), () => {})
  await connection.snapshot({ '.value': 1, '.priority': 'p' })

  const done = runTransaction(ref<number>(db, 'a'), (n) => n! + 1)
  const kept = await connection.next('compareAndSet')
  await connection.ack(kept.id)
  await done
  runTransaction(ref(db, 'a'), () => ({ '.value': 3, '.priority': 'q' })).catch(() => {})
  const given = await connection.next('compareAndSet')

  expect([kept.value, given.value]).toEqual([
    { '.value': 2, '.priority': 'p' },
    { '.value': 3, '.priority': 'q' },
  ])
})

test('setPriority changes only the priority, and nothing where nothing is', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const there = setPriority(ref(db, 'a'), 5)
  await tell(connection, { x: 1 })
  const write = await connection.next('compareAndSet')
  expect(write.value).toEqual({ x: 1, '.priority': 5 })
  await connection.ack(write.id)
  await there
  await connection.take()

  const absent = setPriority(ref(db, 'b'), 5)
  await tell(connection, null)
  await absent
  await settle()

  expect((await connection.take()).map(({ type }) => type)).toEqual(['unlisten'])
})
