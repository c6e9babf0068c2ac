/**
 * Store: what keeps the tree. The contract in words; `store-lmdb.ts` and `store-memory.ts` keep it and
 * `store.contract.ts` is one test suite run against both.
 *
 * A store always knows two states. The **flushed** state is on disk and may be shown to anyone. The **head**
 * is the flushed state plus the writes of the one group being built. `stage` puts a change into the head,
 * where later writes of the group (and the rules that check them) see it; `flush` makes the head durable and
 * only then the flushed state; `discard` drops the group. Nothing staged reaches the disk before `flush`, so a
 * denied write or a failed disk leaves nothing behind.
 *
 * INVARIANT: while a flush is under way nothing is staged, and reads of the flushed state answer as before it.
 */
import { type Leaf, type Path, type Priority, RequestError, type Value } from '../../protocol/index.ts'
import type { DataView } from '../../rules/data-view.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import type { Run } from './runs.ts'

/** A tree one may read. It is also the DataView that rules read through. */
export interface TreeView extends DataView {
  /**
   * The whole value at a path in export form. It shares structure with the store: never change it.
   * @param nodesMax Leaves read before `TooLargeError` is thrown, so that one read cannot stall the loop.
   */
  read(path: Path, nodesMax?: number): Value
  /**
   * Children of a path in key order, lazily, without their values; to be walked within the event turn.
   * `from`/`to` are inclusive bounds; `reverse` walks from the end. Costs O(children walked).
   */
  keys(
    path: Path,
    options?: { from?: string; to?: string; reverse?: boolean; limit?: number },
  ): Iterable<string>
  /** The places above some paths that have a priority, each once. What these paths share is walked once. */
  rankedAbove(paths: readonly Path[]): Path[]
}

/** One location and what it becomes: a set of values that belong together is one atomic write. */
export interface Entry {
  path: Path
  /** Export form, server values already resolved; null deletes. */
  value: Value
}

/** What one write did. */
export interface Commit {
  revision: number
  /** Server clock, Unix milliseconds: what server timestamps in this commit became. */
  timestampMs: number
  /** Server values resolved. None for a message: such a commit has the revision of the one before it. */
  entries: readonly Entry[]
  /** Told to who listens to messages at their paths, and kept nowhere. */
  messages?: readonly Entry[]
  /** Only of a commit read back: its values were too large to be logged, and are null. */
  isOutline?: boolean
}

/** Commits that were flushed together. */
export interface LoggedGroup {
  /** The revision before the first of them, and that of the last. */
  from: number
  to: number
  commits: readonly Commit[]
}

/** What recent commits did, in the transaction of their group; bounded by bytes and time. */
export interface ChangeLog {
  /** Names the store and this opening of it: with a revision it names a state. */
  readonly epoch: string
  readonly runs: { readonly list: readonly Run[] }
  /** Whether a state that was told under this name is one this store went through. */
  knows(epoch: string, revision: number): boolean
  /** Part of the group under way. Every commit is staged here, too, or those who follow the log find it ends. */
  stage(commit: Commit): void
  /**
   * The flushed groups that follow a revision, oldest first, at most about `bytesMax` of them; the first may begin
   * before it. Ask again from the last one's end.
   * @returns null where nothing follows, or the log does not reach back that far.
   */
  after(revision: number, bytesMax: number): readonly LoggedGroup[] | null
}

/** An end of a walk in an order: an ordered value and a key that breaks ties; without a key all keys are on the inner side. */
export interface PlaceBound {
  value: Value
  key?: string | undefined
  inclusive: boolean
}

export interface PlaceRange {
  start?: PlaceBound | undefined
  end?: PlaceBound | undefined
  reverse?: boolean
}

/** What is left to do before every declared index can be used. */
export interface IndexProgress {
  /** Declared indexes not yet built for all lists. */
  building: number
  /** Children indexed by building, since the store was opened. */
  childrenIndexed: number
  /** Declared indexes beyond what a store can hold: their queries are served as without an index. */
  refused: number
}

