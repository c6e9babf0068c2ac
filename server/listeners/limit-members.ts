/**
 * Limit members: the first (or last) so many children of a query's range, and a few more in reserve, so that one
 * that leaves is replaced without asking the store each time.
 *
 *   rank    0 ... count - 1 | count ... capacity - 1 |
 *           shown           | reserve                | unknown beyond the edge
 *
 * INVARIANT: every child in range that ranks at or before the edge is an item; without an edge, every child in range.
 */
import { strict as assert } from 'node:assert'
import { compareValues, isInRange, type Query } from '../../protocol/index.ts'
import { compareRanks, type Place } from '../query-read.ts'
import type { Moved } from './ordered-list.ts'
import type { Fate, Members } from './query-window.ts'

/** The best `count` children in range that rank behind the edge (null: from the first), best first. */
export type FetchBeyond = (edge: Place | null, count: number) => Place[]

export class LimitMembers implements Members {
  readonly #query: Query
  readonly #count: number
  readonly #capacity: number
  readonly #fetchBeyond: FetchBeyond
  /** Best first. */
  readonly #items: Place[] = []
  readonly #byKey = new Map<string, Place>()
  /** null: nothing is known yet. 'none': there is nothing beyond the items. */
  #edge: Place | null | 'none' = null
  /** For the commit being followed: +1 for a child that came to be shown, -1 for one that is no longer. */
  #net = new Map<string, number>()

  /** @param reserve Amortises the look-up in the store over this many children that leave. */
  constructor(query: Query, count: number, reserve: number, fetchBeyond: FetchBeyond) {
    this.#query = query
    this.#count = count
    this.#capacity = count + reserve
    this.#fetchBeyond = fetchBeyond
  }

  reload(): void {
    this.#items.length = 0
    this.#byKey.clear()
    this.#edge = null
    this.#fill()
    this.#net.clear()
  }

  advance(moved: readonly Moved[]): Map<string, Fate> {
    this.#net.clear()
    const wereShown: string[] = []
    const coming: Place[] = []
    for (const { key, after } of moved) {
      const item = this.#byKey.get(key)
      const isIn = after !== undefined && isInRange(this.#query, key, after)
      if (item !== undefined) {
        const at = this.#placeOf(item)
        assert(this.#items[at] === item, 'an item lies where its rank says')
        // Those before it in this commit may have moved it already.
        const isShown = at < this.#count ? 1 : 0
        if (isShown - (this.#net.get(key) ?? 0) === 1) wereShown.push(key)
        if (isIn && compareValues(item.ordered, after) === 0) continue
        this.#removeAt(at)
      }
      if (isIn) coming.push({ key, ordered: after })
    }
    for (const place of coming) if (this.#isWithinEdge(place)) this.#insert(place)
    while (this.#items.length > this.#capacity) {
      this.#byKey.delete(this.#items.pop()!.key)
      this.#edge = this.#items[this.#items.length - 1]!
    }
    if (this.#items.length < this.#count) this.#fill()
    return this.#fates(wereShown)
  }

  shows({ key }: Place): boolean {
    const item = this.#byKey.get(key)
    return item !== undefined && this.#placeOf(item) < this.#count
  }

  #isWithinEdge(place: Place): boolean {
    if (this.#edge === 'none') return true
    return this.#edge !== null && compareRanks(this.#query, place, this.#edge) <= 0
  }

  /** How many items rank before a place. */
  #placeOf(place: Place): number {
    let low = 0
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareRanks(this.#query, this.#items[middle]!, place) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #insert(place: Place): void {
    const at = this.#placeOf(place)
    this.#items.splice(at, 0, place)
    this.#byKey.set(place.key, place)
    if (at >= this.#count) return
    this.#shift(place.key, 1)
    if (this.#items.length > this.#count) this.#shift(this.#items[this.#count]!.key, -1)
  }

  #removeAt(at: number): void {
    const [item] = this.#items.splice(at, 1)
    this.#byKey.delete(item!.key)
    if (at >= this.#count) return
    this.#shift(item!.key, -1)
    if (this.#items.length >= this.#count) this.#shift(this.#items[this.#count - 1]!.key, 1)
  }

  #shift(key: string, by: 1 | -1): void {
    this.#net.set(key, (this.#net.get(key) ?? 0) + by)
  }

  #fill(): void {
    if (this.#edge === 'none') return
    const wanted = this.#capacity - this.#items.length
    const places = this.#fetchBeyond(this.#edge, wanted)
    for (const place of places) {
      assert(!this.#byKey.has(place.key), 'what lies beyond the edge is no item')
      this.#insert(place)
    }
    this.#edge = places.length < wanted ? 'none' : places[places.length - 1]!
  }

  #fates(wereShown: readonly string[]): Map<string, Fate> {
    const fates = new Map<string, Fate>()
    for (const key of wereShown) if ((this.#net.get(key) ?? 0) === 0) fates.set(key, 'stayed')
    for (const [key, by] of this.#net) {
      if (by > 0) fates.set(key, 'entered')
      else if (by < 0) fates.set(key, 'left')
    }
    return fates
  }
}
