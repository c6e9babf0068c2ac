import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isInRange, type Query } from '../../protocol/index.ts'
import { Reaches, rangeOf } from './reaches.ts'

const n = fc.constantFrom<string | number | boolean | null>(null, true, 0, 1, 2, 'a')
const key = fc.constantFrom('1', '2', '10', 'a', 'b')
const bound = fc.record({ value: n, key, inclusive: fc.boolean() }, { requiredKeys: ['value', 'inclusive'] })
const query = fc.record(
  { orderBy: fc.constant('value' as const), start: bound, end: bound },
  { requiredKeys: ['orderBy'] },
) as fc.Arbitrary<Query>
const places = fc.array(fc.record({ ordered: n, key }), { minLength: 1 })
const act = fc
  .oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('put' as const), query }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const) }) },
  )
  .chain((what) => fc.nat({ max: 30 }).map((window) => ({ ...what, window })))

test('a place finds the windows whose range it is in, whatever was put, changed and removed before', () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 80 }), places, (acts, at) => {
      const reaches = new Reaches<number>()
      const queries = new Map<number, Query>()
      for (const step of acts) {
        if (step.do === 'remove') {
          reaches.remove(step.window)
          queries.delete(step.window)
        } else {
          reaches.put(step.window, rangeOf(step.query))
          queries.set(step.window, step.query)
        }
      }

      expect(reaches.size).toBe(queries.size)
      for (const place of at) {
        const found = new Set<number>()
        reaches.find(place, found)
        const wanted = [...queries].filter(([, of]) => isInRange(of, place.key, place.ordered))
        expect([...found].sort()).toEqual(wanted.map(([window]) => window).sort())
      }
    }),
    { numRuns: Number(process.env['RUNS'] ?? 500) },
  )
})

test('a reach that is extended finds all it found before the other side drew in, and one put anew no more than it is', () => {
  const reaches = new Reaches<string>()
  const from = (value: number) =>
    rangeOf({ orderBy: 'value', start: { value, inclusive: true }, end: { value: 9, inclusive: true } })
  const finds = (ordered: number): boolean => {
    const found = new Set<string>()
    reaches.find({ ordered, key: 'a' }, found)
    return found.has('window')
  }

  reaches.put('window', from(5))
  reaches.extend('window', from(7))
  expect([4, 5, 9, 10].map(finds)).toEqual([false, true, true, false])
  reaches.extend('window', from(3))
  expect([2, 3].map(finds)).toEqual([false, true])
  reaches.put('window', from(7))
  expect([6, 7].map(finds)).toEqual([false, true])
})

test.each([
  ['they come', (i: number) => i],
  ['multiples of the golden ratio lie', (i: number) => Math.imul(i, 0x9e3779b1) >>> 0],
])('the tree does not become a chain, though windows begin in the order in which %s', (_, beginOf) => {
  const reaches = new Reaches<number>()
  const COUNT = 20_000
  for (let i = 1; i <= COUNT; i++) {
    reaches.put(i, rangeOf({ orderBy: 'value', start: { value: beginOf(i), inclusive: true } }))
  }
  for (let i = 1; i <= COUNT; i++) if (i % 100 !== 0) reaches.remove(i)

  const found = new Set<number>()
  reaches.find({ ordered: 2 ** 32, key: 'a' }, found)
  expect(found.size).toBe(COUNT / 100)
})
