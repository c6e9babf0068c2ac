/**
 * Group places: how many commits of a group wrote at, above or below a path. Made for the sessions whose own writes are
 * in the group, once for all of them.
 */
import type { Path } from '../protocol/index.ts'
import type { Entry } from './store/store.ts'

interface Count {
  commits: number
  /** The last commit that was counted. */
  last: number
}

export class GroupPlaces {
  readonly #at = new Map<string, Count>()
  readonly #below = new Map<string, Count>()

  constructor(commits: readonly { entries: readonly Entry[] }[]) {
    for (const [i, { entries }] of commits.entries()) {
      for (const { path } of entries) {
        let place = ''
        for (const key of path) {
          count(this.#below, place, i)
          place = `${place}/${key}`
        }
        count(this.#at, place, i)
      }
    }
  }

  /** Commits that wrote at, above or below the path. */
  touching(path: Path): number {
    let place = ''
    let commits = this.#at.get(place)?.commits ?? 0
    for (const key of path) {
      place = `${place}/${key}`
      commits += this.#at.get(place)?.commits ?? 0
    }
    return commits + (this.#below.get(place)?.commits ?? 0)
  }
}

function count(counts: Map<string, Count>, place: string, commit: number): void {
  const known = counts.get(place)
  if (known === undefined) counts.set(place, { commits: 1, last: commit })
  else if (known.last !== commit) {
    known.commits += 1
    known.last = commit
  }
}
