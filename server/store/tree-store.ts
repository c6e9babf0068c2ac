/**
 * Tree store: the store contract over any rows. Joins the tree with the records beside it, the garbage behind it
 * and the row that says which revision all of it is.
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Decoder, type Path, type Priority } from '../../protocol/index.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import { type ChangeLogOptions, RowChangeLog } from './change-log.ts'
import { GarbageCollector } from './garbage.ts'
import { orderOfIndex } from './index-order.ts'
import { walkOrdered } from './index-walk.ts'
import { IndexWork } from './index-work.ts'
import { Records } from './records.ts'
import { META_ID, RowBatch, type Rows } from './rows.ts'
import { type Run, Runs } from './runs.ts'
import {
  type Entry,
  type IndexProgress,
  type PlaceRange,
  type Store,
  StoreUnavailableError,
  type TreeView,
} from './store.ts'
import { Tree } from './tree.ts'
import { StoreView } from './tree-view.ts'

/** Raised with every change of the row layout; a folder written by a newer format is refused. */
export const STORE_FORMAT = 1

/**
 * Objects up to this many bytes of msgpack are kept as one row. At 512 an 800-byte object is many rows and costs 26 us
 * to read instead of 7; from 2,048 on a field of an 1,800-byte object costs 49 us to write instead of 21, and two
 * rows no longer share a page. Measured by bench/scenarios/store.ts.
 */
export const PACKED_BYTES_MAX = 1024

export interface TreeStoreOptions extends ChangeLogOptions {
  /** Objects whose msgpack is larger get a row for each child. 0 packs leaves only. */
  packedBytesMax: number
  /** Memory for decoded rows. */
  cacheBytes: number
  /** Children a list may have for its priorities to be indexed in the group that brings the first; others take longer. */
  indexedAtOnce: number
  /** Awaited after each commit, before it counts as flushed: slow disks for tests and benchmarks. */
  flushDelayMs: number
  beforeFlushed: (() => Promise<void>) | null
}

const defaults: TreeStoreOptions = {
  packedBytesMax: PACKED_BYTES_MAX,
  cacheBytes: 64 * 1024 * 1024,
  indexedAtOnce: 1000,
  flushDelayMs: 0,
  beforeFlushed: null,
  changeLogBytes: 64 * 1024 * 1024,
  changeLogMs: 10 * 60 * 1000,
}

export interface Meta {
  format: number
  epoch: string
  revision: number
  nextId: number
  /** Missing in folders of versions that knew no runs. */
  runs?: readonly Run[]
}

export class TreeStore implements Store {
  readonly flushed: StoreView
  readonly head: TreeView
  readonly epoch: string
  readonly records: Records
  readonly changes: RowChangeLog
  readonly #rows: Rows
  readonly #tree: Tree
  readonly #garbage: GarbageCollector
  readonly #indexWork: IndexWork
  readonly #options: TreeStoreOptions
  readonly #batch = new RowBatch()
  #flushedRevision: number
  #headRevision: number
  /** Before its first flush nobody could tell this opening's revisions from another's. */
  #isRunNoted = false
  /** Whether every write of the group only deletes. */
  #isDeletesOnly = true
  #flushing: Promise<void> | null = null
  #isClosed = false

