import { expect, test } from 'vitest'
import { closeReasons } from '../protocol/errors.ts'
import {
  get,
  goOffline,
  goOnline,
  type HearthError,
  onDisconnect,
  onValue,
  ref,
  serverTimestamp,
  set,
  setAuth,
  terminate,
  unauth,
} from './index.ts'
import { ScriptedServer, settle } from './test/scripted-server.ts'

/** Settled or not, readable without waiting. */
function outcome(promise: Promise<unknown>): { is: string } {
  const seen = { is: 'pending' }
  promise.then(
    () => {
      seen.is = 'resolved'
    },
    (error: HearthError) => {
      seen.is = error.code
    },
  )
  return seen
}

test.for([
  ['http://h:9000', 'ws://h:9000/v1', 'http://h:9000'],
  ['https://h/', 'wss://h/v1', 'https://h'],
  ['ws://h:1/base/', 'ws://h:1/base/v1', 'http://h:1/base'],
  ['wss://h', 'wss://h/v1', 'https://h'],
  ['http://h?ns=my-app', 'ws://h/v1?database=my-app', 'http://h'],
])('address %s opens %s', ([address, socketUrl, httpUrl]) => {
  const server = new ScriptedServer()
  const db = server.database({}, address)

  goOnline(db)

  expect([server.connection.url, db.url]).toEqual([socketUrl, httpUrl])
})

test.for(['', 'localhost:9000', 'ftp://h', '/path'])('address `%s` is refused', (address) => {
  expect(() => new ScriptedServer().database({}, address)).toThrow(
    expect.objectContaining({ code: 'invalid_url' }),
  )
})

test('nothing connects before the first ref', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  expect(server.connections).toHaveLength(0)

  ref(db, 'a')
  ref(db, 'b')

  expect(server.connections).toHaveLength(1)
})

test('messages of one turn share a frame', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  for (let i = 0; i < 10; i++) set(ref(db, `a/${i}`), i).catch(() => {})

  expect(await connection.take()).toHaveLength(10)
  expect(connection.frames).toBe(1)
})

test('what is asked before the connection is up goes out when it is: listens first, then the rest in order', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  set(ref(db, 'a'), 1).catch(() => {})
  get(ref(db, 'b')).catch(() => {})
  set(ref(db, 'c'), 3).catch(() => {})
  onValue(ref(db, 'd'), () => {})

  await server.connection.greet()

  expect((await server.connection.take()).map(({ type }) => type)).toEqual(['listen', 'set', 'get', 'set'])
})

test('after a loss it listens again and sends unanswered writes again, in order, with new ids', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'list'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot({ a: 1 })
  const first = outcome(set(ref(db, 'list/b'), 2))
  const second = outcome(set(ref(db, 'list/c'), 3))
  const [answered] = await connection.take()
  await connection.ack(answered!.id)

  await connection.close()
  await server.pass(1000)
  await server.connection.greet()

  const [listen, write] = await server.connection.take()
  expect(listen).toMatchObject({ type: 'listen', path: ['list'] })
  expect(write).toMatchObject({ type: 'set', path: ['list', 'c'] })
  expect(write!.id).toBeGreaterThan(listen!.id)
  await server.connection.send({
    type: 'snapshot',
    id: listen!.id,
    queryId: 7,
    revision: 9,
    value: { a: 1, b: 2 },
  })
  await server.connection.patch(10, ['c', 3], 7)
  await server.connection.ack(write!.id)
  expect([first.is, second.is]).toEqual(['resolved', 'resolved'])
  expect(heard.at(-1)).toEqual({ a: 1, b: 2, c: 3 })
})

test('what changed while it was away is heard as changes', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot(1)

  await connection.close()
  await server.pass(1000)
  await server.connection.greet()
  await server.connection.snapshot(2, 1, 5)

  expect(heard).toEqual([1, 2])
})

test('it comes back after a random part of a delay that grows to 30 s', async () => {
  const server = new ScriptedServer()
  server.chance = 0.999
  const db = server.database()
  goOnline(db)
  const delays: number[] = []
  for (let i = 0; i < 12; i++) {
    await server.connection.close()
    delays.push(Math.round(server.nextTimerMs! / 100) / 10)
    await server.pass(server.nextTimerMs!)
  }
  expect(delays).toEqual([1, 1.6, 2.6, 4.1, 6.5, 10.5, 16.8, 26.8, 30, 30, 30, 30])

  server.chance = 0
  await server.connection.close()
  expect(server.nextTimerMs).toBe(0)
})

