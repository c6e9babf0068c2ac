/**
 * The store contract on LMDB: the only file that knows it. A folder holds LMDB's `data.mdb` and `lock.mdb`, and
 * `hearth.lock`, which says who has it open.
 *
 * Writes are lmdb's asynchronous puts: a thread of its own runs the transaction and the flush, so the loop that
 * serves sockets never waits for the disk. (`transactionSync` would hold it for every fdatasync, and `noSync` with
 * an fsync of our own can corrupt the file in a power cut, because LMDB keeps only two meta pages.) Between a commit
 * and the moment we call it flushed its rows would already be visible to new read transactions; so all reads go
 * through one held read transaction, which moves in `advance`.
 *
 * Read in lmdb 3.5.6, write.js and writer.cpp:
 * - A put that fails (no space, I/O) aborts the whole transaction; the promise of `batch` rejects, and the error's
 *   `commitError` rejects on its own, so it needs a handler too.
 * - With `eventTurnBatching` a second, hidden promise rejects with nobody to catch it. Hence `batch` without it.
 * - The memory map grows by itself; `mapSize` is only where it starts. The bound is ours, see `room.ts`.
 */
import { strict as assert } from 'node:assert'
import { closeSync, existsSync, mkdirSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Database, open } from 'lmdb'
import { lockFolder } from './folder-lock.ts'
import { NODE_ID_BYTES, ROW_KEY_BYTES_MAX, readChildKey, writeChildKey, writeNodeId } from './keys.ts'
import { type Disk, diskOf, Room } from './room.ts'
import type { Range, RowBatch, Rows } from './rows.ts'
import { type Store, StoreCorruptError, StoreLockedError, StoreUnavailableError } from './store.ts'
import { TreeStore, type TreeStoreOptions } from './tree-store.ts'

export interface LmdbStoreOptions extends Partial<TreeStoreOptions> {
  /** Made if missing. */
  folder: string
  /** `flushed`: a flush resolves when the disk has it. `committed`: when it is visible, before that. */
  durability?: 'flushed' | 'committed'
  /** Bytes the pages in use may take on disk. The file itself may be larger by pages not yet used again. */
  databaseBytesMax?: number
  /** How the disk is asked for its free space; for tests. */
  disk?: () => Promise<Disk>
}

/**
 * Opens the folder; nothing is read but one row, so it takes the same time at any size.
 * @throws {StoreLockedError} Another process, or this one, has it open.
 */
export async function openLmdbStore(options: LmdbStoreOptions): Promise<Store> {
  const { folder } = options
  mkdirSync(folder, { recursive: true })
  const unlock = lockFolder(folder)
  let rows: LmdbRows
  try {
    assertIsDatabase(join(folder, 'data.mdb'))
    rows = new LmdbRows(options, unlock)
  } catch (error) {
    unlock()
    throw error
  }
  try {
    return new TreeStore(rows, options)
  } catch (error) {
    await rows.close()
    throw error
  }
}

/** Where LMDB's meta pages say what they are; the second page follows the first. */
const MAGIC_OFFSET = 24
const MAGIC = 0xbeefc0de
const PAGE_BYTES = 4096

/**
 * LMDB maps the file and believes it: what is no database, or ends within its first pages, would end the process
 * with a signal and no word. Damage further on is not looked for.
 * @throws {StoreCorruptError}
 */
function assertIsDatabase(file: string): void {
  if (!existsSync(file)) return
  const { size } = statSync(file)
  if (size === 0) return
  const head = Buffer.alloc(2 * PAGE_BYTES)
  const descriptor = openSync(file, 'r')
  try {
    readSync(descriptor, head, 0, head.length, 0)
  } finally {
    closeSync(descriptor)
  }
  const isMeta = (page: number): boolean => head.readUInt32LE(page * PAGE_BYTES + MAGIC_OFFSET) === MAGIC
  if (size < head.length || !isMeta(0) || !isMeta(1)) {
    throw new StoreCorruptError(
      `\`${file}\` is not a database, or only a part of one; restore it from a backup`,
    )
  }
}

/** The row key handed to lmdb: written straight into its buffers, so no key is allocated. */
interface RowKey {
  id: number
  text: string
  /** A bound may be any text: what no legal key reaches is cut off. */
  isPrefixOnly: boolean
}

