/**
 * Indexes against a model: after any writes, rules changes, crashes and slices of work, walking an index gives the
 * children as sorting plain JSON does. Objects are split into rows at a few bytes, so that every layout occurs.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  childOf,
  comparePlaces,
  compareValues,
  isAtOrAbove,
  orderedKeys,
  orderedValue,
  type Path,
  type Value,
  type ValueObject,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import { TEXT_UNITS_MAX } from './index-keys.ts'
import { orderOfIndex } from './index-order.ts'
import type { Entry, PlaceBound, PlaceRange, Store } from './store.ts'
import { openLmdbStore } from './store-lmdb.ts'
import { openMemoryStore } from './store-memory.ts'
import type { TreeStoreOptions } from './tree-store.ts'

const NAMES = ['.value', 'n', 'n/m', '.priority']
const ANY = { except: ['special'] }
const PATTERNS: IndexPattern[] = [
  { steps: [], indexOn: 'n' },
  { steps: ['l'], indexOn: '.value' },
  { steps: ['l'], indexOn: 'n' },
  { steps: ['l'], indexOn: 'n/m' },
  { steps: ['l', ANY], indexOn: 'n' },
  { steps: ['g', ANY], indexOn: '.value' },
  { steps: ['g', ANY, 'l'], indexOn: '/n/m' },
  { steps: ['g', 'special'], indexOn: 'n' },
]
const LISTS: Path[] = [[], ['l'], ['l', 'a'], ['l', '1'], ['g', 'a'], ['g', 'a', 'l'], ['g', 'special']]

const key = fc.constantFrom('a', 'b', '1', '01', '10', '-1', 'é', 'n', 'm')
const path = fc.oneof(
  fc
    .tuple(fc.constantFrom(...LISTS), fc.array(key, { maxLength: 3 }))
    .map(([list, rest]) => [...list, ...rest]),
  fc
    .tuple(fc.constantFrom(...LISTS), key, fc.constantFrom(['n'], ['n', 'm']))
    .map(([list, k, rest]) => [...list, k, ...rest]),
)
const LONG = 'x'.repeat(TEXT_UNITS_MAX)
const leaf: fc.Arbitrary<Value> = fc.oneof(
  fc.integer({ min: -2, max: 2 }),
  fc.boolean(),
  fc.constantFrom('', 'a', 'b', LONG, `${LONG}a`, `${LONG}b`, `${LONG}\0`),
)
const priority = fc.constantFrom(null, null, null, 1, 2, 'p')
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.dictionary(key, tie('value'), { minKeys: 1, maxKeys: 6, noNullPrototype: true }),
      ),
      priority,
    )
    .map(([node, rank]) => withPriority(node, rank)),
})).value

type Step =
  | { do: 'write'; groups: Entry[][] }
  | { do: 'prioritise'; path: Path; priority: string | number | null }
  | { do: 'flush' | 'discard' | 'reopen' }
  | { do: 'declare'; which: boolean[] }
  | { do: 'work'; rowsMax: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      groups: fc.array(
        fc.array(fc.record({ path, value: fc.oneof(fc.constant(null), value) }), {
          minLength: 1,
          maxLength: 3,
        }),
        { minLength: 1, maxLength: 3 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('prioritise' as const), path, priority }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('flush' as const, 'flush' as const, 'discard' as const, 'reopen' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('declare' as const),
      which: fc.array(fc.boolean(), { minLength: PATTERNS.length, maxLength: PATTERNS.length }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('work' as const), rowsMax: fc.integer({ min: 1, max: 5 }) }),
  },
)

const bound: fc.Arbitrary<PlaceBound> = fc.record(
  {
    value: fc.oneof(fc.constant(null), leaf, fc.constant({ a: 1 } as ValueObject)),
    key,
    inclusive: fc.boolean(),
  },
  { requiredKeys: ['value', 'inclusive'] },
)
const range: fc.Arbitrary<PlaceRange> = fc.record(
  { start: bound, end: bound, reverse: fc.boolean() },
  { requiredKeys: [] },
)

interface Harness {
  open(options: Partial<TreeStoreOptions>): Promise<Store>
  reopen(store: Store, options: Partial<TreeStoreOptions>): Promise<Store>
}

async function follow(
  steps: readonly Step[],
  ranges: readonly PlaceRange[],
  options: Partial<TreeStoreOptions>,
  harness: Harness,
) {
  let store = await harness.open(options)
  let declared: IndexPattern[] = []
  let flushed: Value = null
  let head: Value = null
  for (const step of steps) {
    switch (step.do) {
      case 'write':
        for (const group of step.groups) {
          const entries = apart(group)
          store.stage(entries)
          for (const { path, value } of entries) head = withValueAt(head, path, value)
        }
        break
      case 'prioritise': {
        store.stagePriority(step.path, step.priority)
        const node = valueAt(head, step.path)
        if (node !== null) head = withValueAt(head, step.path, withPriority(node, step.priority))
        break
      }
      case 'flush':
        await store.flush()
        flushed = head
        break
      case 'discard':
        store.discard()
        head = flushed
        break
      case 'reopen':
        store = await harness.reopen(store, options)
        if (store.headRevision === store.flushedRevision) head = flushed
        store.declareIndexes(declared)
        break
      case 'declare':
        declared = PATTERNS.filter((_, i) => step.which[i])
        store.declareIndexes(declared)
        break
      case 'work':
        store.workOnIndexes(step.rowsMax)
    }
    assertIndexed(store, flushed, declared, ranges, false)
  }
  await store.flush()
  while (store.hasIndexWork || store.hasGarbage) {
    store.workOnIndexes(3)
    store.collectGarbage(3)
    await store.flush()
  }
  assertIndexed(store, head, declared, ranges, true)
  await store.close()
}

/** @param isBuilt Whether everything declared must be there by now. */
function assertIndexed(
  store: Store,
  model: Value,
  declared: readonly IndexPattern[],
  ranges: readonly PlaceRange[],
  isBuilt: boolean,
) {
  for (const list of LISTS) {
    for (const name of NAMES) {
      const isDeclared = name === '.priority' || declares(declared, list, name)
      for (const range of ranges) {
        const walked = store.indexed(list, name, range)
        if (walked === null) {
          if (name === '.priority' || (isBuilt && isDeclared))
            expect.fail(`no index ${name} at /${list.join('/')}`)
          break
        }
        expect([...walked], `${name} at /${list.join('/')}`).toEqual(
          sorted(valueAt(model, list), name, range),
        )
      }
    }
  }
}

