/**
 * Resumes: what clients that come back have missed, from the change log.
 *
 * Each query somebody resumes has a trail: its steps since the oldest revision asked for. Trails are laid together:
 * those asked for while the log is being read form the next reading, and all of one reading share a single walk through
 * the log, in slices, over a listener tree. From then on a trail follows every published commit, so that the others who
 * come back to the same query, from the same revision or a later one, find it ready.
 *
 *   prepare -> waiting -> reading (log, in slices) -> ready (follows what is published) -> forgotten when unused
 *
 * INVARIANT: a ready trail holds every step of its query after `since`, up to the published revision.
 */
import { performance } from 'node:perf_hooks'
import {
  type Path,
  type Query,
  type ResumePoint,
  type Step,
  showsAll,
  type Value,
} from '../protocol/index.ts'
import { touchedQueries } from './listeners/fan-out.ts'
import { ListenerTree, type LiveQuery } from './listeners/listener-tree.ts'
import type { ChangeLog, Commit } from './store/store.ts'

interface Trail {
  readonly live: LiveQuery
  since: number
  /** The last revision it has followed. */
  upTo: number
  state: 'waiting' | 'reading' | 'ready' | 'lost'
  steps: { revision: number; step: Step }[]
  bytes: number
  usedAtMs: number
  /** How often it was laid anew. */
  extensions: number
  readonly wakes: Set<() => void>
}

/** Reading the log holds the loop for everyone: after this long the rest waits for the next turn. */
const SLICE_MS = 2
const SLICE_BYTES = 64 * 1024
/** Beyond this a client is sent the value: it would have to apply so much one by one. */
const TRAIL_BYTES_MAX = 256 * 1024
const ALL_TRAILS_BYTES_MAX = 32 * 1024 * 1024
const TRAILS_MAX = 20_000
const UNUSED_MS = 10_000
/** A trail laid anew keeps everyone else on it waiting: past this, who was away for longer still is sent the value. */
const EXTENSIONS_MAX = 8

export interface ResumesOptions {
  changes: ChangeLog
  publishedRevision(): number
}

