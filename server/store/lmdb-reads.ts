/**
 * Reading rows from LMDB through one held read transaction: what the thread that writes and those that follow share.
 */
import type { Database } from 'lmdb'
import { ROW_KEY_BYTES_MAX, writeChildKey, writeNodeId } from './keys.ts'
import type { Range } from './rows.ts'

/** The row key handed to lmdb: written straight into its buffers, so no key is allocated. */
export interface RowKey {
  id: number
  text: string
  /** A bound may be any text: what no legal key reaches is cut off. */
  isPrefixOnly: boolean
}

/** A value lmdb reads at `start` to `end` of a buffer; lmdb keeps the buffer's address here. */
export interface RowBytes {
  buffer: ArrayBufferLike
  start: number
  end: number
  address?: number
}

export interface ReadTransaction {
  done(): void
}

/** Calls as they are: lmdb's type file knows no keys of our own shape and leaves the transaction out. */
type LmdbCall = 'getBinaryFast' | 'put' | 'remove' | 'batch'
export interface LmdbDatabase extends Omit<Database<RowBytes>, LmdbCall> {
  getBinaryFast(key: RowKey, options: { transaction: ReadTransaction }): Uint8Array | undefined
  put(key: RowKey, value: RowBytes): unknown
  remove(key: RowKey): unknown
  batch(write: () => void): Promise<boolean> & { flushed?: Promise<boolean> }
}

const BOUND_BYTES_MAX = ROW_KEY_BYTES_MAX - 64

export function writeRowKey({ id, text, isPrefixOnly }: RowKey, target: Uint8Array, start: number): number {
  const at = writeNodeId(id, target, start)
  if (isPrefixOnly) return at
  const end = writeChildKey(text, target, at)
  return Math.min(end, start + BOUND_BYTES_MAX)
}

export abstract class LmdbReads {
  protected readonly db: LmdbDatabase
  /** What all reads go through. */
  protected snapshot: ReadTransaction
  readonly #key: RowKey = { id: 0, text: '', isPrefixOnly: false }

  constructor(db: LmdbDatabase) {
    this.db = db
    this.snapshot = db.useReadTransaction()
  }

  get(id: number, key: string): Uint8Array | null {
    return this.db.getBinaryFast(this.at(id, key), { transaction: this.snapshot }) ?? null
  }

  protected at(id: number, text: string): RowKey {
    this.#key.id = id
    this.#key.text = text
    return this.#key
  }

  keys(id: number, range: Range): string[] {
    const keys: string[] = []
    for (const key of this.db.getKeys(this.#range(id, range)) as unknown as Iterable<string>) keys.push(key)
    return keys
  }

  scan(id: number, range: Range, visit: (key: string, bytes: Uint8Array) => void): void {
    const rows = this.db.getRange(this.#range(id, range)) as unknown as Iterable<{
      key: string
      value: Uint8Array
    }>
    for (const { key, value } of rows) visit(key, value)
  }

  #range(id: number, { from, to, after, reverse = false, limit }: Range): object {
    const first = bound(id, reverse ? to : from, reverse)
    const last = bound(id, reverse ? from : to, !reverse)
    const isAfter = after !== undefined
    return {
      transaction: this.snapshot,
      start: isAfter ? bound(id, after, reverse) : first,
      end: last,
      inclusiveEnd: true,
      exclusiveStart: isAfter,
      reverse,
      ...(limit === undefined ? {} : { limit }),
    }
  }

  /** A read transaction on the newest commit. */
  protected newest(): ReadTransaction {
    // Otherwise lmdb lends the same transaction again until the end of the event turn.
    this.db.resetReadTxn()
    return this.db.useReadTransaction()
  }
}

/** An inclusive bound, or the edge of the node's rows where there is none. */
function bound(id: number, text: string | undefined, isUpper: boolean): RowKey {
  if (text !== undefined) return { id, text, isPrefixOnly: false }
  return { id: isUpper ? id + 1 : id, text: '', isPrefixOnly: true }
}