test('a connection that lived for 30 s makes the delay short again', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  goOnline(db)
  for (let i = 0; i < 5; i++) {
    await server.connection.close()
    await server.pass(server.nextTimerMs!)
  }
  await server.connection.greet()
  await server.pass(15_000)
  await server.connection.send({ type: 'pong', id: 1, serverTimeMs: 0 })
  await server.pass(15_000)

  await server.connection.close()

  expect(server.nextTimerMs).toBe(500)
})

test('a network that is back cuts the wait short', async () => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()
  await connection.close()
  expect(server.connections).toHaveLength(1)

  server.networkBack()

  expect(server.connections).toHaveLength(2)
})

test('goingAway: nothing more is sent, answers still count, and it comes back within the delay it was told', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const before = outcome(set(ref(db, 'a'), 1))
  const { id } = await connection.next('set')

  await connection.send({ type: 'goingAway', reason: 'restart', delayMs: 8000 })
  const after = outcome(set(ref(db, 'b'), 2))
  expect(await connection.take()).toEqual([])
  await connection.ack(id)
  expect(before.is).toBe('resolved')
  await connection.close(4000, 'server is going away')
  expect(server.nextTimerMs).toBe(4000)
  await server.pass(4000)
  await server.connection.greet()

  const write = await server.connection.next('set')
  expect(write.path).toEqual(['b'])
  await server.connection.ack(write.id)
  expect(after.is).toBe('resolved')
})

test('a server that went away without closing is left when the delay is over', async () => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()

  await connection.send({ type: 'goingAway', reason: 'restart', delayMs: 8000 })
  await server.pass(4000)

  expect(connection.isClosedByClient).toBe(true)
  expect(server.connections).toHaveLength(2)
})

test.for([4000, 4001, 4004, 4499, 1006, 1000, 1011])('close code %i: it comes back', async (code) => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()

  await connection.close(code)
  await server.pass(1000)

  expect(server.connections).toHaveLength(2)
})

const stops = Object.entries(closeReasons)
  .filter(([, { code }]) => code >= 4500)
  .map(([name, { code }]) => [code, name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] as const)

test.for([...stops, [4999, 'closed'] as const])(
  'close code %i: it stops, and everything pending fails with %s',
  async ([code, name]) => {
    const server = new ScriptedServer()
    const { db, connection } = await server.connected()
    const heard: unknown[] = []
    onValue(
      ref(db, 'n'),
      (snapshot) => heard.push(snapshot.val()),
      (error) => heard.push(error.code),
    )
    await connection.snapshot(1)
    const pending = [set(ref(db, 'n'), 2), get(ref(db, 'b')), onDisconnect(ref(db, 'c')).remove()].map(
      outcome,
    )

    await connection.close(code, 'no')
    await settle()

    expect(pending.map(({ is }) => is)).toEqual([name, name, name])
    expect(heard).toEqual([1, 2, 1, name])
    expect(server.nextTimerMs).toBe(null)
    const later = outcome(set(ref(db, 'n'), 3))
    await settle()
    expect(later.is).toBe(name)
  },
)

test('goOnline after a stop starts anew', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  await connection.close(4503)

  goOnline(db)
  await server.connection.greet()
  const written = outcome(set(ref(db, 'a'), 1))

  await server.connection.ack((await server.connection.next('set')).id)
  expect(written.is).toBe('resolved')
})

test('another version of the protocol stops it', async () => {
  const server = new ScriptedServer()
  server.hello = { version: 2 }
  const db = server.database()
  const written = outcome(set(ref(db, 'a'), 1))

  await server.connection.greet()

  expect(written.is).toBe('unsupported_version')
})

test('it pings at the interval the server named', async () => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()

  await server.pass(20_000)

  const { id } = await connection.next('ping')
  await connection.send({ type: 'pong', id, serverTimeMs: 0 })
  await server.pass(20_000)
  await connection.next('ping')
})

test('two intervals of silence mean a dead connection', async () => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()
  await server.pass(39_999)
  expect(connection.isClosedByClient).toBe(false)

  await server.pass(1)

  expect(connection.isClosedByClient).toBe(true)
  await server.pass(1000)
  expect(server.connections).toHaveLength(2)
})

test('a server that accepts but never greets is given up after 30 s', async () => {
  const server = new ScriptedServer()
  goOnline(server.database())

  await server.pass(31_000)

  expect(server.connections[0]!.isClosedByClient).toBe(true)
  expect(server.connections).toHaveLength(2)
})

