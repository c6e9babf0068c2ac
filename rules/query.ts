/** RuleQuery: the parameters of a read as rules see them in `query`. */
import { clip, type Leaf, RequestError } from '../protocol/index.ts'

export interface RuleQuery {
  orderByKey: boolean
  orderByValue: boolean
  orderByPriority: boolean
  /** A child path like `address/zip`. */
  orderByChild: string | null
  startAt: Leaf | null
  endAt: Leaf | null
  equalTo: Leaf | null
  limitToFirst: number | null
  limitToLast: number | null
}

/** A plain read, and what a write sees: no order, no bounds, no limits. */
export const noQuery: RuleQuery = Object.freeze({
  orderByKey: false,
  orderByValue: false,
  orderByPriority: false,
  orderByChild: null,
  startAt: null,
  endAt: null,
  equalTo: null,
  limitToFirst: null,
  limitToLast: null,
})

const FLAGS = ['orderByKey', 'orderByValue', 'orderByPriority'] as const
const BOUNDS = ['startAt', 'endAt', 'equalTo'] as const
const LIMITS = ['limitToFirst', 'limitToLast'] as const

/**
 * A query as people write it: any of the members, the others as in `noQuery`.
 * @throws {RequestError} `invalid_query` for a member that is unknown or of the wrong type.
 */
export function parseRuleQuery(raw: unknown): RuleQuery {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new RequestError('invalidQuery', 'a query is an object such as {"limitToFirst": 10}')
  }
  const query: RuleQuery = { ...noQuery }
  const known: Record<string, unknown> = query as unknown as Record<string, unknown>
  for (const [name, value] of Object.entries(raw)) {
    if (!Object.hasOwn(noQuery, name)) {
      throw new RequestError(
        'invalidQuery',
        `query has no \`${clip(name)}\`; known are ${Object.keys(noQuery).join(', ')}`,
      )
    }
    const expected = expectedOf(name)
    if (!expected.split(' or ').includes(value === null ? 'null' : typeof value)) {
      throw new RequestError('invalidQuery', `\`${name}\` of a query is ${expected}`)
    }
    known[name] = value
  }
  return query
}

function expectedOf(name: string): string {
  const isOneOf = (names: readonly string[]): boolean => names.includes(name)
  if (isOneOf(FLAGS)) return 'boolean'
  if (isOneOf(LIMITS)) return 'number or null'
  return isOneOf(BOUNDS) ? 'string or number or boolean or null' : 'string or null'
}
