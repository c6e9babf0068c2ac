/**
 * Silence: ends a connection that asked to be taken for dead when nothing was heard of it for a time of its own.
 */
import { RequestError } from '../../protocol/index.ts'

/** Shorter ones would end connections over a phone's ordinary pauses. */
const TTL_MS_MIN = 2000
const TTL_MS_MAX = 3_600_000
/** Looks in one time to live: it is overrun by one part of it at most. */
const LOOKS = 4

/** @throws {RequestError} `invalid_value` */
export function assertTtl(ttlMs: number): void {
  if (ttlMs >= TTL_MS_MIN && ttlMs <= TTL_MS_MAX) return
  throw new RequestError('invalidValue', `ttlMs \`${ttlMs}\` is not from ${TTL_MS_MIN} to ${TTL_MS_MAX}`)
}

export class Silence {
  readonly ttlMs: number
  readonly #timer: NodeJS.Timeout
  /** Looks in a row that found nothing heard. A message only clears it, so that it costs no look at the clock. */
  #silentLooks = 0

  /** @param lapsed Called once. */
  constructor(ttlMs: number, lapsed: () => void) {
    this.ttlMs = ttlMs
    this.#timer = setInterval(() => {
      this.#silentLooks += 1
      if (this.#silentLooks <= LOOKS) return
      this.end()
      lapsed()
    }, ttlMs / LOOKS)
    this.#timer.unref()
  }

  heard(): void {
    this.#silentLooks = 0
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
