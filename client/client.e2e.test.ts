import { connect, createServer, type Server, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { signToken } from '../server/auth.ts'
import { type Cleanup, OPEN, SECRET, serve, type TestServer } from '../server/test/harness.ts'
import {
  type Database,
  type DatabaseOptions,
  get,
  getDatabase,
  goOffline,
  goOnline,
  increment,
  onChildAdded,
  onDisconnect,
  onValue,
  push,
  type Query,
  ref,
  remove,
  runTransaction,
  serverTimestamp,
  set,
  setAuth,
  setWithPriority,
  terminate,
  unauth,
  update,
} from './index-node.ts'

function open(t: Cleanup, server: { url: string }, options: DatabaseOptions = {}): Database {
  const db = getDatabase(server.url, options)
  t.onTestFinished(() => terminate(db))
  return db
}

/** Resolves with the first value that fits. */
function until<T>(query: Query<T>, fits: (value: T | null) => boolean): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const stop = onValue(
      query,
      (snapshot) => {
        if (!fits(snapshot.val())) return
        queueMicrotask(() => stop())
        resolve(snapshot.val())
      },
      reject,
    )
  })
}

test('two clients see each other', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [open(t, server), open(t, server)]
  const heard: unknown[] = []
  const seen = new Promise<void>((resolve) => {
    onValue(ref(b, 'rooms/a'), (snapshot) => {
      heard.push(snapshot.val())
      if (heard.length === 4) resolve()
    })
  })
  await get(ref(b, 'somewhere else'))

  await set(ref(a, 'rooms/a'), { topic: 'x', list: ['p', 'q'] })
  await update(ref(a, 'rooms/a'), { topic: 'y', 'list/1': null, n: increment(2) })
  await remove(ref(a, 'rooms/a/list'))

  await seen
  expect(heard).toEqual([
    null,
    { topic: 'x', list: ['p', 'q'] },
    { topic: 'y', list: ['p'], n: 2 },
    { topic: 'y', n: 2 },
  ])
})

test('own writes are heard once each, and the server time replaces the guess', async (t) => {
  const now = 1_700_000_000_000
  const server = await serve(t, { rules: OPEN, parts: { nowMs: () => now } })
  const db = open(t, server)
  const heard: unknown[] = []
  await new Promise<void>((resolve) => {
    onValue(ref(db, 'at'), (snapshot) => {
      heard.push(snapshot.val())
      resolve()
    })
  })

  await set(ref(db, 'at'), serverTimestamp())
  await set(ref(db, 'at'), 1)
  await set(ref(db, 'at'), 2)

  expect(heard[0]).toBe(null)
  expect(heard.slice(-2)).toEqual([1, 2])
  expect(heard.slice(1, -2).at(-1)).toBe(now)
})

test('a denied write is rolled back, a denied read cancels the listener, a denied get rejects', async (t) => {
  const server = await serve(t, {
    rules: { open: { '.read': true, n: { '.write': 'newData.isNumber()' } }, secret: {} },
  })
  const db = open(t, server)
  const heard: unknown[] = []
  onValue(ref(db, 'open/n'), (snapshot) => heard.push(snapshot.val()))
  await set(ref(db, 'open/n'), 1)

  const write = set(ref(db, 'open/n'), 'text')
  const listen = new Promise((resolve) => onValue(ref(db, 'secret'), () => {}, resolve))

  await expect(write).rejects.toMatchObject({ code: 'permission_denied' })
  expect(await listen).toMatchObject({ code: 'permission_denied' })
  await expect(get(ref(db, 'secret'))).rejects.toMatchObject({ code: 'permission_denied' })
  expect(heard.at(-1)).toBe(1)
})

test('a hundred increments and a hundred transactions from several clients all count', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const clients = Array.from({ length: 4 }, () => open(t, server))
  onValue(ref(clients[0]!, 'counters'), () => {})
  const drawn: unknown[] = []

  await Promise.all(
    clients.flatMap((db) =>
      Array.from({ length: 25 }, () => [
        set(ref(db, 'counters/a'), increment(1)),
        runTransaction(ref<number>(db, 'counters/b'), (n) => (n ?? 0) + 1).then(({ snapshot }) =>
          drawn.push(snapshot.val()),
        ),
      ]).flat(),
    ),
  )

  expect((await get(ref(clients[1]!, 'counters'))).val()).toEqual({ a: 100, b: 100 })
  expect(new Set(drawn).size).toBe(100)
})

test('a transaction keeps the priority, aborts on undefined, and reports what is there', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const db = open(t, server)
  await setWithPriority(ref(db, 'seat'), { taken: false }, 3)

  const taken = await runTransaction(ref(db, 'seat'), (seat) => (seat.taken ? undefined : { taken: true }))
  const late = await runTransaction(ref(db, 'seat'), (seat) => (seat.taken ? undefined : { taken: true }))

  expect([taken.committed, late.committed]).toEqual([true, false])
  expect(late.snapshot.exportVal()).toEqual({ taken: true, '.priority': 3 })
})

