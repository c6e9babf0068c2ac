/**
 * The Firebase wire as it travels: what the SDKs' own tests do not see.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { signToken } from '../../auth.ts'
import { nodeHash } from '../../node-hash.ts'
import { OPEN, SECRET, serve, unsignedToken } from '../harness.ts'
import { RawClient } from './raw-client.ts'

const DEV = { config: { dev: true } }
/** The log has the line of this id. */
const anyDenial = expect.stringMatching(/\(denial [\w-]{10}\)$/)

test('a connection is greeted with time, version, the host it asked for and a session id', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { dev: true },
    parts: { nowMs: () => 1_700_000_000_000 },
  })

  const client = await RawClient.connect(t, server)

  const { host, port } = server.address
  expect(client.heard[0]).toEqual({
    t: 'c',
    d: { t: 'h', d: { ts: 1_700_000_000_000, v: '5', h: `${host}:${port}`, s: expect.any(String) } },
  })
  expect(client.sessionId).not.toBe('')
})

test('a namespace is a database; without one it is the default', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const one = await RawClient.connect(t, server, { ns: 'one' })
  const two = await RawClient.connect(t, server, { ns: 'two' })
  const none = await RawClient.connect(t, server, { ns: null })
  const named = await RawClient.connect(t, server, { ns: 'default' })

  await one.ask('p', { p: '/a', d: 1 })
  await none.ask('p', { p: '/a', d: 'default' })

  expect(await two.ask('g', { p: '/', q: {} })).toEqual({ s: 'ok', d: null })
  expect(await named.ask('g', { p: '/a', q: {} })).toEqual({ s: 'ok', d: 'default' })
})

test('a namespace the server does not have is refused with a reason to stay away', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { databases: { mode: 'listed', names: ['default'] } },
  })

  for (const [ns, reason] of [
    ['other', 'this server has no database `other`'],
    ['not%2Fa%2Fname', '`not/a/name` cannot name a database'],
    ['a.b', '`a.b` cannot name a database'],
    ['x'.repeat(200), 'cannot name a database'],
  ] as const) {
    const client = await RawClient.connect(t, server, { ns })

    await client.closed
    expect(client.heard.at(-1)).toEqual({ t: 'c', d: { t: 's', d: expect.stringContaining(reason) } })
  }
})

test('a ping gets a pong whose data is there, though it is null', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })

  client.sendText('{"t":"c","d":{"t":"p","d":{}}}')
  await client.next(({ d }) => d.t === 'o')

  expect(client.frames.at(-1)).toBe('{"t":"c","d":{"t":"o","d":null}}')
})

test('a keep-alive is no message and gets no answer', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })

  client.sendText('0')
  const answer = await client.ask('s', { c: {} })

  expect(answer).toEqual({ s: 'ok', d: '' })
  expect(client.log).toEqual(['ok 1'])
})

test('every request is answered: statistics, App Check in both spellings, unlisten of nothing, empty updates', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })

  const answers = await Promise.all([
    client.ask('s', { c: { 'sdk.node.12-19-0': 1 } }),
    client.ask('appcheck', { token: 'x' }),
    client.ask('unappeck', {}),
    client.ask('unappcheck', {}),
    client.ask('n', { p: '/none' }),
    client.ask('m', { p: '/a', d: {} }),
    client.ask('om', { p: '/a', d: {} }),
    client.ask('oc', { p: '/a', d: null }),
    client.ask('unauth', {}),
  ])

  expect(answers.map(({ s }) => s)).toEqual(Array.from({ length: 9 }, () => 'ok'))
  expect(answers.at(-1)!.d).toBe('unauthenticated')
})

test('data is pushed before the listen is answered, and a write’s result before the write is', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  client.send('p', { p: '/a', d: 1 })
  client.send('q', { p: '/a', h: '' })

  await client.ask('p', { p: '/a', d: 2 })

  expect(client.log).toEqual(['ok 1', 'd a', 'ok 2', 'd a', 'ok 3'])
})

test('a write that changes nothing needs no push', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/a', d: 1 })
  await client.ask('q', { p: '/a', h: '' })

  await client.ask('p', { p: '/a', d: 1 })

  expect(client.log).toEqual(['ok 1', 'd a', 'ok 2', 'ok 3'])
})

