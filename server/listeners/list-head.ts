/**
 * List head: the children of a list in one order, as the commits of the group under way leave them. What these have
 * touched is looked up in the head and kept here; anything else is in the flushed state as it was before the group.
 *
 *   flushed    a  b  c  d  e  f  g        walked from an edge on, passing over what was touched
 *   touched       b        e     x        in the same order, laid between
 *
 * All windows on the list look here, so that what one has found the next one is spared.
 */
import {
  comparePlaces,
  isInRange,
  type Order,
  type Path,
  type Query,
  type Value,
} from '../../protocol/index.ts'
import { compareRanks, type OrderedStore, orderedAt, type Place, walk } from '../query-read.ts'
import { type Change, type Moved, Moves } from './moves.ts'
import { countBefore, rangeOf } from './reaches.ts'
import { type Followers, UntouchedWalk } from './untouched-walk.ts'

/** The index a window rests on is gone. */
export class IndexGoneError extends Error {}

export class ListHead {
  readonly path: Path
  readonly #orderBy: Order
  readonly #store: OrderedStore
  /** What children the group has touched are now ordered by; undefined for absent ones. */
  readonly #touched = new Map<string, Value | undefined>()
  /** Touched children that are there, in order, but for those touched since: these are in `#unranked`. */
  #ranked: Place[] = []
  readonly #unranked = new Set<string>()
  /** For each way to walk, what the walks of this group have found. */
  readonly #followers = { first: new Map() as Followers, last: new Map() as Followers }
  /** Children read in the head since the last commit. */
  readonly #read = new Map<string, Value>()

  constructor(store: OrderedStore, path: Path, orderBy: Order) {
    this.#store = store
    this.path = path
    this.#orderBy = orderBy
  }

  /** Follows a commit that has just been staged. */
  follow(changes: readonly Change[]): Moves {
    const { flushed, head } = this.#store
    const touched = this.#touched
    const seen = changes.length === 1 ? null : new Set<string>()
    const all: Moved[] = []
    for (const { key } of changes) {
      if (seen !== null && seen.size === seen.add(key).size) continue
      const before = touched.has(key) ? touched.get(key) : orderedAt(flushed, this.path, key, this.#orderBy)
      const after = orderedAt(head, this.path, key, this.#orderBy)
      touched.set(key, after)
      this.#unranked.add(key)
      all.push({ key, before, after, at: all.length })
    }
    if (this.#read.size > 0) this.#read.clear()
    return new Moves(changes, all)
  }

  /** The group is in, or never was. */
  forget(): void {
    this.#touched.clear()
    this.#ranked = []
    this.#unranked.clear()
    this.#followers.first.clear()
    this.#followers.last.clear()
    this.#read.clear()
  }

  /** A child as the last commit left it. @throws {TooLargeError} */
  read(key: string, leavesMax: number): Value {
    let value = this.#read.get(key)
    if (value === undefined) {
      value = this.#store.head.read([...this.path, key], leavesMax)
      this.#read.set(key, value)
    }
    return value
  }

  /** What a child is ordered by between groups; undefined if there is no such child. */
  flushedAt(key: string): Value | undefined {
    return orderedAt(this.#store.flushed, this.path, key, this.#orderBy)
  }

  /**
   * The best `count` children in a query's range that rank behind `edge`, best first; fewer if there are no more.
   * @param edge Null: from the first in range.
   * @throws {IndexGoneError}
   */
  beyond(query: Query, edge: Place | null, count: number): Place[] {
    const places: Place[] = []
    const touched = this.#touchedBeyond(query, edge)
    let next = touched.next()
    for (const place of this.#untouchedBeyond(query, edge)) {
      while (next.done !== true && compareRanks(query, next.value, place) < 0) {
        if (places.push(next.value) === count) return places
        next = touched.next()
      }
      if (places.push(place) === count) return places
    }
    while (next.done !== true && places.length < count) {
      places.push(next.value)
      next = touched.next()
    }
    return places
  }

  *#touchedBeyond(query: Query, edge: Place | null): Generator<Place, undefined> {
    const ranked = this.#inOrder()
    const isReverse = query.limit?.from === 'last'
    const { from, to } = rangeOf(query)
    const near = edge === null ? (isReverse ? to : from) : { ...edge, isBehind: !isReverse }
    let at = near === null ? (isReverse ? ranked.length : 0) : countBefore(ranked, near)
    if (isReverse) at -= 1
    for (; at >= 0 && at < ranked.length; at += isReverse ? -1 : 1) {
      const place = ranked[at]!
      if (!isInRange(query, place.key, place.ordered)) return
      yield place
    }
  }

  #inOrder(): readonly Place[] {
    if (this.#unranked.size > 0) {
      const places = this.#ranked.filter(({ key }) => !this.#unranked.has(key))
      for (const key of this.#unranked) {
        const ordered = this.#touched.get(key)
        if (ordered !== undefined) places.push({ key, ordered })
      }
      this.#ranked = places.sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
      this.#unranked.clear()
    }
    return this.#ranked
  }

  *#untouchedBeyond(query: Query, edge: Place | null): Generator<Place, undefined> {
    if (this.#touched.size === 0) {
      for (const key of this.#walk(query, edge)) yield this.#placeOf(key)!
      return
    }
    // Where the range ends is for each window to say, and what is remembered of a walk is for all.
    const isReverse = query.limit?.from === 'last'
    const { start, end, ...rest } = query
    const walked: Query = { ...rest, ...(isReverse ? end && { end } : start && { start }) }
    const walk = new UntouchedWalk(
      {
        touched: this.#touched,
        followers: this.#followers[isReverse ? 'last' : 'first'],
        walk: (behind) => this.#walk(walked, behind),
        placeOf: (key) => this.#placeOf(key),
      },
      edge,
    )
    for (let place = walk.next(); place !== null; place = walk.next()) {
      if (!isInRange(query, place.key, place.ordered)) return
      yield place
    }
  }

  #walk(query: Query, behind: Place | null): Iterable<string> {
    const keys = walk(this.#store, this.path, query, behind)
    if (keys === null) throw new IndexGoneError()
    return keys
  }

  #placeOf(key: string): Place | undefined {
    const ordered = this.flushedAt(key)
    return ordered === undefined ? undefined : { key, ordered }
  }
}