function declares(declared: readonly IndexPattern[], list: Path, name: string): boolean {
  return declared.some(
    ({ steps, indexOn }) =>
      indexOn.replace(/^\//, '') === name &&
      steps.length === list.length &&
      steps.every((step, i) =>
        typeof step === 'string' ? step === list[i] : !step.except.includes(list[i]!),
      ),
  )
}

function sorted(list: Value, name: string, { start, end, reverse }: PlaceRange): string[] {
  const order = orderOfIndex(name)!
  const compare = (at: { key: string; ordered: Value }, bound: PlaceBound): number =>
    bound.key === undefined
      ? compareValues(at.ordered, bound.value)
      : comparePlaces(at.ordered, at.key, bound.value, bound.key)
  const places = orderedKeys(list)
    .map((key) => ({ key, ordered: orderedValue(order, childOf(list, key)) }))
    .sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
    .filter(
      (at) => start === undefined || (start.inclusive ? compare(at, start) >= 0 : compare(at, start) > 0),
    )
    .filter((at) => end === undefined || (end.inclusive ? compare(at, end) <= 0 : compare(at, end) < 0))
    .map(({ key }) => key)
  return reverse ? places.reverse() : places
}

function apart(entries: readonly Entry[]): Entry[] {
  const kept: Entry[] = []
  for (const entry of entries) {
    if (kept.every(({ path }) => !isAtOrAbove(path, entry.path) && !isAtOrAbove(entry.path, path)))
      kept.push(entry)
  }
  return kept
}

function property(harness: Harness) {
  return fc.asyncProperty(
    fc.array(step, { minLength: 1, maxLength: 25 }),
    fc.array(range, { minLength: 2, maxLength: 4 }),
    fc.constantFrom(0, 12, 60),
    fc.constantFrom(300, 1 << 20),
    fc.constantFrom(0, 1000),
    (steps, ranges, packedBytesMax, cacheBytes, indexedAtOnce) =>
      follow(steps, [{}, ...ranges], { packedBytesMax, cacheBytes, indexedAtOnce }, harness),
  )
}

test('an index in memory is what sorting gives, whatever was written', async () => {
  await fc.assert(property({ open: openMemoryStore, reopen: async (store) => store }), {
    numRuns: Number(process.env['RUNS'] ?? 150),
  })
}, 120_000)

test('an index on disk is what sorting gives, whatever was written, also after it was opened again', async () => {
  const folders: string[] = []
  const folderOf = new Map<Store, string>()
  const harness: Harness = {
    async open(options) {
      const folder = mkdtempSync(join(tmpdir(), 'hearth-index-'))
      folders.push(folder)
      const store = await openLmdbStore({ folder, ...options })
      folderOf.set(store, folder)
      return store
    },
    async reopen(store, options) {
      const folder = folderOf.get(store)!
      await store.close()
      const reopened = await openLmdbStore({ folder, ...options })
      folderOf.set(reopened, folder)
      return reopened
    },
  }
  try {
    await fc.assert(property(harness), { numRuns: 60 })
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)

test('the first priority of a list, given to a child with rows of its own, leaves out no child of its group', async () => {
  const store = await openMemoryStore({ packedBytesMax: 0 })
  store.stage([{ path: ['l'], value: { a: { n: 1 }, b: { n: 2 } } }])
  await store.flush()

  store.stage([{ path: ['l', 'c'], value: 3 }])
  store.stagePriority(['l', 'a'], 1)
  await store.flush()

  expect([...store.indexed(['l'], '.priority', {})!]).toEqual(['b', 'c', 'a'])
  await store.close()
})
