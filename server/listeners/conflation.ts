/**
 * Conflation: which places of a query changed since a revision, for listeners that are not told of each change: those
 * that read too slowly, and those that asked for the latest only. What is kept is paths, never values, once for each
 * live query and not for each listener; who is brought up to date reads the values then.
 *
 *   track ──▶ floor 41   a/x@42  b@44  a@45   ──since(43)──▶  b, a
 *                        └─ oldest first; a path that changes again moves to the end
 *
 * INVARIANT: every change after a tracked query's floor is in it. What is beyond its bounds raises the floor: whoever
 * holds an older revision needs the whole value.
 */
import { strict as assert } from 'node:assert'
import type { Step } from '../../protocol/index.ts'
import type { Touched } from './fan-out.ts'
import type { LiveQuery } from './listener-tree.ts'

/** Bytes the paths of one query may take: about a thousand short ones. */
const QUERY_BYTES_MAX = 128 * 1024
/** Bytes the paths of all queries of one database may take. */
const TOTAL_BYTES_MAX = 16 * 1024 * 1024
/** What one entry takes beside its text (measured: 90 to 110 bytes in maps of a hundred to a thousand). */
const ENTRY_BYTES = 104
/**
 * Turns of the event loop after which a published message has left or is known to be dropped: uWebSockets.js sends at
 * the end of the turn, and sessions hear of drops in the next.
 */
const TURNS_TO_CONFIRM = 3

/** What a listener lacks. Paths are relative to the query's, in no order. */
export interface Changed {
  /** Places whose value may differ, none within another. The empty path is the whole query. */
  paths: string[]
  /** Places above deletions: they may have gone meanwhile, and come back without the priority they had. */
  emptied: string[]
}

/** Who holds the bytes that are left. */
export interface ByteBudget {
  bytes: number
}

interface Change {
  revision: number
  /** Revision of the latest deletion of just this place; 0 if there was none. */
  deletedAt: number
}

/** The changed paths of one query. */
export class ChangedPaths {
  /** Oldest first. */
  readonly #changes = new Map<string, Change>()
  readonly #budget: ByteBudget
  #floor: number
  #bytes = 0
  /** Listeners that need it. */
  followers = 0

  /** @param floor Changes after this revision will be added. */
  constructor(floor: number, budget: ByteBudget = { bytes: TOTAL_BYTES_MAX }) {
    this.#floor = floor
    this.#budget = budget
  }

  /** @param revision Not below that of the call before. */
  add(steps: readonly Step[], revision: number): void {
    for (const step of steps) {
      for (let i = 0; i < step.length; i += 2) {
        this.#addPath(step[i] as string, step[i + 1] === null, revision)
      }
    }
    while (this.#bytes > QUERY_BYTES_MAX) this.#forgetOldest()
    if (this.#budget.bytes < 0) {
      this.clear()
      this.#floor = revision
    }
  }

  /** @returns Null when it is not known any more: the whole value is needed. */
  since(revision: number): Changed | null {
    if (revision < this.#floor) return null
    const paths = new Set<string>()
    const emptied = new Set<string>()
    for (const [path, change] of this.#changes) {
      if (change.revision <= revision) continue
      paths.add(path)
      if (change.deletedAt > revision) for (const above of ancestorsOf(path)) emptied.add(above)
    }
    const isWithinAnother = (path: string): boolean => {
      for (const above of ancestorsOf(path)) if (paths.has(above)) return true
      return false
    }
    return {
      paths: [...paths].filter((path) => !isWithinAnother(path)),
      emptied: [...emptied].filter((path) => !paths.has(path) && !isWithinAnother(path)),
    }
  }

  clear(): void {
    this.#changes.clear()
    this.#budget.bytes += this.#bytes
    this.#bytes = 0
  }

  #addPath(path: string, isDeletion: boolean, revision: number): void {
    // The whole value covers all that was before, whoever asks.
    if (path === '') this.clear()
    const known = this.#changes.get(path)
    const deletedAt = isDeletion ? revision : (known?.deletedAt ?? 0)
    if (known?.revision === revision) {
      known.deletedAt = deletedAt
      return
    }
    if (known === undefined) this.#count(path, 1)
    else this.#changes.delete(path)
    this.#changes.set(path, { revision, deletedAt })
  }

  #forgetOldest(): void {
    for (const [path, { revision }] of this.#changes) {
      this.#changes.delete(path)
      this.#count(path, -1)
      this.#floor = revision
      return
    }
  }

  #count(path: string, sign: 1 | -1): void {
    const bytes = sign * (ENTRY_BYTES + 2 * path.length)
    this.#bytes += bytes
    this.#budget.bytes -= bytes
  }
}

/** The tracked queries of one database. */
export class Conflation {
  readonly #budget: ByteBudget = { bytes: TOTAL_BYTES_MAX }
  readonly #afterTurn: (call: () => void) => void
  /** Groups of which nobody knows yet whether all who listen were sent them. */
  readonly #unconfirmed: { touched: Touched; revision: number; turn: number }[] = []
  #confirmed: number
  #turn = 0

  constructor(revision: number, afterTurn: (call: () => void) => void = setImmediate) {
    this.#confirmed = revision
    this.#afterTurn = afterTurn
  }

  /** Newest revision of which everyone certainly was sent all, except those known to be behind. */
  get confirmed(): number {
    return this.#confirmed
  }

  /** To be called with every group, before it is sent. */
  published(touched: Touched, revision: number): void {
    for (const [live, steps] of touched) live.changed?.add(steps, revision)
    if (this.#unconfirmed.length === 0) this.#afterTurn(this.#confirm)
    this.#unconfirmed.push({ touched, revision, turn: this.#turn })
  }

  /** From now on what changes in a query after `confirmed` is kept, until `release`. */
  track(live: LiveQuery): void {
    if (live.changed === null) {
      live.changed = new ChangedPaths(this.#confirmed, this.#budget)
      for (const { touched, revision } of this.#unconfirmed) {
        const steps = touched.get(live)
        if (steps !== undefined) live.changed.add(steps, revision)
      }
    }
    live.changed.followers += 1
  }

  release(live: LiveQuery): void {
    assert(live.changed !== null, 'only what is tracked is released')
    live.changed.followers -= 1
    if (live.changed.followers > 0) return
    live.changed.clear()
    live.changed = null
  }

  readonly #confirm = (): void => {
    this.#turn += 1
    const first = this.#unconfirmed.findIndex(({ turn }) => turn + TURNS_TO_CONFIRM > this.#turn)
    const confirmed = this.#unconfirmed.splice(0, first < 0 ? this.#unconfirmed.length : first)
    if (confirmed.length > 0) this.#confirmed = confirmed[confirmed.length - 1]!.revision
    if (this.#unconfirmed.length > 0) this.#afterTurn(this.#confirm)
  }
}

/** Nearest last; the empty path is above all others. */
function* ancestorsOf(path: string): Iterable<string> {
  if (path === '') return
  yield ''
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) yield path.slice(0, at)
}
