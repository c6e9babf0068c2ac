/**
 * Read rights: which listeners must be asked again when data, time, identity or rules change.
 * While `.read` was decided, every path it looked at was recorded with what it saw there. A commit that changes
 * what was seen has the rule decided again before its patch goes out; one that does not costs a map walk.
 *
 * Cost follows the number of listeners that depend on the touched path.
 */
import type { Path } from '../../protocol/index.ts'
import type { DataView, Dependencies } from '../../rules/index.ts'
import type { Listener } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'

/** What a listener's right to read rests on. */
export interface Grant {
  /** Paths outside the code's control, with what the rule saw; empty when no data was looked at. */
  readonly seen: readonly Seen[]
  readonly isTimeDependent: boolean
}

interface Seen {
  path: Path
  value: unknown
}

/** An admin's right and that of rules that look at nothing. */
export const UNCONDITIONAL: Grant = { seen: [], isTimeDependent: false }

export function grantFrom(dependencies: Dependencies, data: DataView): Grant {
  if (dependencies.paths.length === 0 && !dependencies.timeDependent) return UNCONDITIONAL
  return {
    seen: dependencies.paths.map((path) => ({ path, value: data.valueAt(path) })),
    isTimeDependent: dependencies.timeDependent,
  }
}

interface Node {
  children: Map<string, Node> | null
  /** How many listeners look at this path and what each saw. */
  dependants: Map<Listener, unknown> | null
}

export class ReadRights {
  readonly #root: Node = { children: null, dependants: null }
  /** Listeners whose rule looked at the clock, by query: asked again before each delivery and every second. */
  readonly timeDependent = new Map<LiveQuery, Set<Listener>>()

  add(listener: Listener): void {
    const { seen, isTimeDependent } = listener.grant
    if (isTimeDependent) {
      const onQuery = this.timeDependent.get(listener.live)
      if (onQuery === undefined) this.timeDependent.set(listener.live, new Set([listener]))
      else onQuery.add(listener)
    }
    for (const { path, value } of seen) {
      let node = this.#root
      for (const key of path) {
        node.children ??= new Map()
        let child = node.children.get(key)
        if (child === undefined) {
          child = { children: null, dependants: null }
          node.children.set(key, child)
        }
        node = child
      }
      node.dependants ??= new Map()
      node.dependants.set(listener, value)
    }
  }

  remove(listener: Listener): void {
    const onQuery = this.timeDependent.get(listener.live)
    if (onQuery?.delete(listener) && onQuery.size === 0) this.timeDependent.delete(listener.live)
    for (const { path } of listener.grant.seen) removeAt(this.#root, path, 0, listener)
  }

  /**
   * Listeners whose right may have changed with a write at `path`: those that looked there or below, and those
   * that looked above, where what they saw is no longer what is there.
   * @param head The state after the write.
   */
  touchedBy(path: Path, head: DataView, touched: (listener: Listener) => void): void {
    let node: Node = this.#root
    for (let depth = 0; ; depth++) {
      if (node.dependants !== null) collect(node, path.slice(0, depth), head, touched)
      if (depth === path.length) break
      const child = node.children?.get(path[depth]!)
      if (child === undefined) return
      node = child
    }
    if (node.children !== null) collectBelow(node, path, head, touched)
  }
}

function collect(node: Node, path: Path, head: DataView, touched: (listener: Listener) => void): void {
  const now = head.valueAt(path)
  for (const [listener, seen] of node.dependants!) if (seen !== now) touched(listener)
}

function collectBelow(node: Node, path: Path, head: DataView, touched: (listener: Listener) => void): void {
  for (const [key, child] of node.children!) {
    const childPath = [...path, key]
    if (child.dependants !== null) collect(child, childPath, head, touched)
    if (child.children !== null) collectBelow(child, childPath, head, touched)
  }
}

/** @returns Whether the node is now empty. */
function removeAt(node: Node, path: Path, depth: number, listener: Listener): boolean {
  if (depth === path.length) {
    node.dependants?.delete(listener)
    if (node.dependants?.size === 0) node.dependants = null
  } else {
    const child = node.children?.get(path[depth]!)
    if (child !== undefined && removeAt(child, path, depth + 1, listener)) {
      node.children!.delete(path[depth]!)
      if (node.children!.size === 0) node.children = null
    }
  }
  return node.children === null && node.dependants === null
}
