/**
 * Bad input on the Firebase wire: an error for the request, or the end of that one connection. Never a crash, and
 * nobody else notices.
 */
import { afterAll, expect, test } from 'vitest'
import { OPEN, serve, type TestServer } from '../harness.ts'
import { RawClient } from './raw-client.ts'

/** A request's action and body, and the status it gets. */
const refused: readonly [what: string, action: string, body: unknown, status: string][] = [
  ['an unknown action', 'zap', {}, 'invalid_message'],
  ['an action that is no text', 5 as unknown as string, {}, 'invalid_message'],
  ['a body that is a list', 'p', [], 'invalid_message'],
  ['a body that is missing', 'g', undefined, 'invalid_message'],
  ['a path that is missing', 'p', { d: 1 }, 'invalid_message'],
  ['a path that is a number', 'q', { p: 5 }, 'invalid_message'],
  ['a value that is missing', 'p', { p: '/a' }, 'invalid_message'],
  ['a forbidden character in a path', 'p', { p: '/a.b', d: 1 }, 'invalid_path'],
  ['a path of 33 keys', 'p', { p: '/k'.repeat(33), d: 1 }, 'invalid_path'],
  ['a key of 769 bytes', 'p', { p: `/${'é'.repeat(385)}`, d: 1 }, 'invalid_path'],
  ['a path of a megabyte', 'g', { p: '/'.padEnd(1_000_000, 'x'), q: {} }, 'invalid_path'],
  ['the prototype as a key', 'p', { p: '/__proto__', d: 1 }, 'invalid_path'],
  ['a forbidden key in a value', 'p', { p: '/a', d: { b$: 1 } }, 'invalid_value'],
  ['an unknown key with a dot', 'p', { p: '/a', d: { '.kind': 1 } }, 'invalid_value'],
  ['a value that is too deep', 'p', { p: '/a', d: nested(40) }, 'invalid_value'],
  ['an unknown server value', 'p', { p: '/a', d: { '.sv': 'random' } }, 'invalid_value'],
  ['an increment by a text', 'p', { p: '/a', d: { '.sv': { increment: 'x' } } }, 'invalid_value'],
  ['a server value that is a list', 'm', { p: '/', d: { a: { '.sv': [] } } }, 'invalid_value'],
  ['a priority that is an object', 'p', { p: '/a', d: { '.value': 1, '.priority': {} } }, 'invalid_value'],
  ['a priority path with a boolean', 'p', { p: '/a/.priority', d: true }, 'invalid_value'],
  ['a priority that increments', 'p', { p: '/a/.priority', d: { '.sv': { increment: 1 } } }, 'invalid_value'],
  ['a leaf that holds an object', 'p', { p: '/a', d: { '.value': { b: 1 } } }, 'invalid_value'],
  ['a hash that is a number', 'p', { p: '/a', d: 1, h: 5 }, 'invalid_message'],
  ['a merge of a text', 'm', { p: '/a', d: 'x' }, 'invalid_message'],
  ['a merge of a list', 'm', { p: '/a', d: [1] }, 'invalid_message'],
  ['a merge at a priority', 'm', { p: '/a/.priority', d: { b: 1 } }, 'invalid_path'],
  ['a merge key with a forbidden character', 'm', { p: '/', d: { 'a#b': 1 } }, 'invalid_path'],
  ['a merge whose paths overlap', 'm', { p: '/', d: { a: 1, 'a/b': 2 } }, 'invalid_path'],
  ['a merge of a node and its priority', 'm', { p: '/', d: { a: 1, 'a/.priority': 2 } }, 'invalid_path'],
  ['a merge with one path in two spellings', 'm', { p: '/', d: { 'a/b': 1, '/a/b/': 2 } }, 'invalid_path'],
  ['a merge that is too deep', 'm', { p: '/k'.repeat(30), d: { 'a/b/c': 1 } }, 'invalid_path'],
  ['an onDisconnect at a bad path', 'o', { p: '/a.b', d: 1 }, 'invalid_path'],
  ['an onDisconnect merge that overlaps', 'om', { p: '/', d: { a: 1, 'a/b': 2 } }, 'invalid_path'],
  ['a cancel without a path', 'oc', {}, 'invalid_message'],
  ['a write to `.info`', 'p', { p: '/.info/connected', d: false }, 'permission_denied'],
  ['a listen to `.info`', 'q', { p: '/.info/connected', h: '' }, 'permission_denied'],
  ['a token that is a number', 'auth', { cred: 5 }, 'invalid_message'],
  ['a token that is missing', 'gauth', {}, 'invalid_message'],
  ['an `authvar` that is a list', 'gauth', { cred: 'x', authvar: [] }, 'invalid_message'],
  ['a listen hash that is an object', 'q', { p: '/a', h: {} }, 'invalid_message'],
  ['a query without a tag', 'q', { p: '/a', q: { l: 1, vf: 'l' }, h: '' }, 'invalid_message'],
  [
    'a tag that is no positive integer',
    'q',
    { p: '/a', q: { l: 1, vf: 'l' }, t: 0, h: '' },
    'invalid_message',
  ],
  ['a query that is a text', 'g', { p: '/a', q: 'x' }, 'invalid_query'],
  ['a query with an unknown field', 'g', { p: '/a', q: { zap: 1 } }, 'invalid_query'],
  ['a limit of nothing', 'g', { p: '/a', q: { l: 0, vf: 'l' } }, 'invalid_query'],
  ['a limit of 1.5', 'g', { p: '/a', q: { l: 1.5, vf: 'l' } }, 'invalid_query'],
  ['a side that is none', 'g', { p: '/a', q: { l: 1, vf: 'x' } }, 'invalid_query'],
  ['a range from an object', 'g', { p: '/a', q: { sp: {} } }, 'invalid_query'],
  ['a key range from a number', 'g', { p: '/a', q: { i: '.key', sp: 1 } }, 'invalid_query'],
  ['an order by a bad path', 'g', { p: '/a', q: { i: 'a.b', l: 1, vf: 'l' } }, 'invalid_query'],
  ['an order by a list', 'g', { p: '/a', q: { i: [], l: 1, vf: 'l' } }, 'invalid_query'],
  ['a key of 5000 bytes without a bound', 'g', { p: '/a', q: { sn: 'x'.repeat(5000) } }, 'invalid_query'],
  ['a side of 5000 bytes without a limit', 'g', { p: '/a', q: { vf: 'x'.repeat(5000) } }, 'invalid_query'],
  ['a bound of 5000 bytes', 'g', { p: '/a', q: { sp: 'x'.repeat(5000) } }, 'invalid_query'],
  ['an inclusion that is a text', 'g', { p: '/a', q: { sp: 1, sin: 'yes' } }, 'invalid_query'],
  ['a bound’s key with a slash', 'g', { p: '/a', q: { sp: 1, sn: 'a/b' } }, 'invalid_query'],
]

