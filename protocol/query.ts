/**
 * Queries as plain values: an order, a range and a limit over the children of a path.
 * `null` stands for the default query, the whole value at a path.
 */
import { RequestError } from './errors.ts'
import { clip, KEY_BYTES_MAX, type Path, parsePath, quoteInput, utf8Length } from './path.ts'
import { hasOwn, isLeaf, type Leaf } from './value.ts'

/** UTF-8 bytes of a text that bounds a range: a server keeps the bounds of every live query in memory. */
export const BOUND_BYTES_MAX = 4096

export type Order = 'key' | 'value' | 'priority' | { child: Path }

export interface Bound {
  /** Compared with the ordered value; for order `key` it is a key. */
  value: Leaf | null
  /** Breaks ties among equal ordered values; absent: all keys on the inner side. */
  key?: string
  inclusive: boolean
}

export interface Query {
  orderBy: Order
  start?: Bound
  end?: Bound
  limit?: { count: number; from: 'first' | 'last' }
}

/**
 * The text by which equal queries are recognised. Equal queries share one server-side query id.
 */
export function queryKey(query: Query | null): string {
  return query === null ? '' : JSON.stringify(encodeQuery(query))
}

/** Wire form: `{o: order, s: bound, e: bound, l: count, f: 'first' | 'last'}`; a bound is `[value, inclusive, key?]`. */
export function encodeQuery(query: Query): Record<string, unknown> {
  const wire: Record<string, unknown> = {
    o: typeof query.orderBy === 'string' ? `.${query.orderBy}` : query.orderBy.child.join('/'),
  }
  if (query.start !== undefined) wire['s'] = encodeBound(query.start)
  if (query.end !== undefined) wire['e'] = encodeBound(query.end)
  if (query.limit !== undefined) {
    wire['l'] = query.limit.count
    wire['f'] = query.limit.from
  }
  return wire
}

function encodeBound(bound: Bound): unknown[] {
  return bound.key === undefined ? [bound.value, bound.inclusive] : [bound.value, bound.inclusive, bound.key]
}

/** @throws {RequestError} `invalid_query` */
export function parseQuery(raw: unknown): Query | null {
  if (raw === null || raw === undefined) return null
  if (typeof raw !== 'object' || Array.isArray(raw)) throw invalid('a query is a map or nil')
  const wire = raw as Record<string, unknown>
  for (const key of Object.keys(wire)) {
    if (!'oself'.includes(key) || key.length !== 1) throw invalid(`unknown field \`${clip(key)}\``)
  }
  const orderBy = parseOrder(wire['o'])
  const query: Query = { orderBy }
  if (hasOwn(wire, 's')) query.start = parseBound(wire['s'], orderBy)
  if (hasOwn(wire, 'e')) query.end = parseBound(wire['e'], orderBy)
  if (hasOwn(wire, 'l') || hasOwn(wire, 'f')) {
    const count = wire['l']
    const from = wire['f']
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 1) {
      throw invalid(`limit \`${quoteInput(count)}\` is not a positive integer`)
    }
    if (from !== 'first' && from !== 'last') throw invalid('`f` is neither "first" nor "last"')
    query.limit = { count, from }
  }
  return query
}

function parseOrder(raw: unknown): Order {
  if (raw === '.key') return 'key'
  if (raw === '.value') return 'value'
  if (raw === '.priority') return 'priority'
  if (typeof raw !== 'string') throw invalid('`o` is not a text: .key, .value, .priority or a child path')
  let child: Path
  try {
    child = parsePath(raw)
  } catch (error) {
    throw error instanceof RequestError ? invalid(error.message) : error
  }
  if (child.length === 0) throw invalid('`o` is empty')
  return { child }
}

function parseBound(raw: unknown, orderBy: Order): Bound {
  if (!Array.isArray(raw) || raw.length < 2 || raw.length > 3)
    throw invalid('a bound is [value, inclusive, key?]')
  const [value, inclusive, key] = raw as unknown[]
  if (value !== null && !isLeaf(value)) throw invalid('a bound is a boolean, number, string or nil')
  // JSON, in which queries are told apart, has no text for NaN and the infinities.
  if (typeof value === 'number' && !Number.isFinite(value)) throw invalid(`bound \`${value}\` is not finite`)
  if (typeof inclusive !== 'boolean') throw invalid('`inclusive` is not a boolean')
  if (typeof value === 'string') assertBytes(value, BOUND_BYTES_MAX)
  if (orderBy === 'key') {
    if (typeof value !== 'string') throw invalid('a bound of order `.key` is a key')
    if (key !== undefined) throw invalid('a bound of order `.key` has no second key')
  }
  if (key === undefined) return { value, inclusive }
  if (typeof key !== 'string') throw invalid('the key of a bound is not a string')
  assertBytes(key, KEY_BYTES_MAX)
  return { value, inclusive, key }
}

function assertBytes(text: string, bytesMax: number): void {
  if (text.length > bytesMax / 3 && utf8Length(text) > bytesMax) {
    throw invalid(`bound \`${clip(text)}\` has more than ${bytesMax} bytes`)
  }
}

function invalid(what: string): RequestError {
  return new RequestError('invalidQuery', `query refused: ${what}`)
}
