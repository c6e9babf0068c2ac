/**
 * Rows: what a tree store needs from the place that keeps its bytes. A row is (node id, child key) -> bytes;
 * the rows of one node id lie together in Firebase's key order.
 *
 * INVARIANT: reads answer as of the last `advance`, whatever has been committed since.
 */
import { Encoder } from '../../protocol/index.ts'

/** Node ids below this are tables of the store itself. */
export const FIRST_NODE_ID = 16
/** Holds the root as its only row, under the empty key. */
export const TRUNK_ID = 0
export const META_ID = 1
/** A row for each unlinked branch whose rows are still there; its key is the branch's id. */
export const GARBAGE_ID = 2
export const RECORDS_ID = 3
/** Which indexes there are, and for which lists. */
export const INDEX_ID = 4
/** A row for each group of commits. */
export const CHANGE_LOG_ID = 5

export interface Range {
  /** Inclusive bounds. */
  from?: string | undefined
  to?: string | undefined
  /** Exclusive: goes on behind this key, in the direction walked. Taken instead of `from`, or of `to` in reverse. */
  after?: string | undefined
  reverse?: boolean | undefined
  limit?: number | undefined
}

export interface Rows {
  /** The bytes are only valid until the next call. */
  get(id: number, key: string): Uint8Array | null
  /** Calls `visit` for each row in order; bytes are only valid until the next call. `visit` may read other rows. */
  scan(id: number, range: Range, visit: (key: string, bytes: Uint8Array) => void): void
  keys(id: number, range: Range): string[]
  /**
   * Writes all of a batch in one transaction, or nothing of it. The batch stays as it is until this resolves;
   * reads see it after `advance`.
   * @throws {StoreUnavailableError}
   */
  commit(batch: RowBatch): Promise<void>
  /** Moves what reads see to the last commit. */
  advance(): void
  /** Whether only batches that delete may be committed, for lack of room. */
  readonly isFull: boolean
  close(): Promise<void>
}

/** Puts and removes in order, with the bytes of all puts in one arena, so that a row costs no allocation. */
export class RowBatch {
  readonly encoder = new Encoder(64 * 1024)
  readonly ids: number[] = []
  readonly keys: string[] = []
  /** Where a put's bytes begin in the encoder; -1 for a remove. */
  readonly starts: number[] = []
  readonly ends: number[] = []
  /** Whether the writes of this batch only delete: then it may use the room kept back for that. */
  isDeletesOnly = false

  get size(): number {
    return this.ids.length
  }

  put(id: number, key: string, start: number, end: number): void {
    this.ids.push(id)
    this.keys.push(key)
    this.starts.push(start)
    this.ends.push(end)
  }

  remove(id: number, key: string): void {
    this.put(id, key, -1, -1)
  }

  reset(): void {
    this.encoder.reset()
    this.ids.length = 0
    this.keys.length = 0
    this.starts.length = 0
    this.ends.length = 0
    this.isDeletesOnly = false
  }
}