export class Resumes {
  readonly #options: ResumesOptions
  readonly #trails = new Map<LiveQuery, Trail>()
  /** Names the queries; the trails at work are in the other two as well. */
  readonly #all = new ListenerTree()
  #reading = new ListenerTree()
  readonly #ready = new ListenerTree()
  #waiting: Trail[] = []
  #cursor = 0
  #isReading = false
  #bytes = 0
  #sweep: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(options: ResumesOptions) {
    this.#options = options
  }

  /**
   * Has what was missed looked up.
   * @param wake Called once that is done, where the answer is false.
   * @returns Whether `take` can answer now.
   */
  prepare(path: Path, query: Query | null, point: ResumePoint, wake: () => void): boolean {
    if (!this.#needsTrail(point)) return true
    const known = this.#all.find(path, query)
    let trail = known === undefined ? undefined : this.#trails.get(known)
    if (trail === undefined) {
      if (this.#trails.size >= TRAILS_MAX) return true
      trail = this.#add(path, query, point.revision)
    } else if (trail.state === 'lost') return true
    else if (point.revision < trail.since && !this.#extend(trail, point.revision)) return true
    trail.usedAtMs = performance.now()
    if (trail.state === 'ready') return true
    trail.wakes.add(wake)
    return false
  }

  /** @returns The steps after a state; null where they are not known, or are too many. */
  take(path: Path, query: Query | null, point: ResumePoint): readonly Step[] | null {
    const { changes, publishedRevision } = this.#options
    if (!changes.knows(point.epoch, point.revision)) return null
    if (point.revision === publishedRevision()) return []
    const known = this.#all.find(path, query)
    const trail = known === undefined ? undefined : this.#trails.get(known)
    if (trail?.state !== 'ready' || point.revision < trail.since) return null
    trail.usedAtMs = performance.now()
    const { steps } = trail
    let first = steps.length
    while (first > 0 && steps[first - 1]!.revision > point.revision) first -= 1
    return steps.slice(first).map(({ step }) => step)
  }

  /** A group has been published: trails go on with it. */
  published(commits: readonly Commit[]): void {
    if (this.#ready.size > 0) for (const commit of commits) this.#follow(this.#ready, commit)
  }

  close(): void {
    this.#isClosed = true
    if (this.#sweep !== null) clearInterval(this.#sweep)
  }

  /** Whether there is anything to be looked up for that state. */
  #needsTrail({ epoch, revision }: ResumePoint): boolean {
    const { changes, publishedRevision } = this.#options
    return revision < publishedRevision() && changes.knows(epoch, revision)
  }

  #add(path: Path, query: Query | null, since: number): Trail {
    const live = this.#all.add(path, query)
    const trail: Trail = {
      ...{ live, since, upTo: since, state: 'waiting', steps: [], bytes: 0 },
      usedAtMs: 0,
      extensions: 0,
      wakes: new Set(),
    }
    this.#trails.set(live, trail)
    this.#enqueue(trail)
    this.#sweep ??= setInterval(() => this.#forgetUnused(), UNUSED_MS / 2).unref()
    return trail
  }

  /** Somebody has been away for longer: the trail is laid anew from there. @returns Whether it is. */
  #extend(trail: Trail, since: number): boolean {
    const { state } = trail
    if (state === 'waiting') {
      trail.since = since
      return true
    }
    if (trail.extensions === EXTENSIONS_MAX) return false
    trail.extensions += 1
    trail.since = since
    if (state === 'reading') this.#reading.remove(trail.live)
    else this.#ready.remove(trail.live)
    this.#clear(trail)
    this.#enqueue(trail)
    return true
  }

  #enqueue(trail: Trail): void {
    trail.state = 'waiting'
    this.#waiting.push(trail)
    if (this.#isReading) return
    this.#isReading = true
    // All that come back in one turn share a reading.
    setImmediate(() => this.#begin())
  }

  #begin(): void {
    const { changes, publishedRevision } = this.#options
    this.#cursor = publishedRevision()
    const trails = this.#waiting
    this.#waiting = []
    // Those who were away for as long have the same answer: the log reaches back to there, or it does not.
    const isReached = new Map<number, boolean>()
    for (const trail of trails) {
      const { since } = trail
      trail.upTo = since
      if (!isReached.has(since)) isReached.set(since, changes.after(since, 1) !== null)
      if (!isReached.get(since)) {
        this.#lose(trail)
        continue
      }
      trail.state = 'reading'
      this.#reading.adopt(trail.live)
      this.#cursor = Math.min(this.#cursor, since)
    }
    this.#read()
  }

  #read = (): void => {
    if (this.#isClosed) return
    const { changes, publishedRevision } = this.#options
    const startMs = performance.now()
    while (this.#reading.size > 0 && this.#cursor < publishedRevision()) {
      const groups = changes.after(this.#cursor, SLICE_BYTES)
      if (groups === null) {
        // The log has a gap, or was trimmed faster than it was read.
        for (const live of [...this.#reading.all()]) this.#lose(this.#trails.get(live)!)
        break
      }
      for (const { to, commits } of groups) {
        for (const commit of commits) this.#follow(this.#reading, commit)
        this.#cursor = to
        if (performance.now() - startMs > SLICE_MS) break
      }
      if (performance.now() - startMs > SLICE_MS) {
        setImmediate(this.#read)
        return
      }
    }
    for (const live of this.#reading.all()) this.#isNowReady(this.#trails.get(live)!)
    this.#reading = new ListenerTree()
    this.#isReading = this.#waiting.length > 0
    if (this.#isReading) setImmediate(() => this.#begin())
  }

  #isNowReady(trail: Trail): void {
    trail.state = 'ready'
    this.#ready.adopt(trail.live)
    wakeAll(trail)
  }

  #follow(tree: ListenerTree, commit: Commit): void {
    for (const [live, steps] of touchedQueries(tree, [commit])) {
      const trail = this.#trails.get(live)!
      if (commit.revision <= trail.upTo) continue
      trail.upTo = commit.revision
      // What a window shows does not follow from what was written: any change below it has it sent whole.
      if (commit.isOutline === true || (live.query !== null && !showsAll(live.query))) {
        this.#lose(trail)
        continue
      }
      const [step] = steps
      const bytes = sizeOf(step!)
      trail.steps.push({ revision: commit.revision, step: step! })
      trail.bytes += bytes
      this.#bytes += bytes
      if (trail.bytes > TRAIL_BYTES_MAX || this.#bytes > ALL_TRAILS_BYTES_MAX) this.#lose(trail)
    }
  }

  /** The whole value is what this one gets. */
  #lose(trail: Trail): void {
    if (trail.state === 'reading') this.#reading.remove(trail.live)
    if (trail.state === 'ready') this.#ready.remove(trail.live)
    trail.state = 'lost'
    this.#clear(trail)
    wakeAll(trail)
  }

  #clear(trail: Trail): void {
    this.#bytes -= trail.bytes
    trail.bytes = 0
    trail.steps = []
  }

  #forgetUnused(): void {
    const beforeMs = performance.now() - UNUSED_MS
    for (const [live, trail] of this.#trails) {
      if (trail.usedAtMs > beforeMs || trail.state === 'waiting' || trail.state === 'reading') continue
      if (trail.state === 'ready') this.#ready.remove(live)
      this.#clear(trail)
      this.#all.remove(live)
      this.#trails.delete(live)
    }
    if (this.#trails.size > 0 || this.#sweep === null) return
    clearInterval(this.#sweep)
    this.#sweep = null
  }
}

function wakeAll({ wakes }: Trail): void {
  const woken = [...wakes]
  wakes.clear()
  for (const wake of woken) wake()
}

/** About what it takes on the wire. */
function sizeOf(value: Value | Step): number {
  if (typeof value === 'string') return value.length + 3
  if (typeof value !== 'object' || value === null) return 6
  let bytes = 3
  if (Array.isArray(value)) for (const item of value as Step) bytes += sizeOf(item)
  else for (const [key, child] of Object.entries(value)) bytes += key.length + 3 + sizeOf(child)
  return bytes
}
