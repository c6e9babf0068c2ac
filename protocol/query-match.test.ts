import { expect, test } from 'vitest'
import type { Bound, Query } from './query.ts'
import { applyQuery, indexName, isInRange, orderedValue, selectKeys, showsAll } from './query-match.ts'
import type { Value, ValueObject } from './value.ts'

const people: ValueObject = {
  ann: { age: 30, at: { zip: 'B' }, '.priority': 2 },
  bob: { age: 25, at: { zip: 'A' } },
  cy: { age: 30, '.priority': 'p' },
  dan: { at: 'nowhere', '.priority': 1 },
  eve: 'a leaf',
  '10': { age: true },
  '9': { age: { not: 'a number' } },
}

const at = (value: Bound['value'], key?: string, inclusive = true): Bound =>
  key === undefined ? { value, inclusive } : { value, key, inclusive }
const after = (value: Bound['value'], key?: string): Bound => at(value, key, false)
const first = (count: number) => ({ limit: { count, from: 'first' as const } })
const last = (count: number) => ({ limit: { count, from: 'last' as const } })
const age = { orderBy: { child: ['age'] } }

test.each<[string, Query, string[]]>([
  ['by key, integers first', { orderBy: 'key' }, ['9', '10', 'ann', 'bob', 'cy', 'dan', 'eve']],
  [
    'by priority: none, numbers, strings',
    { orderBy: 'priority' },
    ['9', '10', 'bob', 'eve', 'dan', 'ann', 'cy'],
  ],
  [
    'by value: leaves before objects, which are all equal',
    { orderBy: 'value' },
    ['eve', '9', '10', 'ann', 'bob', 'cy', 'dan'],
  ],
  [
    'by a child: absent, booleans, numbers with ties by key, objects',
    age,
    ['dan', 'eve', '10', 'bob', 'ann', 'cy', '9'],
  ],
  ['by a deep child', { orderBy: { child: ['at', 'zip'] } }, ['9', '10', 'cy', 'dan', 'eve', 'bob', 'ann']],
  ['the first of a range', { ...age, start: at(26), ...first(1) }, ['ann']],
  ['the last two', { ...age, ...last(2) }, ['cy', '9']],
  ['more than there are', { ...age, ...first(100) }, ['dan', 'eve', '10', 'bob', 'ann', 'cy', '9']],
  ['a start at a value, all its keys included', { ...age, start: at(30) }, ['ann', 'cy', '9']],
  ['a start at a value and key', { ...age, start: at(30, 'b') }, ['cy', '9']],
  ['a start after a value and key', { ...age, start: after(30, 'ann') }, ['cy', '9']],
  ['a start after a value, all its keys left out', { ...age, start: after(30) }, ['9']],
  ['an end at a value', { ...age, end: at(25) }, ['dan', 'eve', '10', 'bob']],
  ['an end before a value', { ...age, end: after(25) }, ['dan', 'eve', '10']],
  ['an end before a value and key', { ...age, end: after(30, 'cy') }, ['dan', 'eve', '10', 'bob', 'ann']],
  ['equal to null: those without the child', { ...age, start: at(null), end: at(null) }, ['dan', 'eve']],
  ['equal to a value and key', { ...age, start: at(30, 'cy'), end: at(30, 'cy') }, ['cy']],
  ['a range of keys', { orderBy: 'key', start: at('10'), end: after('cy') }, ['10', 'ann', 'bob']],
  ['a range of priorities', { orderBy: 'priority', start: at(1), end: at(2) }, ['dan', 'ann']],
  ['an empty range', { ...age, start: at(5), end: at(4) }, []],
])('selects %s', (_, query, keys) => {
  expect(selectKeys(people, query)).toEqual(keys)
})

test('a query shows the selected children whole, without the priority of their list', () => {
  const list: Value = { a: { '.value': 1, '.priority': 3 }, b: { c: 2 }, '.priority': 'list' }

  expect(applyQuery(list, { orderBy: 'key', ...first(1) })).toEqual({ a: { '.value': 1, '.priority': 3 } })
  expect(applyQuery(list, { orderBy: 'key', ...last(1) })).toEqual({ b: { c: 2 } })
})

test('a query without range and limit shows the value as it is', () => {
  const list: Value = { a: 1, '.priority': 'list' }

  expect(showsAll({ orderBy: 'value' })).toBe(true)
  expect(applyQuery(list, { orderBy: 'value' })).toBe(list)
  expect(applyQuery(list, null)).toBe(list)
})

test('a leaf and nothing have no children to show', () => {
  for (const value of [null, 1, 'text', { '.value': 1, '.priority': 2 }]) {
    expect(applyQuery(value, { orderBy: 'key', ...first(5) })).toBeNull()
  }
})

test('a leaf with a priority orders like the leaf', () => {
  const list: Value = { a: { '.value': 2, '.priority': 9 }, b: 1, c: 3 }

  expect(selectKeys(list, { orderBy: 'value' })).toEqual(['b', 'a', 'c'])
  expect(
    isInRange({ orderBy: 'value', start: at(2), end: at(2) }, 'a', orderedValue('value', list['a']!)),
  ).toBe(true)
})

test('orders are named as .indexOn names them; keys need no index', () => {
  expect(indexName('key')).toBeNull()
  expect(indexName('value')).toBe('.value')
  expect(indexName('priority')).toBe('.priority')
  expect(indexName({ child: ['a', 'b'] })).toBe('a/b')
})
