/**
 * Rights hold for every write, every read and every diff, for as long as a listener streams.
 */
import { writeFileSync } from 'node:fs'
import { SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { BareClient, OPEN, path, SECRET, serve } from './harness.ts'

const CLOSED = { ok: 'permission_denied' } as const

function token(uid: string, expiresAtMs = Date.now() + 3_600_000): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(uid)
    .setExpirationTime(Math.floor(expiresAtMs / 1000))
    .sign(Buffer.from(SECRET))
}

const ROOMS = {
  members: { '.write': 'auth.uid == "owner"' },
  rooms: {
    $room: {
      '.read': 'root.child("members").child($room).child(auth.uid).exists()',
      '.write': 'root.child("members").child($room).child(auth.uid).exists()',
    },
  },
}

test('without a rules file everything is denied', async (t) => {
  const server = await serve(t)
  const client = await BareClient.connect(t, server)

  const answers = [
    await client.ask({ type: 'get', path: [], query: null }),
    await client.ask({ type: 'listen', path: path('a'), query: null }),
    await client.ask({ type: 'set', path: path('a'), value: 1 }),
    await client.ask({ type: 'onDisconnectSet', path: path('a'), value: 1 }),
  ]

  expect(answers.map((answer) => answer.type === 'error' && answer.name)).toEqual(Array(4).fill(CLOSED.ok))
})

test('with --dev and without a rules file everything is open, and the server says so', async (t) => {
  const server = await serve(t, { config: { dev: true } })
  const client = await BareClient.connect(t, server)

  expect(server.isOpen).toBe(true)
  expect(await client.ask({ type: 'set', path: path('a'), value: 1 })).toMatchObject({ type: 'ack' })
})

test('a rules file that does not load refuses the start, with its place', async (t) => {
  const first = await serve(t)
  writeFileSync(first.rulesFile, '{"rules": {".read": "auth.uid == $x"}}')
  await first.close()

  await expect(serve(t, { folder: first.folder })).rejects.toThrow(/rules\.json:1:\d+.*\$x/)
})

test('a rule that takes too many steps denies, and /metrics counts it apart from other denials', async (t) => {
  const rules = { '.write': true, text: { '.read': 'data.val().matches(/a/)' }, shut: { '.read': false } }
  const server = await serve(t, { rules })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('text'), value: 'b'.repeat(2_600_000) })

  const answers = [
    await client.ask({ type: 'get', path: path('text'), query: null }),
    await client.ask({ type: 'listen', path: path('text'), query: null }),
    await client.ask({ type: 'get', path: path('shut'), query: null }),
  ]
  const metrics = await (await fetch(`${server.url}/metrics`)).text()

  expect(answers.map((answer) => answer.type === 'error' && answer.name)).toEqual(Array(3).fill(CLOSED.ok))
  expect(sumOf(metrics, 'hearth_rules_budget_overruns_total')).toBe(2)
  expect(sumOf(metrics, 'hearth_denials_total')).toBe(3)
})

