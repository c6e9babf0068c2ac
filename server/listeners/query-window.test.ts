/**
 * Windows against a model, with little or no reserve so that they ask the store all the time; and what they ask of
 * it on a long list, in children looked at.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  applyQuery,
  type Path,
  type Query,
  type Step,
  sameValue,
  type Value,
  type ValueObject,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import type { Entry, Store } from '../store/store.ts'
import { openMemoryStore } from '../store/store-memory.ts'
import type { Change } from './moves.ts'
import { OrderedList } from './ordered-list.ts'
import { QueryWindow } from './query-window.ts'

const LIST: Path = ['list']
const PATTERNS = ['.value', 'n'].map((indexOn) => ({ steps: LIST, indexOn }))
const LEAVES_MAX = 1e6

const key = fc.oneof(fc.integer({ min: 0, max: 25 }).map(String), fc.constantFrom('a', 'b', 'c', 'd', 'e'))
const n = fc.integer({ min: 0, max: 4 })
const child: fc.Arbitrary<Value> = fc.oneof(
  fc.tuple(n, fc.option(n)).map(([rank, priority]) => withPriority({ n: rank, t: 'x' }, priority)),
  fc.tuple(n, fc.option(n)).map(([leaf, priority]) => withPriority(leaf, priority)),
)
const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ path: key.map((k) => [...LIST, k]), value: child }) },
  { weight: 3, arbitrary: fc.record({ path: key.map((k) => [...LIST, k]), value: fc.constant(null) }) },
  {
    weight: 2,
    arbitrary: fc.record({ path: key.map((k) => [...LIST, k, 'n']), value: fc.oneof(fc.constant(null), n) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ path: key.map((k) => [...LIST, k, 't']), value: fc.oneof(fc.constant(null), n) }),
  },
)
const commit = fc.uniqueArray(entry, { minLength: 1, maxLength: 3, selector: ({ path }) => path[1] })
const limit = fc.record({
  count: fc.integer({ min: 1, max: 6 }),
  from: fc.constantFrom('first' as const, 'last' as const),
})
const bound = fc.record({ value: n, key, inclusive: fc.boolean() }, { requiredKeys: ['value', 'inclusive'] })
const query = fc.oneof(
  fc.record(
    {
      orderBy: fc.constant('key' as const),
      start: fc.record({ value: key, inclusive: fc.boolean() }),
      limit,
    },
    { requiredKeys: ['orderBy', 'limit'] },
  ),
  fc.record(
    {
      orderBy: fc.constantFrom<Query['orderBy']>('value', 'priority', { child: ['n'] }),
      start: bound,
      end: bound,
      limit,
    },
    { requiredKeys: ['orderBy'] },
  ),
) as fc.Arbitrary<Query>
const initial = fc.dictionary(key, child, {
  minKeys: 10,
  maxKeys: 30,
  noNullPrototype: true,
}) as fc.Arbitrary<ValueObject>

async function openList(list: ValueObject): Promise<Store> {
  const store = await openMemoryStore({ packedBytesMax: 20 })
  store.declareIndexes(PATTERNS)
  store.stage([{ path: LIST, value: list }])
  await store.flush()
  return store
}

function changesOf(entries: readonly Entry[]): Change[] {
  return entries.map(({ path, value }) => ({ key: path[1]!, path: path.slice(1).join('/'), value }))
}

/** Windows with their list, as live queries keep them. */
class FollowedWindows {
  readonly #list: OrderedList<QueryWindow>
  readonly #windows: QueryWindow[] = []

  constructor(store: Store, orderBy: Query['orderBy']) {
    this.#list = new OrderedList(store, LIST, orderBy)
  }

