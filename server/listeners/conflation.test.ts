/**
 * Conflation against a model: who misses any number of changes and is then told the latest of each place holds what
 * everybody else does, whatever came, went and came back meanwhile.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  applyQuery,
  type Path,
  type Priority,
  type Query,
  type Step,
  type Value,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import { loadRuleset } from '../../rules/index.ts'
import { type Behind, Database } from '../database.ts'
import { admin } from '../identity.ts'
import type { Entry } from '../store/store.ts'
import { openMemoryStore } from '../store/store-memory.ts'
import { ChangedPaths, Conflation } from './conflation.ts'
import type { Listener, Subscriber, Wire } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'

const key = fc.constantFrom('a', 'b', 'c')
const leaf: fc.Arbitrary<Value> = fc.constantFrom<Value[]>(1, 2, true, 'x')
const priority = fc.constantFrom<Priority | null>(null, null, 1, 'p')
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 2 },
        leaf,
        fc.dictionary(key, tie('value'), { minKeys: 1, maxKeys: 2, noNullPrototype: true }),
      ),
      priority,
    )
    .map(([node, rank]) => withPriority(node, rank)),
})).value
const path = fc.array(key, { maxLength: 4 })
const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ path, value: fc.oneof(fc.constant(null), value) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      path: path.map((at) => [...at, '.priority']),
      value: priority as fc.Arbitrary<Value>,
    }),
  },
)
const QUERIES: (Query | null)[] = [
  null,
  null,
  { orderBy: 'key', limit: { count: 2, from: 'last' } },
  { orderBy: 'priority', start: { value: 0, inclusive: true } },
]

interface Turn {
  writes: Entry[]
  /** Who stops hearing before the group, and who is brought up to date after it. */
  stalls: number
  resumes: number
  /** Lets everything that was sent arrive first. */
  isQuiet: boolean
}

const turn: fc.Arbitrary<Turn> = fc.record({
  writes: fc.array(entry, { minLength: 1, maxLength: 3 }),
  stalls: fc.nat({ max: 2 }),
  resumes: fc.nat({ max: 4 }),
  isQuiet: fc.boolean(),
})

interface Client {
  path: Path
  query: Query | null
  listener: Listener
  held: { revision: number; value: Value }[]
  /** Null while it hears everything. */
  behind: Behind | null
}

class Recorder implements Wire, Subscriber {
  readonly name = 'recorder'
  readonly wire: Wire = this
  readonly identity = admin
  clients: Client[] = []

  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void {
    for (const client of this.clients) {
      if (client.listener.live === live && client.behind === null) apply(client, steps, revision)
    }
  }

  canceled(): void {
    expect.fail('no listener is canceled')
  }
}

function apply(client: Client, steps: readonly Step[], revision: number): void {
  let { value } = client.held.at(-1)!
  for (const step of steps) {
    for (let i = 0; i < step.length; i += 2) {
      const at = step[i] as string
      value = withValueAt(value, at === '' ? [] : at.split('/'), step[i + 1]!)
    }
  }
  client.held.push({ revision, value })
}

async function openDatabase(): Promise<Database> {
  const loaded = loadRuleset('{"rules": {".read": true, ".write": true}}')
  if (!loaded.ok) throw new Error(String(loaded.errors[0]))
  return new Database({
    name: 'test',
    store: await openMemoryStore({ packedBytesMax: 60 }),
    ruleset: loaded.ruleset,
    counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
    nowMs: () => 0,
    readNodesMax: 1000,
    writeQueueMax: 1000,
    onBug: (error) => {
      throw error
    },
  } as ConstructorParameters<typeof Database>[0])
}

async function follow(turns: readonly Turn[], listens: { path: Path; query: number }[]): Promise<void> {
  const database = await openDatabase()
  const recorder = new Recorder()
  database.addWire(recorder)
  for (const at of listens) {
    const query = QUERIES[at.query]!
    const { listener, value, revision } = database.listen(recorder, at.path, query)
    recorder.clients.push({ path: at.path, query, listener, held: [{ revision, value }], behind: null })
  }
  let model: Value = null
  for (const { writes, stalls, resumes, isQuiet } of turns) {
    if (isQuiet) await turnsOfTheLoop(4)
    for (const client of recorder.clients.slice(0, stalls)) stall(database, client)
    for (const { path, value } of writes) {
      database.submit({
        entries: [{ path, value }],
        identity: admin,
        expectedRevision: null,
        isCheckOnly: false,
        records: null,
        origin: { written() {}, refused() {}, groupSettled() {} },
        id: 0,
      })
      model = withValueAt(model, path, value)
    }
    await database.idle()
    for (const client of recorder.clients.slice(0, resumes)) catchUp(database, client)
    for (const client of recorder.clients) if (client.behind === null) assertHolds(client, model)
  }
  for (const client of recorder.clients) {
    catchUp(database, client)
    assertHolds(client, model)
  }
  for (const { listener } of recorder.clients) expect(listener.live.changed).toBeNull()
  await database.close()
}

