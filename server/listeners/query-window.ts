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
import type { Query, Step, Value } from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'
import { LimitMembers } from './limit-members.ts'
import type { ListHead } from './list-head.ts'
import type { Moves } from './moves.ts'
import { RangeMembers } from './range-members.ts'
import type { Reach } from './reaches.ts'

/** What a commit did to a child as the query's listeners see it. */
export type Fate = 'entered' | 'stayed' | 'left'

/** Which children a query shows. */
export interface Members {
  /**
   * Follows a commit.
   * @returns The fate of each child it made enter or leave, and of each touched one that stays; null where nothing it
   * did was within reach.
   */
  advance(moves: Moves): Map<string, Fate> | null
  /** Between commits: where a child has to have been or to come for it to concern the members. */
  readonly reach: Reach
  /** Between commits: whether a child that has its place is shown. */
  shows(place: Place): boolean
  /** Starts anew from the flushed state. */
  reload(): void
}

/** Children kept in reserve behind a limit. */
const RESERVE = 32

export class QueryWindow {
  readonly #list: ListHead
  readonly #leavesMax: number
  readonly #members: Members
  #steps: Step[] = []
  /** Children that entered in the group under way, and in the last one that touched this window. */
  #entering = new Set<string>()
  #entered = new Set<string>()
  #mustReload = false

  /**
   * @param list The children at the query's path, in its order.
   * @throws {IndexGoneError} There is no index for the query's order.
   */
  constructor(list: ListHead, query: Query, leavesMax: number, reserve = RESERVE) {
    this.#list = list
    this.#leavesMax = leavesMax
    this.#members =
      query.limit === undefined
        ? new RangeMembers(query)
        : new LimitMembers(query, query.limit.count, reserve, (edge, count) =>
            list.beyond(query, edge, count),
          )
    this.#members.reload()
  }

  /** Where a child has to have been or to come for a commit to concern this window. */
  get reach(): Reach {
    return this.#members.reach
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
   * @param moves What it did to the list.
   * @returns Whether it concerned this window.
   * @throws {TooLargeError} A child that enters has more leaves than one read may take.
   * @throws {IndexGoneError}
   */
  advance(moves: Moves): boolean {
    if (this.#mustReload) return true
    const fates = this.#members.advance(moves)
    if (fates === null) return false
    const step: (string | Value)[] = []
    const stayed: string[] = []
    // Leavers first: whoever applies a step part by part never holds more than the limit.
    for (const [key, fate] of fates) if (fate === 'left') step.push(key, null)
    for (const [key, fate] of fates) {
      if (fate === 'entered') {
        step.push(key, this.#list.read(key, this.#leavesMax))
        this.#entering.add(key)
      }
      if (fate === 'stayed') stayed.push(key)
    }
    if (stayed.length > 0) for (const { path, value } of moves.changesOf(stayed)) step.push(path, value)
    if (step.length > 0) this.#steps.push(step)
    return true
  }

  /**
   * The group is in: its steps. For a window that must start anew the steps before that; then call `reload`, read the
   * query's whole value and send it as the last step.
   */
  settle(): Step[] {
    const steps = this.#steps
    this.#steps = []
    this.#entered = this.#entering
    this.#entering = new Set()
    return steps
  }

  /** While a group is told: whether a child came into this window in it, if only for a moment. */
  hasEntered(key: string): boolean {
    return this.#entered.has(key)
  }

  /** Whether it shows a child; between groups. */
  shows(key: string): boolean {
    const ordered = this.#list.flushedAt(key)
    return ordered !== undefined && this.#members.shows({ key, ordered })
  }

  /** Starts anew from the flushed state, between groups. @throws {IndexGoneError} */
  reload(): void {
    this.#steps = []
    this.#entering.clear()
    this.#mustReload = false
    this.#members.reload()
  }
}
