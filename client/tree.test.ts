import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Path, type Value, valueAt, withValueAt } from '../protocol/index.ts'
import { Tree } from './tree.ts'

const key = fc.constantFrom('a', 'b', 'c')
const path = fc.array(key, { maxLength: 4 })
const leaf = fc.oneof(fc.nat(3), fc.constant({ '.value': 1, '.priority': 2 }))
const value = fc.oneof(
  leaf,
  fc.constant(null),
  fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf, { minKeys: 1 })), { minKeys: 1 }),
) as fc.Arbitrary<Value>
const step = fc.oneof(fc.record({ put: path, value }), fc.record({ show: path })) as fc.Arbitrary<
  { put: Path; value: Value } | { show: Path }
>

test.for([true, false])(
  'it does what copying would do, and what it handed out never changes (owned: %s)',
  (isOwned) => {
    fc.assert(
      fc.property(value, fc.array(step, { maxLength: 40, size: 'max' }), (first, steps) => {
        const tree = new Tree([], structuredClone(first), true, isOwned)
        let expected = structuredClone(first)
        const shown: { value: Value; was: Value }[] = []

        for (const step of steps) {
          if ('show' in step) {
            const seen = tree.at(step.show)
            expect(seen).toEqual(valueAt(expected, step.show))
            shown.push({ value: seen, was: structuredClone(seen) })
          } else {
            tree.put(step.put, structuredClone(step.value))
            expected = withValueAt(expected, step.put, step.value)
          }
        }

        expect(tree.at([])).toEqual(expected)
        for (const { value, was } of shown) expect(value).toEqual(was)
      }),
      { numRuns: 300 },
    )
  },
)

test('a borrowed value is left alone', () => {
  const borrowed = { a: { b: 1 }, c: { d: 1 } }

  const tree = new Tree([], borrowed, true, false)
  tree.put(['a', 'b'], 2)
  tree.put(['c'], null)

  expect(borrowed).toEqual({ a: { b: 1 }, c: { d: 1 } })
  expect(tree.at([])).toEqual({ a: { b: 2 } })
})

test('a list that nobody holds is not copied for a new child', () => {
  const list: Record<string, Value> = { a: { n: 1 } }
  const tree = new Tree([], { list }, true, true)
  tree.at(['list', 'a'])

  tree.put(['list', 'b'], { n: 2 })

  expect(list).toEqual({ a: { n: 1 }, b: { n: 2 } })
})

test('a window does not take in part of a child it does not hold', () => {
  const tree = new Tree(['list'], { a: { n: 1, m: 1 } }, false, true)

  tree.lay(['list', 'a', 'n'], 2)
  tree.lay(['list', 'b', 'n'], 2)
  tree.lay(['list', 'c'], { n: 3 })

  expect(tree.at(['list'])).toEqual({ a: { n: 2, m: 1 }, c: { n: 3 } })
})