/** The sum over all threads. */
function sumOf(metrics: string, name: string): number {
  const lines = metrics.split('\n').filter((line) => line.split(/[ {]/)[0] === name)
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

test('a member removed by a write stops hearing before the commit that follows', async (t) => {
  const server = await serve(t, { rules: ROOMS, config: { auth: { secret: SECRET } } })
  const owner = await BareClient.connect(t, server)
  const member = await BareClient.connect(t, server)
  await owner.ask({ type: 'auth', token: await token('owner') })
  await member.ask({ type: 'auth', token: await token('ann') })
  await owner.ask({ type: 'set', path: path('members/a'), value: { ann: true, owner: true } })
  await member.ask({ type: 'listen', path: path('rooms/a'), query: null })
  await owner.ask({ type: 'listen', path: path('rooms/a'), query: null })

  owner.send({ type: 'set', path: path('rooms/a/m1'), value: 'seen' })
  await owner.next('ack', ({ ids }) => ids.includes(4))
  owner.send({ type: 'set', path: path('members/a/ann'), value: null })
  owner.send({ type: 'set', path: path('rooms/a/m2'), value: 'secret' })

  expect(await member.next('cancel')).toMatchObject({ name: 'permission_denied' })
  await member.ask({ type: 'ping' })
  const heard = member.heard.flatMap((message) => (message.type === 'patch' ? message.steps : []))
  expect(heard).toEqual([['m1', 'seen']])
})

test('a member removed and let in again within one group has still lost its listen', async (t) => {
  const server = await serve(t, { rules: ROOMS, config: { auth: { secret: SECRET } } })
  const owner = await BareClient.connect(t, server)
  const member = await BareClient.connect(t, server)
  await owner.ask({ type: 'auth', token: await token('owner') })
  await member.ask({ type: 'auth', token: await token('ann') })
  await owner.ask({ type: 'set', path: path('members/a/ann'), value: true })
  await member.ask({ type: 'listen', path: path('rooms/a'), query: null })

  owner.send({ type: 'set', path: path('members/a/ann'), value: null })
  owner.send({ type: 'set', path: path('members/a/ann'), value: true })

  expect(await member.next('cancel')).toMatchObject({ name: 'permission_denied' })
  expect(await member.ask({ type: 'listen', path: path('rooms/a'), query: null })).toMatchObject({
    type: 'snapshot',
  })
})

test('a listener keeps its right while what its rule looked at stays the same', async (t) => {
  const server = await serve(t, { rules: ROOMS, config: { auth: { secret: SECRET } } })
  const owner = await BareClient.connect(t, server)
  await owner.ask({ type: 'auth', token: await token('owner') })
  await owner.ask({ type: 'set', path: path('members/a'), value: { owner: true, ann: true } })
  await owner.ask({ type: 'listen', path: path('rooms/a'), query: null })

  await owner.ask({ type: 'set', path: path('members/a/ann'), value: null })
  await owner.ask({ type: 'set', path: path('members/b'), value: { ann: true } })
  await owner.ask({ type: 'set', path: path('rooms/a/m'), value: 1 })

  expect(owner.heard.filter(({ type }) => type === 'cancel')).toEqual([])
  expect((await owner.next('patch')).steps).toEqual([['m', 1]])
})

test('rules that are reloaded end what they no longer grant, before the commit that follows', async (t) => {
  const adminKey = 'an admin key that is long enough to be one'
  const server = await serve(t, { rules: OPEN, config: { adminKey } })
  const listener = await BareClient.connect(t, server)
  await listener.ask({ type: 'listen', path: path('a'), query: null })
  await listener.ask({ type: 'set', path: path('a'), value: 'seen' })

  const response = await fetch(`${server.url}/.settings/rules.json`, {
    method: 'PUT',
    headers: { Authorization: `Bearer ${adminKey}` },
    body: JSON.stringify({ rules: { '.write': true } }),
  })
  expect(response.status).toBe(200)
  await listener.ask({ type: 'set', path: path('a'), value: 'secret' })

  const heard = listener.heard.flatMap((message) => (message.type === 'patch' ? message.steps : []))
  expect(heard).toEqual([['', 'seen']])
  expect(listener.heard.filter(({ type }) => type === 'cancel')).toMatchObject([
    { name: 'permission_denied' },
  ])
})

test('signing out cancels listens that needed the identity', async (t) => {
  const server = await serve(t, { rules: { '.read': 'auth != null' }, config: { auth: { secret: SECRET } } })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'auth', token: await token('ann') })
  await client.ask({ type: 'listen', path: [], query: null })

  const answer = await client.ask({ type: 'unauth' })

  expect(answer.type).toBe('ack')
  expect(client.heard.at(-2)).toMatchObject({ type: 'cancel' })
})

