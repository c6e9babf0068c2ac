import { expect, test } from 'vitest'
import type { Value } from '../protocol/value.ts'
import { DataSnapshot, ref } from './index.ts'
import { ScriptedServer } from './test/scripted-server.ts'

function snapshotOf(value: Value): DataSnapshot {
  return new DataSnapshot(ref(new ScriptedServer().database(), 'at'), value)
}

test.for<[Value, unknown]>([
  [null, null],
  [{ 0: 'a', 1: 'b' }, ['a', 'b']],
  [{ 1: 1 }, [null, 1]],
  [{ 2: 1 }, { 2: 1 }],
  [{ 0: 1, 3: 1 }, [1, null, null, 1]],
  [
    { 0: 1, 4: 1 },
    { 0: 1, 4: 1 },
  ],
  [
    { 0: 'a', x: 'b' },
    { 0: 'a', x: 'b' },
  ],
  [{ '00': 'a' }, { '00': 'a' }],
  [
    { '-1': 'a', 0: 'b' },
    { '-1': 'a', 0: 'b' },
  ],
  [{ 99999999999: 'a' }, { 99999999999: 'a' }],
  [{ a: { 0: { 0: true } } }, { a: [[true]] }],
])('val() of %j is %j', ([value, expected]) => {
  expect(snapshotOf(value).val()).toEqual(expected)
})

test('val() of a list of any length is an array', () => {
  const list = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [i, i]))

  expect(snapshotOf(list).val()).toHaveLength(200_000)
})

test('val() leaves priorities out; exportVal() and toJSON() keep them and keep arrays objects', () => {
  const value = { 0: { '.value': 'a', '.priority': 2 }, 1: 'b', '.priority': 'p' }
  const snapshot = snapshotOf(value)

  expect(snapshot.val()).toEqual(['a', 'b'])
  expect(snapshot.exportVal()).toEqual(value)
  expect(JSON.parse(JSON.stringify(snapshot))).toEqual(value)
  expect([snapshot.priority, snapshot.child('0').priority, snapshot.child('1').priority]).toEqual([
    'p',
    2,
    null,
  ])
})

test('children are visited by priority, then in key order, until the visitor says true', () => {
  const snapshot = snapshotOf({
    b: { '.value': 1, '.priority': 1 },
    a: { '.value': 1, '.priority': 'text' },
    10: 'x',
    9: 'x',
    c: 'x',
  })
  const keys: string[] = []

  expect(snapshot.forEach((child) => void keys.push(child.key))).toBe(false)
  expect(keys).toEqual(['9', '10', 'c', 'b', 'a'])
  // biome-ignore lint/suspicious/useIterableCallbackReturn: true means stop.
  expect(snapshot.forEach((child) => child.key === '10')).toBe(true)
  expect(Object.keys(snapshotOf({ y: { '.value': 1, '.priority': 1 }, z: 1 }).val())).toEqual(['z', 'y'])
})

test('it answers about children without surprises from JavaScript’s own names', () => {
  const snapshot = snapshotOf({ constructor: { prototype: 1 }, toString: 'a key like others' })

  expect(snapshot.size).toBe(2)
  expect(snapshot.child('constructor/prototype').val()).toBe(1)
  expect(snapshot.hasChild('hasOwnProperty')).toBe(false)
  expect(snapshot.child('valueOf').val()).toBe(null)
  expect(snapshot.val()).toEqual({ constructor: { prototype: 1 }, toString: 'a key like others' })
})

test('a leaf has no children; a leaf with a priority is still a leaf', () => {
  for (const leaf of [5, { '.value': 5, '.priority': 1 }]) {
    const snapshot = snapshotOf(leaf)
    expect([snapshot.val(), snapshot.exists(), snapshot.hasChildren(), snapshot.size]).toEqual([
      5,
      true,
      false,
      0,
    ])
    expect(snapshot.child('.value'.slice(1)).exists()).toBe(false)
  }
})

test('what it hands out may be changed without changing it', () => {
  const snapshot = snapshotOf({ a: { b: 1 } })

  snapshot.val().a.b = 2
  snapshot.exportVal().a.b = 3

  expect(snapshot.val()).toEqual({ a: { b: 1 } })
})

test('key and ref name its place', () => {
  const snapshot = snapshotOf({ a: { b: 1 } })

  expect([snapshot.key, snapshot.child('a/b').key]).toEqual(['at', 'b'])
  expect(snapshot.child('a/b').ref.toString()).toBe('http://server.test:9000/at/a/b')
})
