/**
 * Queries from socket to disk: gets and live windows in every order, with and without an index, under rules that
 * see the query.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Query, Step, ToClient, Value } from '../../protocol/index.ts'
import { BareClient, type Cleanup, OPEN, path, serve } from './harness.ts'

const INDEXED = { ...OPEN, scores: { '.indexOn': ['points', 'by/team'] }, tags: { '.indexOn': '.value' } }
const points: Query['orderBy'] = { child: ['points'] }
const bestTwo: Query = { orderBy: points, limit: { count: 2, from: 'last' } }

const SCORES = {
  ann: { points: 30, by: { team: 'red' } },
  bob: { points: 10, by: { team: 'blue' } },
  cy: { points: 20, by: { team: 'red' } },
}

async function clientOf(t: Cleanup, rules: object, list: Value = SCORES): Promise<BareClient> {
  const server = await serve(t, { rules })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('scores'), value: list })
  return client
}

function valueOf(answer: ToClient): unknown {
  return answer.type === 'value' || answer.type === 'snapshot' ? answer.value : answer
}

async function get(client: BareClient, at: string, query: Query): Promise<unknown> {
  return valueOf(await client.ask({ type: 'get', path: path(at), query }))
}

/** Steps heard for a query, after everything sent before is settled. */
async function stepsOf(client: BareClient, queryId: number): Promise<Step[]> {
  await client.ask({ type: 'ping' })
  return client.heard.flatMap((message) =>
    message.type === 'patch' && message.queryId === queryId ? message.steps : [],
  )
}

async function listen(
  client: BareClient,
  at: string,
  query: Query,
): Promise<{ queryId: number; value: Value }> {
  const answer = await client.ask({ type: 'listen', path: path(at), query })
  if (answer.type !== 'snapshot') throw new Error(JSON.stringify(answer))
  return answer
}

test.for<[string, Query, string[]]>([
  ['key', { orderBy: 'key', start: { value: 'b', inclusive: true } }, ['bob', 'cy']],
  ['priority', { orderBy: 'priority', limit: { count: 2, from: 'first' } }, ['ann', 'bob']],
  ['an indexed child', bestTwo, ['cy', 'ann']],
  [
    'an indexed path of a child',
    {
      orderBy: { child: ['by', 'team'] },
      start: { value: 'red', inclusive: true },
      end: { value: 'red', inclusive: true },
    },
    ['ann', 'cy'],
  ],
])('a get in the order of %s is evaluated by the server', async ([, query, keys], t) => {
  const client = await clientOf(t, INDEXED)

  expect(Object.keys((await get(client, 'scores', query)) as object)).toEqual(keys)
})

test('a get without an index is refused with the text that tools look for', async (t) => {
  const client = await clientOf(t, OPEN)

  expect(await get(client, 'scores', bestTwo)).toMatchObject({
    type: 'error',
    name: 'no_index',
    message: 'Index not defined, add ".indexOn": "points", for path "/scores", to the rules',
  })
  expect(await get(client, 'scores', { orderBy: 'value', limit: { count: 1, from: 'first' } })).toMatchObject(
    {
      message: 'Index not defined, add ".indexOn": ".value", for path "/scores", to the rules',
    },
  )
})

test('a live window tells in one step what a write made enter, change and leave', async (t) => {
  const client = await clientOf(t, INDEXED)
  const { queryId, value } = await listen(client, 'scores', bestTwo)

  await client.ask({ type: 'set', path: path('scores/dan'), value: { points: 25, new: true } })
  await client.ask({ type: 'set', path: path('scores/ann/name'), value: 'Ann' })
  await client.ask({ type: 'set', path: path('scores/bob/name'), value: 'not shown' })
  await client.ask({ type: 'remove', path: path('scores/dan') })
  await client.ask({
    type: 'update',
    path: path('scores'),
    entries: [
      [path('ann/points'), 1],
      [path('cy/points'), 99],
    ],
  })

  expect(value).toEqual({ cy: SCORES.cy, ann: SCORES.ann })
  expect(await stepsOf(client, queryId)).toEqual([
    ['cy', null, 'dan', { points: 25, new: true }],
    ['ann/name', 'Ann'],
    ['dan', null, 'cy', SCORES.cy],
    ['ann', null, 'bob', { ...SCORES.bob, name: 'not shown' }, 'cy/points', 99],
  ])
})

