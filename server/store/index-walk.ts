/**
 * Index walk: the children of a list in an order, read from its table.
 *
 * Texts too long for a key are cut off in their rows, so rows that are cut off alike are put in order by the values
 * themselves: a walk that comes to such a run reads all of it.
 */
import {
  comparePlaces,
  compareValues,
  type Order,
  orderedKeys,
  orderedValue,
  type Value,
} from '../../protocol/index.ts'
import { Branch, type Slot } from './branch.ts'
import { behindValue, isCutOff, keyOfPlace, keyStart, placeKey, valuePart } from './index-keys.ts'
import { orderedSlot } from './index-order.ts'
import type { Table } from './index-rows.ts'
import type { Rows } from './rows.ts'
import type { PlaceBound, PlaceRange, TreeView } from './store.ts'
import type { Tree } from './tree.ts'

interface Place {
  key: string
  ordered: Value
}

type KeyRange = NonNullable<Parameters<TreeView['keys']>[1]>

const CHUNK_MIN = 16
const CHUNK_MAX = 1024

/**
 * Keys of the flushed state in an order.
 * @param slot What is at the list's path.
 * @param keys Walks the list's children in key order.
 * @returns null if the list has no whole table for it.
 */
export function walkOrdered(
  tree: Tree,
  slot: Slot,
  order: Order,
  range: PlaceRange,
  keys: (range: KeyRange) => Iterable<string>,
): Iterable<string> | null {
  if (!(slot instanceof Branch)) return packedKeys(slot, order, range)
  const table = tree.indexes.tablesOf(slot).find((other) => isSameOrder(other.order, order))
  if (table?.isWhole) return tableKeys(tree, slot, table, range)
  // Without a table no child has a priority; while it is being built, those that have one are in it already.
  if (order === 'priority')
    return table === undefined ? unranked(range, keys) : mixed(tree, slot, table, range, keys)
  return null
}

function isSameOrder(a: Order, b: Order): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b
  return a.child.length === b.child.length && a.child.every((key, i) => key === b.child[i])
}

function packedKeys(value: Value, order: Order, range: PlaceRange): string[] {
  const places = orderedKeys(value)
    .map((key) => ({ key, ordered: orderedValue(order, (value as Record<string, Value>)[key]!) }))
    .filter((place) => isWithin(place, range))
    .sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
  if (range.reverse) places.reverse()
  return places.map(({ key }) => key)
}

function isWithin({ ordered, key }: Place, { start, end }: PlaceRange): boolean {
  if (start !== undefined && !isInside(ordered, key, start, 1)) return false
  return end === undefined || isInside(ordered, key, end, -1)
}

function isInside(ordered: Value, key: string, bound: PlaceBound, side: 1 | -1): boolean {
  const compared =
    bound.key === undefined
      ? compareValues(ordered, bound.value)
      : comparePlaces(ordered, key, bound.value, bound.key)
  return compared === 0 ? bound.inclusive : compared * side > 0
}

/** The keys of children without a priority, where no child has one. */
function unranked(
  { start, end, reverse = false }: PlaceRange,
  keys: (range: KeyRange) => Iterable<string>,
): Iterable<string> {
  const range: KeyRange = { reverse }
  let left: string | undefined
  let right: string | undefined
  // All are ordered by null: a bound of null is a bound of keys, which those include; any other takes all or none.
  if (start !== undefined) {
    if (start.value !== null || (start.key === undefined && !start.inclusive)) return []
    if (start.key !== undefined) range.from = start.key
    if (!start.inclusive) left = start.key
  }
  if (end !== undefined && end.value === null) {
    if (end.key === undefined && !end.inclusive) return []
    if (end.key !== undefined) range.to = end.key
    if (!end.inclusive) right = end.key
  }
  return left === undefined && right === undefined ? keys(range) : without(keys(range), left, right)
}

function* without(keys: Iterable<string>, a: string | undefined, b: string | undefined): Iterable<string> {
  for (const key of keys) if (key !== a && key !== b) yield key
}

/** By priority while the table is being built: children without one by their keys, the others from the table. */
function* mixed(
  tree: Tree,
  list: Branch,
  table: Table,
  range: PlaceRange,
  keys: (range: KeyRange) => Iterable<string>,
): Iterable<string> {
  const { start, reverse } = range
  const ranked = {
    ...range,
    start: start !== undefined && start.value !== null ? start : { value: null, inclusive: false },
  }
  if (reverse) yield* tableKeys(tree, list, table, ranked)
  for (const key of unranked(range, keys)) {
    if (orderedSlot(tree, tree.flushedSlot(list, key), 'priority', false) === null) yield key
  }
  if (!reverse) yield* tableKeys(tree, list, table, ranked)
}

function* tableKeys(tree: Tree, list: Branch, table: Table, range: PlaceRange): Iterable<string> {
  const { start, end, reverse = false } = range
  const from = start === undefined ? undefined : placeOfBound(start, true)
  const to = end === undefined ? undefined : placeOfBound(end, false)
  // A bound's own place is left out here; bounds that are cut off are decided by the values, with their run.
  const left = start?.inclusive === false ? from : undefined
  const right = end?.inclusive === false ? to : undefined
  let run: string[] = []
  let runPart = ''
  for (const place of placesOf(tree.rows, table.rowId, from, to, reverse)) {
    const at = keyStart(place)
    const part = place.slice(0, at)
    if (runPart !== part) {
      yield* inOrder(run)
      run = []
      runPart = part
    }
    const key = keyOfPlace(place, at)
    if (isCutOff(part)) run.push(key)
    else if (place !== left && place !== right) yield key
  }
  yield* inOrder(run)

  function inOrder(cutOff: readonly string[]): string[] {
    if (cutOff.length === 0) return []
    const places = cutOff.map((key) => ({
      key,
      ordered: orderedSlot(tree, tree.flushedSlot(list, key), table.order, false) ?? null,
    }))
    const sorted = places
      .filter((place) => isWithin(place, range))
      .sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
      .map(({ key }) => key)
    return reverse ? sorted.reverse() : sorted
  }
}

/** Where the rows within a bound begin or end: for a text that is cut off, at the edge of all that are cut off alike. */
function placeOfBound({ value, key, inclusive }: PlaceBound, isStart: boolean): string {
  const part = valuePart(value)
  if (isCutOff(part)) return isStart ? part : behindValue(part)
  if (key !== undefined) return placeKey(value, key)
  return isStart === inclusive ? part : behindValue(part)
}

function* placesOf(
  rows: Rows,
  id: number,
  from: string | undefined,
  to: string | undefined,
  reverse: boolean,
): Iterable<string> {
  let after: string | undefined
  for (let limit = CHUNK_MIN; ; limit = Math.min(limit * 4, CHUNK_MAX)) {
    const places = rows.keys(id, { from, to, after, reverse, limit })
    yield* places
    if (places.length < limit) return
    after = places[places.length - 1]
  }
}
