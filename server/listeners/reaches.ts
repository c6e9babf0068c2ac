/**
 * Reaches: of the windows on one list, those within whose reach a place lies, without asking each. A tree of intervals:
 * a treap by where they begin, each node knowing how far its subtree goes.
 *
 *   place       (ordered value, key), where an order puts a child
 *   cut         between places: before or behind a child's, or at either end of all children of one value
 *   reach       from one cut to another; a window's is where a child has to be, or have been, to concern it
 *
 * Costs O(log n) to put and remove, and O(log n) for each reach found.
 */
import {
  type Bound,
  compareKeys,
  compareValues,
  type Order,
  type Query,
  type Value,
} from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'

export interface Cut {
  ordered: Value
  /** Undefined: at the edge of all children of this value. */
  key: string | undefined
  isBehind: boolean
}

/** Null: no bound on that side. */
export interface Reach {
  from: Cut | null
  to: Cut | null
}

/** All places within a query's range. */
export function rangeOf({ orderBy, start, end }: Query): Reach {
  return {
    from: start === undefined ? null : cutAt(orderBy, start, !start.inclusive),
    to: end === undefined ? null : cutAt(orderBy, end, end.inclusive),
  }
}

function cutAt(order: Order, { value, key }: Bound, isBehind: boolean): Cut {
  if (order === 'key') return { ordered: null, key: String(value), isBehind }
  return { ordered: value, key, isBehind }
}

/** How many of some places, in order, lie before a cut. */
export function countBefore(places: readonly Place[], cut: Cut): number {
  let low = 0
  let high = places.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { ordered, key } = places[middle]!
    if (isBefore(ordered, key, cut)) low = middle + 1
    else high = middle
  }
  return low
}

/** Whether a place lies before a cut; if not, it lies behind it. */
function isBefore(ordered: Value, key: string, cut: Cut): boolean {
  const compared =
    compareValues(ordered, cut.ordered) || (cut.key === undefined ? 0 : compareKeys(key, cut.key))
  return compared === 0 ? cut.isBehind : compared < 0
}

function compareCuts(a: Cut, b: Cut): number {
  const compared = compareValues(a.ordered, b.ordered)
  if (compared !== 0) return compared
  if (a.key !== undefined && b.key !== undefined) {
    return compareKeys(a.key, b.key) || Number(a.isBehind) - Number(b.isBehind)
  }
  if (a.key === undefined && b.key === undefined) return Number(a.isBehind) - Number(b.isBehind)
  const isFirstAtEdge = a.key === undefined
  return (isFirstAtEdge ? a : b).isBehind === isFirstAtEdge ? 1 : -1
}

function compareBegins(a: Reach, b: Reach): number {
  if (a.from === null || b.from === null) return Number(b.from === null) - Number(a.from === null)
  return compareCuts(a.from, b.from)
}

function compareEnds(a: Reach, b: Reach): number {
  if (a.to === null || b.to === null) return Number(a.to === null) - Number(b.to === null)
  return compareCuts(a.to, b.to)
}

interface Node<Window> {
  window: Window
  reach: Reach
  /** Tells apart those that begin alike. */
  id: number
  /** Higher up in the tree the lower it is. Random: who could foretell it could open windows that make the tree a chain. */
  weight: number
  /** Of this node and all below it the one that goes furthest. */
  furthest: Reach
  left: Node<Window> | null
  right: Node<Window> | null
}

export class Reaches<Window> {
  readonly #nodes = new Map<Window, Node<Window>>()
  #root: Node<Window> | null = null
  #nextId = 1

  get size(): number {
    return this.#nodes.size
  }

  windows(): Iterable<Window> {
    return this.#nodes.keys()
  }

  /** The reach of a window, new or another than before. */
  put(window: Window, reach: Reach): void {
    const known = this.#nodes.get(window)
    if (known?.reach === reach) return
    if (known !== undefined) this.#root = without(this.#root!, known)
    const id = known?.id ?? this.#nextId++
    const weight = known?.weight ?? Math.random()
    const node = { window, reach, id, weight, furthest: reach, left: null, right: null }
    this.#nodes.set(window, node)
    this.#root = withNode(this.#root, node)
  }

  /** As `put`, but only where the reach goes beyond what it was: to find a window too often does no harm. */
  extend(window: Window, reach: Reach): void {
    const known = this.#nodes.get(window)!.reach
    if (compareBegins(reach, known) < 0 || compareEnds(reach, known) > 0) this.put(window, reach)
  }

  remove(window: Window): void {
    const node = this.#nodes.get(window)
    if (node === undefined) return
    this.#nodes.delete(window)
    this.#root = without(this.#root!, node)
  }

  /** Adds the windows within whose reach a place lies. */
  find({ ordered, key }: Place, found: Set<Window>): void {
    collect(this.#root, ordered, key, found)
  }
}

function collect<Window>(node: Node<Window> | null, ordered: Value, key: string, found: Set<Window>): void {
  if (node === null) return
  const { furthest, reach } = node
  if (furthest.to !== null && !isBefore(ordered, key, furthest.to)) return
  collect(node.left, ordered, key, found)
  if (reach.from !== null && isBefore(ordered, key, reach.from)) return
  if (reach.to === null || isBefore(ordered, key, reach.to)) found.add(node.window)
  collect(node.right, ordered, key, found)
}

function compareNodes<Window>(a: Node<Window>, b: Node<Window>): number {
  return compareBegins(a.reach, b.reach) || a.id - b.id
}

/** What a node knows of those below it, after these have changed. */
function refreshed<Window>(node: Node<Window>): Node<Window> {
  let furthest = node.reach
  for (const child of [node.left, node.right]) {
    if (child !== null && compareEnds(child.furthest, furthest) > 0) furthest = child.furthest
  }
  node.furthest = furthest
  return node
}

function withNode<Window>(at: Node<Window> | null, node: Node<Window>): Node<Window> {
  if (at === null) return node
  if (node.weight < at.weight) {
    const [left, right] = split(at, node)
    node.left = left
    node.right = right
    return refreshed(node)
  }
  if (compareNodes(node, at) < 0) at.left = withNode(at.left, node)
  else at.right = withNode(at.right, node)
  return refreshed(at)
}

/** What is before a node, and what is behind it. */
function split<Window>(
  at: Node<Window> | null,
  node: Node<Window>,
): [Node<Window> | null, Node<Window> | null] {
  if (at === null) return [null, null]
  if (compareNodes(at, node) < 0) {
    const [left, right] = split(at.right, node)
    at.right = left
    return [refreshed(at), right]
  }
  const [left, right] = split(at.left, node)
  at.left = right
  return [left, refreshed(at)]
}

function without<Window>(at: Node<Window>, node: Node<Window>): Node<Window> | null {
  if (at === node) return joined(at.left, at.right)
  if (compareNodes(node, at) < 0) at.left = without(at.left!, node)
  else at.right = without(at.right!, node)
  return refreshed(at)
}

function joined<Window>(left: Node<Window> | null, right: Node<Window> | null): Node<Window> | null {
  if (left === null || right === null) return left ?? right
  if (left.weight < right.weight) {
    left.right = joined(left.right, right)
    return refreshed(left)
  }
  right.left = joined(left, right.left)
  return refreshed(right)
}
