/**
 * Snapshot cache: values of queries as msgpack, for the many who listen to the same query within moments. An entry
 * lives until its query changes, at most for seconds; all together are bounded.
 *
 * It hears of changes as a wire does: in the turn in which they become visible.
 */
import { Encoder, encodeValue, type Value } from '../../protocol/index.ts'
import type { Wire } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'

/** Of all values together; a larger one is not kept. */
const BYTES_MAX = 16 * 1024 * 1024
const KEPT_MS = 2000

export class SnapshotCache implements Wire {
  readonly name = 'snapshots'
  readonly #values = new Map<LiveQuery, Uint8Array>()
  readonly #encoder = new Encoder()
  #bytes = 0
  #clearing: NodeJS.Timeout | null = null

  has(live: LiveQuery): boolean {
    return this.#values.has(live)
  }

  /** A query's value as bytes. @param read Called where they are not at hand. */
  encoded(live: LiveQuery, read: () => Value): Uint8Array {
    const known = this.#values.get(live)
    if (known !== undefined) return known
    this.#encoder.reset()
    encodeValue(this.#encoder, read())
    // Nobody else listens to it: it is not worth a copy.
    if (live.listeners.size < 2 || this.#encoder.length + this.#bytes > BYTES_MAX) return this.#encoder.view()
    const bytes = this.#encoder.take()
    this.#values.set(live, bytes)
    this.#bytes += bytes.length
    this.#clearing ??= setTimeout(() => this.#clear(), KEPT_MS).unref()
    return bytes
  }

  deliver(live: LiveQuery): void {
    const bytes = this.#values.get(live)
    if (bytes === undefined) return
    this.#values.delete(live)
    this.#bytes -= bytes.length
  }

  #clear(): void {
    this.#clearing = null
    this.#values.clear()
    this.#bytes = 0
  }
}
