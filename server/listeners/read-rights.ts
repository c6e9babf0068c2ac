/**
 * Read rights: which listeners must be asked again when data, time, identity or rules change.
 * While `.read` was decided, every path it looked at was recorded with what it saw there. A commit that changes
 * what was seen has the rule decided again before its patch goes out; one that does not costs a map walk.
 *
 * Cost follows the number of listeners that depend on the touched path.
 */
import type { Path } from '../../protocol/index.ts'
import type { DataView, Dependencies, Sight } from '../../rules/index.ts'
import type { Listener } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'

/** What a listener's right to read rests on. */
export interface Grant {
  /** What the rules saw, and where; empty when no data was looked at. */
  readonly sights: readonly Sight[]
  /** When the clock alone may change the answer, Unix milliseconds; infinity where it cannot. */
  readonly changesAtMs: number
}

/** An admin's right and that of rules that look at nothing. */
export const UNCONDITIONAL: Grant = { sights: [], changesAtMs: Number.POSITIVE_INFINITY }

export function grantFrom({ sights, timeDependent, changesAtMs }: Dependencies): Grant {
  if (!timeDependent)
    return sights.length === 0 ? UNCONDITIONAL : { sights, changesAtMs: Number.POSITIVE_INFINITY }
  return { sights, changesAtMs }
}

interface Node {
  children: Map<string, Node> | null
  /** What was seen here, and whose right rests on it. */
  dependants: Map<Sight, Listener> | null
}

export class ReadRights {
  readonly #root: Node = { children: null, dependants: null }
  /** Listeners whose right the clock alone may end, by query: asked again once their moment has come. */
  readonly timeDependent = new Map<LiveQuery, Set<Listener>>()

  add(listener: Listener): void {
    const { sights, changesAtMs } = listener.grant
    if (changesAtMs !== Number.POSITIVE_INFINITY) {
      const onQuery = this.timeDependent.get(listener.live)
      if (onQuery === undefined) this.timeDependent.set(listener.live, new Set([listener]))
      else onQuery.add(listener)
    }
    for (const sight of sights) {
      let node = this.#root
      for (const key of sight.path) {
        node.children ??= new Map()
        let child = node.children.get(key)
        if (child === undefined) {
          child = { children: null, dependants: null }
          node.children.set(key, child)
        }
        node = child
      }
      node.dependants ??= new Map()
      node.dependants.set(sight, listener)
    }
  }

  remove(listener: Listener): void {
    const onQuery = this.timeDependent.get(listener.live)
    if (onQuery?.delete(listener) && onQuery.size === 0) this.timeDependent.delete(listener.live)
    for (const sight of listener.grant.sights) removeAt(this.#root, sight, 0)
  }

  /**
   * Listeners whose right may have changed with a write at `path`: those that looked there or below, and those
   * that looked above, where what they saw is no longer what is there.
   * @param head The state after the write.
   */
  touchedBy(path: Path, head: DataView, touched: (listener: Listener) => void): void {
    let node: Node = this.#root
    for (let depth = 0; ; depth++) {
      if (node.dependants !== null) collect(node.dependants, head, touched)
      if (depth === path.length) break
      const child = node.children?.get(path[depth]!)
      if (child === undefined) return
      node = child
    }
    if (node.children !== null) collectBelow(node.children, head, touched)
  }
}

function collect(
  dependants: Map<Sight, Listener>,
  head: DataView,
  touched: (listener: Listener) => void,
): void {
  for (const [sight, listener] of [...dependants]) if (looksDifferent(sight, head)) touched(listener)
}

function collectBelow(
  children: Map<string, Node>,
  head: DataView,
  touched: (listener: Listener) => void,
): void {
  for (const child of [...children.values()]) {
    if (child.dependants !== null) collect(child.dependants, head, touched)
    if (child.children !== null) collectBelow(child.children, head, touched)
  }
}

function looksDifferent({ path, aspect, value }: Sight, head: DataView): boolean {
  if (aspect === 'value') return head.valueAt(path) !== value
  if (aspect === 'priority') return head.priorityAt(path) !== value
  // Counting children again would cost what the rule costs: let the rule decide.
  return true
}

/** @returns Whether the node is now empty. */
function removeAt(node: Node, sight: Sight, depth: number): boolean {
  if (depth === sight.path.length) {
    node.dependants?.delete(sight)
    if (node.dependants?.size === 0) node.dependants = null
  } else {
    const key = sight.path[depth]!
    const child = node.children?.get(key)
    if (child !== undefined && removeAt(child, sight, depth + 1)) {
      node.children!.delete(key)
      if (node.children!.size === 0) node.children = null
    }
  }
  return node.children === null && node.dependants === null
}