test('reads and transactions past the budget for reading are waited for', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { readBytesPerSecondMax: 65_536 } } })
  const [writer, reader] = [open(t, server), open(t, server)]
  const text = 'x'.repeat(60_000)
  await set(ref(writer, 'a'), { text, n: 1 })

  const read = await Promise.all([1, 2, 3].map(() => get(ref<{ text: string }>(reader, 'a'))))
  const { committed } = await runTransaction(ref<{ n: number }>(reader, 'a'), (a) => a && { n: a.n + 1 })

  expect(read.map((snapshot) => snapshot.val()?.text === text)).toEqual([true, true, true])
  expect(committed).toBe(true)
  expect((await get(ref(writer, 'a'))).val()).toEqual({ n: 2 })
})

test('pushed children come in order to everyone', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [open(t, server), open(t, server)]
  const heard: string[] = []
  const all = new Promise<void>((resolve) => {
    onChildAdded(ref(b, 'list'), (snapshot, previous) => {
      heard.push(`${snapshot.val()} after ${previous === null ? null : previous.length}`)
      if (heard.length === 3) resolve()
    })
  })
  await get(ref(b, 'list'))

  for (const text of ['one', 'two', 'three']) push(ref(a, 'list'), text)

  await all
  expect(heard).toEqual(['one after null', 'two after 20', 'three after 20'])
})

test('onDisconnect writes run when the client goes', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [open(t, server), open(t, server)]
  await set(ref(a, 'online/a'), true)
  await onDisconnect(ref(a, 'online/a')).remove()
  await onDisconnect(ref(a, 'seen/a')).set(serverTimestamp())
  await onDisconnect(ref(a, 'never')).set(1)
  await onDisconnect(ref(a, 'never')).cancel()
  await until(ref(b, 'online/a'), (value) => value === true)

  goOffline(a)

  await until(ref(b, 'online/a'), (value) => value === null)
  expect(await until(ref(b, 'seen/a'), (value) => value !== null)).toBeTypeOf('number')
  expect((await get(ref(b, 'never'))).exists()).toBe(false)
})

test('what is written offline arrives when the client is back, in order', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [open(t, server), open(t, server)]
  await set(ref(a, 'n'), 0)
  goOffline(a)

  const writes = [1, 2, 3].map((n) => set(ref(a, 'n'), n))
  expect((await get(ref(b, 'n'))).val()).toBe(0)
  goOnline(a)
  await Promise.all(writes)

  expect((await get(ref(b, 'n'))).val()).toBe(3)
})

test('two clients go on by themselves after the server was away', async (t) => {
  const first = await serve(t, { rules: OPEN, config: { port: 0 } })
  const proxy = await proxyTo(t, first)
  const environment = { random: () => 0 }
  const [a, b] = [open(t, proxy, { environment }), open(t, proxy, { environment })]
  await set(ref(a, 'n'), 1)
  await until(ref(b, 'n'), (value) => value === 1)

  proxy.cut()
  const write = set(ref(a, 'n'), 2)
  proxy.restore()

  await write
  await until(ref(b, 'n'), (value) => value === 2)
})

test('an unknown database ends the connection with its name, and nothing hangs', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const db = open(t, server, { database: 'nobody-made-this' })

  await expect(get(ref(db, 'a'))).rejects.toMatchObject({ code: 'unknown_database' })
  await expect(set(ref(db, 'a'), 1)).rejects.toMatchObject({ code: 'unknown_database' })
})

test('identity comes with the token and goes with it', async (t) => {
  const server = await serve(t, {
    rules: { users: { $uid: { '.read': 'auth.uid == $uid', '.write': 'auth.uid == $uid' } } },
    config: { auth: { secret: SECRET } },
  })
  const db = open(t, server, { auth: await tokenFor('ada') })
  const ended = new Promise((resolve) => onValue(ref(db, 'users/ada'), () => {}, resolve))
  await set(ref(db, 'users/ada'), 'mine')
  await expect(set(ref(db, 'users/bob'), 'theirs')).rejects.toMatchObject({ code: 'permission_denied' })

  await setAuth(db, await tokenFor('bob'))
  expect(await ended).toMatchObject({ code: 'permission_denied' })
  await set(ref(db, 'users/bob'), 'mine too')
  await unauth(db)

  await expect(set(ref(db, 'users/bob'), 'not any more')).rejects.toMatchObject({ code: 'permission_denied' })
  await expect(setAuth(db, 'no token')).rejects.toMatchObject({ code: 'invalid_token' })
})

function tokenFor(uid: string): Promise<string> {
  return signToken({ sub: uid, exp: Math.floor(Date.now() / 1000) + 3600 }, SECRET)
}

/** A door in front of a server that can be slammed. */
async function proxyTo(
  t: Cleanup,
  server: TestServer,
): Promise<{ url: string; cut(): void; restore(): void }> {
  const sockets = new Set<Socket>()
  let isOpen = true
  const proxy: Server = createServer((inside) => {
    const outside = connect(server.address.port, server.address.host)
    for (const socket of [inside, outside]) {
      socket.on('error', () => {})
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    }
    if (!isOpen) {
      inside.destroy()
      outside.destroy()
      return
    }
    inside.pipe(outside).pipe(inside)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    proxy.close()
  })
  const address = proxy.address() as { port: number }
  return {
    url: `http://127.0.0.1:${address.port}`,
    cut() {
      isOpen = false
      for (const socket of sockets) socket.destroy()
    },
    restore() {
      isOpen = true
    },
  }
}
