/**
 * Follower store: the tree as another thread writes it. A group of commits is staged here as it was there, so that the
 * head shows each of them in turn; then the rows that thread has written take its place.
 *
 *   pin       hold the newest rows beside those being read; they say which revision they are of
 *   stage     the commits up to that revision
 *   advance   read the pinned rows from now on; drop what was staged, and what was cached of the rows it changed
 *
 * Node ids are the writer's: what is staged here never becomes rows.
 */
import type { Path, Priority } from '../../protocol/index.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import { type ChangeLogOptions, RowChangeLog } from './change-log.ts'
import { orderOfIndex } from './index-order.ts'
import { walkOrdered } from './index-walk.ts'
import { Records } from './records.ts'
import { META_ID, type Rows } from './rows.ts'
import { type Run, Runs } from './runs.ts'
import type { Entry, IndexProgress, PlaceRange, Store } from './store.ts'
import { Tree } from './tree.ts'
import { decodeMeta, PACKED_BYTES_MAX } from './tree-store.ts'
import { StoreView } from './tree-view.ts'

export interface FollowerRows extends Rows {
  /** Holds the newest commit beside the one reads see. */
  pin(): void
  /** As `get`, of the pinned commit. */
  pinnedGet(id: number, key: string): Uint8Array | null
  /** Moves what reads see to the pinned commit. */
  advance(): void
}

/** Of the writer's store: not all of it is in rows before the first flush. */
export interface FollowedStore {
  epoch: string
  runs: readonly Run[]
}

export interface FollowerStoreOptions extends FollowedStore, ChangeLogOptions {
  /** Memory for decoded rows. */
  cacheBytes: number
}

export class FollowerStore implements Store {
  readonly flushed: StoreView
  readonly head: StoreView
  readonly epoch: string
  readonly records: Records
  readonly changes: RowChangeLog
  readonly hasStaged = false
  readonly hasGarbage = false
  readonly hasIndexWork = false
  readonly #rows: FollowerRows
  readonly #tree: Tree
  #flushedRevision: number
  #headRevision: number
  #pinnedRevision: number | null = null

  constructor(rows: FollowerRows, options: FollowerStoreOptions) {
    const { cacheBytes, epoch } = options
    this.#rows = rows
    this.#tree = new Tree(rows, { packedBytesMax: PACKED_BYTES_MAX, cacheBytes, indexedAtOnce: 0 })
    this.records = new Records(rows, refuse)
    this.flushed = new StoreView(this.#tree, false)
    this.head = new StoreView(this.#tree, true)
    this.epoch = epoch
    this.#flushedRevision = revisionIn(rows.get(META_ID, ''))
    this.#headRevision = this.#flushedRevision
    const runs = new Runs(epoch, options.runs, () => this.#flushedRevision)
    this.changes = new RowChangeLog(rows, runs, options)
  }

  get flushedRevision(): number {
    return this.#flushedRevision
  }

  get headRevision(): number {
    return this.#headRevision
  }

  /** Holds the newest rows, unless some are held already. @returns The revision they are of. */
  pin(): number {
    if (this.#pinnedRevision === null) {
      this.#rows.pin()
      this.#pinnedRevision = revisionIn(this.#rows.pinnedGet(META_ID, ''))
    }
    return this.#pinnedRevision
  }

  /** What the writer has written has found its room. */
  assertRoom(): void {}

  stage(entries: readonly Entry[]): number {
    for (const { path, value } of entries) this.#tree.stage(path, value)
    this.#headRevision += 1
    return this.#headRevision
  }

  stagePriority(path: Path, priority: Priority | null): number {
    this.#tree.stagePriority(path, priority)
    this.#headRevision += 1
    return this.#headRevision
  }

  /**
   * The pinned rows are the flushed state, and the head.
   * @returns Whether other indexes can be read than before.
   */
  advance(): boolean {
    this.#rows.advance()
    const isIndexChange = this.#tree.settleFollowed()
    this.#flushedRevision = this.#pinnedRevision!
    this.#headRevision = this.#flushedRevision
    this.#pinnedRevision = null
    return isIndexChange
  }

  discard(): void {
    this.#tree.discard()
    this.#headRevision = this.#flushedRevision
  }

  indexed(path: Path, name: string, range: PlaceRange): Iterable<string> | null {
    const order = orderOfIndex(name)
    if (order === null) return null
    const slot = this.flushed.slotAt(path)
    return walkOrdered(this.#tree, slot, order, range, (keys) => this.flushed.keys(path, keys))
  }

  /** Which of these the writer has, or once has, is found in its rows. */
  declareIndexes(patterns: readonly IndexPattern[]): void {
    this.#tree.indexes.follow(patterns)
  }

  /** Building is the writer's, and told by it. */
  get indexProgress(): IndexProgress {
    return { building: 0, childrenIndexed: 0, refused: 0 }
  }

  flush(): Promise<void> {
    return refuse()
  }

  collectGarbage(): boolean {
    return refuse()
  }

  workOnIndexes(): void {
    refuse()
  }

  close(): Promise<void> {
    return this.#rows.close()
  }
}

function refuse(): never {
  throw new Error('a follower does not write')
}

function revisionIn(meta: Uint8Array | null): number {
  return meta === null ? 0 : decodeMeta(meta).revision
}
