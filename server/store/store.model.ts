/**
 * A store against a model: random groups of writes on plain JSON and on the store must read the same, in the head
 * and in the flushed state. Objects are split into rows at a few bytes, so that every layout occurs.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  compareKeys,
  formatPath,
  isAtOrAbove,
  isObject,
  leafOf,
  orderedKeys,
  type Path,
  type Priority,
  priorityOf,
  sameValue,
  type Value,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import { OBJECT } from '../../rules/data-view.ts'
import { collectAll, type StoreHarness, write } from './store.contract.ts'
import type { Entry, Store, TreeView } from './store.ts'
import type { TreeStoreOptions } from './tree-store.ts'

export interface ModelHarness extends StoreHarness {
  /** Closes and opens again over the same data, where data outlives a store. */
  reopen?(store: Store, options: Partial<TreeStoreOptions>): Promise<Store>
  /** Rows of the store, all tables, where they can be counted. */
  countRows?(store: Store): number
}

type Step =
  | { do: 'write'; entries: Entry[] }
  | { do: 'prioritise'; path: Path; priority: Priority | null }
  | { do: 'flush' | 'discard' | 'reopen' }
  | { do: 'collect'; rowsMax: number }
  | { do: 'walk'; path: Path; range: { from?: string; to?: string; reverse: boolean; limit?: number } }

const key = fc.constantFrom('a', 'b', '1', '01', '10', '-1', 'é', '😀', '\ufffd', 'constructor', 'toString')
const path = fc.array(key, { maxLength: 4 })
const priority = fc.constantFrom<Priority | null>(null, null, 1, 'p')
const leaf = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.boolean(),
  fc.constantFrom('', 'text', 'é'.repeat(30)),
)

const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.dictionary(key, tie('value'), { minKeys: 1, maxKeys: 5, noNullPrototype: true }),
      ),
      priority,
    )
    .map(([node, rank]) => withPriority(node, rank)),
})).value

const entry = fc.record({ path, value: fc.oneof(fc.constant(null), value) })

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      entries: fc.array(entry, { minLength: 1, maxLength: 3 }),
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
    arbitrary: fc.record({ do: fc.constant('collect' as const), rowsMax: fc.integer({ min: 1, max: 10 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('walk' as const),
      path,
      range: fc.record(
        { from: key, to: key, reverse: fc.boolean(), limit: fc.integer({ min: 1, max: 5 }) },
        { requiredKeys: ['reverse'] },
      ),
    }),
  },
)

export function storeModel(harness: ModelHarness, numRuns = 60): void {
  for (const packedBytesMax of [0, 12, 60]) {
    test(`random writes read back as from plain JSON (packed to ${packedBytesMax} bytes)`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }),
          fc.constantFrom(300, 1 << 20),
          async (steps, cacheBytes) => {
            const options = { packedBytesMax, cacheBytes }
            const reopen = (store: Store) => harness.reopen?.(store, options)
            await emptied(await follow(steps, await harness.open(options), reopen), harness)
          },
        ),
        { numRuns },
      )
    }, 120_000)
  }

  test('a list that grows and shrinks is there as long as it has a child', async () => {
    const child = fc.constantFrom('a', 'b', 'c')
    const write = fc.record({
      do: fc.constant('write' as const),
      entries: fc.tuple(
        fc.record({
          path: child.map((key) => ['lists', 'list', key]),
          value: fc.constantFrom<Value>(null, null, null, 1),
        }),
      ),
    })
    const end = fc.record({ do: fc.constantFrom('flush' as const, 'flush' as const, 'discard' as const) })
    const steps = fc.array(fc.oneof({ weight: 3, arbitrary: write }, { weight: 1, arbitrary: end }), {
      maxLength: 80,
      size: 'max',
    })
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        await emptied(
          await follow(steps, await harness.open({ packedBytesMax: 0 }), () => undefined),
          harness,
        )
      }),
      { numRuns: numRuns * 3 },
    )
  }, 120_000)
}

async function follow(
  steps: readonly Step[],
  opened: Store,
  reopen: (store: Store) => Promise<Store> | undefined,
): Promise<Store> {
  let store = opened
  let flushed: Value = null
  let head: Value = null
  for (const step of steps) {
    switch (step.do) {
      case 'write': {
        const entries = apart(step.entries)
        store.stage(entries)
        for (const { path, value } of entries) head = withValueAt(head, path, value)
        break
      }
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
        store = (await reopen(store)) ?? store
        if (store.headRevision === store.flushedRevision) head = flushed
        break
      case 'collect':
        store.collectGarbage(step.rowsMax)
        break
      case 'walk': {
        for (const [view, model] of [
          [store.head, head],
          [store.flushed, flushed],
        ] as const) {
          expect([...view.keys(step.path, step.range)]).toEqual(walked(model, step.path, step.range))
        }
      }
    }
    assertSame(store.head, head)
    assertSame(store.flushed, flushed)
  }
  return store
}

/** Whatever was done, deleting the root and collecting leaves one row: the one that says the revision. */
async function emptied(store: Store, { countRows }: ModelHarness): Promise<void> {
  await write(store, '/', null)
  expect(store.flushed.read([])).toBeNull()
  await collectAll(store, 5)
  expect(countRows?.(store) ?? 1).toBe(1)
  await store.close()
}

/** Entries of one write never contain each other. */
function apart(entries: readonly Entry[]): Entry[] {
  const kept: Entry[] = []
  for (const entry of entries) {
    const isApart = kept.every(({ path }) => !isAtOrAbove(path, entry.path) && !isAtOrAbove(entry.path, path))
    if (isApart) kept.push(entry)
  }
  return kept
}

function walked(
  model: Value,
  path: Path,
  { from, to, reverse, limit }: { from?: string; to?: string; reverse: boolean; limit?: number },
): string[] {
  const keys = orderedKeys(valueAt(model, path)).filter(
    (key) =>
      (from === undefined || compareKeys(key, from) >= 0) && (to === undefined || compareKeys(key, to) <= 0),
  )
  if (reverse) keys.reverse()
  return keys.slice(0, limit)
}

function assertSame(view: TreeView, model: Value): void {
  const read = view.read([])
  if (!sameValue(read, model)) expect(read).toEqual(model)
  assertNode(view, model, [])
  const ranked = new Set<string>()
  const belowEach: Path[] = []
  collectNodes(model, [], belowEach, ranked)
  expect(new Set(view.rankedAbove(belowEach).map(formatPath))).toEqual(ranked)
}

/** A path below each node, and the nodes with a priority. */
function collectNodes(model: Value, path: Path, belowEach: Path[], ranked: Set<string>): void {
  belowEach.push([...path, 'below'])
  if (priorityOf(model) !== null) ranked.add(formatPath(path))
  if (isObject(model)) {
    for (const key of orderedKeys(model)) collectNodes(model[key]!, [...path, key], belowEach, ranked)
  }
}

function assertNode(view: TreeView, model: Value, path: Path): void {
  expect(view.valueAt(path)).toBe(isObject(model) ? OBJECT : leafOf(model))
  expect(view.priorityAt(path)).toBe(priorityOf(model))
  if (!isObject(model)) return
  for (const key of orderedKeys(model)) assertNode(view, model[key]!, [...path, key])
}
