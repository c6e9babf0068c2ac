/**
 * Rows of a folder that another thread writes. Reads answer as of one held transaction; the next one is held beside it
 * until what leads there has been staged.
 */
import { strict as assert } from 'node:assert'
import type { FollowerRows } from './follower-store.ts'
import { LmdbReads, type ReadTransaction } from './lmdb-reads.ts'

export class LmdbFollowerRows extends LmdbReads implements FollowerRows {
  readonly isFull = false
  #pinned: ReadTransaction | null = null

  pin(): void {
    assert(this.#pinned === null)
    this.#pinned = this.newest()
  }

  pinnedGet(id: number, key: string): Uint8Array | null {
    const transaction = this.#pinned
    assert(transaction !== null)
    return this.db.getBinaryFast(this.at(id, key), { transaction }) ?? null
  }

  advance(): void {
    const pinned = this.#pinned
    assert(pinned !== null)
    this.snapshot.done()
    this.snapshot = pinned
    this.#pinned = null
  }

  commit(): Promise<void> {
    return Promise.reject(new Error('a follower does not write'))
  }

  async close(): Promise<void> {
    this.#pinned?.done()
    this.#pinned = null
    this.snapshot.done()
    await this.db.close()
  }
}