test('writes of one group each get their step, with the state right in between', async (t) => {
  const client = await clientOf(t, INDEXED)
  const { queryId } = await listen(client, 'scores', { orderBy: 'key', limit: { count: 1, from: 'last' } })

  const ids = ['m1', 'm2', 'm3'].map((key) => client.send({ type: 'set', path: ['scores', key], value: key }))
  await Promise.all(ids.map((id) => client.answer(id)))

  expect(await stepsOf(client, queryId)).toEqual([
    ['cy', null, 'm1', 'm1'],
    ['m1', null, 'm2', 'm2'],
    ['m2', null, 'm3', 'm3'],
  ])
})

test('replacing the list, or what is above it, replaces the window', async (t) => {
  const client = await clientOf(t, INDEXED)
  const { queryId } = await listen(client, 'scores', bestTwo)

  await client.ask({ type: 'set', path: path('scores'), value: { x: { points: 1 }, y: { points: 2 }, z: 3 } })
  await client.ask({ type: 'set', path: [], value: null })

  expect(await stepsOf(client, queryId)).toEqual([
    ['', { x: { points: 1 }, y: { points: 2 } }],
    ['', null],
  ])
})

test('equal queries of different sessions share their id, different ones do not', async (t) => {
  const server = await serve(t, { rules: INDEXED })
  const [a, b] = [await BareClient.connect(t, server), await BareClient.connect(t, server)]

  const ids = [
    await listen(a, 'scores', bestTwo),
    await listen(b, 'scores', bestTwo),
    await listen(b, 'scores', { ...bestTwo, limit: { count: 3, from: 'last' } }),
  ].map(({ queryId }) => queryId)

  expect(ids[1]).toBe(ids[0])
  expect(ids[2]).not.toBe(ids[0])
})

test('unlisten ends the query it names, and no other at the path', async (t) => {
  const client = await clientOf(t, INDEXED)
  const ended = await listen(client, 'scores', bestTwo)
  const kept = await listen(client, 'scores', { orderBy: 'key', limit: { count: 9, from: 'first' } })

  await client.ask({ type: 'unlisten', path: path('scores'), query: bestTwo })
  await client.ask({ type: 'set', path: path('scores/eve'), value: { points: 50 } })

  expect(await stepsOf(client, ended.queryId)).toEqual([])
  expect(await stepsOf(client, kept.queryId)).toEqual([['eve', { points: 50 }]])
})

test('a listen without an index is served whole; once rules define one it becomes a window', async (t) => {
  const server = await serve(t, { rules: OPEN, config: {} })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('scores'), value: SCORES })
  const { queryId, value } = await listen(client, 'scores', bestTwo)
  await client.ask({ type: 'set', path: path('scores/bob/points'), value: 11 })

  writeFileSync(server.rulesFile, JSON.stringify({ rules: INDEXED }))
  await until(
    async () =>
      (await get(client, 'scores', bestTwo)) !== null && !isError(await get(client, 'scores', bestTwo)),
  )
  await client.ask({ type: 'set', path: path('scores/bob/points'), value: 12 })
  await client.ask({ type: 'set', path: path('scores/bob/points'), value: 13 })

  expect(value).toEqual(SCORES)
  expect(await stepsOf(client, queryId)).toEqual([
    ['bob/points', 11],
    ['', { cy: SCORES.cy, ann: SCORES.ann }],
  ])
})