/** As if all that is not certain to have arrived had been dropped. */
function stall(database: Database, client: Client): void {
  if (client.behind !== null) return
  client.behind = database.fallsBehind(client.listener)
  const { since } = client.behind
  const certain = client.held.filter(({ revision }) => revision <= since)
  client.held = certain.length > 0 ? certain : client.held.slice(0, 1)
}

function catchUp(database: Database, client: Client): void {
  if (client.behind === null) return
  const missed = database.missed(client.behind, client.listener)
  if ('value' in missed) client.held.push(missed)
  else if (missed.step.length > 0) apply(client, [missed.step], missed.revision)
  // What is sent to one listener alone is not dropped.
  client.held = client.held.slice(-1)
  database.caughtUp(client.listener)
  client.behind = null
}

function assertHolds({ path, query, held }: Client, model: Value): void {
  const whole = valueAt(model, path)
  expect(held.at(-1)!.value).toEqual(query === null ? whole : applyQuery(whole, query))
}

async function turnsOfTheLoop(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

test('whoever is told the latest of each place it missed holds what the query shows', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(turn, { minLength: 1, maxLength: 10 }),
      fc.array(fc.record({ path: fc.array(key, { maxLength: 2 }), query: fc.nat({ max: 3 }) }), {
        minLength: 1,
        maxLength: 4,
      }),
      follow,
    ),
    { numRuns: Number(process.env['RUNS'] ?? 400) },
  )
}, 60_000)

test('a leaf that had children for a while, and went with them, is gone for who missed it', async () => {
  const set = (path: Path, value: Value) => ({ writes: [{ path, value }], resumes: 0, isQuiet: true })

  await follow(
    [
      { ...set(['a', 'b'], 1), stalls: 0 },
      { ...set(['c'], 1), stalls: 0 },
      { ...set(['a', 'b', 'c', 'd'], 2), stalls: 1 },
      { ...set(['a', 'b', 'c', 'd'], null), stalls: 1 },
    ],
    [{ path: [], query: 0 }],
  )
})

test('a place that changes again and again is one path, and a place above takes in those below it', () => {
  const changed = new ChangedPaths(0)

  for (let revision = 1; revision <= 1000; revision++) changed.add([['hot/leaf', revision]], revision)
  changed.add(
    [
      ['list/a/x', 1],
      ['list/a/y', 2, 'other', 3],
      ['list/a', 4],
    ],
    1001,
  )

  expect(changed.since(0)).toEqual({ paths: ['hot/leaf', 'other', 'list/a'], emptied: [] })
  expect(changed.since(1000)).toEqual({ paths: ['other', 'list/a'], emptied: [] })
  expect(changed.since(1001)).toEqual({ paths: [], emptied: [] })
})

test('what is above a deletion may have lost its priority', () => {
  const changed = new ChangedPaths(0)

  changed.add([['a/b/c', null]], 1)
  changed.add([['a/b/c', 1]], 2)

  expect(changed.since(0)).toEqual({ paths: ['a/b/c'], emptied: ['', 'a', 'a/b'] })
  expect(changed.since(1)).toEqual({ paths: ['a/b/c'], emptied: [] })
})

test('more places than are kept make those who miss the oldest need the whole value', () => {
  const budget = { bytes: 1024 * 1024 }
  const changed = new ChangedPaths(0, budget)

  for (let n = 1; n <= 5000; n++) changed.add([[`k${n}`, n]], n)

  expect(changed.since(1000)).toBeNull()
  expect(changed.since(4900)?.paths).toHaveLength(100)
  expect(budget.bytes).toBeGreaterThan(800 * 1024)
  changed.clear()
  expect(budget.bytes).toBe(1024 * 1024)
})

test('all queries share one budget; a query that exceeds it starts anew', () => {
  const changed = new ChangedPaths(0, { bytes: 300 })

  changed.add([['a', 1]], 1)
  changed.add([['b', 1, 'c', 1, 'd', 1]], 2)
  changed.add([['e', 1]], 3)

  expect(changed.since(1)).toBeNull()
  expect(changed.since(2)).toEqual({ paths: ['e'], emptied: [] })
})

test('a listener is brought up to date from before all that may have been dropped', () => {
  const turns: (() => void)[] = []
  const conflation = new Conflation(5, (call) => turns.push(call))
  const live = { changed: null } as unknown as LiveQuery
  const publish = (path: string, revision: number): void =>
    conflation.published(new Map([[live, [[path, 1]]]]), revision)

  publish('a', 6)
  turns.shift()!()
  publish('b', 7)
  conflation.track(live)
  const missed = live.changed!.since(conflation.confirmed)
  for (let n = 0; n < 3; n++) turns.shift()!()
  conflation.track(live)

  expect(missed?.paths).toEqual(['a', 'b'])
  expect(conflation.confirmed).toBe(7)
  expect(turns).toEqual([])
  conflation.release(live)
  conflation.release(live)
  expect(live.changed).toBeNull()
})