/** A value lmdb reads at `start` to `end` of a buffer; lmdb keeps the buffer's address here. */
interface RowBytes {
  buffer: ArrayBufferLike
  start: number
  end: number
  address?: number
}

interface ReadTransaction {
  done(): void
}

/** Calls as they are: lmdb's type file knows no keys of our own shape and leaves the transaction out. */
type LmdbCall = 'getBinaryFast' | 'put' | 'remove' | 'batch'
interface LmdbDatabase extends Omit<Database<RowBytes>, LmdbCall> {
  getBinaryFast(key: RowKey, options: { transaction: ReadTransaction }): Uint8Array | undefined
  put(key: RowKey, value: RowBytes): unknown
  remove(key: RowKey): unknown
  batch(write: () => void): Promise<boolean> & { flushed?: Promise<boolean> }
}

const VISIBLE_POLL_MS = 1
const BOUND_BYTES_MAX = ROW_KEY_BYTES_MAX - 64

function writeRowKey({ id, text, isPrefixOnly }: RowKey, target: Uint8Array, start: number): number {
  const at = writeNodeId(id, target, start)
  if (isPrefixOnly) return at
  const end = writeChildKey(text, target, at)
  return Math.min(end, start + BOUND_BYTES_MAX)
}

/** Rows in LMDB; exported for benchmarks of other layouts. */
export class LmdbRows implements Rows {
  readonly #db: LmdbDatabase
  readonly #room: Room
  readonly #unlock: () => void
  readonly #isFlushedAwaited: boolean
  readonly #key: RowKey = { id: 0, text: '', isPrefixOnly: false }
  #snapshot: ReadTransaction
  #hasFailed = false

