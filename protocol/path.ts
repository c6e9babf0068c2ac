/**
 * Paths and keys: parsing, limits, containment and Firebase's key order. Pure.
 * A path is the list of keys from the root; the root is the empty list.
 */
import { RequestError } from './errors.ts'

export type Path = readonly string[]

export const ROOT: Path = []

/** Limits of Firebase's data model. Bytes are UTF-8. */
export const PATH_DEPTH_MAX = 32
export const KEY_BYTES_MAX = 768

/** Any longer text is no path, whatever its slashes: refused before it is split. */
const PATH_UNITS_MAX = PATH_DEPTH_MAX * (KEY_BYTES_MAX + 1) + 1

/** By character code: `. $ # [ ] /` and control characters. */
const IS_FORBIDDEN = Uint8Array.from({ length: 128 }, (_, unit) =>
  /[.$#[\]/\u0000-\u001f\u007f]/.test(String.fromCharCode(unit)) ? 1 : 0,
)

/**
 * Parses `a/b/c`; one leading and one trailing slash are tolerated, the empty text is the root.
 * @throws {RequestError} `invalid_path` for empty keys, forbidden characters, too long or too deep paths.
 */
export function parsePath(text: string): Path {
  if (text.length > PATH_UNITS_MAX) {
    throw new RequestError('invalidPath', `path \`${clip(text)}\` is ${text.length} characters long`)
  }
  let start = 0
  let end = text.length
  if (text.charCodeAt(0) === 47) start = 1
  if (end > start && text.charCodeAt(end - 1) === 47) end -= 1
  if (start >= end) return ROOT
  const keys = (start === 0 && end === text.length ? text : text.slice(start, end)).split('/')
  if (keys.length <= PATH_DEPTH_MAX && isPlainPath(text, start, end)) return keys
  if (keys.length > PATH_DEPTH_MAX) {
    throw new RequestError(
      'invalidPath',
      `path \`${clip(text)}\` has ${keys.length} keys; paths may have at most ${PATH_DEPTH_MAX}`,
    )
  }
  for (const key of keys) {
    const problem = keyProblem(key)
    if (problem !== null) throw new RequestError('invalidPath', `path \`${clip(text)}\`: ${problem}`)
  }
  return keys
}

/**
 * Whether a path is surely fine, in one pass: every message brings one, and to check it key by key costs more
 * than to decode it. What is long or looks like `__proto__` goes the long way.
 */
function isPlainPath(text: string, start: number, end: number): boolean {
  if (end - start > KEY_BYTES_MAX / 3) return false
  let before = 47
  for (let i = start; i < end; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 47 || unit === 95) {
      if (before === unit) return false
    } else if (unit < 128 ? IS_FORBIDDEN[unit] !== 0 : isSurrogate(unit)) return false
    before = unit
  }
  return before !== 47
}

/** What is wrong with a key, as one line, or null when it is fine. */
export function keyProblem(key: string): string | null {
  if (key.length === 0) return 'a key is empty; keys have at least one character'
  if (hasForbidden(key)) {
    return `key \`${clip(key)}\` contains a forbidden character; keys may not contain . # $ [ ] / or control characters`
  }
  if (!isWellFormed(key)) {
    return `key \`${clip(key)}\` contains half of a surrogate pair; keys are well-formed Unicode`
  }
  // A UTF-16 unit is at most 3 bytes of UTF-8, so short keys need no count.
  if (key.length > KEY_BYTES_MAX / 3 && utf8Length(key) > KEY_BYTES_MAX) {
    return `key \`${clip(key)}\` is ${utf8Length(key)} bytes long; keys may have at most ${KEY_BYTES_MAX}`
  }
  // Refused so that no plain object anywhere, in a server or in an app, can have its prototype swapped.
  if (key === '__proto__') return 'key `__proto__` is reserved'
  return null
}

/** In a pattern with the `u` flag a pair is one character, so only a half matches. UTF-8 has no bytes for it. */
const LONE_SURROGATE = /\p{Surrogate}/u

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff
}