test.each(refused)('%s is refused, and the connection goes on', async (_, action, body, status) => {
  const client = await RawClient.connect(suite, await shared(), { ns: null })

  const answer = await client.ask(action, body as object)

  expect(answer).toMatchObject({ s: status, d: expect.any(String) })
  expect((await client.ask('s', {})).s).toBe('ok')
  client.socket.terminate()
})

test('values nested a million deep are refused wherever they stand', async () => {
  const client = await RawClient.connect(suite, await shared(), { ns: null })
  const deep = `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`
  const bodies = [
    `{"p":"/a","d":${deep}}`,
    `{"p":"/a","d":{"b":${deep}}}`,
    `{"p":${deep},"d":1}`,
    `{"p":"/a","d":1,"h":${deep}}`,
    `{"p":"/a","q":{"sn":${deep},"l":1},"t":1}`,
    `{"p":"/a","q":{"sp":${deep},"l":1},"t":1}`,
  ]

  const answers = bodies.map((body, n) => {
    const action = body.includes('"q"') ? 'q' : 'p'
    client.sendText(`{"t":"d","d":{"r":${n + 1},"a":"${action}","b":${body}}}`)
    return client.answer(n + 1)
  })

  expect((await Promise.all(answers)).map(({ s: status }) => status)).not.toContain('ok')
  client.socket.terminate()
})