  constructor(options: LmdbStoreOptions, unlock: () => void) {
    this.#unlock = unlock
    this.#isFlushedAwaited = options.durability !== 'committed'
    this.#db = open({
      path: options.folder,
      // lmdb takes a folder with a dot in its name for a file.
      noSubdir: false,
      maxDbs: 1,
      cache: false,
      eventTurnBatching: false,
      separateFlushed: true,
      keyEncoder: {
        writeKey: writeRowKey,
        readKey: (source: Uint8Array, start: number, end: number) =>
          readChildKey(source, start + NODE_ID_BYTES, end),
      },
      // Values are bytes on both sides: `copyBuffers` is what makes lmdb accept one with `start` and `end`.
      encoder: {
        copyBuffers: true,
        encode: (value: RowBytes) => value,
        decode: (bytes: Uint8Array) => bytes,
      },
    } as unknown as Parameters<typeof open>[0]) as unknown as LmdbDatabase
    this.#snapshot = this.#db.useReadTransaction()
    this.#room = new Room({
      databaseBytesMax: options.databaseBytesMax ?? Number.POSITIVE_INFINITY,
      disk: options.disk ?? (() => diskOf(options.folder)),
    })
    this.#assertSoleOwner(options.folder)
    this.#measureRoom()
  }

  /**
   * The lock file cannot see into another container. LMDB's table of readers can: every store holds a read
   * transaction, and dead processes are cleared from it by the kernel's word.
   */
  #assertSoleOwner(folder: string): void {
    this.#db.readerCheck()
    for (const line of this.#db.readerList().split('\n')) {
      const pid = Number.parseInt(line.trim(), 10)
      if (Number.isNaN(pid) || pid === process.pid) continue
      this.#snapshot.done()
      void this.#db.close()
      throw new StoreLockedError(`data folder \`${folder}\` is in use by process ${pid}`)
    }
  }

  get isFull(): boolean {
    return this.#room.isFull
  }

  get(id: number, key: string): Uint8Array | null {
    return this.#db.getBinaryFast(this.#at(id, key), { transaction: this.#snapshot }) ?? null
  }

  #at(id: number, text: string): RowKey {
    this.#key.id = id
    this.#key.text = text
    return this.#key
  }

  keys(id: number, range: Range): string[] {
    const keys: string[] = []
    for (const key of this.#db.getKeys(this.#range(id, range)) as unknown as Iterable<string>) keys.push(key)
    return keys
  }

  scan(id: number, range: Range, visit: (key: string, bytes: Uint8Array) => void): void {
    const rows = this.#db.getRange(this.#range(id, range)) as unknown as Iterable<{
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
      transaction: this.#snapshot,
      start: isAfter ? bound(id, after, reverse) : first,
      end: last,
      inclusiveEnd: true,
      exclusiveStart: isAfter,
      reverse,
      ...(limit === undefined ? {} : { limit }),
    }
  }

  async commit(batch: RowBatch): Promise<void> {
    const bytes = Room.bytesOf(batch.size, batch.encoder.length)
    if (!this.#room.admits(bytes, batch.isDeletesOnly)) {
      throw new StoreUnavailableError('there is no room left on the disk or in the database’s own bound')
    }
    this.#assertUsable()
    const transaction = this.#isFlushedAwaited ? 0 : this.#lastTransaction()
    const committed = this.#db.batch(() => this.#putAll(batch))
    const flushed = this.#flushed(committed)
    if (this.#isFlushedAwaited) await flushed
    else await Promise.race([flushed, this.#visible(transaction)])
    this.#room.noteWritten(bytes)
  }

  async #flushed(committed: ReturnType<LmdbDatabase['batch']>): Promise<void> {
    try {
      await committed
      await committed.flushed
    } catch (error) {
      // It says what went wrong, a moment later, and must not be left without a handler.
      const cause = await causeOf(error)
      this.#hasFailed = true
      this.#room.noteFailure()
      throw new StoreUnavailableError(`the disk failed or is full: ${cause}`)
    }
  }

  /**
   * lmdb's promise for a commit resolves with its flush, though readers see the commit before that. So they are
   * asked, at a timer's pace: what `committed` gains is the disk's time, and a disk faster than this gains nothing.
   */
  async #visible(before: number): Promise<void> {
    do await sleep(VISIBLE_POLL_MS)
    while (this.#lastTransaction() === before)
  }

  #lastTransaction(): number {
    return this.#stats()['lastTxnId']!
  }

  /** After a failure that LMDB cannot go on from, its write thread would die without a word. */
  #assertUsable(): void {
    if (!this.#hasFailed) return
    try {
      this.#db.transactionSync(() => {})
    } catch (error) {
      throw new StoreUnavailableError(`the database has to be opened anew: ${(error as Error).message}`)
    }
    this.#hasFailed = false
  }

  #putAll(batch: RowBatch): void {
    const { ids, keys, starts, ends } = batch
    const db = this.#db
    const value: RowBytes = { buffer: batch.encoder.bytes.buffer, start: 0, end: 0 }
    for (let i = 0; i < ids.length; i++) {
      const key = this.#at(ids[i]!, keys[i]!)
      if (starts[i]! < 0) db.remove(key)
      else {
        value.start = starts[i]!
        value.end = ends[i]!
        db.put(key, value)
      }
    }
  }

  advance(): void {
    this.#snapshot.done()
    // Otherwise lmdb lends the same transaction again until the end of the event turn.
    this.#db.resetReadTxn()
    this.#snapshot = this.#db.useReadTransaction()
    this.#measureRoom()
  }

  #measureRoom(): void {
    if (!this.#room.wantsPages) return
    const stats = this.#stats()
    const pages = stats['treeBranchPageCount']! + stats['treeLeafPageCount']! + stats['overflowPages']!
    const pageBytes = stats['pageSize']!
    this.#room.notePages({
      fileBytes: (stats['lastPageNumber']! + 1) * pageBytes,
      bytesInUse: pages * pageBytes,
    })
  }

  #stats(): Record<string, number> {
    return this.#db.getStats() as Record<string, number>
  }

  async close(): Promise<void> {
    this.#snapshot.done()
    await this.#db.close()
    this.#unlock()
  }
}

/** An inclusive bound, or the edge of the node's rows where there is none. */
function bound(id: number, text: string | undefined, isUpper: boolean): RowKey {
  if (text !== undefined) return { id, text, isPrefixOnly: false }
  return { id: isUpper ? id + 1 : id, text: '', isPrefixOnly: true }
}

async function causeOf(error: unknown): Promise<string> {
  assert(error instanceof Error)
  const { commitError } = error as Error & { commitError?: Promise<never> }
  try {
    await commitError
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  }
  return error.message
}
