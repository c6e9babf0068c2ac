/**
 * Firebase queries: from the `q` of a request to a query as Hearth knows it.
 *
 *   i         order: `.key`, `.value`, `.priority`, a child path; absent means by priority
 *   sp ep     first and last value; null is a value, so presence is what counts
 *   sn en     first and last key among equal values; `[MIN_NAME]` and `[MAX_NAME]` stand for the ends of all keys
 *   sin ein   whether that very (value, key) is within the range; absent means yes
 *   l vf      limit, counted from `l`eft or `r`ight
 */
import {
  BOUND_BYTES_MAX,
  type Bound,
  clip,
  hasOwn,
  keyProblem,
  type Leaf,
  type Order,
  parsePath,
  type Query,
  quoteInput,
  RequestError,
  utf8Length,
} from '../../protocol/index.ts'

const MIN_NAME = '[MIN_NAME]'
const MAX_NAME = '[MAX_NAME]'

/** Checked even where they mean nothing: a revocation repeats the client's query as it was. */
const TYPES: Record<string, readonly string[]> = {
  i: ['string'],
  sp: ['boolean', 'number', 'string', 'null'],
  ep: ['boolean', 'number', 'string', 'null'],
  sn: ['string'],
  en: ['string'],
  sin: ['boolean'],
  ein: ['boolean'],
  l: ['number'],
  vf: ['string'],
}

interface WireQuery {
  i?: string
  sp?: Leaf | null
  sn?: string
  sin?: boolean
  ep?: Leaf | null
  en?: string
  ein?: boolean
  l?: number
  vf?: string
}

/**
 * @returns null for the whole value: an order without range or limit is no query.
 * @throws {RequestError} `invalid_query`
 */
export function parseFirebaseQuery(raw: unknown): Query | null {
  if (raw === undefined || raw === null) return null
  if (typeof raw !== 'object' || Array.isArray(raw)) throw invalid('`q` is not an object')
  for (const [field, value] of Object.entries(raw)) {
    if (!hasOwn(TYPES, field)) throw invalid(`unknown field \`${clip(field)}\``)
    const types = TYPES[field]!
    if (!types.includes(value === null ? 'null' : typeof value)) {
      throw invalid(`\`${field}\` is \`${quoteInput(value)}\`; expected a ${types.join(', ')}`)
    }
    // Also one that means nothing here is kept with the listen.
    if (typeof value === 'string') assertShort(value)
  }
  const wire = raw as WireQuery
  const orderBy = parseOrder(wire.i)
  const query: Query = { orderBy }
  if (isBounded(wire, 'sp', orderBy, MIN_NAME)) {
    query.start = parseBound(orderBy, wire.sp!, wire.sn, wire.sin, MIN_NAME)
  }
  if (isBounded(wire, 'ep', orderBy, MAX_NAME)) {
    query.end = parseBound(orderBy, wire.ep!, wire.en, wire.ein, MAX_NAME)
  }
  if (wire.l !== undefined) {
    const count = wire.l
    if (!Number.isSafeInteger(count) || count < 1)
      throw invalid(`limit \`${count}\` is not a positive integer`)
    query.limit = { count, from: parseSide(wire.vf, query) }
  }
  return query.start === undefined && query.end === undefined && query.limit === undefined ? null : query
}

/** In the order of keys, a range that begins or ends where keys do has no bound there. */
function isBounded(wire: WireQuery, field: 'sp' | 'ep', orderBy: Order, endOfKeys: string): boolean {
  return hasOwn(wire, field) && !(orderBy === 'key' && wire[field] === endOfKeys)
}

function parseOrder(raw: string | undefined): Order {
  switch (raw) {
    case undefined:
    case '.priority':
      return 'priority'
    case '.key':
      return 'key'
    case '.value':
      return 'value'
  }
  try {
    const child = parsePath(raw)
    if (child.length > 0) return { child }
  } catch (error) {
    throw error instanceof RequestError ? invalid(error.message) : error
  }
  throw invalid('`i` is empty')
}

/** @param endOfKeys What an absent key stands for: every key is within, seen from this side. */
function parseBound(
  orderBy: Order,
  value: Leaf | null,
  name: string | undefined,
  isIn: boolean | undefined,
  endOfKeys: string,
): Bound {
  const inclusive = isIn ?? true
  if (orderBy === 'key') return { value: parseKeyBound(value), inclusive }
  switch (name) {
    // Beyond every key there is none to include or exclude: all children of this value are within, or none.
    case undefined:
    case endOfKeys:
      return { value, inclusive: true }
    case MIN_NAME:
    case MAX_NAME:
      return { value, inclusive: false }
  }
  const problem = keyProblem(name)
  if (problem !== null) throw invalid(problem)
  return { value, key: name, inclusive }
}

function assertShort(text: string): void {
  if (text.length > BOUND_BYTES_MAX / 3 && utf8Length(text) > BOUND_BYTES_MAX) {
    throw invalid(`\`${clip(text)}\` has more than ${BOUND_BYTES_MAX} bytes`)
  }
}

function parseKeyBound(value: Leaf | null): string {
  if (typeof value !== 'string') throw invalid('in the order of keys a range begins and ends at a key')
  return value
}

function parseSide(raw: string | undefined, query: Query): 'first' | 'last' {
  switch (raw) {
    case 'l':
      return 'first'
    case 'r':
      return 'last'
    // Old clients leave it out and mean the side at which the range is bounded.
    case undefined:
      return query.start === undefined ? 'last' : 'first'
  }
  throw invalid('`vf` is neither `l` nor `r`')
}

function invalid(what: string): RequestError {
  return new RequestError('invalidQuery', `query refused: ${what}`)
}
