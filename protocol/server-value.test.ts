/** Server values: what each placeholder becomes, on which stored value, and where it may stand. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Path } from './path.ts'
import {
  hasIncrement,
  hasServerValue,
  increment,
  resolveServerValues,
  resolveServerValuesAt,
  serverTimestamp,
} from './server-value.ts'
import { anyValue } from './value.model.ts'
import { parseValue, type Value } from './value.ts'

const NOW_MS = 1_730_000_000_000

test.each<[string, Value, Value, Value]>([
  ['a timestamp becomes the time', serverTimestamp, null, NOW_MS],
  ['a timestamp ignores what is stored', serverTimestamp, 5, NOW_MS],
  ['an increment adds to the stored number', increment(2), 40, 42],
  ['an increment may be negative', increment(-2.5), 40, 37.5],
  ['an increment of nothing is the number alone', increment(2), null, 2],
  ['an increment of a text is the number alone', increment(2), '40', 2],
  ['an increment of a boolean is the number alone', increment(2), true, 2],
  ['an increment of an object is the number alone', increment(2), { a: 40 }, 2],
  ['an increment reads the number beneath a priority', increment(2), { '.value': 40, '.priority': 1 }, 42],
  [
    'an increment drops the stored priority, as any set does',
    increment(0),
    { '.value': 4, '.priority': 1 },
    4,
  ],
  ['an increment past the largest double stays there', increment(1e308), 1.7e308, Number.MAX_VALUE],
  ['an increment past the smallest double stays there', increment(-1e308), -1.7e308, -Number.MAX_VALUE],
  ['beyond 2^53 an increment rounds as doubles do', increment(1), 2 ** 53, 2 ** 53],
  [
    'placeholders stand at any depth, each on its own stored value',
    { a: { n: increment(1), t: serverTimestamp }, n: increment(1), s: 'x' },
    { a: { n: 10 }, n: 20 },
    { a: { n: 11, t: NOW_MS }, n: 21, s: 'x' },
  ],
  [
    'a placeholder in `.value` is on the stored leaf of the same path',
    { '.value': increment(1), '.priority': 7 },
    { '.value': 10, '.priority': 3 },
    { '.value': 11, '.priority': 7 },
  ],
  [
    'a priority may be the time',
    { a: 1, '.priority': serverTimestamp },
    { a: 1 },
    { a: 1, '.priority': NOW_MS },
  ],
  [
    'value and priority of a leaf may both be the time',
    { '.value': serverTimestamp, '.priority': serverTimestamp },
    null,
    { '.value': NOW_MS, '.priority': NOW_MS },
  ],
  [
    'keys that every object inherits are no stored numbers',
    { toString: increment(1), constructor: increment(2) },
    {},
    { toString: 1, constructor: 2 },
  ],
])('%s', (_, value, stored, expected) => {
  expect(resolveServerValues(parseValue(value), stored, NOW_MS)).toEqual(expected)
})

test('only the leaves under increments are asked for, by their whole path', () => {
  const asked: Path[] = []
  const value = {
    a: { n: increment(1) },
    p: { '.value': increment(1), '.priority': serverTimestamp },
    s: 'x',
  } as Value

  resolveServerValuesAt(
    value,
    ['rooms', 'r'],
    (path) => {
      asked.push(path)
      return null
    },
    NOW_MS,
  )

  expect(asked).toEqual([
    ['rooms', 'r', 'a', 'n'],
    ['rooms', 'r', 'p'],
  ])
})

test('a value without placeholders is returned itself', () => {
  fc.assert(
    fc.property(anyValue, anyValue, (value, stored) => {
      expect(hasServerValue(value)).toBe(false)
      expect(resolveServerValues(value, stored, NOW_MS)).toBe(value)
    }),
  )
})

test('what is resolved has no placeholder and is a value like any other', () => {
  fc.assert(
    fc.property(anyValue, fc.double({ noNaN: true, noDefaultInfinity: true }), (stored, by) => {
      const raw = { a: { '.sv': { increment: by } }, b: { '.value': { '.sv': 'timestamp' }, '.priority': 1 } }

      const resolved = resolveServerValues(parseValue(raw), stored, NOW_MS)

      expect(hasServerValue(resolved)).toBe(false)
      expect(parseValue(resolved)).toEqual(resolved)
    }),
  )
})

test('only what counts on from the stored value has an increment', () => {
  expect(hasIncrement({ a: { b: increment(0) } })).toBe(true)
  expect(hasIncrement({ '.value': increment(1), '.priority': 1 })).toBe(true)
  expect(hasIncrement({ a: serverTimestamp, b: 1 })).toBe(false)
})
