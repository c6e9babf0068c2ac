/**
 * Row keys: a node id and a child's key as bytes that LMDB's memcmp orders as Firebase orders children.
 *
 *   row key      node id, 6 bytes big-endian | child key
 *   integer key  0x01 | value with flipped sign, 4 bytes | length, 2 bytes | the text, unless it is the canonical one
 *   string key   0x02 | each UTF-16 unit in the 1 to 3 bytes UTF-8 has for it
 *
 * UTF-8 itself would order characters beyond U+FFFF after U+E000-U+FFFF; Firebase compares UTF-16 units, so each
 * half of a surrogate pair is written on its own (CESU-8).
 */
import { integerKey } from '../../protocol/index.ts'

export const NODE_ID_BYTES = 6
/** LMDB's limit with pages of 4 KiB. The worst legal key, 192 characters of 4 bytes, takes 1,159. */
export const ROW_KEY_BYTES_MAX = 1978

const INTEGER = 1
const STRING = 2
const INTEGER_BYTES = 7

/** Writes a node id and returns the position after it. */
export function writeNodeId(id: number, target: Uint8Array, start: number): number {
  const high = Math.floor(id / 0x1_0000_0000)
  target[start] = high >>> 8
  target[start + 1] = high
  target[start + 2] = id >>> 24
  target[start + 3] = id >>> 16
  target[start + 4] = id >>> 8
  target[start + 5] = id
  return start + NODE_ID_BYTES
}

/** Writes a child key and returns the position after it. `target` has room for ROW_KEY_BYTES_MAX. */
export function writeChildKey(key: string, target: Uint8Array, start: number): number {
  const first = key.charCodeAt(0)
  // `-` and digits; push keys begin with `-` too, and integerKey turns them away at their second character.
  if (first === 45 || (first >= 48 && first <= 57)) {
    const integer = integerKey(key)
    if (integer !== null) return writeInteger(integer, key, target, start)
  }
  let at = start
  target[at++] = STRING
  const length = key.length
  for (let i = 0; i < length; i++) {
    const unit = key.charCodeAt(i)
    if (unit < 0x80) target[at++] = unit
    else if (unit < 0x800) {
      target[at++] = 0xc0 | (unit >> 6)
      target[at++] = 0x80 | (unit & 0x3f)
    } else {
      target[at++] = 0xe0 | (unit >> 12)
      target[at++] = 0x80 | ((unit >> 6) & 0x3f)
      target[at++] = 0x80 | (unit & 0x3f)
    }
  }
  return at
}

function writeInteger(integer: number, key: string, target: Uint8Array, start: number): number {
  const flipped = (integer ^ 0x8000_0000) >>> 0
  target[start] = INTEGER
  target[start + 1] = flipped >>> 24
  target[start + 2] = flipped >>> 16
  target[start + 3] = flipped >>> 8
  target[start + 4] = flipped
  target[start + 5] = key.length >>> 8
  target[start + 6] = key.length
  let at = start + INTEGER_BYTES
  // `01` and `-0` are integers too; the canonical text is the shortest, so leaving it out keeps the order.
  if (key !== String(integer)) for (let i = 0; i < key.length; i++) target[at++] = key.charCodeAt(i)
  return at
}

/** Reads back what `writeChildKey` wrote between `start` and `end`. */
export function readChildKey(source: Uint8Array, start: number, end: number): string {
  if (source[start] === INTEGER) {
    if (end === start + INTEGER_BYTES) {
      return String(
        ((source[start + 1]! << 24) |
          (source[start + 2]! << 16) |
          (source[start + 3]! << 8) |
          source[start + 4]!) ^
          0x8000_0000,
      )
    }
    return readUnits(source, start + INTEGER_BYTES, end)
  }
  return readUnits(source, start + 1, end)
}

const latin1Slice = (Buffer.prototype as unknown as { latin1Slice: Slice }).latin1Slice
type Slice = (this: Uint8Array, start: number, end: number) => string

function readUnits(source: Uint8Array, start: number, end: number): string {
  for (let i = start; i < end; i++) if (source[i]! >= 0x80) return readWideUnits(source, start, end)
  // One call into C++ beats growing a string once it is longer than a few characters.
  if (end - start > 12) return latin1Slice.call(source, start, end)
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(source[i]!)
  return text
}

function readWideUnits(source: Uint8Array, start: number, end: number): string {
  let text = ''
  let at = start
  while (at < end) {
    const byte = source[at++]!
    if (byte < 0x80) text += String.fromCharCode(byte)
    else if (byte < 0xe0) text += String.fromCharCode(((byte & 0x1f) << 6) | (source[at++]! & 0x3f))
    else {
      text += String.fromCharCode(
        ((byte & 0x0f) << 12) | ((source[at]! & 0x3f) << 6) | (source[at + 1]! & 0x3f),
      )
      at += 2
    }
  }
  return text
}
