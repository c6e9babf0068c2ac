/**
 * The commit log of one process. All writes that arrive while a group is under way form the next group:
 *
 *   queue -> decide and stage, in slices -> flush (off this thread) -> publish -> settle -> next group
 *
 * INVARIANT 3: a commit is published only after it is flushed, and settled only after it is published.
 */
import { performance } from 'node:perf_hooks'
import { RequestError } from '../../protocol/index.ts'
import { type Store, StoreUnavailableError } from '../store/store.ts'
import type { Commit, CommitLog, Write, WriteOrigin } from './log.ts'

/** Decides one write on the head state and stages it; a commit, or null when nothing was to be staged. */
export type Decide = (write: Write, nowMs: number) => Commit | null

export interface LocalLogOptions {
  store: Store
  decide: Decide
  /** Something is durable, perhaps no commits but rows beside the tree; or messages are to be told. Before `publish`. */
  flushed?(commits: readonly Commit[]): void
  /** The group is durable: bring it to listeners. Runs in the same turn in which it became visible. */
  publish(commits: readonly Commit[]): void
  /** The group could not be stored; the head is the flushed state again. */
  discarded(): void
  /** Unix milliseconds. */
  nowMs(): number
  /** Writes queued before further ones are refused as `unavailable`. */
  queueMax: number
  onGroup?(group: { writes: number; decideMs: number; flushMs: number; publishMs: number }): void
  onBug(error: unknown): void
}

/** A group grows while the disk is slow, but one flush also has to encode it in one turn. */
const GROUP_WRITES_MAX = 2048
/** Deciding holds the loop that serves sockets: after this long the rest of the group waits for the next turn. */
const SLICE_MS = 2
/** Bytes of writes that may wait for their group; a slow disk must not have clients fill the memory. */
const QUEUE_BYTES_MAX = 256 * 1024 * 1024

export class LocalLog implements CommitLog {
  readonly #options: LocalLogOptions
  #queue: Write[] = []
  #taken = 0
  #queuedBytes = 0
  #isRunning = false
  #lastNowMs = 0
  #group: Write[] = []
  #commits: Commit[] = []
  #refused: [Write, RequestError][] = []
  #idleWaiters: (() => void)[] = []
  #decideMs = 0

  constructor(options: LocalLogOptions) {
    this.#options = options
  }

  get isBusy(): boolean {
    return this.#isRunning
  }

  submit(write: Write): void {
    const { queueMax } = this.#options
    if (this.#queue.length - this.#taken >= queueMax || this.#queuedBytes > QUEUE_BYTES_MAX) {
      const error = new RequestError(
        'unavailable',
        'too many writes are waiting for the disk; try again',
        1000,
      )
      write.origin.refused(write, error)
      write.origin.groupSettled()
      return
    }
    this.#queuedBytes += write.bytes ?? 0
    this.#queue.push(write)
    if (!this.#isRunning) {
      this.#isRunning = true
      // All writes of one event turn share a group: sockets are read first, then immediates run.
      setImmediate(this.#slice)
    }
  }

  idle(): Promise<void> {
    if (!this.#isRunning) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.push(resolve))
  }

  #slice = (): void => {
    const { decide, nowMs } = this.#options
    const startMs = performance.now()
    const queue = this.#queue
    let at = this.#taken
    let isGroupFull = false
    // A clock that steps back must not hand out a timestamp below one already stored.
    const now = Math.max(this.#lastNowMs, nowMs())
    while (at < queue.length) {
      const write = queue[at++]!
      this.#queuedBytes -= write.bytes ?? 0
      try {
        const commit = decide(write, now)
        if (commit !== null) this.#commits.push(commit)
        this.#group.push(write)
      } catch (error) {
        this.#refused.push([write, asRequestError(error, this.#options.onBug)])
      }
      if (this.#group.length >= GROUP_WRITES_MAX) {
        isGroupFull = true
        break
      }
      // One write may cost a microsecond or half a second: only the clock can tell.
      if (performance.now() - startMs >= SLICE_MS) break
    }
    this.#lastNowMs = now
    this.#decideMs += performance.now() - startMs
    if (at === queue.length) {
      this.#queue = []
      this.#taken = 0
    } else {
      this.#taken = at
      if (!isGroupFull) {
        setImmediate(this.#slice)
        return
      }
      this.#queue = queue.slice(at)
      this.#taken = 0
    }
    void this.#finishGroup()
  }

  async #finishGroup(): Promise<void> {
    const { store, flushed, publish, discarded, onGroup, onBug } = this.#options
    const group = this.#group
    const commits = this.#commits
    const refused = this.#refused
    const decideMs = this.#decideMs
    this.#group = []
    this.#commits = []
    this.#refused = []
    this.#decideMs = 0
    const flushStartMs = performance.now()
    let failure: RequestError | null = null
    const isStaged = store.hasStaged
    try {
      if (isStaged) await store.flush()
    } catch (error) {
      failure = asRequestError(error, onBug)
      discarded()
    }
    const publishStartMs = performance.now()
    if (failure === null && (isStaged || commits.length > 0)) {
      try {
        flushed?.(commits)
        if (commits.length > 0) publish(commits)
      } catch (error) {
        onBug(error)
      }
    }
    if (commits.length === 0) for (const write of group) write.isGroupEmpty = true
    settle(group, refused, failure, store.flushedRevision, onBug)
    const endMs = performance.now()
    onGroup?.({
      writes: group.length,
      decideMs,
      flushMs: publishStartMs - flushStartMs,
      publishMs: endMs - publishStartMs,
    })
    if (this.#queue.length > this.#taken) {
      setImmediate(this.#slice)
      return
    }
    this.#isRunning = false
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const resolve of waiters) resolve()
  }
}

function settle(
  group: readonly Write[],
  refused: readonly [Write, RequestError][],
  failure: RequestError | null,
  revision: number,
  onBug: (error: unknown) => void,
): void {
  const origins = new Set<WriteOrigin>()
  for (const [write, error] of refused) {
    write.origin.refused(write, error)
    origins.add(write.origin)
  }
  for (const write of group) {
    if (failure === null) write.origin.written(write, revision)
    else write.origin.refused(write, failure)
    origins.add(write.origin)
  }
  for (const origin of origins) {
    // A bug in what one is told must not hold up the writes of all others.
    try {
      origin.groupSettled()
    } catch (error) {
      onBug(error)
    }
  }
}

function asRequestError(error: unknown, onBug: (error: unknown) => void): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof StoreUnavailableError) {
    return new RequestError('unavailable', `the write could not be stored: ${error.message}`, 1000)
  }
  onBug(error)
  return new RequestError('internal', 'the write failed for a reason of the server’s own; it was not applied')
}
