/**
 * A read's query as rules see it in `query`.
 *
 * A read without a query has no order for them: `query.orderByKey` is false then, as on Firebase's sockets. A range
 * with both ends at one value is an `equalTo`, since the two look the same on the wire; its bounds are shown, too.
 */
import type { Bound, Leaf, Query } from '../protocol/index.ts'
import type { RuleQuery } from '../rules/index.ts'

export function ruleQuery(query: Query | null): RuleQuery | null {
  if (query === null) return null
  const { orderBy, start, end, limit } = query
  return {
    orderByKey: orderBy === 'key',
    orderByValue: orderBy === 'value',
    orderByPriority: orderBy === 'priority',
    orderByChild: typeof orderBy === 'object' ? orderBy.child.join('/') : null,
    // A bound that leaves its own value out shows a part of what the bound would: rules may rely on it all the same.
    startAt: start?.value ?? null,
    endAt: end?.value ?? null,
    equalTo: equalTo(start, end),
    limitToFirst: limit?.from === 'first' ? limit.count : null,
    limitToLast: limit?.from === 'last' ? limit.count : null,
  }
}

function equalTo(start: Bound | undefined, end: Bound | undefined): Leaf | null {
  if (start === undefined || end === undefined || !start.inclusive || !end.inclusive) return null
  return start.value === end.value && start.key === end.key ? start.value : null
}
