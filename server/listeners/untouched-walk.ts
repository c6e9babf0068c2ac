/**
 * Untouched walk: the children of a list that the group under way has not touched, in order, from an edge on.
 *
 *   a  b* c* d* e        * touched: a walk from `a` on leaves behind that `e` follows on a, b, c and d
 *
 * What one walk has passed over the next one jumps: a group may have deleted ten thousand children, and hundreds of
 * windows look for what comes behind them.
 */
import { compareValues } from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'

/** By a child's key the untouched one that follows on it in the flushed state, null where none does. */
export type Followers = Map<string, Place | null>

export interface WalkedList {
  /** By key, whatever the group has touched so far. */
  touched: ReadonlyMap<string, unknown>
  followers: Followers
  /** Keys of the flushed state behind a place, or from the first on. */
  walk(behind: Place | null): Iterable<string>
  /** Where a child of the flushed state is in it; undefined for what is no child. */
  placeOf(key: string): Place | undefined
}

export class UntouchedWalk {
  readonly #list: WalkedList
  #at: Place | null
  /** Whether its child is there in the flushed state, so that followers tell what comes next. */
  #isFlushed: boolean
  /** Stands behind `#at`; null where that was come to by a jump. */
  #keys: Iterator<string> | null = null

  /** @param edge Null: from the first on. */
  constructor(list: WalkedList, edge: Place | null) {
    this.#list = list
    this.#at = edge
    // An edge stays where it is when its child moves on or goes.
    const place = edge === null ? undefined : list.placeOf(edge.key)
    this.#isFlushed = place !== undefined && compareValues(place.ordered, edge!.ordered) === 0
  }

  next(): Place | null {
    const { touched, followers } = this.#list
    const passed: string[] = []
    for (;;) {
      if (this.#isFlushed) passed.push(this.#at!.key)
      const known = this.#isFlushed ? followers.get(this.#at!.key) : undefined
      if (known !== undefined) this.#keys = null
      const found = known === undefined ? this.#readOn(passed) : known
      this.#at = found
      this.#isFlushed = true
      // It may have been touched since it was remembered.
      if (found !== null && touched.has(found.key)) continue
      for (const key of passed) followers.set(key, found)
      return found
    }
  }

  #readOn(passed: string[]): Place | null {
    const { touched, followers, walk, placeOf } = this.#list
    this.#keys ??= walk(this.#at)[Symbol.iterator]()
    for (let next = this.#keys.next(); next.done !== true; next = this.#keys.next()) {
      const key = next.value
      if (!touched.has(key)) return placeOf(key)!
      passed.push(key)
      const known = followers.get(key)
      if (known === undefined) continue
      this.#keys = null
      return known
    }
    return null
  }
}
