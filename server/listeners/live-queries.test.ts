/**
 * Live queries against a model: whoever applies the steps of a listen holds what its query shows of the whole value,
 * after each commit, with and without an index, through failing disks, changing rules and listens within a group.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  applyQuery,
  isAtOrAbove,
  type Path,
  type Priority,
  type Query,
  type Step,
  sameValue,
  type Value,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import { loadRuleset, type Ruleset } from '../../rules/index.ts'
import { Database } from '../database.ts'
import { admin } from '../identity.ts'
import type { WriteOrigin } from '../log/log.ts'
import { type Entry, type Store, StoreUnavailableError } from '../store/store.ts'
import { openMemoryStore } from '../store/store-memory.ts'
import type { Listener, Subscriber, Wire } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'

const LISTS: Path[] = [[], ['l'], ['l', 'a']]
const OPEN = { '.read': true, '.write': true }
const rulesets = {
  indexed: rulesetOf({
    ...OPEN,
    '.indexOn': ['.value', 'n', 'n/m'],
    l: { '.indexOn': ['.value', 'n', 'n/m'], $x: { '.indexOn': ['.value', 'n', 'n/m'] } },
  }),
  partly: rulesetOf({ ...OPEN, l: { '.indexOn': ['n'] } }),
  bare: rulesetOf(OPEN),
}

function rulesetOf(rules: object): Ruleset {
  const loaded = loadRuleset(JSON.stringify({ rules }))
  if (!loaded.ok) throw new Error(String(loaded.errors[0]))
  return loaded.ruleset
}

const key = fc.constantFrom('a', 'b', 'c', '1', '01', '10', 'é', 'n', 'm')
const path = fc
  .tuple(
    fc.constantFrom<Path[]>(...(LISTS.map((list) => [list]) as Path[][])),
    fc.array(key, { maxLength: 3 }),
  )
  .map(([[list], rest]) => [...list!, ...rest])
const leaf: fc.Arbitrary<Value> = fc.oneof(
  fc.integer({ min: -2, max: 2 }),
  fc.boolean(),
  fc.constantFrom('', 'a', 'b'),
)
const priority = fc.constantFrom<Priority | null>(null, null, 1, 2, 'p')
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 2 },
        leaf,
        fc.dictionary(key, tie('value'), { minKeys: 1, maxKeys: 6, noNullPrototype: true }),
      ),
      priority,
    )
    .map(([node, rank]) => withPriority(node, rank)),
})).value

const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ path, value: fc.oneof(fc.constant(null), value) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      path: path.map((at) => [...at, '.priority']),
      value: priority as fc.Arbitrary<Value>,
    }),
  },
)

const boundValue = fc.oneof(fc.constant(null), leaf) as fc.Arbitrary<number>
const bound = fc.record(
  { value: boundValue, key, inclusive: fc.boolean() },
  { requiredKeys: ['value', 'inclusive'] },
)
const keyBound = fc.record({ value: key, inclusive: fc.boolean() })
const limit = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  from: fc.constantFrom('first' as const, 'last' as const),
})
const query: fc.Arbitrary<Query> = fc.oneof(
  fc.record(
    { orderBy: fc.constant('key' as const), start: keyBound, end: keyBound, limit },
    { requiredKeys: ['orderBy'] },
  ),
  fc.record(
    {
      orderBy: fc.constantFrom<Query['orderBy']>(
        'value',
        'priority',
        { child: ['n'] },
        { child: ['n', 'm'] },
      ),
      start: bound,
      end: bound,
      limit,
    },
    { requiredKeys: ['orderBy'] },
  ),
) as fc.Arbitrary<Query>

interface Group {
  writes: Entry[][]
  /** Listened to while the group is on its way to the disk. */
  listen: { path: Path; query: Query } | null
  isRefused: boolean
  rules: keyof typeof rulesets | null
}