test('a frame that is no message ends the connection, not the client', async () => {
  const server = new ScriptedServer()
  const { connection } = await server.connected()

  connection.sendRaw(new Uint8Array([0xc1]))
  await server.pass(1000)

  expect(server.connections).toHaveLength(2)
})

test('goOffline keeps writes, fails reads, and goOnline sends the writes', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const written = outcome(set(ref(db, 'a'), 1))
  const read = outcome(get(ref(db, 'b')))

  goOffline(db)
  const later = outcome(get(ref(db, 'b')))
  await settle()

  expect([written.is, read.is, later.is]).toEqual(['pending', 'offline', 'offline'])
  expect(connection.isClosedByClient).toBe(true)
  expect(server.nextTimerMs).toBe(null)
  goOnline(db)
  await server.connection.greet()
  await server.connection.ack((await server.connection.next('set')).id)
  expect(written.is).toBe('resolved')
})

test('a get waits for the connection, but not past its own timeout', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  const patient = outcome(get(ref(db, 'a')))
  const hasty = outcome(get(ref(db, 'b'), { timeoutMs: 5000 }))

  await server.pass(5000)
  expect([patient.is, hasty.is]).toEqual(['pending', 'timeout'])
  await server.connection.greet()

  const { id } = await server.connection.next('get')
  await server.connection.send({ type: 'value', id, revision: 1, value: null })
  expect(patient.is).toBe('resolved')
})

test('terminate settles everything', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  const pending = [set(ref(db, 'a'), 1), get(ref(db, 'b')), onDisconnect(ref(db, 'c')).cancel()].map(outcome)

  terminate(db)
  await settle()

  expect(pending.map(({ is }) => is)).toEqual(['terminated', 'terminated', 'terminated'])
})

test('a request larger than the server takes is refused here: there it would end the connection', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const large = outcome(set(ref(db, 'a'), 'x'.repeat(1_000_000)))
  const small = outcome(set(ref(db, 'b'), 'x'))

  const { id } = await connection.next('set')
  await connection.ack(id)
  expect([large.is, small.is]).toEqual(['too_large', 'resolved'])
})

test('many large requests of one turn travel in frames the server takes', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  for (let i = 0; i < 5; i++) set(ref(db, `a/${i}`), 'x'.repeat(300_000)).catch(() => {})

  expect(await connection.take()).toHaveLength(5)
  expect(connection.frames).toBe(5)
})

test('the token goes first, and nothing else before it is accepted', async () => {
  const server = new ScriptedServer()
  const db = server.database({ auth: 'my token' })
  set(ref(db, 'a'), 1).catch(() => {})
  await server.connection.greet()

  const { id, token } = await server.connection.next('auth')
  expect(token).toBe('my token')
  await server.connection.ack(id)

  await server.connection.next('set')
})

test('a token function is asked at every connect', async () => {
  const server = new ScriptedServer()
  let count = 0
  goOnline(server.database({ auth: async () => `token ${++count}` }))

  for (const expected of ['token 1', 'token 2']) {
    await server.connection.greet()
    expect((await server.connection.next('auth')).token).toBe(expected)
    await server.connection.close()
    await server.pass(2000)
  }
})

test('a refused token is asked for once more; then it goes on without identity and says so', async () => {
  const server = new ScriptedServer()
  const errors: string[] = []
  const db = server.database({ auth: () => 'bad', onAuthError: (error) => errors.push(error.code) })
  set(ref(db, 'a'), 1).catch(() => {})
  await server.connection.greet()

  await server.connection.refuse((await server.connection.next('auth')).id, 'invalid_token')
  await server.connection.refuse((await server.connection.next('auth')).id, 'invalid_token')

  expect(errors).toEqual(['invalid_token'])
  await server.connection.next('set')
})

test('a token function that fails is no reason to write as nobody: it tries again later', async () => {
  const server = new ScriptedServer()
  const errors: string[] = []
  let isBroken = true
  const db = server.database({
    auth: () => {
      if (isBroken) throw new Error('no network')
      return 'token'
    },
    onAuthError: (error) => errors.push(error.code),
  })
  set(ref(db, 'a'), 1).catch(() => {})
  await server.connection.greet()
  expect(errors).toEqual(['no_token'])
  expect(await server.connection.take()).toEqual([])

  isBroken = false
  await server.pass(1000)
  await server.connection.greet()

  await server.connection.next('auth')
})