/** Records beside the tree, such as onDisconnect writes: small, keyed by text, part of the same flush. */
export interface RecordTable {
  get(key: string): unknown
  /** Keys in order that start with `prefix`. */
  entries(prefix: string): Iterable<[key: string, value: unknown]>
  /** Staged like writes; null removes. */
  stage(key: string, value: unknown): void
}

export interface Store {
  /** The state on disk. Stays as it is until `flush` resolves. */
  readonly flushed: TreeView
  /** The flushed state plus what is staged. */
  readonly head: TreeView
  readonly flushedRevision: number
  readonly headRevision: number
  readonly epoch: string
  /** Whether a flush would write anything: staged writes, records or garbage work. */
  readonly hasStaged: boolean
  /** Whether `collectGarbage` has anything to do. */
  readonly hasGarbage: boolean
  readonly records: RecordTable
  readonly changes: ChangeLog
  /** Whether `workOnIndexes` has anything to do. */
  readonly hasIndexWork: boolean
  readonly indexProgress: IndexProgress

  /**
   * To be asked before a write of several stagings that does more than delete: then none of them is refused for want of room.
   * @throws {StoreUnavailableError} There is none left.
   */
  assertRoom(): void
  /**
   * Applies one write to the head and raises its revision by one. Costs O(depth), whatever the number of
   * siblings. Entries do not contain each other.
   * @returns The new head revision.
   * @throws {StoreUnavailableError} There is no room left and the write does more than delete; nothing was staged.
   */
  stage(entries: readonly Entry[]): number
  /**
   * Sets or clears the priority of a node that exists; does nothing to one that does not.
   * @throws {StoreUnavailableError} There is no room left for a priority; it was not staged.
   */
  stagePriority(path: Path, priority: Priority | null): number
  /** Drops all that is staged. */
  discard(): void
  /**
   * Writes all that is staged in one transaction and resolves when it is durable; `flushed` is then the head.
   * With durability `committed` it resolves once the transaction is visible, which a power cut may still undo.
   * @throws {StoreUnavailableError} The disk is full or failed: nothing of the group is kept, head is flushed again.
   */
  flush(): Promise<void>
  /**
   * Stages the removal of rows left from replaced or deleted subtrees, at most `rowsMax` of them; once for each
   * group. Like a write it reaches the disk with the next flush.
   * @returns Whether more will be left to do.
   */
  collectGarbage(rowsMax: number): boolean
  /**
   * Children of a path in the flushed state, ordered by `.priority`, `.value` or what is at a child path, then by key;
   * lazily, to be walked within the event turn. Costs O(children walked).
   * @returns null where that index is not declared or not built yet. Priorities need no declaration.
   */
  indexed(path: Path, name: string, range: PlaceRange): Iterable<string> | null
  /**
   * Declares which indexes are kept, from the next group on. What is new is built, what is missing dropped, both by
   * `workOnIndexes`; until it is built an index does not exist for reads. Not while a flush is under way.
   */
  declareIndexes(patterns: readonly IndexPattern[]): void
  /**
   * Stages a slice of building or dropping indexes, at most `rowsMax` rows of it; once for each group. Like a write it
   * reaches the disk with the next flush.
   */
  workOnIndexes(rowsMax: number): void
  close(): Promise<void>
}

/** The disk is full or failing. What was acked is kept; the store serves again once there is room. */
export class StoreUnavailableError extends RequestError {
  constructor(message: string) {
    super('unavailable', message, 1000)
  }
}

/** More was asked for than one read may take. */
export class TooLargeError extends Error {}

/** What is in the data folder is not a database. */
export class StoreCorruptError extends Error {}

/** Another process holds the data folder. */
export class StoreLockedError extends Error {}

export type { Leaf, Path, Priority, Value }
