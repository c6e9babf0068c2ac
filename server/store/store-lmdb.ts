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
import { open } from 'lmdb'
import { lockFolder } from './folder-lock.ts'
import { FollowerStore, type FollowerStoreOptions } from './follower-store.ts'
import { NODE_ID_BYTES, readChildKey } from './keys.ts'
import { LmdbFollowerRows } from './lmdb-follower-rows.ts'
import { type LmdbDatabase, LmdbReads, type RowBytes, writeRowKey } from './lmdb-reads.ts'
import { type Disk, diskOf, Room } from './room.ts'
import type { RowBatch, Rows } from './rows.ts'
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

const DATABASE_FILE = 'data.mdb'

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
    assertIsDatabase(join(folder, DATABASE_FILE))
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

/** Whether a folder holds a database, whole or not. */
export function isDatabaseFolder(folder: string): boolean {
  return existsSync(join(folder, DATABASE_FILE))
}

/**
 * Opens a folder that another thread of this process has open and writes. Reads only.
 */
export function openLmdbFollower(folder: string, options: FollowerStoreOptions): FollowerStore {
  return new FollowerStore(new LmdbFollowerRows(openFolder(folder, true)), options)
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

const VISIBLE_POLL_MS = 1

function openFolder(folder: string, isReadOnly = false): LmdbDatabase {
  return open({
    path: folder,
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
    readOnly: isReadOnly,
  } as unknown as Parameters<typeof open>[0]) as unknown as LmdbDatabase
}

/** Rows in LMDB; exported for benchmarks of other layouts. */
export class LmdbRows extends LmdbReads implements Rows {
  readonly #room: Room
  readonly #unlock: () => void
  readonly #isFlushedAwaited: boolean
  #hasFailed = false

  constructor(options: LmdbStoreOptions, unlock: () => void) {
    super(openFolder(options.folder))
    this.#unlock = unlock
    this.#isFlushedAwaited = options.durability !== 'committed'
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
    this.db.readerCheck()
    for (const line of this.db.readerList().split('\n')) {
      const pid = Number.parseInt(line.trim(), 10)
      if (Number.isNaN(pid) || pid === process.pid) continue
      this.snapshot.done()
      void this.db.close()
      throw new StoreLockedError(`data folder \`${folder}\` is in use by process ${pid}`)
    }
  }

  get isFull(): boolean {
    return this.#room.isFull
  }

  async commit(batch: RowBatch): Promise<void> {
    const bytes = Room.bytesOf(batch.size, batch.encoder.length)
    if (!this.#room.admits(bytes, batch.isDeletesOnly)) {
      throw new StoreUnavailableError('there is no room left on the disk or in the database’s own bound')
    }
    this.#assertUsable()
    const transaction = this.#isFlushedAwaited ? 0 : this.#lastTransaction()
    const committed = this.db.batch(() => this.#putAll(batch))
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
      this.db.transactionSync(() => {})
    } catch (error) {
      throw new StoreUnavailableError(`the database has to be opened anew: ${(error as Error).message}`)
    }
    this.#hasFailed = false
  }

  #putAll(batch: RowBatch): void {
    const { ids, keys, starts, ends } = batch
    const db = this.db
    const value: RowBytes = { buffer: batch.encoder.bytes.buffer, start: 0, end: 0 }
    for (let i = 0; i < ids.length; i++) {
      const key = this.at(ids[i]!, keys[i]!)
      if (starts[i]! < 0) db.remove(key)
      else {
        value.start = starts[i]!
        value.end = ends[i]!
        db.put(key, value)
      }
    }
  }

  advance(): void {
    this.snapshot.done()
    this.snapshot = this.newest()
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
    return this.db.getStats() as Record<string, number>
  }

  async close(): Promise<void> {
    this.snapshot.done()
    await this.db.close()
    this.#unlock()
  }
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
