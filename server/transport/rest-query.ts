/**
 * Query parameters of REST: order, bounds and limits, refused with Firebase's texts.
 */
import {
  type Bound,
  clip,
  encodeQuery,
  isLeaf,
  keyProblem,
  type Leaf,
  type Order,
  parsePath,
  parseQuery,
  type Query,
  RequestError,
} from '../../protocol/index.ts'
import { badRequest } from './http-error.ts'

const BOUNDS = ['startAt', 'startAfter', 'endAt', 'endBefore', 'equalTo'] as const
const LIMITS = ['limitToFirst', 'limitToLast'] as const
type BoundName = (typeof BOUNDS)[number]

/** @returns Null for the whole value. @throws {HttpError} 400 */
export function queryOf(params: URLSearchParams): Query | null {
  const order = params.get('orderBy')
  if (order === null) {
    if ([...BOUNDS, ...LIMITS].some((name) => params.has(name))) {
      throw badRequest('orderBy must be defined when other query parameters are defined')
    }
    return null
  }
  const query: Query = { orderBy: orderOf(order), ...boundsOf(params, orderOf(order)) }
  const limit = limitOf(params)
  if (limit !== null) query.limit = limit
  try {
    return parseQuery(encodeQuery(query))
  } catch (error) {
    throw error instanceof RequestError ? badRequest(error.message) : error
  }
}

/** Which of an object's keys `shallow` lists. */
export interface KeyRange {
  from?: string
  /** A key that is left out, although the range starts there. */
  except?: string
  limit?: number
}

/**
 * Firebase's documents allow no other parameter beside `shallow`, but its own tools page through keys with a limit
 * and a start; a key is given bare or as JSON.
 * @throws {HttpError} 400
 */
export function keyRangeOf(params: URLSearchParams): KeyRange {
  const order = params.get('orderBy')
  for (const name of ['endAt', 'endBefore', 'equalTo', 'limitToLast', 'format'] as const) {
    if (params.has(name)) throw badRequest(`${name} may not be combined with shallow`)
  }
  if (order !== null && order !== '"$key"') throw badRequest('shallow lists keys in the order of "$key" only')
  const range: KeyRange = {}
  const after = params.get('startAfter')
  const start = after ?? params.get('startAt')
  if (start !== null) {
    range.from = bareKey(start)
    if (after !== null) range.except = range.from
  }
  const limit = limitOf(params)
  if (limit !== null) range.limit = limit.count
  return range
}

function orderOf(raw: string): Order {
  const refusal = badRequest('orderBy must be a valid JSON encoded path')
  let text: unknown
  try {
    text = JSON.parse(raw)
  } catch {
    throw refusal
  }
  if (typeof text !== 'string') throw refusal
  if (text === '$key') return 'key'
  if (text === '$value') return 'value'
  if (text === '$priority') return 'priority'
  try {
    const child = parsePath(text)
    if (child.length > 0) return { child }
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
  }
  throw refusal
}

function boundsOf(params: URLSearchParams, order: Order): { start?: Bound; end?: Bound } {
  const given = BOUNDS.filter((name) => params.has(name))
  if (given.includes('equalTo')) {
    if (given.length > 1) {
      throw badRequest('equalTo cannot be specified in addition to startAfter, startAt, endAt, or endBefore')
    }
    const bound = boundOf(params, 'equalTo', order, true)
    return { start: bound, end: bound }
  }
  const bounds: { start?: Bound; end?: Bound } = {}
  for (const name of given) {
    const side = name.startsWith('start') ? 'start' : 'end'
    if (bounds[side] !== undefined) {
      throw badRequest(
        side === 'start'
          ? 'Only one of startAt and startAfter may be specified'
          : 'Only one of endAt and endBefore may be specified',
      )
    }
    bounds[side] = boundOf(params, name, order, name.endsWith('At'))
  }
  return bounds
}

/** A JSON primitive, and after a comma the key that breaks ties, as the SDK's REST client writes it. */
function boundOf(params: URLSearchParams, name: BoundName, order: Order, inclusive: boolean): Bound {
  const refusal = badRequest('Constraint index field must be a JSON primitive')
  let parts: unknown
  try {
    parts = JSON.parse(`[${params.get(name)!}]`)
  } catch {
    throw refusal
  }
  if (!Array.isArray(parts) || parts.length < 1 || parts.length > 2) throw refusal
  const [value, key] = parts as unknown[]
  if (value !== null && !isLeaf(value)) throw refusal
  if (order === 'key' && (typeof value !== 'string' || parts.length === 2)) {
    throw badRequest('Provided key index type is invalid, must be string')
  }
  if (parts.length === 1) return { value: value as Leaf | null, inclusive }
  if (typeof key !== 'string') throw badRequest('Provided key index type is invalid, must be string')
  return { value: value as Leaf | null, key, inclusive }
}

function limitOf(params: URLSearchParams): NonNullable<Query['limit']> | null {
  const given = LIMITS.filter((name) => params.has(name))
  if (given.length === 0) return null
  if (given.length > 1) throw badRequest('Only one of limitToFirst and limitToLast may be specified')
  const name = given[0]!
  const raw = params.get(name)!
  if (!/^-?\d{1,15}$/.test(raw)) throw badRequest(`${name} must be an integer`)
  const count = Number(raw)
  if (count <= 0) throw badRequest(`${name} must be positive`)
  return { count, from: name === 'limitToFirst' ? 'first' : 'last' }
}

function bareKey(raw: string): string {
  let key: unknown = raw
  try {
    const parsed: unknown = JSON.parse(raw)
    if (typeof parsed === 'string') key = parsed
  } catch {
    // Not JSON: the key as it stands.
  }
  const problem = keyProblem(key as string)
  if (problem !== null) throw badRequest(`\`${clip(raw)}\` is not a key: ${problem}`)
  return key as string
}
