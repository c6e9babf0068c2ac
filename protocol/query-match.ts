/**
 * What a query selects: the value an order looks at, how children compare, what lies within a range, and the whole
 * of it applied to a value. Pure, and small enough to travel to browsers.
 *
 * Children order by (ordered value, key): null < false < true < numbers < strings < objects, ties in key order.
 * Order `priority` looks at the child's priority, so there it is none < numbers < strings; order `key` at nothing.
 */
import { compareKeys } from './path.ts'
import type { Bound, Order, Query } from './query.ts'
import {
  childKeys,
  childOf,
  compareValues,
  isObject,
  priorityOf,
  type Value,
  type ValueObject,
  valueAt,
} from './value.ts'

/** Whether a query has neither range nor limit: its order is then the client's own business. */
export function showsAll({ start, end, limit }: Query): boolean {
  return start === undefined && end === undefined && limit === undefined
}

/** What a child is ordered by; null for order `key`, where only the key counts. */
export function orderedValue(order: Order, child: Value): Value {
  switch (order) {
    case 'key':
      return null
    case 'value':
      return child
    case 'priority':
      return priorityOf(child)
    default:
      return valueAt(child, order.child)
  }
}

/** Compares two children by what they are ordered by, then by key. */
export function comparePlaces(a: Value, aKey: string, b: Value, bKey: string): number {
  return compareValues(a, b) || compareKeys(aKey, bKey)
}

/** Whether a child lies within the query's range. @param ordered Its `orderedValue`. */
export function isInRange({ orderBy, start, end }: Query, key: string, ordered: Value): boolean {
  if (start !== undefined && !isInside(orderBy, key, ordered, start, 1)) return false
  return end === undefined || isInside(orderBy, key, ordered, end, -1)
}

/** @param side 1 for a start, which lies before what is inside; -1 for an end. */
function isInside(order: Order, key: string, ordered: Value, bound: Bound, side: 1 | -1): boolean {
  let compared: number
  if (order === 'key') compared = compareKeys(key, String(bound.value))
  else {
    compared = compareValues(ordered, bound.value)
    if (compared === 0 && bound.key !== undefined) compared = compareKeys(key, bound.key)
  }
  return compared === 0 ? bound.inclusive : compared * side > 0
}

/** Keys of the children within the query's range and limit, in its order. */
export function selectKeys(value: Value, query: Query): string[] {
  const { orderBy, limit } = query
  const places: { key: string; ordered: Value }[] = []
  for (const key of childKeys(value)) {
    const ordered = orderedValue(orderBy, childOf(value, key))
    if (isInRange(query, key, ordered)) places.push({ key, ordered })
  }
  places.sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
  const keys = places.map(({ key }) => key)
  if (limit === undefined) return keys
  return limit.from === 'first' ? keys.slice(0, limit.count) : keys.slice(-limit.count)
}

/**
 * The value a query shows of the value at its path: the selected children, whole, without the node's own priority.
 * A leaf has no children. A query that shows all is the value as it is.
 */
export function applyQuery(value: Value, query: Query | null): Value {
  if (query === null || showsAll(query)) return value
  if (!isObject(value)) return null
  const keys = selectKeys(value, query)
  if (keys.length === 0) return null
  const shown: ValueObject = {}
  for (const key of keys) shown[key] = value[key]!
  return shown
}

/** How `.indexOn` names what an order needs; null for order `key`, which every list has. */
export function indexName(order: Order): string | null {
  if (order === 'key') return null
  return typeof order === 'string' ? `.${order}` : order.child.join('/')
}
