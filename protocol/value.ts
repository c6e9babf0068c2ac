/**
 * JSON values as Hearth stores and sends them, in Firebase's export form:
 *
 *   leaf                       true | 1.5 | 'text'
 *   leaf with a priority       {'.value': leaf, '.priority': 2}
 *   object                     {a: ..., b: ..., '.priority': 'p'}     never empty
 *   absent                     null
 *
 * `parseValue` makes this form from anything a client may send; everything else may rely on it.
 */
import { RequestError } from './errors.ts'
import {
  clip,
  compareKeys,
  keyProblem,
  PATH_DEPTH_MAX,
  type Path,
  quoteInput,
  utf8Length,
  wellFormed,
} from './path.ts'

export type Leaf = boolean | number | string
export type Priority = number | string
export type Value = null | Leaf | ValueObject
export interface ValueObject {
  [key: string]: Value
}

/** Firebase's limit for one string, in UTF-8 bytes. */
export const STRING_BYTES_MAX = 10 * 1024 * 1024

export function isLeaf(value: unknown): value is Leaf {
  const type = typeof value
  return type === 'string' || type === 'number' || type === 'boolean'
}

/** The leaf of a leaf, with or without priority; null for objects and absence. */
export function leafOf(value: Value): Leaf | null {
  if (typeof value !== 'object') return value
  if (value === null) return null
  return hasOwn(value, '.value') ? (value['.value'] as Leaf) : null
}

/** True for a node that has children. */
export function isObject(value: Value): value is ValueObject {
  return typeof value === 'object' && value !== null && !hasOwn(value, '.value')
}

export function priorityOf(value: Value): Priority | null {
  if (typeof value !== 'object' || value === null || !hasOwn(value, '.priority')) return null
  return value['.priority'] as Priority
}

export function childOf(value: Value, key: string): Value {
  if (typeof value !== 'object' || value === null || !hasOwn(value, key)) return null
  return value[key]!
}

export function valueAt(value: Value, path: Path, from = 0): Value {
  let at = value
  for (let i = from; i < path.length; i++) {
    if (typeof at !== 'object' || at === null) return null
    at = childOf(at, path[i]!)
  }
  return at
}

/** Keys of the children (not `.priority`, not `.value`), unordered. */
export function childKeys(value: Value): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.keys(value).filter((key) => key.charCodeAt(0) !== 46)
}

/** Keys of the children in Firebase's key order. */
export function orderedKeys(value: Value): string[] {
  return childKeys(value).sort(compareKeys)
}

export function hasOwn(object: object, key: string): boolean {
  return Object.hasOwn(object, key)
}

/**
 * A copy of `value` with `child` at `path`, pruned; shares what did not change. Writing below a leaf makes it an
 * object. A path that ends in `.priority` changes the priority of the node above it.
 */
export function withValueAt(value: Value, path: Path, child: Value, from = 0): Value {
  if (from === path.length) return child
  const key = path[from]!
  if (key === '.priority') return withPriority(value, child as Priority | null)
  const next = withValueAt(childOf(value, key), path, child, from + 1)
  return withChild(value, key, next)
}

/** A copy of `value` with one child replaced or, for null, removed. Deleting below a leaf leaves the leaf alone. */
export function withChild(value: Value, key: string, child: Value): Value {
  if (child === null) {
    if (typeof value !== 'object' || value === null || !hasOwn(value, key)) return value
    const rest: ValueObject = {}
    let children = 0
    for (const k of Object.keys(value)) {
      if (k === key) continue
      rest[k] = value[k]!
      if (k.charCodeAt(0) !== 46) children += 1
    }
    return children === 0 ? null : rest
  }
  if (typeof value !== 'object' || value === null) return { [key]: child }
  const copy: ValueObject = { ...value, [key]: child }
  // The leaf goes, its priority stays: Firebase keeps the priority of a leaf that becomes an object.
  if (hasOwn(copy, '.value')) delete copy['.value']
  return copy
}

/** The same value with another priority, or without one for null. Absent stays absent. */
export function withPriority(value: Value, priority: Priority | null): Value {
  if (value === null) return null
  if (typeof value !== 'object') return priority === null ? value : { '.value': value, '.priority': priority }
  if (hasOwn(value, '.value')) {
    return priority === null ? value['.value']! : { '.value': value['.value']!, '.priority': priority }
  }
  const copy: ValueObject = { ...value }
  if (priority === null) delete copy['.priority']
  else copy['.priority'] = priority
  return copy
}

export function sameValue(a: Value, b: Value): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  for (const key of keys) if (!hasOwn(b, key) || !sameValue(a[key]!, b[key]!)) return false
  return true
}

/**
 * Checks what a client sent and returns it in export form: arrays become objects, nulls and empty
 * objects vanish, `.value` wins over other children. Server values (`.sv`) stay where they are allowed.
 *
 * @param depth Keys above the value, so that the depth limit holds for the whole path.
 * @throws {RequestError} `invalid_value` with the offending key or value; `too_large` for long strings.
 */
export function parseValue(raw: unknown, depth = 0): Value {
  switch (typeof raw) {
    case 'string':
      return parseString(raw)
    case 'boolean':
      return raw
    case 'number':
      if (!Number.isFinite(raw)) {
        throw new RequestError('invalidValue', `number \`${raw}\` is not finite; numbers must be finite`)
      }
      // One zero: -0 equals 0 in every order, so it must not be stored as different bytes.
      return raw + 0
    case 'object':
      if (raw === null) return null
      return Array.isArray(raw) ? parseArray(raw, depth) : parseObject(raw as Record<string, unknown>, depth)
    default:
      throw new RequestError('invalidValue', `a \`${typeof raw}\` is not a JSON value`)
  }
}

