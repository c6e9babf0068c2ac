/**
 * Turns: who is served next, over all sessions of a thread and all who ask by REST, when more is asked for than one event
 * turn may take. Who asks alone is served at once. Otherwise they stand in line: each is served one request and goes to
 * the end, so that whoever asks for a thousand things holds up nobody who asks for one.
 *
 * Answers that sockets have not taken yet are counted over all sessions; past their budget the line stands still, and
 * what waits is a request of some bytes, not an answer of some megabytes.
 *
 * INVARIANT: a session is in line at most once.
 */
import { performance } from 'node:perf_hooks'

export interface TurnTaker {
  /** Serves one request. @returns Whether there are more that can be served. */
  takeTurn(): boolean
}

export interface TurnsOptions {
  /** Bytes waiting in sockets past which nobody is served. */
  bytesInFlightMax: number
  onBug(error: unknown): void
}

/** Serving holds the loop for everyone: after this long in one event turn the rest waits for the next. */
const SLICE_MS = 3
/** Bytes that no socket takes for this long no longer hold up others: each is a slow consumer, and bounded as such. */
const STALL_MS = 1000

export class Turns {
  readonly #options: TurnsOptions
  readonly #line = new Set<TurnTaker>()
  readonly #held = new Map<TurnTaker, number>()
  #bytesInFlight = 0
  /** Of this event turn. */
  #usedMs = 0
  #isScheduled = false
  #stall: NodeJS.Timeout | null = null

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** Sessions in line. */
  get waiting(): number {
    return this.#line.size
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight
  }

  get #isFull(): boolean {
    return this.#bytesInFlight >= this.#options.bytesInFlightMax
  }

  /** Serves at once where nobody waits and this event turn has time left. @returns Whether it did. */
  tryNow(serve: () => void): boolean {
    if (this.#line.size > 0 || this.#usedMs >= SLICE_MS || this.#isFull) return false
    this.#schedule()
    const startMs = performance.now()
    try {
      serve()
    } finally {
      this.#usedMs += performance.now() - startMs
    }
    return true
  }

  /**
   * Serves one request of somebody who has no session: at once, or after those in line.
   * @param mayServe Asked when its turn has come; if not, it stands in line again from the next event turn on.
   * @throws What serving it throws.
   */
  serve<T>(mayServe: () => boolean, serve: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const attempt = (): void => {
        if (!mayServe()) {
          setImmediate(() => this.enter(taker))
          return
        }
        try {
          resolve(serve())
        } catch (error) {
          reject(error)
        }
      }
      const taker: TurnTaker = {
        takeTurn() {
          attempt()
          return false
        },
      }
      if (!this.tryNow(attempt)) this.enter(taker)
    })
  }

  /** Goes to the end of the line, unless it stands in it. */
  enter(taker: TurnTaker): void {
    this.#line.add(taker)
    if (this.#isFull) this.#watch()
    else this.#schedule()
  }

  /** What a session's socket has not taken yet, after an answer or after some of it went. */
  hold(taker: TurnTaker, bytes: number): void {
    const before = this.#held.get(taker) ?? 0
    if (bytes === before) return
    const wasFull = this.#isFull
    this.#bytesInFlight += bytes - before
    if (bytes === 0) this.#held.delete(taker)
    else this.#held.set(taker, bytes)
    if (wasFull && bytes < before) this.#moved()
  }

  /** Whether it has bytes in flight that count. */
  isHolding(taker: TurnTaker): boolean {
    return this.#held.has(taker)
  }

  leave(taker: TurnTaker): void {
    this.#line.delete(taker)
    this.hold(taker, 0)
  }

  #moved(): void {
    if (this.#stall !== null) clearTimeout(this.#stall)
    this.#stall = null
    if (this.#line.size === 0) return
    if (this.#isFull) this.#watch()
    else this.#schedule()
  }

  #watch(): void {
    this.#stall ??= setTimeout(() => {
      this.#stall = null
      this.#held.clear()
      this.#bytesInFlight = 0
      if (this.#line.size > 0) this.#schedule()
    }, STALL_MS).unref()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#serve())
  }

  #serve(): void {
    this.#isScheduled = false
    this.#usedMs = 0
    const startMs = performance.now()
    for (const taker of this.#line) {
      if (this.#isFull) {
        this.#watch()
        return
      }
      this.#line.delete(taker)
      // To the end: a set is walked in the order of adding, and goes on to what is added meanwhile.
      if (this.#hasMore(taker)) this.#line.add(taker)
      this.#usedMs = performance.now() - startMs
      if (this.#usedMs >= SLICE_MS) break
    }
    if (this.#line.size > 0 || this.#usedMs > 0) this.#schedule()
  }

  #hasMore(taker: TurnTaker): boolean {
    try {
      return taker.takeTurn()
    } catch (error) {
      this.#options.onBug(error)
      return false
    }
  }
}
