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
import { isPriorityPath, PRIORITY_KEY } from './write-entries.ts'

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
  readonly #priorities: Part

  constructor(base: DataView, priorities: readonly Entry[]) {
    this.#base = base
    this.#priorities = new Part(priorities, 0)
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    return this.#base.valueAt(path)
  }

  priorityAt(path: Path): Priority | null {
    const found = this.#priorities.find([...path, PRIORITY_KEY])
    if (found === null || found.entry === null) return this.#base.priorityAt(path)
    return this.#base.valueAt(path) === null ? null : (found.entry.value as Priority | null)
  }

  childKeysAt(path: Path): Iterable<string> {
    return this.#base.childKeysAt(path)
  }
}

/** What a write does at a place: the entry there or above it, or else the part of its entries that lie below. */
type Found = { entry: Entry } | { entry: null; part: Part }

/**
 * The entries at or below one place, parted by their next keys once somebody asks for more: of ten thousand deep paths
 * most rules look at the upper levels alone.
 */
class Part {
  readonly entries: readonly Entry[]
  readonly #depth: number
  #children: ReadonlyMap<string, Part> | null = null
  /** Some entry sets something: the node exists after the write. */
  readonly setsSomething: boolean
  /** Whether the node exists after a write that only deletes below it; null until asked. */
  isThere: boolean | null = null

  /** @param depth Keys that all entries have in common; more than one are all longer than that. */
  constructor(entries: readonly Entry[], depth: number) {
    this.entries = entries
    this.#depth = depth
    this.setsSomething = entries.some(({ value }) => value !== null)
  }

  /** Null where the write changes nothing on this path, counted from the root. */
  find(path: Path): Found | null {
    let part: Part = this
    for (;;) {
      const { entries } = part
      if (entries.length === 1) return part.#findAlone(path, entries[0]!)
      if (part.#depth === path.length) return { entry: null, part }
      const child = part.children.get(path[part.#depth]!)
      if (child === undefined) return null
      part = child
    }
  }

  /** A single entry needs no parts: its path says all. */
  #findAlone(path: Path, entry: Entry): Found | null {
    const shared = Math.min(path.length, entry.path.length)
    for (let i = this.#depth; i < shared; i++) if (path[i] !== entry.path[i]) return null
    if (entry.path.length <= path.length) return { entry }
    return { entry: null, part: path.length === this.#depth ? this : new Part(this.entries, path.length) }
  }

  get children(): ReadonlyMap<string, Part> {
    this.#children ??= this.#parted()
    return this.#children
  }

  #parted(): ReadonlyMap<string, Part> {
    const entriesBy = new Map<string, Entry[]>()
    for (const entry of this.entries) {
      const key = entry.path[this.#depth]!
      const others = entriesBy.get(key)
      if (others === undefined) entriesBy.set(key, [entry])
      else others.push(entry)
    }
    const children = new Map<string, Part>()
    for (const [key, entries] of entriesBy) children.set(key, new Part(entries, this.#depth + 1))
    return children
  }
}

class MultiOverlay implements DataView {
  readonly #base: DataView
  readonly #root: Part

  constructor(base: DataView, entries: readonly Entry[]) {
    this.#base = base
    this.#root = new Part(entries, 0)
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    const found = this.#root.find(path)
    if (found === null) return this.#base.valueAt(path)
    if (found.entry !== null) return seen(valueAt(found.entry.value, path, found.entry.path.length))
    const { part } = found
    if (part.setsSomething) return OBJECT
    const before = this.#base.valueAt(path)
    if (before !== OBJECT) return before
    part.isThere ??= survives(this.#base, this, path)
    return part.isThere ? OBJECT : null
  }

  priorityAt(path: Path): Priority | null {
    const found = this.#root.find(path)
    if (found === null) return this.#base.priorityAt(path)
    if (found.entry !== null) return priorityOf(valueAt(found.entry.value, path, found.entry.path.length))
    return this.valueAt(path) === null ? null : this.#base.priorityAt(path)
  }

  *childKeysAt(path: Path): Iterable<string> {
    const found = this.#root.find(path)
    if (found === null) {
      yield* this.#base.childKeysAt(path)
      return
    }
    if (found.entry !== null) {
      yield* childKeys(valueAt(found.entry.value, path, found.entry.path.length))
      return
    }
    const { children } = found.part
    for (const key of this.#base.childKeysAt(path)) if (!children.has(key)) yield key
    for (const key of children.keys()) if (this.valueAt([...path, key]) !== null) yield key
  }
}
