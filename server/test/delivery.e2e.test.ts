/**
 * Delivery policies: fewer patches, never another state. Equal policies share what is sent; a right that is lost is lost
 * for what still waits, too.
 */
import { expect, test } from 'vitest'
import { type Step, type ToClient, type Value, withValueAt } from '../../protocol/index.ts'
import { signToken } from '../auth.ts'
import { BareClient, type Cleanup, OPEN, path, SECRET, serve, type TestServer } from './harness.ts'

type Patch = Extract<ToClient, { type: 'patch' }>

function patchesOf(client: BareClient): Patch[] {
  return client.heard.filter((message) => message.type === 'patch')
}

/** What a client holds after a snapshot and the patches that are newer. */
function stateOf(client: BareClient): { value: Value; revision: number } {
  let value: Value = null
  let revision = -1
  for (const message of client.heard) {
    if (message.type === 'snapshot') ({ value, revision } = message)
    else if (message.type === 'patch' && message.revision > revision) {
      revision = message.revision
      for (const step of message.steps) value = apply(value, step)
    }
  }
  return { value, revision }
}

function apply(value: Value, step: Step): Value {
  let after = value
  for (let i = 0; i < step.length; i += 2) {
    after = withValueAt(after, path(step[i] as string), step[i + 1] as Value)
  }
  return after
}

async function listening(
  t: Cleanup,
  server: TestServer,
  delivery: { maxHz: number | null },
  at = 'game',
): Promise<BareClient> {
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: path(at), query: null, delivery })
  return client
}

/** Many writes in few groups: all of them leave before the first is answered. */
async function burst(writer: BareClient, count: number): Promise<void> {
  let last = 0
  for (let n = 1; n <= count; n++) {
    last = writer.send({ type: 'set', path: path(`game/p${n % 3}`), value: n })
  }
  await writer.answer(last)
}

test('at most so many patches a second: the first at once, the last of all in the end', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const reader = await listening(t, server, { maxHz: 10 })

  for (let n = 1; n <= 20; n++) await burst(writer, 3 * n)
  const { revision } = (await writer.ask({ type: 'get', path: [], query: null })) as { revision: number }
  await reader.next('patch', (patch) => patch.revision >= revision)

  expect(stateOf(reader)).toEqual({ value: { p0: 60, p1: 58, p2: 59 }, revision })
  // Twenty bursts take a few milliseconds each; how many intervals pass is the machine's business.
  expect(patchesOf(reader).length).toBeLessThan(20)
  expect(patchesOf(reader).every(({ steps }) => steps.length === 1)).toBe(true)
})

test('latest: one step a group, with one value for each path', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const latest = await listening(t, server, { maxHz: null })
  const every = await BareClient.connect(t, server)
  await every.ask({ type: 'listen', path: path('game'), query: null })

  await burst(writer, 600)
  await Promise.all([latest.ask({ type: 'ping' }), every.ask({ type: 'ping' })])

  expect(stateOf(latest)).toEqual(stateOf(every))
  expect(stateOf(latest).value).toEqual({ p0: 600, p1: 598, p2: 599 })
  expect(patchesOf(every).flatMap(({ steps }) => steps)).toHaveLength(600)
  for (const { steps } of patchesOf(latest)) {
    expect(steps).toHaveLength(1)
    const paths = steps[0]!.filter((_, i) => i % 2 === 0)
    expect(new Set(paths).size).toBe(paths.length)
  }
})

test('who comes while changes wait ends in the same state as who was there', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const first = await listening(t, server, { maxHz: 5 })

  await burst(writer, 6)
  await burst(writer, 9)
  const late = await listening(t, server, { maxHz: 5 })
  await burst(writer, 12)
  const { revision } = (await writer.ask({ type: 'get', path: [], query: null })) as { revision: number }
  // Each thread paces its own: they need not be told at the same moment.
  await Promise.all([first, late].map((one) => one.next('patch', (patch) => patch.revision >= revision)))

  expect(stateOf(late)).toEqual(stateOf(first))
  expect(stateOf(late).value).toEqual({ p0: 12, p1: 10, p2: 11 })
})

