/**
 * Group places: how many commits of a group wrote at, above or below a path. Made for the sessions whose own writes are
 * in the group, once for all of them.
 */
import { isObject, type Path } from '../protocol/index.ts'
import type { Entry } from './store/store.ts'

interface Count {
  commits: number
  /** The last commit that was counted. */
  last: number
}

export class GroupPlaces {
  readonly #at = new Map<string, Count>()
  readonly #below = new Map<string, Count>()
  /** By the place of their first entry. */
  readonly #commits = new Map<string, (readonly Entry[])[]>()

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
      const first = placeOf(entries)
      const others = this.#commits.get(first)
      if (others === undefined) this.#commits.set(first, [entries])
      else others.push(entries)
    }
  }

  /** Whether it is one of the commits: a write that changed nothing is none. */
  has(entries: readonly Entry[]): boolean {
    return this.#commits.get(placeOf(entries))?.some((each) => isSameWrite(each, entries)) ?? false
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

/**
 * Whether the entries may be those of one write. On a worker they came back as others; whoever wrote an object to the same
 * place is not told apart, and has changed something.
 */
export function isSameWrite(a: readonly Entry[], b: readonly Entry[]): boolean {
  if (a === b) return true
  return a.length === b.length && a.every((entry, i) => isSameEntry(entry, b[i]!))
}

function isSameEntry(a: Entry, b: Entry): boolean {
  if (a.path.length !== b.path.length || !a.path.every((key, i) => key === b.path[i])) return false
  return a.value === b.value || (isObject(a.value) && isObject(b.value))
}

function placeOf(entries: readonly Entry[]): string {
  return entries.length === 0 ? '' : `/${entries[0]!.path.join('/')}`
}

function count(counts: Map<string, Count>, place: string, commit: number): void {
  const known = counts.get(place)
  if (known === undefined) counts.set(place, { commits: 1, last: commit })
  else if (known.last !== commit) {
    known.commits += 1
    known.last = commit
  }
}
