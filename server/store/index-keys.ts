/**
 * Index keys: a child's place in an index as text whose UTF-16 order is Firebase's order of places. Rows order their
 * keys so, on disk and in memory, hence an index is one more node whose "children" are places.
 *
 *   place    ordered value | child key
 *   value    a null | b false | c true | d number, 4 units | e text, ended by \0\0 | f object
 *   number   IEEE 754 bits; the sign flipped for what is positive, all bits for what is negative
 *   text     \0 as \0\1; only TEXT_UNITS_MAX units of a longer one, ended by \0\2: such rows are told apart by
 *            looking at the values themselves
 *   key      \1 integer with flipped sign, 2 units | length | the text, unless it is the canonical one
 *            \2 any other text
 *
 * The letters keep a place from looking like an integer key.
 */
import { strict as assert } from 'node:assert'
import { integerKey, isObject, leafOf, type Value } from '../../protocol/index.ts'

/** With the longest key in 3 bytes a unit this stays below LMDB's limit for keys. */
export const TEXT_UNITS_MAX = 200

/** Sorts behind every key part. */
const BEHIND_KEYS = '\u0003'

const bits = new DataView(new ArrayBuffer(8))

export function placeKey(ordered: Value, key: string): string {
  return valuePart(ordered) + keyPart(key)
}

/** What the places of all keys with one ordered value begin with; shared by all texts that are cut off alike. */
export function valuePart(ordered: Value): string {
  if (isObject(ordered)) return 'f'
  const leaf = leafOf(ordered)
  switch (typeof leaf) {
    case 'boolean':
      return leaf ? 'c' : 'b'
    case 'number':
      return `d${numberPart(leaf)}`
    case 'string':
      return `e${textPart(leaf)}`
    default:
      return 'a'
  }
}

/** A text that sorts behind all places that begin with a value part. */
export function behindValue(part: string): string {
  return part + BEHIND_KEYS
}

export function isCutOff(valuePart: string): boolean {
  return valuePart.charCodeAt(valuePart.length - 1) === 2
}

function numberPart(number: number): string {
  // The two zeros are one.
  bits.setFloat64(0, number + 0)
  const high = bits.getUint32(0)
  const low = bits.getUint32(4)
  const isNegative = high >>> 31 === 1
  const [a, b] = isNegative ? [~high >>> 0, ~low >>> 0] : [(high ^ 0x8000_0000) >>> 0, low]
  return String.fromCharCode(a >>> 16, a & 0xffff, b >>> 16, b & 0xffff)
}

function textPart(text: string): string {
  const isLong = text.length > TEXT_UNITS_MAX
  const head = isLong ? text.slice(0, TEXT_UNITS_MAX) : text
  const escaped = head.includes('\0') ? head.replaceAll('\0', '\0\u0001') : head
  return escaped + (isLong ? '\0\u0002' : '\0\0')
}

function keyPart(key: string): string {
  const integer = integerKey(key)
  if (integer === null) return `\u0002${key}`
  const flipped = (integer ^ 0x8000_0000) >>> 0
  const text = key === String(integer) ? '' : key
  return `\u0001${String.fromCharCode(flipped >>> 16, flipped & 0xffff, key.length)}${text}`
}

/** Where the key part of a place begins. */
export function keyStart(place: string): number {
  switch (place[0]) {
    case 'd':
      return 5
    case 'e':
      for (let at = place.indexOf('\0', 1); ; at = place.indexOf('\0', at + 2)) {
        assert(at > 0, 'the text of a place has an end')
        if (place.charCodeAt(at + 1) !== 1) return at + 2
      }
    default:
      return 1
  }
}

/** The child key of a place. */
export function keyOfPlace(place: string, start = keyStart(place)): string {
  if (place.charCodeAt(start) === 2) return place.slice(start + 1)
  if (place.length > start + 4) return place.slice(start + 4)
  return String(((place.charCodeAt(start + 1) << 16) | place.charCodeAt(start + 2)) ^ 0x8000_0000)
}