test('a listen whose hash says the client has it all is answered without data', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const list = { a: 1, b: { '.value': 2, '.priority': 5 }, max: Number.MAX_SAFE_INTEGER }
  await client.ask('p', { p: '/list', d: list })

  await client.ask('q', { p: '/empty', h: '' })
  await client.ask('q', { p: '/list', h: nodeHash(list) })
  await client.ask('q', { p: '/list', h: nodeHash(list, 'javascript') })
  await client.ask('q', { p: '/list', q: { i: '.key', l: 1, vf: 'l' }, t: 7, h: nodeHash({ a: 1 }) })
  await client.ask('q', { p: '/list', h: 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=' })

  expect(client.log).toEqual(['ok 1', 'ok 2', 'ok 3', 'ok 4', 'ok 5', 'd list', 'ok 6'])
})

test('a compound hash is left aside: an equal hash is enough, else the whole value is pushed', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const list = { a: 1, b: 2, c: 3 }
  await client.ask('p', { p: '/list', d: list })
  const compound = { hs: [nodeHash({ a: 1 }), nodeHash({ b: 2 })], ps: ['a'] }

  const answers = [
    await client.ask('q', { p: '/list', h: nodeHash(list), ch: compound }),
    await client.ask('q', { p: '/list', h: 'of another value', ch: compound }),
    await client.ask('q', { p: '/list', h: '', ch: 'nonsense' }),
    await client.ask('q', { p: '/list', h: '', ch: { hs: 5, ps: [null] } }),
  ]

  expect(answers.map(({ s }) => s)).toEqual(['ok', 'ok', 'ok', 'ok'])
  // Never a range merge, which the JavaScript SDK does not know.
  expect(client.pushes).toEqual(Array.from({ length: 3 }, () => ['d', { p: 'list', d: list }]))
})

test('App Check tokens are taken in the address, too, and looked at nowhere', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null, query: '&p=1:2:web:3&ac=forged' })

  const answers = [
    await client.ask('appcheck', { token: 'forged' }),
    await client.ask('appcheck', {}),
    await client.ask('p', { p: '/a', d: 1 }),
  ]

  expect(answers.map(({ s }) => s)).toEqual(['ok', 'ok', 'ok'])
})

test('a listen that was satisfied by its hash hears of changes', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('q', { p: '/a', h: '' })

  await client.ask('p', { p: '/a/b', d: 1 })

  expect(client.pushes).toEqual([['d', { p: 'a/b', d: 1 }]])
})

test('tagged listens hear their window under their tag, in one merge for a write', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [client, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await writer.ask('p', { p: '/list', d: { a: 1, b: 2, c: 3, '.priority': 1 } })
  const q = { i: '.key', l: 2, vf: 'r' }
  await client.ask('q', { p: '/list', q, t: 17, h: '' })
  await client.ask('q', {
    p: '/list',
    q: { i: '.key', sp: 'b', sin: true, ep: 'b', ein: true },
    t: 18,
    h: '',
  })

  await writer.ask('p', { p: '/list/d', d: 4 })
  await writer.ask('p', { p: '/list/b', d: { deep: 1 } })
  await client.push('m', ({ t: tag }) => tag === 18)

  expect(client.pushes).toEqual([
    ['d', { p: 'list', d: { b: 2, c: 3 }, t: 17 }],
    ['d', { p: 'list', d: { b: 2 }, t: 18 }],
    ['m', { p: 'list', d: { b: null, d: 4 }, t: 17 }],
    ['m', { p: 'list', d: { b: { deep: 1 } }, t: 18 }],
  ])
})

test('listening again under the same tag replaces the listen, and unlisten ends it', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const q = { i: '.key', l: 1, vf: 'l' }
  await client.ask('q', { p: '/list', q, t: 1, h: '' })
  await client.ask('q', { p: '/list', q, t: 1, h: '' })
  const listened = client.pushes.length
  await client.ask('p', { p: '/list/a', d: 1 })
  const heard = client.pushes.length - listened

  await client.ask('n', { p: '/list', q, t: 1 })
  await client.ask('p', { p: '/list/a', d: 2 })

  expect(heard).toBe(1)
  expect(client.pushes).toHaveLength(listened + 1)
})

