import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseValue } from '../protocol/index.ts'
import { isHashOf, isSmall, nodeHash } from './node-hash.ts'

// Made with Firebase's JavaScript SDK 1.1.5.
const vectors: readonly [value: unknown, hash: string][] = [
  [null, ''],
  [{}, ''],
  [0, '7ysMph9WPitGP7poMnMHMVPtUlI='],
  [1, 'YPVfR2bXt/lcDjiQZ8pOkAd3qkQ='],
  [-1, 'dMw8oUBNk57KCeIcgAKXVS2BfB0='],
  [5, 'w28swksk9+tXf5jEdS9R5oSFAv8='],
  [0.1, 'wtQjBi5TBE+ZcdekL6INiSeCSQI='],
  [9007199254740991, 'm4qsp/5BbIWTdjthNlnOX+WCTB0='],
  [3.9999999999999996, 'eVih19a6ZDz3NL32uVBtg9KSgQY='],
  [true, 'E5z61QM0lN/U2WsOnusszCTkR8M='],
  [false, 'aSSNoqcS4oQwJ2xxH20rvpp3zP0='],
  ['', 'Ki0Xy0V6morg0TO3Sxi/jwugYDQ='],
  ['a', 'eMfSk0nU+CieTkCbO5r7cKNp7qU='],
  ['é😀', 'z5EhWwfWbdCO10sZHK3vEDoZoOI='],
  ['5', '7Bpt+Tdrw6G0bIQL4P7QvSQ5h7w='],
  [{ '.value': 5, '.priority': 1 }, 'oUSZ9VFwUrevB81K4PcN+7BHDJw='],
  [{ '.value': 'x', '.priority': 'p' }, 'Ee+tTXV5cvjTnBMuKXMyU8fA5VY='],
  [{ a: 1, b: 2 }, 'AUZnXhNqrfbznYVxcCvNpzpjvTU='],
  [{ a: 1, '.priority': 0 }, 'e0DoGnjHac6UBnclyfydMOPWe7w='],
  [[1, 2], 'fOnL2UowZBFe3bI9YA5uUzua3N8='],
  [{ '1': 6, '9': 2, '10': 1, '2147483648': 7, a: 3, '-1': 4, '01': 5 }, 'k7gx+J8bergQJdOpmLnyXADy+L0='],
  [
    { a: { '.value': 1, '.priority': 2 }, b: { '.value': 1, '.priority': 1 }, c: 1 },
    'J7DfCO/qt23HUs/BlO6AuOtEaoo=',
  ],
]

test.each(vectors)('%j hashes as Firebase’s JavaScript SDK hashes it', (value, hash) => {
  expect(nodeHash(parseValue(value), 'javascript')).toBe(hash)
})

test.each(vectors.filter(([value]) => value !== 9007199254740991 && value !== 3.9999999999999996))(
  'the true hash of %j is the same',
  (value, hash) => {
    expect(nodeHash(parseValue(value))).toBe(hash)
  },
)

test('where the SDK errs, the true hash differs and tells neighbours apart', () => {
  expect(nodeHash(3.9999999999999996)).not.toBe(nodeHash(4))
  expect(nodeHash(3.9999999999999996, 'javascript')).toBe(nodeHash(4))
  expect(nodeHash(2 ** -29, 'javascript')).toBe(nodeHash(2 ** -30))
})

test('millisecond timestamps and small integers hash the same in both styles', () => {
  const numbers = fc.oneof(
    fc.integer({ min: -5_000_000, max: 5_000_000 }),
    fc.integer({ min: 1e12, max: 2e12 }),
  )

  fc.assert(fc.property(numbers, (number) => nodeHash(number) === nodeHash(number, 'javascript')))
})

test('any double has a hash in both styles', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
      expect(nodeHash(number)).toHaveLength(28)
      expect(nodeHash(number, 'javascript')).toHaveLength(28)
    }),
  )
})

test('a client holds a value if either style of its hash says so', () => {
  const value = { max: Number.MAX_SAFE_INTEGER, list: { a: 1 } }

  expect(isHashOf(nodeHash(value), value)).toBe(true)
  expect(isHashOf(nodeHash(value, 'javascript'), value)).toBe(true)
  expect(isHashOf(nodeHash({ max: 2 }), value)).toBe(false)
  expect(isHashOf('', value)).toBe(false)
  expect(isHashOf('', null)).toBe(true)
  expect(isHashOf('junk', null)).toBe(false)
})

test('a value is small up to its limit of leaves', () => {
  expect(isSmall({ a: { b: 1, c: 2 }, d: 3 }, 3)).toBe(true)
  expect(isSmall({ a: { b: 1, c: 2 }, d: 3 }, 2)).toBe(false)
  expect(isSmall(null, 1)).toBe(true)
})