  add(of: Query, reserve?: number): void {
    const window = new QueryWindow(this.#list, of, LEAVES_MAX, reserve)
    this.#windows.push(window)
    this.#list.put(window, window.reach)
  }

  advance(changes: readonly Change[]): void {
    const moves = this.#list.follow(changes)
    for (const window of this.#list.concerned(moves)) {
      if (window.advance(moves)) this.#list.extend(window, window.reach)
      else this.#list.put(window, window.reach)
    }
  }

  /** The steps of each window. */
  settle(): Step[][] {
    this.#list.forget()
    return this.#windows.map((window) => window.settle())
  }
}

/** One window, alone on its list. */
class FollowedWindow extends FollowedWindows {
  constructor(store: Store, of: Query, reserve?: number) {
    super(store, of.orderBy)
    this.add(of, reserve)
  }

  get steps(): Step[] {
    return this.settle()[0]!
  }
}

function applied(held: Value, steps: readonly (readonly (string | Value)[])[]): Value {
  let next = held
  for (const step of steps) {
    for (let i = 0; i < step.length; i += 2)
      next = withValueAt(next, (step[i] as string).split('/'), step[i + 1]!)
  }
  return next
}

test('a window is its query applied to the list, after each commit, whatever its reserve', async () => {
  await fc.assert(
    fc.asyncProperty(
      initial,
      query,
      fc.constantFrom(0, 1, 3),
      fc.array(fc.array(commit, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 6 }),
      async (list, of, reserve, groups) => {
        const store = await openList(list)
        const window = new FollowedWindow(store, of, reserve)
        let model: Value = { list }
        let held = applyQuery(list, of)
        for (const group of groups) {
          const shown: Value[] = [held]
          for (const entries of group) {
            store.stage(entries)
            window.advance(changesOf(entries))
            for (const { path, value } of entries) model = withValueAt(model, path, value)
            const now = applyQuery(valueAt(model, LIST), of)
            if (!sameValue(now, shown[shown.length - 1]!)) shown.push(now)
          }
          await store.flush()
          const { steps } = window
          const seen = [held, ...steps.map((_, i) => applied(held, steps.slice(0, i + 1)))]
          expect(seen.filter((value, i) => i === 0 || !sameValue(value, seen[i - 1]!))).toEqual(shown)
          held = seen[seen.length - 1]!
        }
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 500) },
  )
}, 60_000)

const orderBy = fc.constantFrom<Query['orderBy']>('key', 'value', 'priority', { child: ['n'] })
const manyQueries = orderBy.chain((order) =>
  fc.array(
    query.map((of): Query => {
      const isByKey = of.orderBy === 'key'
      if (isByKey === (order === 'key')) return { ...of, orderBy: order }
      return { orderBy: order, limit: of.limit ?? { count: 2, from: 'last' } }
    }),
    { minLength: 30, maxLength: 60 },
  ),
)
const largeCommit = fc.uniqueArray(entry, { minLength: 1, maxLength: 25, selector: ({ path }) => path[1] })

test('many windows on one list show what their queries do, after each commit, small or large', async () => {
  await fc.assert(
    fc.asyncProperty(
      initial,
      manyQueries,
      fc.constantFrom(0, 1, 3),
      fc.array(fc.array(fc.oneof(commit, largeCommit), { minLength: 1, maxLength: 6 }), {
        minLength: 1,
        maxLength: 4,
      }),
      async (list, queries, reserve, groups) => {
        const store = await openList(list)
        const windows = new FollowedWindows(store, queries[0]!.orderBy)
        for (const of of queries) windows.add(of, reserve)
        let model: Value = { list }
        const held = queries.map((of) => applyQuery(list, of))
        for (const group of groups) {
          const shown = held.map((value) => [value])
          for (const entries of group) {
            store.stage(entries)
            windows.advance(changesOf(entries))
            for (const { path, value } of entries) model = withValueAt(model, path, value)
            queries.forEach((of, i) => {
              const now = applyQuery(valueAt(model, LIST), of)
              if (!sameValue(now, shown[i]!.at(-1)!)) shown[i]!.push(now)
            })
          }
          await store.flush()
          windows.settle().forEach((steps, i) => {
            const seen: Value[] = [held[i]!]
            for (const step of steps) {
              const now = applied(held[i]!, [step])
              if (!sameValue(now, held[i]!)) seen.push(now)
              held[i] = now
            }
            expect(seen).toEqual(shown[i])
          })
        }
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 100) },
  )
}, 60_000)

/** Counts children the store hands out in walks. */
function counting(store: Store): { walked: number } {
  const count = { walked: 0 }
  const counted = function* (keys: Iterable<string>): Iterable<string> {
    for (const at of keys) {
      count.walked += 1
      yield at
    }
  }
  const indexed = store.indexed.bind(store)
  store.indexed = (...args) => {
    const keys = indexed(...args)
    return keys === null ? null : counted(keys)
  }
  const keys = store.flushed.keys.bind(store.flushed)
  store.flushed.keys = (...args) => counted(keys(...args))
  return count
}

const COUNT = 100_000
const longList: ValueObject = {}
for (let i = 0; i < COUNT; i++) longList[`k${String(i).padStart(7, '0')}`] = { n: (i * 7919) % COUNT }

test.each<[string, Query]>([
  ['by key', { orderBy: 'key', limit: { count: 50, from: 'last' } }],
  ['by priority, of which there are none', { orderBy: 'priority', limit: { count: 50, from: 'last' } }],
  ['by an indexed child', { orderBy: { child: ['n'] }, limit: { count: 50, from: 'first' } }],
  [
    'by an indexed child, in a range',
    {
      orderBy: { child: ['n'] },
      start: { value: 500, inclusive: true },
      end: { value: 600, inclusive: true },
    },
  ],
])(
  'on a list of 100,000 a window %s looks at few children, however many writes',
  async (_, of) => {
    const store = await openList(longList)
    const count = counting(store)
    const window = new FollowedWindow(store, of)
    expect(count.walked).toBeLessThan(200)

    for (let i = 0; i < 2000; i++) {
      const entries = [{ path: [...LIST, `m${i}`], value: { n: -i } }]
      store.stage(entries)
      window.advance(changesOf(entries))
      if (i % 100 === 99) {
        await store.flush()
        window.settle()
      }
    }
    expect(count.walked).toBeLessThan(200)

    for (let i = 1999; i >= 0; i--) {
      const entries = [{ path: [...LIST, `m${i}`], value: null }]
      store.stage(entries)
      window.advance(changesOf(entries))
      if (i % 100 === 0) {
        await store.flush()
        window.settle()
      }
    }
    // Each replacement fetched costs a few looks, and what the group has touched already is passed over.
    expect(count.walked).toBeLessThan(15_000)
  },
  60_000,
)

test.each([
  ['first', 'deleted', null],
  ['last', 'deleted', null],
  ['first', 'moved elsewhere', { n: COUNT / 2 }],
] as const)(
  'two hundred windows whose %s ten thousand children are %s walk past them once',
  async (from, _, value) => {
    const store = await openList(longList)
    const windows = new FollowedWindows(store, { child: ['n'] })
    for (let i = 0; i < 200; i++) windows.add({ orderBy: { child: ['n'] }, limit: { count: 1 + i, from } })
    const gone = Object.keys(longList).filter((at) => {
      const { n: rank } = longList[at] as { n: number }
      return from === 'first' ? rank < 10_000 : rank >= COUNT - 10_000
    })
    const entries = gone.map((at) => ({ path: [...LIST, at], value }))
    const count = counting(store)

    store.stage(entries)
    windows.advance(changesOf(entries))

    // Ten thousand, what they show then, and a look or two of each.
    expect(count.walked).toBeLessThan(11_000)
    await store.flush()
    const [step] = windows.settle().at(-1)!
    expect(step!.length).toBe(800)
  },
  60_000,
)
