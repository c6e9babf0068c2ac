/**
 * Range members: a query without a limit shows every child within its range, so nothing needs to be kept: what a
 * child was and is ordered by says all.
 */
import { isInRange, type Query } from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'
import type { Moved, Moves } from './moves.ts'
import type { Fate, Members } from './query-window.ts'
import { type Reach, rangeOf } from './reaches.ts'

export class RangeMembers implements Members {
  readonly #query: Query
  readonly reach: Reach

  constructor(query: Query) {
    this.#query = query
    this.reach = rangeOf(query)
  }

  advance(moves: Moves): Map<string, Fate> | null {
    const fateOf = new Map<Moved, Fate>()
    for (const { moved } of moves.wereWithin(this.reach)) fateOf.set(moved, 'left')
    for (const { moved } of moves.areWithin(this.reach)) {
      fateOf.set(moved, fateOf.has(moved) ? 'stayed' : 'entered')
    }
    if (fateOf.size === 0) return null
    const fates = new Map<string, Fate>()
    for (const moved of [...fateOf.keys()].sort(byNumber)) fates.set(moved.key, fateOf.get(moved)!)
    return fates
  }

  shows({ key, ordered }: Place): boolean {
    return isInRange(this.#query, key, ordered)
  }

  reload(): void {}
}

function byNumber(a: Moved, b: Moved): number {
  return a.at - b.at
}