  constructor(rows: Rows, options: Partial<TreeStoreOptions>) {
    this.#options = { ...defaults, ...options }
    this.#rows = rows
    this.#tree = new Tree(rows, this.#options)
    this.#garbage = new GarbageCollector(rows, (batch, id) => this.#tree.indexes.unlink(batch, id))
    this.#indexWork = new IndexWork(this.#tree, this.#tree.indexes)
    this.records = new Records(rows, () => this.#assertMayStage())
    this.flushed = new StoreView(this.#tree, false)
    this.head = new StoreView(this.#tree, true)
    const meta = readMeta(rows)
    this.epoch = meta?.epoch ?? randomBytes(9).toString('base64url')
    this.#flushedRevision = meta?.revision ?? 0
    this.#headRevision = this.#flushedRevision
    if (meta !== null) this.#tree.nextId = meta.nextId
    const runs = Runs.begin(this.epoch, meta?.runs ?? [], () => this.#flushedRevision)
    this.changes = new RowChangeLog(rows, runs, this.#options)
  }

  get flushedRevision(): number {
    return this.#flushedRevision
  }

  get headRevision(): number {
    return this.#headRevision
  }

  get hasStaged(): boolean {
    return (
      !this.#isRunNoted ||
      this.#headRevision !== this.#flushedRevision ||
      this.#tree.hasStaged ||
      this.records.hasStaged ||
      this.#garbage.hasStaged ||
      this.#indexWork.hasStaged ||
      this.#tree.indexes.isDirty
    )
  }

  get hasGarbage(): boolean {
    return this.#garbage.isLeft
  }

  assertRoom(): void {
    // Refused before anything is staged, so that deletions still find a group that can be committed.
    if (!this.#rows.isFull) return
    throw new StoreUnavailableError('the database has no room left; until there is, it only takes deletions')
  }

  stage(entries: readonly Entry[]): number {
    this.#assertMayStage()
    const isDeletes = entries.every((entry) => entry.value === null)
    if (!isDeletes) this.assertRoom()
    this.#isDeletesOnly &&= isDeletes
    for (const { path, value } of entries) this.#tree.stage(path, value)
    this.#headRevision += 1
    return this.#headRevision
  }

  stagePriority(path: Path, priority: Priority | null): number {
    this.#assertMayStage()
    // What is there already takes no room.
    if (this.head.priorityAt(path) !== priority) {
      if (priority !== null) this.assertRoom()
      this.#isDeletesOnly &&= priority === null
      this.#tree.stagePriority(path, priority)
    }
    this.#headRevision += 1
    return this.#headRevision
  }

  collectGarbage(rowsMax: number): boolean {
    this.#assertMayStage()
    return this.#garbage.stage(rowsMax)
  }

  indexed(path: Path, name: string, range: PlaceRange): Iterable<string> | null {
    const order = orderOfIndex(name)
    if (order === null) return null
    const slot = this.flushed.slotAt(path)
    return walkOrdered(this.#tree, slot, order, range, (keys) => this.flushed.keys(path, keys))
  }

  declareIndexes(patterns: readonly IndexPattern[]): void {
    this.#assertMayStage()
    this.#tree.indexes.declare(patterns)
    this.#indexWork.restart()
  }

  get hasIndexWork(): boolean {
    return this.#indexWork.isLeft
  }

  get indexProgress(): IndexProgress {
    return this.#indexWork.progress
  }

  workOnIndexes(rowsMax: number): void {
    this.#assertMayStage()
    this.#indexWork.stage(rowsMax)
  }

  #assertMayStage(): void {
    assert(this.#flushing === null, 'nothing is staged while a flush is under way')
    assert(!this.#isClosed, 'the store is open')
  }

  discard(): void {
    assert(this.#flushing === null, 'what is being flushed cannot be discarded')
    this.#tree.discard()
    this.records.discard()
    this.#garbage.discard()
    this.#indexWork.discard()
    this.changes.discard()
    this.#headRevision = this.#flushedRevision
    this.#isDeletesOnly = true
  }

  flush(): Promise<void> {
    this.#assertMayStage()
    if (!this.hasStaged) return Promise.resolve()
    this.#flushing = this.#flush().finally(() => {
      this.#flushing = null
    })
    return this.#flushing
  }

  async #flush(): Promise<void> {
    const batch = this.#batch
    try {
      batch.isDeletesOnly = this.#isDeletesOnly
      this.#tree.writeBatch(batch)
      this.records.writeBatch(batch)
      this.#garbage.writeBatch(batch)
      this.#indexWork.writeBatch(batch)
      this.#tree.indexes.writeSlots(batch)
      this.changes.writeBatch(batch, this.#flushedRevision, this.#headRevision)
      this.#writeMeta(batch)
      await this.#rows.commit(batch)
    } catch (error) {
      batch.reset()
      this.#flushing = null
      this.discard()
      throw error
    }
    const { flushDelayMs, beforeFlushed } = this.#options
    if (flushDelayMs > 0) await sleep(flushDelayMs)
    if (beforeFlushed !== null) await beforeFlushed()
    this.#rows.advance()
    this.#garbage.settle(this.#tree.leavesGarbage)
    this.#tree.settle()
    this.records.settle()
    this.#indexWork.settle()
    this.changes.settle()
    this.#flushedRevision = this.#headRevision
    this.#isRunNoted = true
    this.#isDeletesOnly = true
    batch.reset()
  }

  #writeMeta(batch: RowBatch): void {
    const { encoder } = batch
    const start = encoder.length
    const meta: Meta = {
      format: STORE_FORMAT,
      epoch: this.epoch,
      revision: this.#headRevision,
      nextId: this.#tree.nextIdInFlight,
      runs: this.changes.runs.list,
    }
    encoder.value(meta)
    batch.put(META_ID, '', start, encoder.length)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    await this.#flushing?.catch(() => {})
    this.#isClosed = true
    await this.#rows.close()
  }
}

function readMeta(rows: Rows): Meta | null {
  const bytes = rows.get(META_ID, '')
  return bytes === null ? null : decodeMeta(bytes)
}

export function decodeMeta(bytes: Uint8Array): Meta {
  const meta = new Decoder(bytes).value() as Meta
  if (meta.format > STORE_FORMAT) {
    throw new Error(
      `the data was written in store format ${meta.format}; this version reads formats up to ${STORE_FORMAT}`,
    )
  }
  return meta
}