test('a default listen and tagged ones live on one path, each ended by itself', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const q = { i: '.key', l: 5, vf: 'l' }
  await client.ask('q', { p: '/list', h: '' })
  await client.ask('q', { p: '/list', q, t: 3, h: '' })

  await client.ask('n', { p: '/list' })
  await client.ask('p', { p: '/list/a', d: 1 })

  expect(client.pushes).toEqual([
    ['d', { p: 'list', d: null, t: 3 }],
    ['m', { p: 'list', d: { a: 1 }, t: 3 }],
  ])
})

test('a query without an index is warned about and served whole, without its tag', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/list', d: { a: { n: 1 } } })

  const answer = await client.ask('q', { p: '/list', q: { i: 'n', l: 1, vf: 'l' }, t: 3, h: '' })
  await client.ask('p', { p: '/list/b/n', d: 0 })

  expect(answer).toEqual({ s: 'ok', d: { w: ['no_index'] } })
  expect(client.pushes).toEqual([
    ['d', { p: 'list', d: { a: { n: 1 } } }],
    ['d', { p: 'list/b/n', d: 0 }],
  ])
})

test('a query whose index the rules take away goes on whole', async (t) => {
  const server = await serve(t, { rules: { ...OPEN, list: { '.indexOn': 'n' } } })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/list', d: { a: { n: 1 }, b: { n: 2 } } })
  await client.ask('q', { p: '/list', q: { i: 'n', l: 1, vf: 'l' }, t: 3, h: '' })

  writeFileSync(server.rulesFile, JSON.stringify({ rules: OPEN }))
  let n = 10
  while (!client.pushes.some(([, body]) => body.t === undefined)) {
    await client.ask('p', { p: '/list/c', d: { n: n++ } })
  }

  expect(client.pushes[0]).toEqual(['d', { p: 'list', d: { a: { n: 1 } }, t: 3 }])
  const whole = client.pushes.find(([, body]) => body.t === undefined)!
  expect(whole[1]).toMatchObject({ p: 'list', d: { a: { n: 1 }, b: { n: 2 }, c: {} } })
})

test('transactions: a wrong hash is stale and changes nothing, a right one writes', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/a', d: { n: 1 } })

  const empty = await client.ask('p', { p: '/a', d: 2, h: '' })
  const junk = await client.ask('p', { p: '/a', d: 2, h: 'junk' })
  const right = await client.ask('p', { p: '/a', d: 3, h: nodeHash({ n: 1 }) })
  const fresh = await client.ask('p', { p: '/new', d: 1, h: '' })

  expect([empty.s, junk.s, right.s, fresh.s]).toEqual(['datastale', 'datastale', 'ok', 'ok'])
  expect((await client.ask('g', { p: '/a', q: {} })).d).toBe(3)
})

test('when a transaction is told that its data is stale, the newer data has been pushed', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [client, other] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await client.ask('q', { p: '/n', h: '' })

  other.send('p', { p: '/n', d: 'other' })
  // Each goes on from the one before, until the other's write came in between.
  for (let n = 0; ; n++) {
    const { s: status } = await client.ask('p', { p: '/n', d: n, h: n === 0 ? '' : nodeHash(n - 1) })
    if (status === 'datastale') break
  }

  expect(client.pushes.at(-1)).toEqual(['d', { p: 'n', d: 'other' }])
})

test('requests behind a token that is being verified wait for it', async (t) => {
  const server = await serve(t, {
    rules: { '.read': 'auth !== null', '.write': 'auth !== null' },
    config: { auth: { secret: SECRET } },
  })
  const client = await RawClient.connect(t, server, { ns: null })
  const token = await signToken({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3600 }, SECRET)

  client.send('auth', { cred: token })
  client.send('q', { p: '/a', h: '' })
  const written = await client.ask('p', { p: '/a', d: 1 })

  expect(written.s).toBe('ok')
  expect(client.log).toEqual(['ok 1', 'ok 2', 'd a', 'ok 3'])
})

