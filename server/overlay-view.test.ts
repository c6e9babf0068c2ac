import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Path, type Priority, type Value, withPriority, withValueAt } from '../protocol/index.ts'
import { type DataView, jsonView } from '../rules/index.ts'
import { overlayView } from './overlay-view.ts'
import type { Entry } from './store/store.ts'
import { apart } from './test/random-groups.ts'
import { isDeletion, isPriority } from './write-entries.ts'

const KEYS = ['a', 'b', 'c']
const key = fc.constantFrom(...KEYS)
const priority = fc.constantFrom<Priority | null>(null, null, 1, 'p')
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 3 },
        fc.integer({ min: 0, max: 2 }),
        fc.dictionary(key, tie('value'), { minKeys: 1, noNullPrototype: true }),
      ),
      priority,
    )
    .map(([node, rank]) => withPriority(node, rank)),
})).value
const path = fc.array(key, { maxLength: 4 })
const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({ path, value: fc.oneof(fc.constant(null), value) }),
  fc.record({ path: path.map((at) => [...at, '.priority']), value: priority as fc.Arbitrary<Value> }),
)

/** A place where something is left keeps its priority, whatever the order of the entries. */
function written(before: Value, entries: readonly Entry[]): Value {
  const inOrder = [
    ...entries.filter((at) => !isPriority(at) && !isDeletion(at)),
    ...entries.filter(isDeletion),
    ...entries.filter(isPriority),
  ]
  return inOrder.reduce((after, at) => withValueAt(after, at.path, at.value), before)
}

function assertSame(view: DataView, model: DataView, at: Path): void {
  expect(view.valueAt(at)).toBe(model.valueAt(at))
  expect(view.priorityAt(at)).toBe(model.priorityAt(at))
  expect([...view.childKeysAt(at)].sort()).toEqual([...model.childKeysAt(at)].sort())
  if (at.length < 5) for (const child of KEYS) assertSame(view, model, [...at, child])
}

test('what rules see as new data is the tree after the write, at every place', () => {
  fc.assert(
    fc.property(value, fc.array(entry, { minLength: 1, maxLength: 8 }), (before, all) => {
      const entries = apart(all)
      const after = written(before, entries)

      assertSame(overlayView(jsonView(before), entries), jsonView(after), [])
    }),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
})

test('of ten thousand deletions in turn in two lists, each child of a list is looked at once to see whether the list is left', () => {
  const COUNT = 5000
  const list = Object.fromEntries(Array.from({ length: COUNT }, (_, i) => [`k${i}`, i]))
  const base = jsonView({ a: list, b: list })
  let looks = 0
  const counted: DataView = {
    valueAt: (at) => base.valueAt(at),
    priorityAt: (at) => base.priorityAt(at),
    *childKeysAt(at) {
      for (const child of base.childKeysAt(at)) {
        looks += 1
        yield child
      }
    },
  }
  const entries = Array.from({ length: 2 * COUNT }, (_, i) => ({
    path: [i % 2 === 0 ? 'a' : 'b', `k${i >> 1}`],
    value: null,
  }))

  const view = overlayView(counted, entries)
  for (const { path: at } of entries) expect(view.valueAt([at[0]!])).toBeNull()

  expect(looks).toBe(2 * COUNT)
})

test('of ten thousand priorities in one write each is found, and each node without one keeps its own', () => {
  const keys = Array.from({ length: 10_000 }, (_, i) => `k${i}`)
  const before = Object.fromEntries(keys.map((at) => [at, { '.value': 1, '.priority': 'old' }]))
  const changed = keys.filter((_, i) => i % 2 === 0)

  const view = overlayView(
    jsonView({ list: before }),
    changed.map((at, i) => ({ path: ['list', at, '.priority'], value: i })),
  )

  expect(keys.map((at) => view.priorityAt(['list', at]))).toEqual(
    keys.map((_, i) => (i % 2 === 0 ? i / 2 : 'old')),
  )
})
