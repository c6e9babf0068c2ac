/**
 * Range members: a query without a limit shows every child within its range, so nothing needs to be kept: what a
 * child was and is ordered by says all.
 */
import { isInRange, type Query } from '../../protocol/index.ts'
import type { Place } from '../query-read.ts'
import type { Moved } from './ordered-list.ts'
import type { Fate, Members } from './query-window.ts'

export class RangeMembers implements Members {
  readonly #query: Query

  constructor(query: Query) {
    this.#query = query
  }

  advance(moved: readonly Moved[]): Map<string, Fate> {
    const fates = new Map<string, Fate>()
    for (const { key, before, after } of moved) {
      const wasIn = before !== undefined && isInRange(this.#query, key, before)
      const isIn = after !== undefined && isInRange(this.#query, key, after)
      if (isIn) fates.set(key, wasIn ? 'stayed' : 'entered')
      else if (wasIn) fates.set(key, 'left')
    }
    return fates
  }

  shows({ key, ordered }: Place): boolean {
    return isInRange(this.#query, key, ordered)
  }

  reload(): void {}
}
