/**
 * JSON as REST shows it. A plain answer has no priorities, and objects that look like arrays are arrays; an export
 * is the stored form. Large values are turned into text piece by piece, so that an answer never stands in memory
 * as a whole.
 */
import { childKeys, isObject, leafOf, type Value, type ValueObject } from '../../protocol/index.ts'

export interface JsonForm {
  /** Stored form: `.priority` and `.value` shown, no arrays. */
  isExport: boolean
  isPretty: boolean
}

/** Characters of one piece: what a socket takes at once, and enough that pieces cost nothing. */
const PIECE_LENGTH = 64 * 1024

/** A value as a plain answer shows it. */
export function restValue(value: Value): unknown {
  if (!isObject(value)) return leafOf(value)
  const length = arrayLength(value)
  if (length !== null) {
    return Array.from({ length }, (_, i) => (Object.hasOwn(value, i) ? restValue(value[i]!) : null))
  }
  const object: Record<string, unknown> = {}
  for (const key of childKeys(value)) object[key] = restValue(value[key]!)
  return object
}

/** The text of a value: whole if it is short, else in pieces. */
export function jsonBody(value: Value, form: JsonForm, before = '', after = ''): string | Iterator<string> {
  const pieces = jsonPieces(value, form, before, after)
  const first = pieces.next()
  if (first.done === true) return ''
  const second = pieces.next()
  if (second.done === true) return first.value
  return joined([first.value, second.value], pieces)
}

function* joined(head: string[], rest: Iterator<string>): Generator<string> {
  yield* head
  for (let next = rest.next(); next.done !== true; next = rest.next()) yield next.value
}

interface Frame {
  object: ValueObject
  /** Null for an array. */
  keys: readonly string[] | null
  length: number
  at: number
}

/** Walks without recursion, so that a piece can be cut anywhere. */
export function* jsonPieces(
  value: Value,
  { isExport, isPretty }: JsonForm,
  before = '',
  after = '',
): Generator<string, void> {
  let out = before
  const frames: Frame[] = []
  const lineBreak = (): string => (isPretty ? `\n${'  '.repeat(frames.length)}` : '')
  const begin = (item: Value): void => {
    const isLeaf = isExport ? typeof item !== 'object' || item === null : !isObject(item)
    if (isLeaf) {
      out += JSON.stringify(isExport ? item : leafOf(item))
      return
    }
    const object = item as ValueObject
    const array = isExport ? null : arrayLength(object)
    const keys = array === null ? (isExport ? Object.keys(object) : childKeys(object)) : null
    frames.push({ object, keys, length: array ?? keys!.length, at: 0 })
    out += keys === null ? '[' : '{'
  }
  begin(value)
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    if (frame.at === frame.length) {
      frames.pop()
      out += (frame.length > 0 ? lineBreak() : '') + (frame.keys === null ? ']' : '}')
      continue
    }
    const at = frame.at++
    out += (at === 0 ? '' : ',') + lineBreak()
    if (frame.keys === null) begin(Object.hasOwn(frame.object, at) ? frame.object[at]! : null)
    else {
      const key = frame.keys[at]!
      out += `${JSON.stringify(key)}:${isPretty ? ' ' : ''}`
      begin(frame.object[key]!)
    }
    if (out.length >= PIECE_LENGTH) {
      yield out
      out = ''
    }
  }
  yield out + after
}

const INDEX = /^(?:0|[1-9]\d{0,9})$/

/**
 * The length of the array an object is shown as, or null: every key is an index, and more than half of the
 * places up to the last one are taken.
 */
function arrayLength(object: ValueObject): number | null {
  let last = -1
  let count = 0
  for (const key in object) {
    if (key.charCodeAt(0) === 46) continue
    if (!INDEX.test(key)) return null
    last = Math.max(last, Number(key))
    count += 1
  }
  return count > 0 && last < 2 * count ? last + 1 : null
}