function parseString(raw: string): string {
  if (raw.length > STRING_BYTES_MAX / 3 && utf8Length(raw) > STRING_BYTES_MAX) {
    throw new RequestError(
      'tooLarge',
      `string \`${clip(raw)}\` has ${utf8Length(raw)} bytes; strings may have at most ${STRING_BYTES_MAX}`,
    )
  }
  return wellFormed(raw)
}

function parseArray(raw: readonly unknown[], depth: number): Value {
  const object: ValueObject = {}
  let isEmpty = true
  if (raw.length > 0) assertDepth(depth)
  for (let i = 0; i < raw.length; i++) {
    const child = parseValue(raw[i], depth + 1)
    if (child === null) continue
    object[i] = child
    isEmpty = false
  }
  return isEmpty ? null : object
}

function parseObject(raw: Record<string, unknown>, depth: number): Value {
  if (Object.getPrototypeOf(raw) !== Object.prototype && Object.getPrototypeOf(raw) !== null) {
    throw new RequestError('invalidValue', 'an instance of a class is not a JSON value')
  }
  const priority = hasOwn(raw, '.priority') ? parsePriority(raw['.priority']) : null
  if (hasOwn(raw, '.sv')) {
    const value = parseServerValue(raw, true)
    return priority === null ? value : ({ '.value': value, '.priority': priority } as ValueObject)
  }
  if (hasOwn(raw, '.value')) {
    const inner = raw['.value']
    if (inner === null) return null
    const isServerValue = typeof inner === 'object' && hasOwn(inner, '.sv')
    if (typeof inner === 'object' && !isServerValue) {
      throw new RequestError(
        'invalidValue',
        '`.value` holds an object; it may hold a boolean, number or string',
      )
    }
    const leaf = isServerValue ? parseServerValue(inner as Record<string, unknown>, false) : parseValue(inner)
    return priority === null ? leaf : ({ '.value': leaf, '.priority': priority } as ValueObject)
  }
  const object: ValueObject = {}
  let isEmpty = true
  for (const key of Object.keys(raw)) {
    if (key === '.priority') continue
    const problem = keyProblem(key)
    if (problem !== null) throw new RequestError('invalidValue', problem)
    if (isEmpty) assertDepth(depth)
    const child = parseValue(raw[key], depth + 1)
    if (child === null) continue
    object[key] = child
    isEmpty = false
  }
  if (isEmpty) return null
  if (priority !== null) object['.priority'] = priority as Value
  return object
}

function assertDepth(depth: number): void {
  if (depth >= PATH_DEPTH_MAX) {
    throw new RequestError('invalidValue', `value is nested deeper than ${PATH_DEPTH_MAX} keys from the root`)
  }
}

/** A priority may itself be the server timestamp. */
function parsePriority(raw: unknown): Priority | ValueObject | null {
  if (raw === null) return null
  if (typeof raw === 'string') return parseString(raw)
  if (typeof raw === 'number' && Number.isFinite(raw)) return raw + 0
  if (typeof raw === 'object' && hasOwn(raw, '.sv')) {
    const value = parseServerValue(raw as Record<string, unknown>, false)
    if (value['.sv'] === 'timestamp') return value
  }
  throw new RequestError(
    'invalidValue',
    `priority \`${quoteInput(raw)}\` is not a number, a string, the server timestamp or null`,
  )
}

/** @param mayHavePriority Whether `.priority` may stand beside `.sv`; it is not read here. */
function parseServerValue(raw: Record<string, unknown>, mayHavePriority: boolean): ValueObject {
  const placeholder = raw['.sv']
  const others = Object.keys(raw).filter((key) => key !== '.sv' && !(mayHavePriority && key === '.priority'))
  if (others.length > 0) {
    throw new RequestError(
      'invalidValue',
      `key \`${clip(others[0]!)}\` beside \`.sv\`; a server value stands alone`,
    )
  }
  if (placeholder === 'timestamp') return { '.sv': 'timestamp' }
  if (typeof placeholder === 'object' && placeholder !== null && hasOwn(placeholder, 'increment')) {
    const by = (placeholder as Record<string, unknown>)['increment']
    if (typeof by !== 'number' || !Number.isFinite(by) || Object.keys(placeholder).length !== 1) {
      throw new RequestError('invalidValue', `increment \`${quoteInput(by)}\` is not a finite number`)
    }
    return { '.sv': { increment: by + 0 } }
  }
  throw new RequestError(
    'invalidValue',
    `server value \`${quoteInput(placeholder)}\` is unknown; expected "timestamp" or {"increment": number}`,
  )
}

/** Whether two numbers, strings, ... order before each other in Firebase's value order; keys break ties elsewhere. */
export function compareValues(a: Value, b: Value): number {
  const x = leafOf(a)
  const y = leafOf(b)
  const rank = rankOf(a, x) - rankOf(b, y)
  if (rank !== 0) return rank < 0 ? -1 : 1
  if (x === null || y === null || x === y) return 0
  return x < y ? -1 : 1
}

/** null < false < true < numbers < strings < objects */
function rankOf(value: Value, leaf: Leaf | null): number {
  if (value === null) return 0
  if (leaf === null) return 5
  if (leaf === false) return 1
  if (leaf === true) return 2
  return typeof leaf === 'number' ? 3 : 4
}
