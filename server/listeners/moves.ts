/**
 * Moves: what one commit did to the children of a list, put in order once for all windows on it, so that each window
 * finds the few that concern it.
 */
import { comparePlaces, type Value } from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'
import { countBefore, type Reach } from './reaches.ts'

/** What a commit did at or below one child. */
export interface Change {
  key: string
  /** Relative to the list's path: `key`, `key/deep` or `key/.priority`. */
  path: string
  value: Value
}

/** A touched child: what it is ordered by before and after a commit; undefined while it is absent. */
export interface Moved {
  key: string
  before: Value | undefined
  after: Value | undefined
  /** In the order in which the commit first names them. */
  at: number
}

/** One of them where it was, or where it is. */
export interface MovedPlace extends Place {
  moved: Moved
}

const NO_PLACES: readonly MovedPlace[] = []

export class Moves {
  readonly all: readonly Moved[]
  /** In the order of the commit's entries. */
  readonly #changes: readonly Change[]
  #numbersOf: Map<string, number[]> | null = null
  readonly #befores: readonly MovedPlace[]
  readonly #afters: readonly MovedPlace[]

  /** @param all Each child once. */
  constructor(changes: readonly Change[], all: readonly Moved[]) {
    this.all = all
    this.#changes = changes
    this.#befores = inOrder(all, ({ before }) => before)
    this.#afters = inOrder(all, ({ after }) => after)
  }

  /** Where children were within a reach, in the list's order. */
  wereWithin(reach: Reach): readonly MovedPlace[] {
    return within(this.#befores, reach)
  }

  /** Where children are within it now, in the list's order. */
  areWithin(reach: Reach): readonly MovedPlace[] {
    return within(this.#afters, reach)
  }

  /** All places that a child was taken from or came to. */
  *places(): Iterable<Place> {
    yield* this.#befores
    yield* this.#afters
  }

  /** @param keys At least one touched child. @returns What was done to them, in the order of the commit's entries. */
  changesOf(keys: readonly string[]): readonly Change[] {
    const changes = this.#changes
    if (changes.length === 1) return changes
    this.#numbersOf ??= numbersByKey(changes)
    const numbers: number[] = []
    for (const key of keys) for (const number of this.#numbersOf.get(key)!) numbers.push(number)
    return numbers.sort((a, b) => a - b).map((number) => changes[number]!)
  }
}

function inOrder(all: readonly Moved[], orderedBy: (moved: Moved) => Value | undefined): MovedPlace[] {
  const places: MovedPlace[] = []
  for (const moved of all) {
    const ordered = orderedBy(moved)
    if (ordered !== undefined) places.push({ key: moved.key, ordered, moved })
  }
  if (places.length < 2) return places
  return places.sort((a, b) => comparePlaces(a.ordered, a.key, b.ordered, b.key))
}

function within(places: readonly MovedPlace[], { from, to }: Reach): readonly MovedPlace[] {
  const start = from === null ? 0 : countBefore(places, from)
  const end = to === null ? places.length : countBefore(places, to)
  if (end - start === places.length) return places
  return start < end ? places.slice(start, end) : NO_PLACES
}

function numbersByKey(changes: readonly Change[]): Map<string, number[]> {
  const numbersOf = new Map<string, number[]>()
  for (let i = 0; i < changes.length; i++) {
    const { key } = changes[i]!
    const numbers = numbersOf.get(key)
    if (numbers === undefined) numbersOf.set(key, [i])
    else numbers.push(i)
  }
  return numbersOf
}
