/** Values of queries as msgpack, encoded once for those who listen to the same query within moments. */
import { Encoder, encodeValue, type Value } from '../../protocol/index.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { SnapshotCache } from './snapshot-cache.ts'

export class NativeSnapshots extends SnapshotCache<Uint8Array> {
  readonly #encoder = new Encoder()

  constructor() {
    super('native snapshots')
  }

  /** A query's value as bytes, good until the next call. @param read Called where they are not at hand. */
  encoded(live: LiveQuery, read: () => Value): Uint8Array {
    const known = this.get(live)
    if (known !== undefined) return known
    this.#encoder.reset()
    encodeValue(this.#encoder, read())
    if (!this.mayKeep(live, this.#encoder.length)) return this.#encoder.view()
    const bytes = this.#encoder.take()
    this.keep(live, bytes, bytes.length)
    return bytes
  }
}
