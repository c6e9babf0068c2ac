/**
 * Push ids: Firebase's 20-character keys that sort by the time they were made. Eight characters of time, twelve
 * random ones; ids made in the same millisecond count up in the random part, so one client's ids always ascend.
 */
const ALPHABET = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'

export class PushIds {
  readonly #random: () => number
  #lastMs = Number.NEGATIVE_INFINITY
  #digits: number[] = []

  /** @param random At least 0, below 1. */
  constructor(random: () => number) {
    this.#random = random
  }

  /** @param nowMs The server's clock as far as known, Unix milliseconds. */
  next(nowMs: number): string {
    // A clock set back must not break the order.
    const ms = Math.max(Math.floor(nowMs), this.#lastMs)
    if (ms !== this.#lastMs) this.#digits = Array.from({ length: 12 }, () => Math.floor(this.#random() * 64))
    else this.#countUp()
    this.#lastMs = ms
    let time = ''
    for (let i = 0, rest = ms; i < 8; i++, rest = Math.floor(rest / 64)) time = ALPHABET[rest % 64] + time
    return time + this.#digits.map((digit) => ALPHABET[digit]).join('')
  }

  #countUp(): void {
    let i = 11
    while (i >= 0 && this.#digits[i] === 63) this.#digits[i--] = 0
    if (i >= 0) this.#digits[i]! += 1
  }
}