test('a token that expires on a live connection ends what it granted', async (t) => {
  // The clock stands just before the expiry when the token is checked and past it at every later reading.
  const expiresAtMs = Math.floor(Date.now() / 1000) * 1000 + 60_000
  let nowMs = expiresAtMs - 1
  const server = await serve(t, {
    rules: { '.read': 'auth != null', '.write': 'auth != null' },
    config: { auth: { secret: SECRET, clockToleranceSeconds: 0 } },
    parts: { nowMs: () => nowMs },
  })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'auth', token: await token('ann', expiresAtMs) })
  await client.ask({ type: 'listen', path: [], query: null })

  nowMs = expiresAtMs + 1

  expect(await client.next('authRevoked')).toMatchObject({ name: 'expired_token' })
  expect(await client.next('cancel')).toMatchObject({ name: 'permission_denied' })
  expect(await client.ask({ type: 'set', path: [], value: 1 })).toMatchObject({ name: 'permission_denied' })
})

test('a right that depends on the time ends when its moment comes, before the next patch', async (t) => {
  let nowMs = 1_000_000
  const server = await serve(t, {
    rules: { '.write': true, a: { '.read': 'now < 1000500' } },
    parts: { nowMs: () => nowMs },
  })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: path('a'), query: null })
  await client.ask({ type: 'set', path: path('a'), value: 'seen' })

  nowMs = 1_000_600
  await client.ask({ type: 'set', path: path('a'), value: 'secret' })

  const heard = client.heard.flatMap((message) => (message.type === 'patch' ? message.steps : []))
  expect(heard).toEqual([['', 'seen']])
  expect(client.heard.some(({ type }) => type === 'cancel')).toBe(true)
})

test('an admin key reads and writes past the rules; owner and unsigned tokens do not outside --dev', async (t) => {
  const adminKey = 'an admin key that is long enough to be one'
  const server = await serve(t, { config: { adminKey } })
  const client = await BareClient.connect(t, server)

  expect(await client.ask({ type: 'auth', token: 'owner' })).toMatchObject({ name: 'invalid_token' })
  const unsigned = `${btoa('{"alg":"none"}')}.${btoa('{"sub":"ann","iat":0}')}.`.replaceAll('=', '')
  expect(await client.ask({ type: 'auth', token: unsigned })).toMatchObject({ name: 'invalid_token' })
  expect(await client.ask({ type: 'set', path: path('a'), value: 1 })).toMatchObject({
    name: 'permission_denied',
  })
  expect(await client.ask({ type: 'auth', token: adminKey })).toMatchObject({ type: 'ack' })
  expect(await client.ask({ type: 'set', path: path('a'), value: 1 })).toMatchObject({ type: 'ack' })
})

test('with --dev an unsigned emulator token names the user and owner is admin', async (t) => {
  const server = await serve(t, { rules: { a: { '.write': 'auth.uid == "ann"' } }, config: { dev: true } })
  const client = await BareClient.connect(t, server)
  const unsigned = `${btoa('{"alg":"none","type":"JWT"}')}.${btoa('{"sub":"ann","user_id":"ann","iat":0,"exp":3600}')}.`

  await client.ask({ type: 'auth', token: unsigned.replaceAll('=', '') })
  expect(await client.ask({ type: 'set', path: path('a'), value: 1 })).toMatchObject({ type: 'ack' })
  expect(await client.ask({ type: 'set', path: path('b'), value: 1 })).toMatchObject({
    name: 'permission_denied',
  })
  await client.ask({ type: 'auth', token: 'owner' })
  expect(await client.ask({ type: 'set', path: path('b'), value: 1 })).toMatchObject({ type: 'ack' })
})

test('rules see the merged tree of a multi-path update', async (t) => {
  const server = await serve(t, {
    rules: {
      posts: { $id: { '.write': 'newData.parent().parent().child("last").val() == $id' } },
      last: { '.write': true },
    },
  })
  const client = await BareClient.connect(t, server)
  const update = (id: string, last: string): ReturnType<BareClient['ask']> =>
    client.ask({
      type: 'update',
      path: [],
      entries: [
        [path(`posts/${id}`), 'text'],
        [path('last'), last],
      ],
    })

  expect(await update('p1', 'p1')).toMatchObject({ type: 'ack' })
  expect(await update('p2', 'p1')).toMatchObject({ type: 'error' })
})