test.each([
  ['a list', '[1]'],
  ['null', 'null'],
  ['a text', '"x"'],
  ['an unknown kind', '{"t":"x","d":{}}'],
  ['a kind alone', '{"t":"d"}'],
  ['data that is a text', '{"t":"d","d":"x"}'],
  ['a request without a number', '{"t":"d","d":{"a":"p","b":{}}}'],
  ['a control message of no kind', '{"t":"c"}'],
  ['an unknown control message', '{"t":"c","d":{"t":"zap"}}'],
])('an envelope that is %s is complained about, and the connection goes on', async (_, text) => {
  const client = await RawClient.connect(suite, await shared(), { ns: null })

  client.sendText(text)

  expect((await client.ask('s', {})).s).toBe('ok')
  expect(client.log).toEqual(['control e', 'ok 1'])
  client.socket.terminate()
})

test.each([
  ['{"t":', 4500],
  ['not json', 4500],
  ['', 4500],
])('a frame that is not JSON, %j, ends its connection', async (text, code) => {
  const client = await RawClient.connect(suite, await shared(), { ns: null })

  client.sendText(text)

  expect((await client.closed).code).toBe(code)
})

test('a count of frames above the cap ends the connection, with a reason not to try the same again', async () => {
  const client = await RawClient.connect(suite, await shared(), { ns: null })

  client.sendText('999999')

  expect((await client.closed).code).toBe(4501)
  expect(client.heard.at(-1)).toEqual({ t: 'c', d: { t: 's', d: expect.stringContaining('too long') } })
})

test('frames that add up to more than a message may have end the connection', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { frameBytesMax: 64 * 1024 } } })
  const client = await RawClient.connect(t, server, { ns: null })

  client.sendText('4')
  client.sendText('x'.repeat(40_000))
  client.sendText('x'.repeat(40_000))

  expect((await client.closed).code).toBe(4501)
})

test('a message cut off in the middle of its pieces does nothing', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [client, other] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]

  client.sendText('2')
  client.sendText('{"t":"d","d":{"r":1,"a":"p","b":{"p":"/a","d":1}}}')
  client.socket.close()
  await client.closed

  expect((await other.ask('g', { p: '/', q: {} })).d).toBeNull()
})

test('more listens than allowed are refused, one ended makes room', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { listensMax: 2 } } })
  const client = await RawClient.connect(t, server, { ns: null })
  const listen = async (path: string): Promise<string> => (await client.ask('q', { p: path, h: '' })).s

  const statuses = [await listen('/a'), await listen('/b'), await listen('/c')]
  await client.ask('n', { p: '/a' })
  statuses.push(await listen('/c'))

  expect(statuses).toEqual(['ok', 'ok', 'too_many_listens', 'ok'])
})

test('more than a session may leave behind is refused', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })

  const answers = await Promise.all(
    Array.from({ length: 1001 }, (_, n) => client.ask('o', { p: `/left/${n}`, d: 1 })),
  )

  expect(answers.map(({ s }) => s).filter((status) => status !== 'ok')).toEqual(['unavailable'])
})

test('while one client sends nonsense, another is served as ever', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const good = await RawClient.connect(t, server, { ns: null })
  await good.ask('q', { p: '/n', h: '' })
  const bad = await RawClient.connect(t, server, { ns: null })
  const worse = await RawClient.connect(t, server, { ns: null })

  for (const [, action, body] of refused) bad.send(action, body as object)
  worse.sendText('{')
  const answers = await Promise.all([1, 2, 3].map((n) => good.ask('p', { p: '/n', d: n })))

  expect(answers.map(({ s }) => s)).toEqual(['ok', 'ok', 'ok'])
  expect(good.pushes.at(-1)).toEqual(['d', { p: 'n', d: 3 }])
})

function nested(depth: number): unknown {
  return depth === 0 ? 1 : { k: nested(depth - 1) }
}

/** One server for the many small tests; ended with the file. */
let server: Promise<TestServer> | null = null
const endings: (() => unknown)[] = []
const suite = { onTestFinished: (call: () => unknown) => void endings.push(call) }

function shared(): Promise<TestServer> {
  server ??= serve(suite, { rules: OPEN })
  return server
}

afterAll(async () => {
  for (const end of endings.reverse()) await end()
})

test('what one connection leaves for its end has a size', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const d = { a: 'x'.repeat(9_000_000), b: 'y'.repeat(9_000_000) }

  const answers = [
    await client.ask('o', { p: '/one', d }),
    await client.ask('o', { p: '/two', d }),
    await client.ask('oc', { p: '/one', d: null }),
    await client.ask('o', { p: '/two', d }),
  ]

  expect(answers.map(({ s }) => s)).toEqual(['ok', 'too_big', 'ok', 'ok'])
})
