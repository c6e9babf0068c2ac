/**
 * The straight path, from socket to disk to every subscriber: a whole server, bare clients.
 */
import { expect, test } from 'vitest'
import { BareClient, OPEN, path, serve } from './harness.ts'

test('a new connection is greeted with version, time, session, epoch, revision and limits', async (t) => {
  const server = await serve(t, { rules: OPEN, parts: { nowMs: () => 1_700_000_000_000 } })

  const client = await BareClient.connect(t, server)

  const hello = await client.next('hello')
  expect(hello).toMatchObject({ version: 1, serverTimeMs: 1_700_000_000_000, revision: 0 })
  expect(hello.sessionId).not.toBe('')
  expect(hello.epoch).not.toBe('')
  expect(hello.limits.frameBytesMax).toBeGreaterThan(16 * 1024 * 1024)
})

test('a write reaches listeners at, above and below its path, each with a path of its own', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const reader = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('rooms/a'), value: { topic: 'old', count: 1 } })
  const listens = await Promise.all(
    ['', 'rooms', 'rooms/a', 'rooms/a/topic', 'rooms/b'].map((at) =>
      reader.ask({ type: 'listen', path: path(at), query: null }),
    ),
  )

  await writer.ask({ type: 'set', path: path('rooms/a'), value: { topic: 'new' } })
  await reader.ask({ type: 'ping' })

  const ids = listens.map((answer) => (answer.type === 'snapshot' ? answer.queryId : 0))
  const patches = reader.heard.filter((message) => message.type === 'patch')
  expect(patches.map(({ queryId, steps }) => [ids.indexOf(queryId), steps]).sort()).toEqual([
    [0, [['rooms/a', { topic: 'new' }]]],
    [1, [['a', { topic: 'new' }]]],
    [2, [['', { topic: 'new' }]]],
    [3, [['', 'new']]],
  ])
})

test('a listener gets the value as it is and then every later write, none twice', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  for (let n = 1; n <= 10; n++) writer.send({ type: 'set', path: path('n'), value: n })
  const reader = await BareClient.connect(t, server)

  const snapshot = await reader.ask({ type: 'listen', path: path('n'), query: null })
  for (let n = 11; n <= 50; n++) writer.send({ type: 'set', path: path('n'), value: n })
  await reader.next('patch', ({ steps }) => steps.some((step) => step[1] === 50))

  const first = snapshot.type === 'snapshot' ? Number(snapshot.value ?? 0) : -1
  const seen = reader.heard.flatMap((message) =>
    message.type === 'patch' ? message.steps.map((step) => step[1]) : [],
  )
  expect(seen).toEqual(Array.from({ length: 50 - first }, (_, i) => first + 1 + i))
})

test('the patch of a write reaches its own writer before the ack', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: path('a'), query: null })

  await client.ask({ type: 'set', path: path('a/b'), value: 1 })

  expect(client.heard.slice(2).map(({ type }) => type)).toEqual(['patch', 'ack'])
})

test('a read sees what the same connection wrote before it, without waiting for the ack', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)

  client.send({ type: 'set', path: path('a'), value: 'written' })
  const answer = await client.ask({ type: 'get', path: path('a'), query: null })

  expect(answer).toMatchObject({ type: 'value', value: 'written' })
})

test('an update of several paths is one step for a listener above them all', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: [], query: null })

  await client.ask({
    type: 'update',
    path: [],
    entries: [
      [path('posts/1'), { title: 'one' }],
      [path('users/ann/last'), 1],
      [path('none'), null],
    ],
  })

  const patch = await client.next('patch')
  expect(patch.steps).toEqual([['posts/1', { title: 'one' }, 'users/ann/last', 1, 'none', null]])
})

test('a denied update changes nothing at any of its paths', async (t) => {
  const server = await serve(t, { rules: { '.read': true, open: { '.write': true } } })
  const client = await BareClient.connect(t, server)

  const answer = await client.ask({
    type: 'update',
    path: [],
    entries: [
      [path('open'), 1],
      [path('closed'), 1],
    ],
  })
  const value = await client.ask({ type: 'get', path: [], query: null })

  expect(answer).toMatchObject({ type: 'error', code: 101, name: 'permission_denied' })
  expect(value).toMatchObject({ value: null })
})