test('an expired token is renewed in place: no listener is canceled, nothing is sent as nobody', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  await Promise.all([
    setAuth(db, async () => 'token'),
    settle().then(async () => connection.ack((await connection.next('auth')).id)),
  ])
  onValue(
    ref(db, 'mine'),
    (snapshot) => heard.push(snapshot.val()),
    (error) => heard.push(error.code),
  )
  await connection.snapshot(1)

  await connection.send(
    { type: 'authRevoked', code: 106, name: 'expired_token', message: 'expired' },
    { type: 'cancel', queryId: 1, code: 101, name: 'permission_denied', message: 'denied' },
  )
  set(ref(db, 'mine'), 2).catch(() => {})
  const { id } = await connection.next('auth')
  await connection.ack(id)

  const [listen, write] = await connection.take()
  expect([listen?.type, write?.type]).toEqual(['listen', 'set'])
  await connection.send({ type: 'snapshot', id: listen!.id, queryId: 1, revision: 4, value: 1 })
  expect(heard).toEqual([1, 2])
})

test('setAuth takes effect at once; a refused one rejects and keeps what was before', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()

  const accepted = outcome(setAuth(db, 'good'))
  await settle()
  await connection.ack((await connection.next('auth')).id)
  const refused = outcome(setAuth(db, 'bad'))
  await settle()
  await connection.refuse((await connection.next('auth')).id, 'invalid_token')
  await connection.close()
  await server.pass(1000)
  await server.connection.greet()

  expect([accepted.is, refused.is]).toEqual(['resolved', 'invalid_token'])
  expect((await server.connection.next('auth')).token).toBe('good')
})

test('unauth drops the identity, also for later connections', async () => {
  const server = new ScriptedServer()
  const db = server.database({ auth: 'token' })
  goOnline(db)
  await server.connection.greet()
  await server.connection.ack((await server.connection.next('auth')).id)

  const dropped = outcome(unauth(db))
  await settle()
  await server.connection.ack((await server.connection.next('unauth')).id)
  expect(dropped.is).toBe('resolved')
  await server.connection.close()
  await server.pass(1000)
  await server.connection.greet()

  expect(await server.connection.take()).toEqual([])
})

test('.info/connected and .info/serverTimeOffset follow the connection; the server is never asked', async () => {
  const server = new ScriptedServer()
  server.hello = { serverTimeMs: server.nowMs - 250 }
  const db = server.database()
  const heard: unknown[] = []
  onValue(ref(db, '.info/connected'), (snapshot) => heard.push(snapshot.val()))
  onValue(ref(db, '.info/serverTimeOffset'), (snapshot) => heard.push(snapshot.val()))
  expect(heard).toEqual([false, 0])

  await server.connection.greet()
  await server.connection.close()

  expect(heard).toEqual([false, 0, -250, true, false])
  expect(await server.connections[0]!.take()).toEqual([])
  expect((await get(ref(db, '.info/connected'))).val()).toBe(false)
})

test('an app that answers .info/connected with onDisconnect writes sends them after the listens', async () => {
  const server = new ScriptedServer()
  const db = server.database()
  onValue(ref(db, 'room'), () => {})
  onValue(ref(db, '.info/connected'), (snapshot) => {
    if (!snapshot.val()) return
    onDisconnect(ref(db, 'online/me'))
      .remove()
      .catch(() => {})
    set(ref(db, 'online/me'), true).catch(() => {})
  })

  await server.connection.greet()

  expect((await server.connection.take()).map(({ type }) => type)).toEqual([
    'listen',
    'onDisconnectSet',
    'set',
  ])
})

test('onDisconnect writes are shown here too when the connection is lost, until the server tells', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'me'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot({ online: true })
  const at = ref(db, 'me')
  const registered = outcome(onDisconnect(at).update({ online: false, seen: serverTimestamp() }))
  await connection.ack((await connection.next('onDisconnectUpdate')).id)
  expect(registered.is).toBe('resolved')

  await connection.close()

  expect(heard).toEqual([{ online: true }, { online: false, seen: server.nowMs }])
})

test('an onDisconnect write that was canceled is not shown', async () => {
  const server = new ScriptedServer()
  const { db, connection } = await server.connected()
  const heard: unknown[] = []
  onValue(ref(db, 'me'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot('here')
  onDisconnect(ref(db, 'me'))
    .set('gone')
    .catch(() => {})
  await connection.ack((await connection.next('onDisconnectSet')).id)
  onDisconnect(ref(db, 'me'))
    .cancel()
    .catch(() => {})
  await connection.ack((await connection.next('onDisconnectCancel')).id)

  await connection.close()

  expect(heard).toEqual(['here'])
})
