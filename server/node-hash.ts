/**
 * Node hash: the digest by which Firebase's clients say what value they hold. Transactions send it as their
 * precondition, listens to be spared data they have.
 *
 *   leaf     [priority:<type>:<value>:]<type>:<value>
 *   object   [priority:<type>:<value>:] then `:<key>:<hash of child>` for each child, by priority, then by key
 *   hash     base64(SHA-1(UTF-8(text))); nothing at all has the empty text as its hash
 */
import { createHash } from 'node:crypto'
import {
  childKeys,
  childOf,
  compareKeys,
  type Leaf,
  leafOf,
  type Priority,
  priorityOf,
  type Value,
} from '../protocol/index.ts'

/** `javascript` encodes numbers as Firebase's JavaScript SDK does, which errs near powers of two. */
export type HashStyle = 'true' | 'javascript'

export function nodeHash(value: Value, style: HashStyle = 'true'): string {
  if (value === null) return ''
  const leaf = leafOf(value)
  let text = priorityText(priorityOf(value), style)
  if (leaf !== null) text += leafText(leaf, style)
  else for (const key of hashOrder(value)) text += `:${key}:${nodeHash(childOf(value, key), style)}`
  return text === '' ? '' : createHash('sha1').update(text, 'utf8').digest('base64')
}

/**
 * Whether a client that names this hash holds this value. Clients in JavaScript encode some numbers wrongly before
 * they hash: whoever has such a number would never match the true hash, so theirs is tried, too.
 */
export function isHashOf(hash: string, value: Value): boolean {
  // Most clients that ask hold nothing yet: no value is worth hashing then.
  if (hash === '' || value === null) return hash === '' && value === null
  return nodeHash(value) === hash || (hasOddNumber(value) && nodeHash(value, 'javascript') === hash)
}

/** Whether a value has at most this many leaves: beyond, to send it costs less than to hash it. */
export function isSmall(value: Value, leavesMax: number): boolean {
  return leavesLeft(value, leavesMax) >= 0
}

function leavesLeft(value: Value, budget: number): number {
  if (typeof value !== 'object' || value === null) return budget - 1
  let left = budget
  for (const key of Object.keys(value)) {
    if (left < 0) break
    left = leavesLeft(value[key]!, left)
  }
  return left
}

function hasOddNumber(value: Value): boolean {
  if (typeof value === 'number') return doubleHex(value) !== javascriptDoubleHex(value)
  if (typeof value !== 'object' || value === null) return false
  for (const key of Object.keys(value)) if (hasOddNumber(value[key]!)) return true
  return false
}

function hashOrder(value: Value): string[] {
  const keys = childKeys(value).sort(compareKeys)
  // The sort is stable, so equal priorities stay in key order; mostly there are none.
  if (keys.every((key) => priorityOf(childOf(value, key)) === null)) return keys
  return keys.sort((a, b) => comparePriorities(priorityOf(childOf(value, a)), priorityOf(childOf(value, b))))
}

/** none < numbers < strings */
export function comparePriorities(a: Priority | null, b: Priority | null): number {
  const rank = (priority: Priority | null): number =>
    priority === null ? 0 : typeof priority === 'number' ? 1 : 2
  if (rank(a) !== rank(b)) return rank(a) - rank(b)
  if (a === null || b === null || a === b) return 0
  return a < b ? -1 : 1
}

function priorityText(priority: Priority | null, style: HashStyle): string {
  return priority === null ? '' : `priority:${leafText(priority, style)}:`
}

function leafText(leaf: Leaf, style: HashStyle): string {
  if (typeof leaf !== 'number') return `${typeof leaf}:${leaf}`
  return `number:${style === 'true' ? doubleHex(leaf) : javascriptDoubleHex(leaf)}`
}

const scratch = new DataView(new ArrayBuffer(8))

/** The double's bytes, the most significant first. */
function doubleHex(number: number): string {
  scratch.setFloat64(0, number)
  return scratch.getBigUint64(0).toString(16).padStart(16, '0')
}

const EXPONENT_BIAS = 1023
const FRACTION_BITS = 52

/**
 * The SDK finds the exponent by a logarithm in floating point. Where that comes out one off, the fraction runs over
 * its 52 bits or below zero, and what is kept of it are its lowest bits.
 */
function javascriptDoubleHex(number: number): string {
  // No logarithm of an integer below 5,000,000 comes out wrong; checked.
  if (Number.isInteger(number) && Math.abs(number) < 5_000_000) return doubleHex(number)
  const size = Math.abs(number)
  let exponent = 0
  let fraction: number
  if (size >= 2 ** (1 - EXPONENT_BIAS)) {
    const log = Math.min(Math.floor(Math.log(size) / Math.LN2), EXPONENT_BIAS)
    exponent = log + EXPONENT_BIAS
    fraction = Math.round(size * 2 ** (FRACTION_BITS - log) - 2 ** FRACTION_BITS)
  } else fraction = Math.round(size / 2 ** (1 - EXPONENT_BIAS - FRACTION_BITS))
  const sign = number < 0 ? 1n << 63n : 0n
  // A number near the largest makes the product infinite; the SDK takes its low bits as zeros.
  const low = Number.isFinite(fraction) ? BigInt.asUintN(FRACTION_BITS, BigInt(fraction)) : 0n
  return (sign | (BigInt.asUintN(11, BigInt(exponent)) << 52n) | low).toString(16).padStart(16, '0')
}