test('a refused token is told; what is behind it goes on as before', async (t) => {
  const server = await serve(t, { rules: { '.read': true }, config: { auth: { secret: SECRET } } })
  const client = await RawClient.connect(t, server, { ns: null })
  const late = await signToken({ sub: 'ann', exp: 1000 }, SECRET)

  const answers = await Promise.all([
    client.ask('auth', { cred: 'junk' }),
    client.ask('auth', { cred: late }),
    client.ask('gauth', { cred: 'owner' }),
    client.ask('auth', { cred: unsignedToken('ann') }),
    client.ask('g', { p: '/', q: {} }),
  ])

  expect(answers.map(({ s }) => s)).toEqual([
    'invalid_token',
    'expired_token',
    'invalid_token',
    'invalid_token',
    'ok',
  ])
})

test('the admin key is an admin; who asks for the rights of another must be one', async (t) => {
  const server = await serve(t, {
    rules: { '.write': "auth.uid === 'ann'" },
    config: { adminKey: 'an admin key of thirty-two bytes or more', auth: { secret: SECRET } },
  })
  const client = await RawClient.connect(t, server, { ns: null })
  const exp = Math.floor(Date.now() / 1000) + 3600
  const user = await signToken({ sub: 'bob', exp }, SECRET)
  const cred = 'an admin key of thirty-two bytes or more'
  const write = async (): Promise<string> => (await client.ask('p', { p: '/a', d: Math.random() })).s

  const nobody = await write()
  await client.ask('gauth', { cred })
  const admin = await write()
  await client.ask('gauth', { cred, authvar: { uid: 'ann' } })
  const asAnn = await write()
  await client.ask('gauth', { cred, noauth: true })
  const asNobody = await write()
  const thief = await client.ask('auth', { cred: user, authvar: { uid: 'ann' } })
  const asThief = await write()

  expect([nobody, admin, asAnn, asNobody]).toEqual(['permission_denied', 'ok', 'ok', 'permission_denied'])
  expect([thief.s, asThief]).toEqual(['permission_denied', 'permission_denied'])
})

test('an expired token is told on the live connection, and its listens end', async (t) => {
  let nowMs = 1_700_000_000_000
  const server = await serve(t, {
    rules: { '.read': 'auth !== null' },
    config: { auth: { secret: SECRET, clockToleranceSeconds: 0 } },
    parts: { nowMs: () => nowMs },
  })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('auth', { cred: await signToken({ sub: 'ann', exp: nowMs / 1000 + 1 }, SECRET) })
  await client.ask('q', { p: '/a', h: '' })

  nowMs += 1000
  await client.push('c')

  expect(client.pushes).toEqual([
    ['ac', { s: 'expired_token', d: 'Auth token is expired' }],
    ['c', { p: 'a', reason: anyDenial }],
  ])
})

test('signing out ends listens that needed it, before it is answered, and no others', async (t) => {
  const server = await serve(t, {
    rules: { mine: { '.read': 'auth !== null' }, open: OPEN },
    config: { auth: { secret: SECRET } },
  })
  const client = await RawClient.connect(t, server, { ns: null })
  const exp = Math.floor(Date.now() / 1000) + 3600
  await client.ask('auth', { cred: await signToken({ sub: 'ann', exp }, SECRET) })
  const q = { i: '.key', l: 1, vf: 'l' }
  await client.ask('q', { p: '/mine', h: '' })
  await client.ask('q', { p: '/mine', q, t: 9, h: '' })
  await client.ask('q', { p: '/open', h: '' })

  await client.ask('unauth', {})
  await client.ask('p', { p: '/open', d: 1 })

  expect(client.log.slice(5)).toEqual(['c mine', 'c mine', 'ok 5', 'd open', 'ok 6'])
  expect(client.pushes.slice(1, 3)).toEqual([
    ['c', { p: 'mine', reason: anyDenial }],
    ['c', { p: 'mine', q: [q], reason: anyDenial }],
  ])
})

test('rules that change while a client listens end what they no longer allow', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('q', { p: '/a', h: '' })

  writeFileSync(server.rulesFile, readFileSync(server.rulesFile, 'utf8').replace('".read":true,', ''))
  const revoked = await client.push('c')

  expect(revoked).toEqual({ p: 'a', reason: anyDenial })
})

