/**
 * Query read: children of a path in a query's order, and the value a query shows, read from the store without
 * reading the list. By key the rows themselves are in order; any other order needs an index.
 */
import {
  comparePlaces,
  hasOwn,
  indexName,
  isInRange,
  type Leaf,
  type Order,
  type Path,
  type Priority,
  type Query,
  showsAll,
  type Value,
  type ValueObject,
} from '../protocol/index.ts'
import { OBJECT } from '../rules/index.ts'
import { type Store, TooLargeError, type TreeView } from './store/store.ts'

/** Where an order puts a child. */
export interface Place {
  ordered: Value
  key: string
}

export type OrderedStore = Pick<Store, 'flushed' | 'head' | 'indexed'>

/** Stands for any object: all are equal in every order, and the real one may be large. */
const SOME_OBJECT: ValueObject = {}

/** What a child is ordered by, without reading all of it; undefined if there is no such child. */
export function orderedAt(view: TreeView, path: Path, key: string, order: Order): Value | undefined {
  const child = [...path, key]
  const value = view.valueAt(child)
  if (value === null) return undefined
  if (order === 'key') return null
  if (order === 'priority') return view.priorityAt(child)
  return plain(order === 'value' ? value : view.valueAt([...child, ...order.child]))
}

function plain(value: Leaf | Priority | typeof OBJECT | null): Value {
  return value === OBJECT ? SOME_OBJECT : (value as Leaf | null)
}

/**
 * Keys of the flushed state within a query's range, lazily, from the side its limit counts from; to be walked within
 * the event turn. Costs O(keys walked). The limit itself is the caller's.
 * @param beyond Goes on behind this place.
 * @returns null without the index it takes.
 */
export function walk(
  store: OrderedStore,
  path: Path,
  query: Query,
  beyond: Place | null = null,
): Iterable<string> | null {
  const { orderBy } = query
  const reverse = query.limit?.from === 'last'
  const edge = beyond === null ? undefined : { value: beyond.ordered, key: beyond.key, inclusive: false }
  const start = (reverse ? undefined : edge) ?? query.start
  const end = (reverse ? edge : undefined) ?? query.end
  const index = indexName(orderBy)
  if (index !== null) return store.indexed(path, index, { start, end, reverse })
  return byKey(store.flushed, path, query, beyond, reverse)
}

function* byKey(
  view: TreeView,
  path: Path,
  query: Query,
  beyond: Place | null,
  reverse: boolean,
): Iterable<string> {
  const range: { reverse: boolean; from?: string; to?: string } = { reverse }
  if (query.start !== undefined) range.from = String(query.start.value)
  if (query.end !== undefined) range.to = String(query.end.value)
  if (beyond !== null) range[reverse ? 'to' : 'from'] = beyond.key
  for (const key of view.keys(path, range)) {
    if (key !== beyond?.key && isInRange(query, key, null)) yield key
  }
}

/**
 * The value a query shows in the flushed state.
 * @param leavesMax Leaves read before `TooLargeError` is thrown.
 * @returns undefined without the index it takes.
 */
export function readQuery(
  store: OrderedStore,
  path: Path,
  query: Query,
  leavesMax: number,
): Value | undefined {
  const { limit } = query
  const keys: string[] = []
  const inOrder = walk(store, path, query)
  if (inOrder === null) return undefined
  if (showsAll(query)) return store.flushed.read(path, leavesMax)
  for (const key of inOrder) {
    keys.push(key)
    if (keys.length === limit?.count) break
    if (keys.length > leavesMax) throw new TooLargeError('more children than one read may take')
  }
  if (keys.length === 0) return null
  if (limit?.from === 'last') keys.reverse()
  const shown: ValueObject = {}
  let left = leavesMax
  for (const key of keys) {
    const child = store.flushed.read([...path, key], left)
    left -= countLeaves(child)
    shown[key] = child
  }
  return shown
}

function countLeaves(value: Value): number {
  if (typeof value !== 'object' || value === null || hasOwn(value, '.value')) return 1
  let count = 0
  for (const key of Object.keys(value)) if (key !== '.priority') count += countLeaves(value[key]!)
  return count
}

/** Compares places as seen from the side a query's limit counts from: what it shows first comes first. */
export function compareRanks(query: Query, a: Place, b: Place): number {
  const order = comparePlaces(a.ordered, a.key, b.ordered, b.key)
  return query.limit?.from === 'last' ? -order : order
}
