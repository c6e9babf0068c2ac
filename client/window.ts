/**
 * The order and the window of a query: which children of a value it shows and in which order. Firebase's default
 * order is by priority; children with equal ordered values follow in key order.
 */
import { compareKeys, type Path } from '../protocol/path.ts'
import type { Bound, Order, Query } from '../protocol/query.ts'
import {
  childKeys,
  childOf,
  compareValues,
  isObject,
  priorityOf,
  type Value,
  type ValueObject,
  valueAt,
} from '../protocol/value.ts'

/** What `ref` stands for: every child, by priority. */
export const wholeValue: Query = { orderBy: 'priority' }

/** Whether a query shows all children, so that its order alone distinguishes it: the server need not know. */
export function showsAll({ start, end, limit }: Query): boolean {
  return start === undefined && end === undefined && limit === undefined
}

/** An order alone is the client's business: the server sends the whole value. */
export function wireQuery(query: Query): Query | null {
  return showsAll(query) ? null : query
}

/** What a child is ordered by; for order `key` that is the key alone. */
function orderedBy(order: Order, child: Value): Value {
  if (order === 'priority') return priorityOf(child)
  if (order === 'value') return child
  if (order === 'key') return null
  return valueAt(child, order.child as Path)
}

/** A child's place in an order. */
export interface Placed {
  key: string
  by: Value
}

export function place(order: Order, key: string, child: Value): Placed {
  return { key, by: orderedBy(order, child) }
}

export function comparePlaced(a: Placed, b: Placed): number {
  return compareValues(a.by, b.by) || compareKeys(a.key, b.key)
}

export function orderedChildren(value: Value, order: Order): Placed[] {
  const children = childKeys(value).map((key) => place(order, key, childOf(value, key)))
  // The server sends children in key order, so mostly there is nothing to sort.
  const isSorted = children.every((child, i) => i === 0 || comparePlaced(children[i - 1]!, child) < 0)
  return isSorted ? children : children.sort(comparePlaced)
}

export function orderedChildKeys(value: Value, order: Order): string[] {
  return orderedChildren(value, order).map(({ key }) => key)
}

/** The children of `value` inside the query's range and limit. A leaf has none; the node's own priority is left out. */
export function windowOf(value: Value, query: Query): Value {
  if (showsAll(query)) return value
  if (!isObject(value)) return null
  const { orderBy, start, end, limit } = query
  let keys = orderedChildKeys(value, orderBy).filter((key) => {
    const child = childOf(value, key)
    return (
      (start === undefined || isInside(orderBy, key, child, start, 1)) &&
      (end === undefined || isInside(orderBy, key, child, end, -1))
    )
  })
  if (limit !== undefined) {
    keys = limit.from === 'first' ? keys.slice(0, limit.count) : keys.slice(-limit.count)
  }
  if (keys.length === 0) return null
  const shown: ValueObject = {}
  for (const key of keys) shown[key] = value[key]!
  return shown
}

/** @param side 1 for a start, which lies before what is inside; -1 for an end. */
function isInside(order: Order, key: string, child: Value, bound: Bound, side: 1 | -1): boolean {
  let compared: number
  if (order === 'key') compared = compareKeys(key, String(bound.value))
  else {
    compared = compareValues(orderedBy(order, child), bound.value)
    if (compared === 0 && bound.key !== undefined) compared = compareKeys(key, bound.key)
  }
  return compared === 0 ? bound.inclusive : compared * side > 0
}