function isError(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && 'type' in answer && answer.type === 'error'
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const endMs = Date.now() + 10_000; Date.now() < endMs; ) {
    if (await isSo()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('it did not come to be within 10 s')
}

test('rules see the query, on gets and on listens', async (t) => {
  const client = await clientOf(t, {
    '.write': true,
    scores: {
      '.read': "query.orderByChild == 'points' && query.limitToLast <= 2 && query.startAt == null",
      '.indexOn': 'points',
    },
    own: { '.read': "query.orderByChild == 'owner' && query.equalTo == 'ann'", '.indexOn': 'owner' },
    byKey: { '.read': 'query.orderByKey && query.limitToFirst == 1' },
  })
  const owned = (owner: string): Query => {
    const bound = { value: owner, inclusive: true }
    return { orderBy: { child: ['owner'] }, start: bound, end: bound }
  }
  const isDenied = async (at: string, query: Query | null): Promise<boolean> => {
    const answers = [
      await client.ask({ type: 'get', path: path(at), query }),
      await client.ask({ type: 'listen', path: path(at), query }),
    ]
    const denied = answers.filter((answer) => answer.type === 'error' && answer.name === 'permission_denied')
    expect([0, 2]).toContain(denied.length)
    return denied.length === 2
  }

  expect(await isDenied('scores', bestTwo)).toBe(false)
  expect(await isDenied('scores', { ...bestTwo, limit: { count: 3, from: 'last' } })).toBe(true)
  expect(await isDenied('scores', { orderBy: 'key', limit: { count: 2, from: 'last' } })).toBe(true)
  expect(await isDenied('scores', { ...bestTwo, start: { value: 1, inclusive: true } })).toBe(true)
  expect(await isDenied('scores', null)).toBe(true)
  expect(await isDenied('own', owned('ann'))).toBe(false)
  expect(await isDenied('own', owned('bob'))).toBe(true)
  expect(await isDenied('byKey', { orderBy: 'key', limit: { count: 1, from: 'first' } })).toBe(false)
})

test('a query listener that loses its right hears a cancel, and nothing of the write that took it', async (t) => {
  const client = await clientOf(t, {
    '.write': true,
    scores: { '.read': "root.child('open').val() == true && query.limitToLast <= 10", '.indexOn': 'points' },
  })
  await client.ask({ type: 'set', path: path('open'), value: true })
  const { queryId } = await listen(client, 'scores', bestTwo)

  await client.ask({
    type: 'update',
    path: [],
    entries: [
      [path('open'), false],
      [path('scores/dan'), { points: 99 }],
    ],
  })

  expect(await client.next('cancel')).toMatchObject({ queryId, name: 'permission_denied' })
  expect(await stepsOf(client, queryId)).toEqual([])
})

test('an index holds over restarts; one that rules drop is gone, and built anew when they define it again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const list = Object.fromEntries(
    Array.from({ length: 3000 }, (_, i) => [`k${i}`, { points: (i * 7) % 3000 }]),
  )
  const top: Query = { orderBy: points, limit: { count: 3, from: 'last' } }
  const best = (from: number): object =>
    Object.fromEntries(Object.entries(list).filter(([, { points: p }]) => p >= from))

  for (const [rules, expected] of [
    [INDEXED, best(2997)],
    [INDEXED, best(2997)],
    [OPEN, null],
    [INDEXED, { ...best(2998), new: { points: 5000 } }],
  ] as const) {
    const server = await serve(t, { rules, folder })
    const client = await BareClient.connect(t, server)
    if (isError(await get(client, 'scores', { orderBy: 'key' }))) throw new Error('no answer')
    if ((await get(client, 'scores', { orderBy: 'key', limit: { count: 1, from: 'first' } })) === null) {
      await client.ask({ type: 'set', path: path('scores'), value: list })
    }
    if (expected === null) {
      expect(isError(await get(client, 'scores', top))).toBe(true)
      await client.ask({ type: 'set', path: path('scores/new'), value: { points: 5000 } })
    } else {
      await until(async () => !isError(await get(client, 'scores', top)))
      expect(await get(client, 'scores', top)).toEqual(expected)
    }
    await server.close()
  }
})