test('a query with a limit is paced as well: who left the window in between is gone', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const reader = await BareClient.connect(t, server)
  const query = { orderBy: 'key' as const, limit: { count: 2, from: 'last' as const } }
  await reader.ask({ type: 'listen', path: path('list'), query, delivery: { maxHz: 10 } })

  for (let n = 1; n <= 30; n++)
    await writer.ask({ type: 'set', path: path(`list/k${100 + n}`), value: { n } })
  const { revision } = (await writer.ask({ type: 'set', path: path('list/k129/n'), value: 0 })) as {
    revision: number
  }
  await reader.next('patch', (patch) => patch.revision >= revision)

  expect(stateOf(reader).value).toEqual({ k129: { n: 0 }, k130: { n: 30 } })
  expect(patchesOf(reader).length).toBeLessThan(30)
})

test('the revision of a late patch is that of what it brings, so compareAndSet holds', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const reader = await listening(t, server, { maxHz: 1 })

  await writer.ask({ type: 'set', path: path('game/score'), value: 1 })
  const first = await reader.next('patch')
  await writer.ask({ type: 'set', path: path('game/score'), value: 2 })
  // The second change still waits for its time: what the client holds is old, and its write is refused.
  const refused = await reader.ask({
    type: 'compareAndSet',
    path: path('game/score'),
    revision: first.revision,
    value: 10,
  })
  const second = await reader.next('patch', ({ revision }) => revision > first.revision)
  const taken = await reader.ask({
    type: 'compareAndSet',
    path: path('game/score'),
    revision: second.revision,
    value: 10,
  })

  expect(refused).toMatchObject({ type: 'error', name: 'stale' })
  expect(taken).toMatchObject({ type: 'ack' })
})

test('a right that is lost takes what waits with it, and nothing follows the cancel', async (t) => {
  const rules = {
    members: { '.write': true },
    game: { '.read': 'root.child("members").child(auth.uid).exists()', '.write': true },
  }
  const server = await serve(t, { rules, config: { auth: { secret: SECRET } } })
  const writer = await BareClient.connect(t, server)
  const member = await BareClient.connect(t, server)
  const other = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('members'), value: { ann: true, bob: true } })
  for (const [client, sub] of [
    [member, 'ann'],
    [other, 'bob'],
  ] as const) {
    await client.ask({
      type: 'auth',
      token: await signToken({ sub, exp: Math.floor(Date.now() / 1000) + 3600 }, SECRET),
    })
    await client.ask({ type: 'listen', path: path('game'), query: null, delivery: { maxHz: 5 } })
  }

  await writer.ask({ type: 'set', path: path('game/p1'), value: 'seen' })
  await writer.ask({ type: 'set', path: path('game/p1'), value: 'waits' })
  writer.send({ type: 'set', path: path('members/ann'), value: null })
  await writer.ask({ type: 'set', path: path('game/p1'), value: 'secret' })
  await other.next('patch', ({ steps }) => steps.some((step) => step.includes('secret')))
  await member.ask({ type: 'ping' })

  expect(member.heard.filter(({ type }) => type === 'cancel')).toHaveLength(1)
  expect(JSON.stringify(member.heard)).not.toContain('secret')
  const at = member.heard.findIndex(({ type }) => type === 'cancel')
  expect(member.heard.slice(at).filter(({ type }) => type === 'patch')).toEqual([])
})

test.each([
  { h: 0 },
  { h: 0.01 },
  { h: 1001 },
  { h: -1 },
  { h: 'fast' },
  { h: null },
  { h: Number.NaN },
  { l: 1 },
])('a policy outside its bounds is refused by name: %j', async (t: unknown) => {
  const options = t as Record<string, unknown>
  const { parseDelivery } = await import('../../protocol/index.ts')

  expect(() => parseDelivery(options)).toThrow(/^delivery refused: `[hl]`/)
})

test('listening again with another policy starts anew, and ending it ends it', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  const reader = await listening(t, server, { maxHz: 0.1 })
  await writer.ask({ type: 'set', path: path('game/a'), value: 1 })
  await writer.ask({ type: 'set', path: path('game/a'), value: 2 })

  await reader.ask({ type: 'listen', path: path('game'), query: null })
  await writer.ask({ type: 'set', path: path('game/a'), value: 3 })
  await reader.ask({ type: 'ping' })
  expect(stateOf(reader).value).toEqual({ a: 3 })

  const heard = patchesOf(reader).length
  await reader.ask({ type: 'unlisten', path: path('game'), query: null })
  await writer.ask({ type: 'set', path: path('game/a'), value: 4 })
  await reader.ask({ type: 'ping' })
  expect(patchesOf(reader)).toHaveLength(heard)
})