const group: fc.Arbitrary<Group> = fc.record({
  writes: fc.array(fc.array(entry, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 }),
  listen: fc.option(fc.record({ path: fc.constantFrom(...LISTS), query }), { freq: 4 }),
  isRefused: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  rules: fc.option(fc.constantFrom('indexed' as const, 'partly' as const, 'bare' as const), { freq: 10 }),
})

/** One listener, and what a client would hold by what it was sent. */
interface Client {
  path: Path
  query: Query
  listener: Listener
  held: Value
  /** What it held, step by step, in the group under way. */
  seen: Value[]
}

class Recorder implements Wire, Subscriber {
  readonly name = 'recorder'
  readonly wire: Wire = this
  readonly identity = admin
  clients: Client[] = []

  deliver(live: LiveQuery, steps: readonly Step[]): void {
    for (const client of this.clients) {
      if (client.listener.live !== live) continue
      for (const step of steps) this.#apply(client, step)
    }
  }

  #apply(client: Client, step: Step): void {
    const before = client.held
    for (let i = 0; i < step.length; i += 2) {
      const at = step[i] as string
      client.held = withValueAt(client.held, at === '' ? [] : at.split('/'), step[i + 1]!)
    }
    // Nothing is sent of children that are not shown.
    if (client.listener.live.window !== null && step[0] !== '') {
      for (let i = 0; i < step.length; i += 2) {
        const child = [(step[i] as string).split('/')[0]!]
        if (valueAt(before, child) === null) expect(valueAt(client.held, child)).not.toBeNull()
      }
    }
    client.seen.push(client.held)
  }

  canceled(): void {
    expect.fail('no listener is canceled')
  }
}

async function follow(
  groups: readonly Group[],
  first: { path: Path; query: Query }[],
  rules: keyof typeof rulesets,
  packedBytesMax: number,
) {
  let duringFlush = (): void => {}
  const store = await openMemoryStore({ packedBytesMax, beforeFlushed: async () => duringFlush() })
  const refuse = refusing(store)
  const recorder = new Recorder()
  const database = new Database({
    name: 'test',
    store,
    ruleset: rulesets[rules],
    counters: { writes: 0, denials: 0, reads: 0 },
    nowMs: () => 0,
    readNodesMax: 1000,
    writeQueueMax: 1000,
    onBug: (error) => {
      throw error
    },
  } as ConstructorParameters<typeof Database>[0])
  database.addWire(recorder)
  let model: Value = null
  let flushed: Value = null

  const listen = ({ path, query }: { path: Path; query: Query }): void => {
    const { listener, value, warning } = database.listen(recorder, path, query)
    const isOld = recorder.clients.some((client) => client.listener.live === listener.live)
    if (!isOld && warning === null && listener.live.window !== null)
      expect(value).toEqual(applyQuery(valueAt(flushed, path), query))
    recorder.clients.push({ path, query, listener, held: value, seen: [value] })
  }

  for (const at of first) listen(at)
  for (const { writes, listen: young, isRefused, rules: changed } of groups) {
    if (changed !== null) {
      database.replaceRuleset(rulesets[changed])
      await database.idle()
    }
    for (const client of recorder.clients) client.seen = [client.held]
    const states = [model]
    const accepted: Entry[][] = []
    const origin: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }
    refuse(isRefused)
    let isDone = false
    duringFlush = () => {
      const isFirst = !isDone
      isDone = true
      if (young !== null && isFirst) listen(young)
    }
    for (const raw of writes) {
      const entries = apart(raw)
      database.submit({
        entries,
        identity: admin,
        expectedRevision: null,
        isCheckOnly: false,
        records: null,
        origin,
        id: 0,
      })
      accepted.push(entries)
      if (isRefused) continue
      for (const { path, value } of valuesFirst(entries)) model = withValueAt(model, path, value)
      states.push(model)
    }
    await database.idle()
    flushed = model
    for (const client of recorder.clients) assertFollowed(client, states, accepted)
  }
  await database.close()
}

