/**
 * Query window: the children one live query shows, kept current commit by commit without reading the list.
 *
 * It moves when a commit is staged, on the head, so every commit of a group gets its own step with the state right
 * in between. What the group has not touched is looked up in the flushed state, which still is the state before the
 * group; what it has touched is kept with the list (ordered-list.ts) until the group is settled.
 *
 *   commit staged -> changes of children -> members decide who enters, stays, leaves -> one step
 *   group settled -> the steps go out; the flushed state has caught up
 *
 * A write of the query's whole path (or above it) starts the window anew when the group is settled: that commit and
 * those after it in the group become one step, the whole window at the empty path.
 */
import { isInRange, type Path, type Query, type Step, type Value } from '../../protocol/index.ts'
import { compareRanks, type OrderedStore, orderedAt, type Place, walk } from '../query-read.ts'
import { LimitMembers } from './limit-members.ts'
import type { Change, Moved, TouchedChildren } from './ordered-list.ts'
import { RangeMembers } from './range-members.ts'

/** What a commit did to a child as the query's listeners see it. */
export type Fate = 'entered' | 'stayed' | 'left'

/** Which children a query shows. */
export interface Members {
  /** Follows a commit. @returns The fate of each child it made enter or leave, and of each touched one that stays. */
  advance(moved: readonly Moved[]): Map<string, Fate>
  /** Between commits: whether a child that has its place is shown. */
  shows(place: Place): boolean
  /** Starts anew from the flushed state. */
  reload(): void
}

/** Children kept in reserve behind a limit. */
const RESERVE = 32

/** The index a window rests on is gone. */
export class IndexGoneError extends Error {}

export class QueryWindow {
  readonly #path: Path
  readonly #query: Query
  readonly #store: OrderedStore
  readonly #leavesMax: number
  readonly #members: Members
  readonly #touched: TouchedChildren
  #steps: Step[] = []
  #mustReload = false

  /**
   * @param touched What the group under way has touched on the query's list.
   * @throws {IndexGoneError} There is no index for the query's order.
   */
  constructor(
    store: OrderedStore,
    path: Path,
    query: Query,
    touched: TouchedChildren,
    leavesMax: number,
    reserve = RESERVE,
  ) {
    this.#store = store
    this.#path = path
    this.#query = query
    this.#touched = touched
    this.#leavesMax = leavesMax
    this.#members =
      query.limit === undefined
        ? new RangeMembers(query)
        : new LimitMembers(query, query.limit.count, reserve, (edge, count) => this.#beyond(edge, count))
    this.#members.reload()
  }

  /** The group under way has done what this window cannot follow: it starts anew when the group is settled. */
  invalidate(): void {
    this.#mustReload = true
  }

  get mustReload(): boolean {
    return this.#mustReload
  }

  /**
   * Follows a commit that has just been staged.
   * @param changes In the order of the commit's entries.
   * @param moved The children they touch.
   * @throws {TooLargeError} A child that enters has more leaves than one read may take.
   * @throws {IndexGoneError}
   */
  advance(changes: readonly Change[], moved: readonly Moved[]): void {
    if (this.#mustReload) return
    const { head } = this.#store
    const fates = this.#members.advance(moved)
    const step: (string | Value)[] = []
    // Leavers first: whoever applies a step part by part never holds more than the limit.
    for (const [key, fate] of fates) if (fate === 'left') step.push(key, null)
    for (const [key, fate] of fates) {
      if (fate === 'entered') step.push(key, head.read([...this.#path, key], this.#leavesMax))
    }
    for (const { key, path, value } of changes) if (fates.get(key) === 'stayed') step.push(path, value)
    if (step.length > 0) this.#steps.push(step)
  }

  /**
   * The group is in: its steps. For a window that must start anew the steps before that; then call `reload`, read the
   * query's whole value and send it as the last step.
   */
  settle(): Step[] {
    const steps = this.#steps
    this.#steps = []
    return steps
  }

  /** Whether it shows a child; between groups. */
  shows(key: string): boolean {
    const ordered = orderedAt(this.#store.flushed, this.#path, key, this.#query.orderBy)
    return ordered !== undefined && this.#members.shows({ key, ordered })
  }

  /** Starts anew from the flushed state, between groups. @throws {IndexGoneError} */
  reload(): void {
    this.#steps = []
    this.#mustReload = false
    this.#members.reload()
  }

  /** The best `count` children ranked behind `edge`, best first; fewer if there are no more. */
  #beyond(edge: Place | null, count: number): Place[] {
    const inOrder = walk(this.#store, this.#path, this.#query, edge)
    if (inOrder === null) throw new IndexGoneError()
    const places: Place[] = []
    const touched = this.#touchedBeyond(edge)
    let next = 0
    for (const key of inOrder) {
      if (this.#touched.has(key)) continue
      const ordered = orderedAt(this.#store.flushed, this.#path, key, this.#query.orderBy)
      const place: Place = { key, ordered: ordered ?? null }
      while (next < touched.length && compareRanks(this.#query, touched[next]!, place) < 0) {
        if (places.push(touched[next++]!) === count) return places
      }
      if (places.push(place) === count) return places
    }
    return [...places, ...touched.slice(next, next + count - places.length)]
  }

  /** Touched children that rank behind the edge, best first. */
  #touchedBeyond(edge: Place | null): Place[] {
    const places: Place[] = []
    for (const [key, ordered] of this.#touched) {
      if (ordered === undefined || !isInRange(this.#query, key, ordered)) continue
      const place = { key, ordered }
      if (edge === null || compareRanks(this.#query, place, edge) > 0) places.push(place)
    }
    return places.sort((a, b) => compareRanks(this.#query, a, b))
  }
}
