/** Group places: where the commits of a group wrote. Made for the sessions that ask, once for all of them. */
import type { Path } from '../protocol/index.ts'
import type { Entry, TreeView } from './store/store.ts'

interface Count {
  commits: number
  /** The last commit that was counted. */
  last: number
}

export class GroupPlaces {
  readonly #at = new Map<string, Count>()
  readonly #below = new Map<string, Count>()
  /** What was found out of places above what they wrote: each deletion asks, for each session and each window above it. */
  readonly #wroteAll = new Map<string, boolean>()

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

  /** Whether they wrote all that there is at a path in `after`, the state they left: always the same one. */
  wroteAllAt(path: Path, after: TreeView): boolean {
    let place = ''
    if (this.#at.has(place)) return true
    for (const key of path) {
      place = `${place}/${key}`
      if (this.#at.has(place)) return true
    }
    if (!this.#below.has(place)) return false
    let wroteAll = this.#wroteAll.get(place)
    if (wroteAll === undefined) {
      wroteAll = this.#wroteAllIn(path, after)
      this.#wroteAll.set(place, wroteAll)
    }
    return wroteAll
  }

  #wroteAllIn(path: Path, after: TreeView): boolean {
    for (const key of after.keys(path)) if (!this.wroteAllAt([...path, key], after)) return false
    return true
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
