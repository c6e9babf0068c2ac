/**
 * Conflation: what happened to one query over a time, as one step with the latest value of each path that changed.
 *
 *   players ── ann ── x = 3          a node holds a change, or leads to some;
 *        └──── bob = null            a change takes in what is told below it
 *
 * The latest values alone do not always lead to the present state: a list that lost its last child is gone, with its
 * priority, and one that came back has none; a leaf that grew a child and lost it again is gone, too. So where something
 * was deleted the step is put right by a look at the present state.
 *
 * INVARIANT: applied to the state before the first change taken in, the step gives the state after the last.
 */
import {
  childOf,
  type Path,
  type Priority,
  type Step,
  type Value,
  withChild,
  withPriority,
} from '../../protocol/index.ts'
import type { DataView } from '../../rules/index.ts'

interface Node {
  children: Map<string, Node> | null
  /** Whether `value` is what the place became; else only something below it changed. */
  isChanged: boolean
  value: Value
  /** Whether anything was deleted here or below, even if it is there again. */
  hadDeletion: boolean
}

/** Path and value, in the order in which they are to be applied. */
interface Pairs {
  deletions: (string | Value)[]
  values: (string | Value)[]
  priorities: Map<string, Priority | null>
}

const PRIORITY = '.priority'

export class ConflatedStep {
  #root = newNode()
  /** Objects made here: they may be changed in place until they are handed out. */
  #made = new WeakSet<object>()
  /** Places with a change. */
  size = 0

  add(steps: readonly Step[]): void {
    for (const step of steps) {
      for (let i = 0; i < step.length; i += 2) {
        const text = step[i] as string
        this.#put(text === '' ? [] : text.split('/'), step[i + 1] as Value)
      }
    }
  }

  /** The sum of what `lengthOf` says of the values told so far and still the latest of their place. */
  length(lengthOf: (value: Value) => number): number {
    return lengthOfValues(this.#root, lengthOf)
  }

  /**
   * The one step that all that was added comes to; null when nothing was. Begins anew.
   * @param path Of the query.
   * @param present The state after the last change.
   * @param isWindow The query shows a part of its children, so that what the list itself is says nothing.
   */
  take(path: Path, present: DataView, isWindow: boolean): Step | null {
    if (this.size === 0) return null
    const pairs: Pairs = { deletions: [], values: [], priorities: new Map() }
    collect(this.#root, [], { path, present, isWindow }, pairs)
    this.#root = newNode()
    this.#made = new WeakSet()
    this.size = 0
    return [...pairs.deletions, ...pairs.values, ...[...pairs.priorities].flat()]
  }

  #put(path: Path, value: Value): void {
    let node = this.#root
    for (let depth = 0; depth < path.length; depth++) {
      if (node.isChanged) {
        node.value = this.#within(node.value, path, depth, value)
        if (node.value === null) node.hadDeletion = true
        return
      }
      if (value === null) node.hadDeletion = true
      const key = path[depth]!
      node.children ??= new Map()
      let child = node.children.get(key)
      if (child === undefined) {
        child = newNode()
        node.children.set(key, child)
      }
      node = child
    }
    if (node.children !== null) {
      this.size -= countChanges(node)
      node.children = null
    } else if (node.isChanged) this.size -= 1
    this.size += 1
    node.isChanged = true
    node.value = value
    if (value === null) node.hadDeletion = true
  }

  /** `withValueAt`, but copying each object once only: a list of thousands may change hundreds of times. */
  #within(value: Value, path: Path, depth: number, child: Value): Value {
    if (depth === path.length) return child
    const key = path[depth]!
    if (key === PRIORITY) return withPriority(value, child as Priority | null)
    const before = childOf(value, key)
    const next = this.#within(before, path, depth + 1, child)
    if (next === before) return value
    if (typeof value === 'object' && value !== null && next !== null && this.#made.has(value)) {
      value[key] = next
      return value
    }
    const copy = withChild(value, key, next)
    if (copy !== value && typeof copy === 'object' && copy !== null) this.#made.add(copy)
    return copy
  }
}

interface Query {
  path: Path
  present: DataView
  isWindow: boolean
}

/** @returns Whether anything at or below the node is not null in the end. */
function collect(node: Node, at: Path, query: Query, pairs: Pairs): boolean {
  const { deletions, values, priorities } = pairs
  if (node.isChanged) {
    if (at[at.length - 1] === PRIORITY) {
      pushPriority(at.slice(0, -1), query, priorities)
      return false
    }
    if (node.value === null) deletions.push(at.join('/'), null)
    else values.push(at.join('/'), node.value)
    return node.value !== null
  }
  const before = deletions.length
  let isThere = false
  for (const [key, child] of node.children ?? []) {
    if (collect(child, [...at, key], query, pairs)) isThere = true
  }
  if (!node.hadDeletion || (query.isWindow && at.length === 0)) return isThere
  if (isThere) pushPriority(at, query, priorities)
  else if (query.present.valueAt([...query.path, ...at]) === null) {
    deletions.length = before
    deletions.push(at.join('/'), null)
  }
  return isThere
}

function pushPriority(at: Path, { path, present }: Query, priorities: Pairs['priorities']): void {
  const place = [...path, ...at]
  if (present.valueAt(place) !== null) priorities.set([...at, PRIORITY].join('/'), present.priorityAt(place))
}

function countChanges(node: Node): number {
  if (node.isChanged) return 1
  let count = 0
  for (const child of node.children?.values() ?? []) count += countChanges(child)
  return count
}

function lengthOfValues(node: Node, lengthOf: (value: Value) => number): number {
  if (node.isChanged) return lengthOf(node.value)
  let length = 0
  for (const child of node.children?.values() ?? []) length += lengthOfValues(child, lengthOf)
  return length
}

function newNode(): Node {
  return { children: null, isChanged: false, value: null, hadDeletion: false }
}
