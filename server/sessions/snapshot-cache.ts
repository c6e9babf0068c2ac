/**
 * Snapshot cache: values of queries as a wire sends them, for the many who listen to the same query within moments. An
 * entry lives until its query changes, at most for seconds; all together are bounded.
 *
 * It hears of changes as a wire does: in the turn in which they become visible.
 */
import type { Wire } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'

/** Of all values together; a larger one is not kept. */
const BYTES_MAX = 16 * 1024 * 1024
const KEPT_MS = 2000

interface Kept<T> {
  snapshot: T
  bytes: number
}

export class SnapshotCache<T> implements Wire {
  readonly name: string
  readonly #kept = new Map<LiveQuery, Kept<T>>()
  #bytes = 0
  #clearing: NodeJS.Timeout | null = null

  constructor(name: string) {
    this.name = name
  }

  get(live: LiveQuery): T | undefined {
    return this.#kept.get(live)?.snapshot
  }

  /** Whether a snapshot is worth a place, and finds one: where nobody else listens to its query, it is worth none. */
  mayKeep(live: LiveQuery, bytes: number): boolean {
    return live.listeners.size > 1 && bytes + this.#bytes <= BYTES_MAX && !this.#kept.has(live)
  }

  /** After `mayKeep`. */
  keep(live: LiveQuery, snapshot: T, bytes: number): void {
    this.#kept.set(live, { snapshot, bytes })
    this.#bytes += bytes
    this.#clearing ??= setTimeout(() => this.#clear(), KEPT_MS).unref()
  }

  deliver(live: LiveQuery): void {
    const kept = this.#kept.get(live)
    if (kept === undefined) return
    this.#kept.delete(live)
    this.#bytes -= kept.bytes
  }

  #clear(): void {
    this.#clearing = null
    this.#kept.clear()
    this.#bytes = 0
  }
}
