import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareKeys, KEY_BYTES_MAX, keyProblem } from '../../protocol/index.ts'
import { NODE_ID_BYTES, ROW_KEY_BYTES_MAX, readChildKey, writeChildKey, writeNodeId } from './keys.ts'

/** Keys of every kind that order specially: integers in all their spellings, surrogates, the ends of the planes. */
const key = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }),
    fc.string({ unit: fc.constantFrom('0', '1', '9', '-'), minLength: 1, maxLength: 13 }),
    fc.integer().map(String),
    fc.string({ unit: fc.constantFrom('a', 'é', '\ud83d', '\ude00', '\ue000', '\uffff'), minLength: 1 }),
    fc.constantFrom('-0', '00', '01', '2147483647', '2147483648', '-2147483648', '-2147483649', '1a'),
  )
  .filter((text) => keyProblem(text) === null)

function encode(text: string): Buffer {
  const bytes = Buffer.alloc(ROW_KEY_BYTES_MAX)
  return bytes.subarray(0, writeChildKey(text, bytes, 0))
}

test('row keys order by memcmp as Firebase orders keys', () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      expect(Math.sign(Buffer.compare(encode(a), encode(b)))).toBe(compareKeys(a, b))
    }),
    { numRuns: 3000 },
  )
})

test('a row key reads back as the key it was written from', () => {
  fc.assert(
    fc.property(key, (text) => {
      const bytes = encode(text)
      expect(readChildKey(bytes, 0, bytes.length)).toBe(text)
    }),
    { numRuns: 3000 },
  )
})

test('the longest legal keys fit', () => {
  for (const text of [
    '\u{1f600}'.repeat(KEY_BYTES_MAX / 4),
    'a'.repeat(KEY_BYTES_MAX),
    '0'.repeat(KEY_BYTES_MAX),
  ]) {
    expect(keyProblem(text)).toBeNull()

    const bytes = encode(text)

    expect(bytes.length + NODE_ID_BYTES).toBeLessThanOrEqual(ROW_KEY_BYTES_MAX - 64)
    expect(readChildKey(bytes, 0, bytes.length)).toBe(text)
  }
})

test('node ids order by memcmp as numbers', () => {
  const ids = [0, 1, 255, 256, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 47, 2 ** 48 - 1]

  const encoded = ids.map((id) => {
    const bytes = Buffer.alloc(NODE_ID_BYTES)
    expect(writeNodeId(id, bytes, 0)).toBe(NODE_ID_BYTES)
    return bytes
  })

  expect([...encoded].sort(Buffer.compare)).toEqual(encoded)
  expect(encoded.map((bytes) => bytes.readUIntBE(0, NODE_ID_BYTES))).toEqual(ids)
})
