/**
 * Expiry: ends what a token gave when the token expires.
 */

/** A timer holds at most 2^31 ms; later expiries are waited for in steps. */
const STEP_MS_MAX = 0x7fffffff

export class Expiry {
  readonly #atMs: number
  readonly #nowMs: () => number
  readonly #expired: () => void
  #timer: NodeJS.Timeout

  /**
   * @param atMs Unix milliseconds.
   * @param expired Called once, never before this returns.
   */
  constructor(atMs: number, nowMs: () => number, expired: () => void) {
    this.#atMs = atMs
    this.#nowMs = nowMs
    this.#expired = expired
    this.#timer = this.#wait()
  }

  #wait(): NodeJS.Timeout {
    const leftMs = Math.min(Math.max(this.#atMs - this.#nowMs(), 0), STEP_MS_MAX)
    return setTimeout(() => {
      if (this.#nowMs() < this.#atMs) this.#timer = this.#wait()
      else this.#expired()
    }, leftMs)
  }

  cancel(): void {
    clearTimeout(this.#timer)
  }
}
