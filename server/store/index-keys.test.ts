import fc from 'fast-check'
import { expect, test } from 'vitest'
import { comparePlaces, type Value } from '../../protocol/index.ts'
import {
  behindValue,
  isCutOff,
  keyOfPlace,
  keyStart,
  placeKey,
  TEXT_UNITS_MAX,
  valuePart,
} from './index-keys.ts'
import { NODE_ID_BYTES, ROW_KEY_BYTES_MAX, readChildKey, writeChildKey } from './keys.ts'

const text = fc.oneof(
  fc.string({
    unit: fc.constantFrom('a', 'b', '\0', '\u0001', '\u0002', 'é', '\ud83d', '\ude00', '\uffff'),
    maxLength: 6,
  }),
  fc.string({ unit: 'binary' }),
)
const ordered: fc.Arbitrary<Value> = fc.oneof(
  fc.constantFrom<Value>(null, true, false, 0, -0, 1, -1, 1e300, -1e300, 5e-324, 2 ** 53, { a: 1 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  text,
)
const key = fc.oneof(
  fc.constantFrom(
    '-1',
    '0',
    '-0',
    '1',
    '01',
    '00001',
    '9',
    '10',
    '1a',
    '2147483647',
    '2147483648',
    '-2147483648',
  ),
  fc.constantFrom('A', 'a', 'é', '😀', '\uffee'),
)

function bytesOf(place: string): Buffer {
  const target = new Uint8Array(ROW_KEY_BYTES_MAX + 2000)
  return Buffer.from(target.subarray(0, writeChildKey(place, target, 0)))
}

test('places order as Firebase orders children, as texts and as bytes', () => {
  fc.assert(
    fc.property(ordered, key, ordered, key, (a, aKey, b, bKey) => {
      const order = Math.sign(comparePlaces(a, aKey, b, bKey))
      const [x, y] = [placeKey(a, aKey), placeKey(b, bKey)]
      expect(x === y ? 0 : x < y ? -1 : 1).toBe(order)
      expect(Buffer.compare(bytesOf(x), bytesOf(y))).toBe(order)
    }),
    { numRuns: 20_000 },
  )
})

test('a place gives its key back, also after it was bytes', () => {
  fc.assert(
    fc.property(ordered, key, (value, childKey) => {
      const bytes = bytesOf(placeKey(value, childKey))
      expect(keyOfPlace(readChildKey(bytes, 0, bytes.length))).toBe(childKey)
    }),
  )
})

test('all places of a value lie between its part and what is behind it, and no others do', () => {
  fc.assert(
    fc.property(ordered, key, ordered, (a, aKey, b) => {
      const part = valuePart(b)
      const isWithin = placeKey(a, aKey) > part && placeKey(a, aKey) < behindValue(part)
      expect(isWithin).toBe(comparePlaces(a, 'x', b, 'x') === 0)
    }),
    { numRuns: 5000 },
  )
})

test('texts too long for a key are cut off, behind the longest that is not and before the next', () => {
  const longest = 'a'.repeat(TEXT_UNITS_MAX)
  const cutOff = [`${longest}a`, `${longest}\0`, `${longest}zzz`]

  for (const long of cutOff) {
    expect(valuePart(long)).toBe(valuePart(cutOff[0]!))
    expect(isCutOff(valuePart(long))).toBe(true)
    expect(placeKey(long, 'k') > placeKey(longest, 'k')).toBe(true)
    expect(placeKey(long, 'k') < placeKey(`${longest.slice(1)}b`, 'k')).toBe(true)
  }
  expect(isCutOff(valuePart(longest))).toBe(false)
})

test('the longest place fits into a row key', () => {
  const place = placeKey('\uffff'.repeat(5000), '\u{10ffff}'.repeat(192))

  expect(NODE_ID_BYTES + bytesOf(place).length).toBeLessThan(ROW_KEY_BYTES_MAX - 64)
  expect(keyOfPlace(place, keyStart(place))).toBe('\u{10ffff}'.repeat(192))
})
