/**
 * Budgets: what one connection may ask for in a second, with a second's worth in hand. Token buckets that look at the clock
 * only when they are empty, so that a connection within its budget pays a subtraction for each message.
 *
 * Once a bucket is empty it stays shut for a while: what was sent in one go is then refused from one message on, and not
 * here and there, so that a client can send it again in order.
 */

export interface BudgetLimits {
  /** 0 is no limit, here and below. */
  messagesPerSecondMax: number
  /** Of what the client sends. */
  messageBytesPerSecondMax: number
  /** Of the values it is sent in answer to reads and listens. */
  readBytesPerSecondMax: number
}

/** A bucket that was empty has at least this much of a second in it when it opens again. */
const SHUT_MS_MIN = 100

export class Budget {
  readonly #messages: Bucket
  readonly #bytes: Bucket
  readonly #reads: Bucket

  /** @param nowMs Milliseconds of a clock that never steps back. */
  constructor(limits: BudgetLimits, nowMs: () => number = () => performance.now()) {
    this.#messages = new Bucket(limits.messagesPerSecondMax, nowMs)
    this.#bytes = new Bucket(limits.messageBytesPerSecondMax, nowMs)
    this.#reads = new Bucket(limits.readBytesPerSecondMax, nowMs)
  }

  /** @returns Milliseconds to wait before the next message; 0 when this one is within the budget. */
  take(bytes: number): number {
    return Math.max(this.#messages.take(1), this.#bytes.take(bytes))
  }

  /** Takes it all the same. @returns Milliseconds to wait before the next one. */
  spend(bytes: number): number {
    return Math.max(this.#messages.spend(1), this.#bytes.spend(bytes))
  }

  /** Refuses messages for so long, whatever is in hand. @returns Milliseconds to wait before the next one. */
  shut(ms: number): number {
    this.#messages.shut(ms)
    return ms
  }

  /** Known only once a read is answered, so that a read is served while anything is left. */
  spendOnRead(bytes: number): void {
    this.#reads.spend(bytes)
  }

  /** @returns Milliseconds to wait before the next read; 0 when there may be one now. */
  get readWaitMs(): number {
    return this.#reads.waitMs
  }

  /** Whether it went on for another second's worth after it was refused. */
  get isFlooded(): boolean {
    return this.#messages.isFlooded || this.#bytes.isFlooded
  }
}

/** So much a second, with a second's worth in hand. */
export class Bucket {
  readonly #perSecond: number
  readonly #nowMs: () => number
  #left: number
  #filledAtMs: number
  #shutUntilMs = 0
  /** What was asked for while it was shut; forgotten as fast as the bucket fills. */
  #refused = 0

  /** @param perSecond 0 is no limit. */
  constructor(perSecond: number, nowMs: () => number = () => performance.now()) {
    this.#perSecond = perSecond === 0 ? Number.POSITIVE_INFINITY : perSecond
    this.#nowMs = nowMs
    this.#left = this.#perSecond
    this.#filledAtMs = nowMs()
  }

  take(amount: number): number {
    if (this.#left <= 0) {
      const waitMs = this.waitMs
      if (waitMs > 0) {
        this.#refused += amount
        return waitMs
      }
    }
    this.#left -= amount
    return 0
  }

  spend(amount: number): number {
    this.#left -= amount
    return this.waitMs
  }

  shut(ms: number): void {
    this.#left = Math.min(this.#left, 0)
    this.#shutUntilMs = this.#nowMs() + ms
  }

  /** Whether all of a second's worth is in hand. */
  get isFull(): boolean {
    if (this.#left === Number.POSITIVE_INFINITY) return true
    const filled = ((this.#nowMs() - this.#filledAtMs) / 1000) * this.#perSecond
    return this.#left + filled >= this.#perSecond
  }

  get waitMs(): number {
    if (this.#left > 0) return 0
    const now = this.#nowMs()
    if (now < this.#shutUntilMs) return Math.ceil(this.#shutUntilMs - now)
    const filled = ((now - this.#filledAtMs) / 1000) * this.#perSecond
    this.#filledAtMs = now
    this.#left = Math.min(this.#perSecond, this.#left + filled)
    this.#refused = Math.max(0, this.#refused - filled)
    if (this.#left > 0) return 0
    const waitMs = Math.max(SHUT_MS_MIN, Math.ceil((-this.#left / this.#perSecond) * 1000))
    this.#shutUntilMs = now + waitMs
    return waitMs
  }

  get isFlooded(): boolean {
    return this.#refused > this.#perSecond
  }
}