function assertFollowed(
  { path, query, listener, held, seen }: Client,
  states: readonly Value[],
  writes: readonly Entry[][],
): void {
  const shows = (state: Value): Value => applyQuery(valueAt(state, path), query)
  const shown = listener.live.window === null ? applyQuery(held, query) : held
  expect(shown).toEqual(shows(states[states.length - 1]!))
  if (listener.live.window === null) return
  const wanted = distinct(states.map(shows))
  // A query that was served whole until now held more than it shows.
  const got = distinct(seen.map((value) => applyQuery(value, query)))
  // What replaces the whole list, and a listen within the group, takes the rest of the group in one step.
  const isWhole = writes.some((entries) => entries.some((entry) => isAtOrAbove(entry.path, path)))
  if (!isWhole && sameValue(got[0]!, wanted[0]!) && !isYoung(seen, wanted)) expect(got).toEqual(wanted)
  else expect(isSubsequence(got, wanted)).toBe(true)
}

/** Whether the listener came within the group: then it saw one step at most. */
function isYoung(seen: readonly Value[], wanted: readonly Value[]): boolean {
  return seen.length === 2 && wanted.length > 2
}

function distinct(values: readonly Value[]): Value[] {
  return values.filter((value, i) => i === 0 || !sameValue(value, values[i - 1]!))
}

function isSubsequence(part: readonly Value[], whole: readonly Value[]): boolean {
  let at = 0
  for (const value of whole) if (at < part.length && sameValue(part[at]!, value)) at += 1
  return at === part.length
}

function valuesFirst(entries: readonly Entry[]): Entry[] {
  const isPriority = ({ path }: Entry): boolean => path[path.length - 1] === '.priority'
  return [...entries.filter((entry) => !isPriority(entry)), ...entries.filter(isPriority)]
}

function apart(entries: readonly Entry[]): Entry[] {
  const kept: Entry[] = []
  for (const entry of entries) {
    const isApart = kept.every(({ path }) => !isAtOrAbove(path, entry.path) && !isAtOrAbove(entry.path, path))
    if (isApart) kept.push(entry)
  }
  return kept
}

/** Makes the store's next flush fail, as a full disk would. */
function refusing(store: Store): (isRefusing: boolean) => void {
  let isRefusing = false
  const flush = store.flush.bind(store)
  store.flush = async () => {
    if (!isRefusing) return flush()
    isRefusing = false
    store.discard()
    throw new StoreUnavailableError('full')
  }
  return (isNext) => {
    isRefusing = isNext
  }
}

test('a listener that applies its steps holds what its query shows, after each commit', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(group, { minLength: 1, maxLength: 8 }),
      fc.array(fc.record({ path: fc.constantFrom(...LISTS), query }), { minLength: 1, maxLength: 5 }),
      fc.constantFrom('indexed' as const, 'indexed' as const, 'partly' as const, 'bare' as const),
      fc.constantFrom(0, 60),
      follow,
    ),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
}, 60_000)

test('a window that comes to show more than one read may take ends, and its listeners are told why', async () => {
  const ended: string[] = []
  const database = new Database({
    name: 'test',
    store: await openMemoryStore(),
    ruleset: rulesets.indexed,
    counters: { writes: 0, denials: 0, reads: 0 },
    nowMs: () => 0,
    readNodesMax: 10,
    writeQueueMax: 1000,
    onBug: (error) => {
      throw error
    },
  } as ConstructorParameters<typeof Database>[0])
  const wire: Wire = { name: 'none', deliver: () => expect.fail('nothing of it is sent') }
  const subscriber: Subscriber = { identity: admin, wire, canceled: (_, error) => ended.push(error.codeName) }
  database.listen(subscriber, ['l'], { orderBy: 'key', limit: { count: 2, from: 'last' } })
  database.addWire(wire)

  const large = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`k${i}`, i]))
  const entries = [{ path: ['l', 'large'], value: large }]
  const origin: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }
  database.submit({
    entries,
    identity: admin,
    expectedRevision: null,
    isCheckOnly: false,
    records: null,
    origin,
    id: 0,
  })
  await database.idle()

  expect(ended).toEqual(['too_large'])
  expect(database.listenerCount).toBe(0)
  await database.close()
})
