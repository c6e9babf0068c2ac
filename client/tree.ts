/**
 * Tree: a value that changes in place where nobody holds it, and by copies where somebody does. A list of ten
 * thousand children that is only told child by child is never copied; what was handed out stays as it was.
 *
 *   `made`   when this tree made a node itself; all others were given to it
 *   `shown`  until when a node, with all that lies below it, has been handed out
 *
 * INVARIANT: a node is changed in place only if it was made after everything on the way to it was last shown.
 */
import { isAtOrAbove, type Path } from '../protocol/path.ts'
import {
  childKeys,
  childOf,
  isObject,
  leafOf,
  priorityOf,
  type Value,
  type ValueObject,
  valueAt,
  withChild,
} from '../protocol/value.ts'

export class Tree {
  readonly path: Path
  /** Whether all children are known, or only those that are there: a window, or a place the server has not told of. */
  isWhole: boolean
  #root: Value
  #clock = 0
  readonly #made = new WeakMap<object, number>()
  readonly #shown = new WeakMap<object, number>()
  readonly #shownAtFirst: number

  /** @param isOwned Nobody else holds `value`: it may be changed in place. */
  constructor(path: Path, value: Value, isWhole: boolean, isOwned: boolean) {
    this.path = path
    this.isWhole = isWhole
    this.#root = value
    this.#shownAtFirst = isOwned ? -1 : 0
  }

  /** What is at a path from the root, at or below the tree's own. It never changes again. */
  at(path: Path): Value {
    const value = valueAt(this.#root, path, this.path.length)
    if (typeof value === 'object' && value !== null) this.#shown.set(value, ++this.#clock)
    return value
  }

  /** Whether what is at a path is nothing but its children, if any. */
  hasOnlyChildren(path: Path): boolean {
    const value = valueAt(this.#root, path, this.path.length)
    return leafOf(value) === null && priorityOf(value) === null
  }

  /** Replaces what is at a path at or below the tree's own. */
  put(path: Path, value: Value): void {
    this.#root = this.#putInto(this.#root, path, this.path.length, value, this.#shownAtFirst)
  }

  /** Does what a write at a path above, at or below the tree's own would do to it. */
  lay(path: Path, value: Value): void {
    if (isAtOrAbove(path, this.path)) {
      this.#root = valueAt(value, this.path, path.length)
      this.isWhole = true
      return
    }
    const depth = this.path.length
    // Part of a child that is not known here: showing it would show a child without the rest of it.
    if (!this.isWhole && path.length > depth + 1 && childOf(this.#root, path[depth]!) === null) return
    this.put(path, value)
  }

  #putInto(node: Value, path: Path, depth: number, value: Value, shownBefore: number): Value {
    if (depth === path.length) return value
    const key = path[depth]!
    const isPlain = isObject(node)
    const shown = isPlain ? Math.max(shownBefore, this.#shown.get(node) ?? -1) : shownBefore
    const before = childOf(node, key)
    const child = this.#putInto(before, path, depth + 1, value, shown)
    if (child === before) return node
    if (!isPlain) return withChild(node, key, child)
    let own: ValueObject = node
    if ((this.#made.get(node) ?? 0) <= shown) {
      own = { ...node }
      this.#made.set(own, ++this.#clock)
      this.#shown.set(own, shown)
    }
    if (child !== null) own[key] = child
    else {
      delete own[key]
      if (childKeys(own).length === 0) return null
    }
    return own
  }
}
