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
import { compareValues, type Query } from '../../protocol/index.ts'
import { compareRanks, type Place } from '../query-read.ts'
import type { Moved, MovedPlace, Moves } from './moves.ts'
import type { Fate, Members } from './query-window.ts'
import { type Reach, rangeOf } from './reaches.ts'

/** The best `count` children in range that rank behind the edge (null: from the first), best first. */
export type FetchBeyond = (edge: Place | null, count: number) => Place[]

export class LimitMembers implements Members {
  readonly #query: Query
  readonly #count: number
  readonly #capacity: number
  readonly #fetchBeyond: FetchBeyond
  /** Best first. */
  readonly #items: Place[] = []
  /** null: nothing is known yet. 'none': there is nothing beyond the items. */
  #edge: Place | null | 'none' = null
  readonly #range: Reach
  /** The range as far as the edge: a child that neither was nor is within it is none of this window's business. */
  #reach: Reach
  /** For the commit being followed: +1 for a child that came to be shown, -1 for one that is no longer. */
  #net = new Map<string, number>()

  /** @param reserve Amortises the look-up in the store over this many children that leave. */
  constructor(query: Query, count: number, reserve: number, fetchBeyond: FetchBeyond) {
    this.#query = query
    this.#count = count
    this.#capacity = count + reserve
    this.#fetchBeyond = fetchBeyond
    this.#range = rangeOf(query)
    this.#reach = this.#range
  }

  reload(): void {
    this.#items.length = 0
    this.#setEdge(null)
    this.#fill()
    this.#net.clear()
  }

  get reach(): Reach {
    return this.#reach
  }

  advance(moves: Moves): Map<string, Fate> | null {
    const taken = moves.wereWithin(this.#reach)
    const here = moves.areWithin(this.#reach)
    if (taken.length + here.length === 0) return null
    const areCut = here.length > this.#capacity
    const coming = areCut ? this.#best(here) : here
    this.#net.clear()
    const wereShown: string[] = []
    for (const place of inTurn(taken)) {
      const at = this.#indexOf(place)
      assert(at >= 0, 'what was within reach is an item')
      // Those before it in this commit may have moved it already.
      const isShown = at < this.#count ? 1 : 0
      if (isShown - (this.#net.get(place.key) ?? 0) === 1) wereShown.push(place.key)
      if (!staysInPlace(place.moved)) this.#removeAt(at)
    }
    for (const place of inTurn(coming)) if (!staysInPlace(place.moved)) this.#insert(place)
    const isOver = this.#items.length > this.#capacity
    while (this.#items.length > this.#capacity) this.#items.pop()
    if (isOver || areCut) this.#setEdge(this.#items[this.#items.length - 1]!)
    if (this.#items.length < this.#count) this.#fill()
    return this.#fates(wereShown)
  }

  /** No more than may come to be items: of ten thousand new children the others need not even be looked at. */
  #best(places: readonly MovedPlace[]): readonly MovedPlace[] {
    const isReverse = this.#query.limit!.from === 'last'
    return isReverse ? places.slice(-this.#capacity) : places.slice(0, this.#capacity)
  }

  shows(place: Place): boolean {
    const at = this.#indexOf(place)
    return at >= 0 && at < this.#count
  }

  /** Where a child is among the items; -1 if it is none. */
  #indexOf(place: Place): number {
    const at = this.#placeOf(place)
    return this.#items[at]?.key === place.key ? at : -1
  }

  #setEdge(edge: Place | null | 'none'): void {
    this.#edge = edge
    this.#reach = this.#range
    if (edge === null || edge === 'none') return
    const isReverse = this.#query.limit!.from === 'last'
    const cut = { ordered: edge.ordered, key: edge.key, isBehind: !isReverse }
    this.#reach = isReverse ? { from: cut, to: this.#range.to } : { from: this.#range.from, to: cut }
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
    // Ten times as fast as to splice, and where most lists grow.
    if (at === 0) this.#items.unshift(place)
    else this.#items.splice(at, 0, place)
    if (at >= this.#count) return
    this.#shift(place.key, 1)
    if (this.#items.length > this.#count) this.#shift(this.#items[this.#count]!.key, -1)
  }

  #removeAt(at: number): void {
    const item = at === 0 ? this.#items.shift() : this.#items.splice(at, 1)[0]
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
      assert(this.#indexOf(place) < 0, 'what lies beyond the edge is no item')
      this.#insert(place)
    }
    this.#setEdge(places.length < wanted ? 'none' : places[places.length - 1]!)
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

/** In the order in which the commit names them. */
function inTurn(places: readonly MovedPlace[]): readonly MovedPlace[] {
  return places.length < 2 ? places : [...places].sort((a, b) => a.moved.at - b.moved.at)
}

function staysInPlace({ before, after }: Moved): boolean {
  return before !== undefined && after !== undefined && compareValues(before, after) === 0
}
