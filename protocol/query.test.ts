/** Queries: their wire form and back, what is refused, and that equal queries have equal keys. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RequestError } from './errors.ts'
import { type Bound, encodeQuery, type Order, parseQuery, type Query, queryKey } from './query.ts'

const anyBound = (
  value: fc.Arbitrary<Bound['value']>,
  key: fc.Arbitrary<string | undefined>,
): fc.Arbitrary<Bound> =>
  fc
    .record({ value, inclusive: fc.boolean(), key })
    .map(({ value, inclusive, key }) =>
      key === undefined ? { value, inclusive } : { value, inclusive, key },
    )

const keyBound = anyBound(fc.string(), fc.constant(undefined))
const valueBound = anyBound(
  fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
    fc.string(),
  ),
  fc.option(fc.string(), { nil: undefined }),
)

const anyQuery: fc.Arbitrary<Query> = fc
  .constantFrom<Order>('key', 'value', 'priority', { child: ['a'] }, { child: ['a', 'b c'] })
  .chain((orderBy) => {
    const bound = fc.option(orderBy === 'key' ? keyBound : valueBound, { nil: undefined })
    const limit = fc.record({
      count: fc.integer({ min: 1, max: 1e6 }),
      from: fc.constantFrom<'first' | 'last'>('first', 'last'),
    })
    return fc
      .record({ start: bound, end: bound, limit: fc.option(limit, { nil: undefined }) })
      .map((parts) => {
        const query: Query = { orderBy }
        if (parts.start !== undefined) query.start = parts.start
        if (parts.end !== undefined) query.end = parts.end
        if (parts.limit !== undefined) query.limit = parts.limit
        return query
      })
  })

test('a query survives the wire', () => {
  fc.assert(
    fc.property(anyQuery, (query) => {
      expect(parseQuery(encodeQuery(query))).toEqual(query)
      expect(parseQuery(JSON.parse(JSON.stringify(encodeQuery(query))))).toEqual(query)
    }),
  )
})

test('queries have the same key exactly when they are equal', () => {
  fc.assert(
    fc.property(anyQuery, anyQuery, (a, b) => {
      expect(queryKey(a)).toBe(queryKey(structuredClone(a)))
      expect(queryKey(a) === queryKey(b)).toBe(
        JSON.stringify(encodeQuery(a)) === JSON.stringify(encodeQuery(b)),
      )
      expect(queryKey(a)).not.toBe(queryKey(null))
    }),
  )
})

test('the order of fields on the wire does not tell queries apart', () => {
  const one = parseQuery({ o: '.key', s: ['a', true], l: 5, f: 'first' })
  const other = parseQuery({ f: 'first', l: 5, s: ['a', true], o: '.key' })

  expect(queryKey(one)).toBe(queryKey(other))
})

test('nil is the default query', () => {
  expect(parseQuery(null)).toBeNull()
  expect(queryKey(null)).toBe('')
})

test.each<[string, unknown, Query]>([
  ['an order alone', { o: '.priority' }, { orderBy: 'priority' }],
  ['a child path', { o: 'address/zip' }, { orderBy: { child: ['address', 'zip'] } }],
  [
    'a range with a tie-breaking key',
    { o: '.value', s: [5, false], e: [null, true, 'k'] },
    {
      orderBy: 'value',
      start: { value: 5, inclusive: false },
      end: { value: null, inclusive: true, key: 'k' },
    },
  ],
  ['a limit', { o: '.key', l: 50, f: 'last' }, { orderBy: 'key', limit: { count: 50, from: 'last' } }],
  [
    'a bound of 4096 bytes',
    { o: '.key', s: ['x'.repeat(4096), true] },
    { orderBy: 'key', start: { value: 'x'.repeat(4096), inclusive: true } },
  ],
])('%s is a query', (_, wire, query) => {
  expect(parseQuery(wire)).toEqual(query)
})

test.each<[string, unknown, string]>([
  ['a text', '.key', 'a query is a map or nil'],
  ['a list', [], 'a query is a map or nil'],
  ['a number', 0, 'a query is a map or nil'],
  ['a map without an order', {}, '`o` is not a text'],
  ['an order that is a number', { o: 1 }, '`o` is not a text'],
  ['an order with its own `toString`', { o: { toString: 1 } }, '`o` is not a text'],
  ['an empty child path', { o: '' }, '`o` is empty'],
  ['an unknown order', { o: '.size' }, 'forbidden character'],
  ['a child path with a bad key', { o: 'a/b#' }, 'forbidden character'],
  ['an unknown field', { o: '.key', x: 1 }, 'unknown field `x`'],
  ['a field made of known letters', { o: '.key', se: 1 }, 'unknown field `se`'],
  ['an empty field', { o: '.key', '': 1 }, 'unknown field ``'],
  ['a bound that is no list', { o: '.key', s: 'a' }, 'a bound is [value, inclusive, key?]'],
  ['a bound of one', { o: '.key', s: ['a'] }, 'a bound is [value, inclusive, key?]'],
  ['a bound of four', { o: '.value', s: ['a', true, 'k', 1] }, 'a bound is [value, inclusive, key?]'],
  ['a bound of an object', { o: '.value', s: [{}, true] }, 'a bound is a boolean, number, string or nil'],
  ['a bound of NaN', { o: '.value', s: [Number.NaN, true] }, 'bound `NaN` is not finite'],
  ['a bound of infinity', { o: '.value', e: [Infinity, true] }, 'bound `Infinity` is not finite'],
  ['a bound without its side', { o: '.value', s: [1, 1] }, '`inclusive` is not a boolean'],
  [
    'a tie-breaking key that is no text',
    { o: '.value', s: [1, true, 2] },
    'the key of a bound is not a string',
  ],
  ['a number where keys are ordered', { o: '.key', s: [1, true] }, 'a bound of order `.key` is a key'],
  ['a second key where keys are ordered', { o: '.key', s: ['a', true, 'b'] }, 'has no second key'],
  ['a bound of 4097 bytes', { o: '.value', s: [`x${'é'.repeat(2048)}`, true] }, 'has more than 4096 bytes'],
  [
    'a tie-breaking key of 769 bytes',
    { o: '.value', s: [1, true, 'x'.repeat(769)] },
    'has more than 768 bytes',
  ],
  ['a limit of nothing', { o: '.key', l: 0, f: 'first' }, 'limit `0` is not a positive integer'],
  ['a limit of a half', { o: '.key', l: 0.5, f: 'first' }, 'limit `0.5` is not a positive integer'],
  ['a limit past all counting', { o: '.key', l: 1e300, f: 'first' }, 'limit `1e+300` is not'],
  ['a limit with its own `toString`', { o: '.key', l: { toString: 1 }, f: 'first' }, 'limit `{…}` is not'],
  ['a limit without its side', { o: '.key', l: 5 }, '`f` is neither'],
  ['a side without its limit', { o: '.key', f: 'first' }, 'limit `undefined` is not'],
])('%s is refused as an invalid query', (_, wire, words) => {
  let error: unknown
  try {
    parseQuery(wire)
  } catch (thrown) {
    error = thrown
  }

  expect(error).toBeInstanceOf(RequestError)
  expect((error as RequestError).kind).toBe('invalidQuery')
  expect((error as RequestError).message).toContain(words)
})
