/**
 * Fan-out: from the commits of a group to one patch for each touched query, handed to each wire that has
 * listeners on it. Encoding and sending are the wire's; this file never loops over listeners.
 */
import { type Step, type Value, valueAt } from '../../protocol/index.ts'
import type { Commit } from '../log/log.ts'
import type { Wire } from './listener.ts'
import type { ListenerTree, LiveQuery } from './listener-tree.ts'
import type { Told } from './message-listens.ts'

/** Steps a group made in one query, oldest first. */
export type Touched = Map<LiveQuery, Step[]>

/** @param commits One group, in revision order. */
export function touchedQueries(tree: ListenerTree, commits: readonly Commit[]): Touched {
  const touched: Touched = new Map()
  if (tree.size === 0) return touched
  for (const commit of commits) collectSteps(tree, commit, touched)
  return touched
}

/** @param wires Wires that may have listeners. */
export function deliver(touched: Touched, revision: number, wires: Iterable<Wire>): void {
  for (const wire of wires) {
    for (const [live, steps] of touched) wire.deliver(live, steps, revision)
  }
}

/** After what the same group stored: a message comes after the patches of all that was written before it. */
export function deliverMessages(told: Told, revision: number, wires: Iterable<Wire>): void {
  for (const wire of wires) {
    for (const [live, values] of told) wire.deliverMessages?.(live, values, revision)
  }
}

/** One step for each query the commit touches, whatever the number of its entries: a write is one event. */
function collectSteps(tree: ListenerTree, commit: Commit, touched: Touched): void {
  const isMultiPath = commit.entries.length > 1
  const open: Map<LiveQuery, (string | Value)[]> | null = isMultiPath ? new Map() : null
  for (const { path, value } of commit.entries) {
    tree.touched(
      path,
      (live) => addChange(live, relativePath(path, live.path.length), value),
      (live) => addChange(live, '', valueAt(value, live.path, path.length)),
    )
  }

  function addChange(live: LiveQuery, path: string, value: Value): void {
    const step = open?.get(live)
    if (step !== undefined) {
      step.push(path, value)
      return
    }
    const fresh = [path, value]
    open?.set(live, fresh)
    const steps = touched.get(live)
    if (steps === undefined) touched.set(live, [fresh])
    else steps.push(fresh)
  }
}

function relativePath(path: readonly string[], from: number): string {
  if (from === path.length) return ''
  if (from === path.length - 1) return path[from]!
  return path.slice(from).join('/')
}