test('developers are told why rules refused, on their console too; others an id that the log resolves', async (t) => {
  const rules = { '.read': false }
  const dev = await RawClient.connect(t, await serve(t, { rules, ...DEV }))
  const other = await RawClient.connect(t, await serve(t, { rules }), { ns: null })
  const why = expect.stringContaining('`.read` of / (1:19) is false')

  const told = await dev.ask('g', { p: '/a', q: {} })
  const named = await other.ask('g', { p: '/a', q: {} })

  expect(told).toEqual({ s: 'permission_denied', d: 'Permission denied', reason: why })
  expect(dev.pushes).toEqual([['sd', { msg: why }]])
  expect(named).toEqual({ s: 'permission_denied', d: 'Permission denied', reason: anyDenial })
  expect(other.pushes).toEqual([])
})

test('a long message leaves in pieces of at most 16384 units that cut no pair', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [client, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await client.ask('q', { p: '/text', h: '' })
  const text = 'x😀'.repeat(20_000)

  await writer.ask('p', { p: '/text', d: text })
  const pushed = await client.push('d')

  expect(pushed.d === text).toBe(true)
  expect(client.frames.every((frame) => frame.length <= 16_384 && !/\uFFFD/.test(frame))).toBe(true)
  expect(client.frames).toContain('4')
})

test('values of a merge are made regular: arrays, nulls, empty objects, priorities, paths with slashes', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/base', d: { old: 1, ranked: 1 } })

  const answer = await client.ask('m', {
    p: 'base',
    d: {
      list: ['a', null, 'c'],
      '/deep/er/': { x: { y: null }, z: 1 },
      old: { empty: {} },
      leaf: { '.value': 5, '.priority': 2 },
      'ranked/.priority': 7,
    },
  })

  expect(answer.s).toBe('ok')
  expect((await client.ask('g', { p: '/base', q: {} })).d).toEqual({
    list: { 0: 'a', 2: 'c' },
    deep: { er: { z: 1 } },
    leaf: { '.value': 5, '.priority': 2 },
    ranked: { '.value': 1, '.priority': 7 },
  })
})

test('a priority is pushed in a merge, and the timestamp may be one', async (t) => {
  const server = await serve(t, { rules: OPEN, parts: { nowMs: () => 1_700_000_000_000 } })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/a/b', d: 1 })
  await client.ask('q', { p: '/a', h: '' })

  await client.ask('p', { p: '/a/b/.priority', d: 'first' })
  await client.ask('p', { p: '/a/b/.priority', d: 'first' })
  await client.ask('p', { p: '/a/none/.priority', d: 3 })
  await client.ask('p', { p: '/a/b/.priority', d: { '.sv': 'timestamp' } })
  await client.ask('p', { p: '/a/b/.priority', d: null })

  expect(client.pushes.slice(1)).toEqual([
    ['m', { p: 'a', d: { 'b/.priority': 'first' } }],
    ['m', { p: 'a', d: { 'b/.priority': 1_700_000_000_000 } }],
    ['m', { p: 'a', d: { 'b/.priority': null } }],
  ])
})

test('writes of one group that are apart share a push; writes of one place do not', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [client, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await client.ask('q', { p: '/', h: '' })

  const last = Array.from({ length: 300 }, (_, n) => {
    writer.send('p', { p: `/list/${n}`, d: n })
    return writer.send('p', { p: '/count', d: n })
  }).at(-1)!
  await writer.answer(last)
  await client.next(({ d }) => d.b?.d === 299 || d.b?.d?.count === 299)

  const counts = client.pushes.flatMap(([, { p: path, d: data }]) =>
    path === 'count' ? [data] : data.count === undefined ? [] : [data.count],
  )
  expect(counts).toEqual(Array.from({ length: 300 }, (_, n) => n))
  expect(client.pushes.length).toBeLessThan(600)
})

test('whether the hash of a write is that of the value is told only to who may read there', async (t) => {
  const server = await serve(t, { rules: { box: { '.write': true }, open: OPEN } })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/box', d: 5 })

  const right = await client.ask('p', { p: '/box', d: 5, h: nodeHash(5) })
  const wrong = await client.ask('p', { p: '/box', d: 6, h: nodeHash(6) })
  const readable = await client.ask('p', { p: '/open', d: 6, h: nodeHash(6) })

  expect([right.s, wrong.s, readable.s]).toEqual(['permission_denied', 'permission_denied', 'datastale'])
})