/** Not in every browser yet; where it is there it does not look at texts of one-byte characters at all. */
function isWellFormed(text: string): boolean {
  const native = (text as { isWellFormed?: () => boolean }).isWellFormed
  return native === undefined ? !LONE_SURROGATE.test(text) : native.call(text)
}

/** Text as the store and the wire can hold it: halves of surrogate pairs, which JSON may bring, become U+FFFD. */
export function wellFormed(text: string): string {
  return isWellFormed(text) ? text : text.replace(new RegExp(LONE_SURROGATE, 'gu'), '\ufffd')
}

/** A loop, since a regular expression costs more than a short key. */
function hasForbidden(key: string): boolean {
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    if (unit < 128 && IS_FORBIDDEN[unit] !== 0) return true
  }
  return false
}

export function formatPath(path: Path): string {
  return `/${path.join('/')}`
}

export function isAtOrAbove(ancestor: Path, path: Path): boolean {
  if (ancestor.length > path.length) return false
  for (let i = 0; i < ancestor.length; i++) if (ancestor[i] !== path[i]) return false
  return true
}

export function samePath(a: Path, b: Path): boolean {
  return a.length === b.length && isAtOrAbove(a, b)
}

const INTEGER_KEY = /^-?0*\d{1,10}$/

/** The integer a key stands for in key order, or null when it orders as a string. */
export function integerKey(key: string): number | null {
  const first = key.charCodeAt(0)
  if ((first < 48 || first > 57) && first !== 45) return null
  if (!INTEGER_KEY.test(key)) return null
  const number = Number(key)
  return number >= -2147483648 && number <= 2147483647 ? number : null
}

/**
 * Firebase's key order: integers in the 32-bit range first, by number, then by length; all other keys
 * by UTF-16 code units. `-1 < 0 < -0 < 1 < 01 < 9 < 10 < 1a < 2147483648 < A < a < é`.
 */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0
  const x = integerKey(a)
  const y = integerKey(b)
  if (x !== null && y !== null) {
    if (x !== y) return x < y ? -1 : 1
    if (a.length !== b.length) return a.length < b.length ? -1 : 1
    return a < b ? -1 : 1
  }
  if (x !== null) return -1
  if (y !== null) return 1
  return a < b ? -1 : 1
}

/** UTF-8 length without encoding. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    if (unit < 0x800) bytes += 1
    else if (unit >= 0xd800 && unit <= 0xdbff && i + 1 < text.length) {
      const next = text.charCodeAt(i + 1)
      if (next >= 0xdc00 && next <= 0xdfff) {
        bytes += 2
        i += 1
      } else bytes += 2
    } else bytes += 2
  }
  return bytes
}

/** Offending text is quoted in messages, but never at a length a client chooses. */
export function clip(text: string, lengthMax = 64): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax)}…`
}

/** Offending input of any type, for messages. `String()` would call a `toString` that the client sent. */
export function quoteInput(raw: unknown): string {
  if (typeof raw === 'object' && raw !== null) return Array.isArray(raw) ? '[…]' : '{…}'
  return clip(String(raw))
}

/**
 * Two locations of one update, one within the other, would leave the outcome to chance.
 * @throws {RequestError} `invalid_path`
 */
export function assertApart(locations: readonly Path[]): void {
  // In this order a path comes right before all that lie within it.
  const sorted = [...locations].sort(compareByKeys)
  for (let i = 1; i < sorted.length; i++) {
    const ancestor = sorted[i - 1]!
    const path = sorted[i]!
    if (!isAtOrAbove(ancestor, path)) continue
    if (ancestor.length < path.length) throw overlap(formatPath(ancestor), path)
    throw new RequestError('invalidPath', `path \`${formatPath(path)}\` occurs twice in one update`)
  }
}

/** Key by key, in any order of keys: to format ten thousand deep paths, and all places above them, takes a second. */
export function compareByKeys(a: Path, b: Path): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1
  return a.length - b.length
}

function overlap(ancestor: string, path: Path): RequestError {
  return new RequestError(
    'invalidPath',
    `path \`${ancestor}\` is an ancestor of \`${formatPath(path)}\` in the same update`,
  )
}