test('server values are the same clock reading throughout a write, and increments add up', async (t) => {
  const server = await serve(t, { rules: OPEN, parts: { nowMs: () => 1_700_000_000_000 } })
  const client = await BareClient.connect(t, server)
  const increment = { '.sv': { increment: 2 } }

  await client.ask({ type: 'set', path: path('a'), value: { at: { '.sv': 'timestamp' }, n: increment } })
  await Promise.all(
    Array.from({ length: 100 }, () => client.ask({ type: 'set', path: path('a/n'), value: increment })),
  )
  const answer = await client.ask({ type: 'get', path: path('a'), query: null })

  expect(answer).toMatchObject({ value: { at: 1_700_000_000_000, n: 202 } })
})

test('compare-and-set goes through only while nothing at, above or below its path has changed', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('a/b'), value: 1 })
  const read = await client.ask({ type: 'get', path: path('a/b'), query: null })
  const revision = read.type === 'value' ? read.revision : -1

  await client.ask({ type: 'set', path: path('elsewhere'), value: 1 })
  const first = await client.ask({ type: 'compareAndSet', path: path('a/b'), revision, value: 2 })
  const second = await client.ask({ type: 'compareAndSet', path: path('a/b'), revision, value: 3 })

  expect(first.type).toBe('ack')
  expect(second).toMatchObject({ type: 'error', name: 'stale' })
})

test('a push makes a key that sorts after the keys before it', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)

  const answers = [
    await client.ask({ type: 'push', path: path('list'), value: 'a' }),
    await client.ask({ type: 'push', path: path('list'), value: 'b' }),
  ]
  const list = await client.ask({ type: 'get', path: path('list'), query: null })

  const keys = answers.map((answer) => (answer.type === 'pushed' ? answer.key : ''))
  expect([...keys].sort()).toEqual(keys)
  expect(list).toMatchObject({ value: { [keys[0]!]: 'a', [keys[1]!]: 'b' } })
})

test('what a client leaves on disconnect is written when its connection ends, once', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const leaver = await BareClient.connect(t, server)
  const watcher = await BareClient.connect(t, server)
  await watcher.ask({ type: 'listen', path: path('status'), query: null })
  await leaver.ask({ type: 'onDisconnectSet', path: path('status/ann'), value: 'gone' })
  await leaver.ask({ type: 'onDisconnectSet', path: path('status/cancelled'), value: 'gone' })
  await leaver.ask({ type: 'onDisconnectCancel', path: path('status/cancelled') })

  leaver.socket.terminate()

  expect((await watcher.next('patch')).steps).toEqual([['ann', 'gone']])
})

test('databases of one server are apart', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { databases: { mode: 'open', names: ['default'] } } })
  const one = await BareClient.connect(t, server, '?database=one')
  const two = await BareClient.connect(t, server, '?database=two')
  await two.ask({ type: 'listen', path: [], query: null })

  await one.ask({ type: 'set', path: path('a'), value: 1 })
  await two.ask({ type: 'ping' })
  const other = await two.ask({ type: 'get', path: [], query: null })

  expect(other).toMatchObject({ value: null })
  expect(two.heard.filter(({ type }) => type === 'patch')).toEqual([])
})

test.for([
  ['other', 'this server has no database `other`'],
  [
    'my.app',
    '`my.app` cannot name a database; names have up to 63 letters, digits, - and _, a letter or digit first',
  ],
  ['é'.repeat(100), `\`${'é'.repeat(59)}…`],
] as const)(
  'a database the server does not have is refused by name, with a code that says stop: %s',
  async ([name, reason], t) => {
    const server = await serve(t, { rules: OPEN })

    const query = `?database=${encodeURIComponent(name)}`
    const client = await BareClient.connect(t, server, query)

    expect(await client.closed).toEqual({ code: 4503, reason })
  },
)

test('a server that was drained tells its clients, keeps what it acked and closes', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  const writes = Array.from({ length: 50 }, (_, n) =>
    client.ask({ type: 'set', path: path(`k/${n}`), value: n }),
  )

  await client.ask({ type: 'ping' })
  await server.drain()

  expect(await client.closed).toMatchObject({ code: 4000 })
  expect((await Promise.all(writes)).every(({ type }) => type === 'ack')).toBe(true)
  expect(client.heard.some(({ type }) => type === 'goingAway')).toBe(true)
})

test('a second server does not share the port of the first', async (t) => {
  const server = await serve(t, { rules: OPEN })

  await expect(serve(t, { rules: OPEN, config: { port: server.address.port } })).rejects.toThrow(
    /cannot listen/,
  )
})
