/**
 * Overlay view: a tree as it would be after a write, without writing. Rules see it as `newData`.
 * All entries of a write apply at once; deletions prune upward, as in the store.
 */
import {
  childKeys,
  isAtOrAbove,
  isObject,
  type Leaf,
  leafOf,
  type Path,
  type Priority,
  priorityOf,
  type Value,
  valueAt,
} from '../protocol/index.ts'
import { type DataView, OBJECT } from '../rules/index.ts'
import type { Entry } from './store/store.ts'
import { isPriorityPath } from './write-entries.ts'

export function overlayView(base: DataView, entries: readonly Entry[]): DataView {
  const values = entries.some(({ path }) => isPriorityPath(path))
    ? entries.filter(({ path }) => !isPriorityPath(path))
    : entries
  let view = base
  if (values.length === 1) view = new SingleOverlay(base, values[0]!)
  else if (values.length > 1) view = new MultiOverlay(base, values)
  if (values === entries) return view
  return new PriorityOverlay(
    view,
    entries.filter(({ path }) => isPriorityPath(path)),
  )
}

function seen(value: Value): Leaf | typeof OBJECT | null {
  return isObject(value) ? OBJECT : leafOf(value)
}

/** Whether `base` still has a node at `path` once what lies on the way to deleted paths is gone. */
function survives(base: DataView, overlay: DataView, path: Path): boolean {
  for (const key of base.childKeysAt(path)) if (overlay.valueAt([...path, key]) !== null) return true
  return false
}

/** The common case: one location, no structure to build for each write. */
class SingleOverlay implements DataView {
  readonly #base: DataView
  readonly #path: Path
  readonly #value: Value

  constructor(base: DataView, entry: Entry) {
    this.#base = base
    this.#path = entry.path
    this.#value = entry.value
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    if (isAtOrAbove(this.#path, path)) return seen(valueAt(this.#value, path, this.#path.length))
    if (!isAtOrAbove(path, this.#path)) {
      // Beside the written path; but a leaf that turns into an object has no leaf value any more.
      return this.#base.valueAt(path)
    }
    if (this.#value !== null) return OBJECT
    const before = this.#base.valueAt(path)
    if (before !== OBJECT) return before
    return survives(this.#base, this, path) ? OBJECT : null
  }

  priorityAt(path: Path): Priority | null {
    if (isAtOrAbove(this.#path, path)) return priorityOf(valueAt(this.#value, path, this.#path.length))
    if (isAtOrAbove(path, this.#path) && this.valueAt(path) === null) return null
    return this.#base.priorityAt(path)
  }

  *childKeysAt(path: Path): Iterable<string> {
    if (isAtOrAbove(this.#path, path)) {
      yield* childKeys(valueAt(this.#value, path, this.#path.length))
      return
    }
    if (!isAtOrAbove(path, this.#path)) {
      yield* this.#base.childKeysAt(path)
      return
    }
    const onTheWay = this.#path[path.length]!
    for (const key of this.#base.childKeysAt(path)) if (key !== onTheWay) yield key
    if (this.valueAt([...path, onTheWay]) !== null) yield onTheWay
  }
}

/** Other priorities on nodes that exist; everything else as in `base`. */
class PriorityOverlay implements DataView {
  readonly #base: DataView
  readonly #priorities: readonly Entry[]

  constructor(base: DataView, priorities: readonly Entry[]) {
    this.#base = base
    this.#priorities = priorities
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    return this.#base.valueAt(path)
  }

  priorityAt(path: Path): Priority | null {
    for (const entry of this.#priorities) {
      if (entry.path.length !== path.length + 1 || !isAtOrAbove(path, entry.path)) continue
      return this.#base.valueAt(path) === null ? null : (entry.value as Priority | null)
    }
    return this.#base.priorityAt(path)
  }

  childKeysAt(path: Path): Iterable<string> {
    return this.#base.childKeysAt(path)
  }
}

interface Node {
  children: Map<string, Node>
  entry: { value: Value } | null
  /** Some entry at or below sets something: the node exists after the write. */
  setsSomething: boolean
}

class MultiOverlay implements DataView {
  readonly #base: DataView
  readonly #root: Node = { children: new Map(), entry: null, setsSomething: false }

  constructor(base: DataView, entries: readonly Entry[]) {
    this.#base = base
    for (const { path, value } of entries) {
      let node = this.#root
      if (value !== null) node.setsSomething = true
      for (const key of path) {
        let child = node.children.get(key)
        if (child === undefined) {
          child = { children: new Map(), entry: null, setsSomething: false }
          node.children.set(key, child)
        }
        node = child
        if (value !== null) node.setsSomething = true
      }
      node.entry = { value }
    }
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    const found = this.#find(path)
    if (found === null) return this.#base.valueAt(path)
    if (found.node.entry !== null) return seen(valueAt(found.node.entry.value, path, found.depth))
    if (found.node.setsSomething) return OBJECT
    const before = this.#base.valueAt(path)
    if (before !== OBJECT) return before
    return survives(this.#base, this, path) ? OBJECT : null
  }

  priorityAt(path: Path): Priority | null {
    const found = this.#find(path)
    if (found === null) return this.#base.priorityAt(path)
    if (found.node.entry !== null) return priorityOf(valueAt(found.node.entry.value, path, found.depth))
    return this.valueAt(path) === null ? null : this.#base.priorityAt(path)
  }

  *childKeysAt(path: Path): Iterable<string> {
    const found = this.#find(path)
    if (found === null) {
      yield* this.#base.childKeysAt(path)
      return
    }
    if (found.node.entry !== null) {
      yield* childKeys(valueAt(found.node.entry.value, path, found.depth))
      return
    }
    for (const key of this.#base.childKeysAt(path)) if (!found.node.children.has(key)) yield key
    for (const key of found.node.children.keys()) if (this.valueAt([...path, key]) !== null) yield key
  }

  /** The overlay's node at `path`, or the entry above it; null where the write changes nothing on this path. */
  #find(path: Path): { node: Node; depth: number } | null {
    let node = this.#root
    for (let depth = 0; depth < path.length; depth++) {
      if (node.entry !== null) return { node, depth }
      const child = node.children.get(path[depth]!)
      if (child === undefined) return null
      node = child
    }
    return { node, depth: path.length }
  }
}
