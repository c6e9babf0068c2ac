/**
 * The commit log: the one seam through which data changes. Whatever writes submits to it; whatever streams
 * follows it, in revision order. One process has one log per database (`log-local.ts`); worker threads and
 * clusters are other implementations of this contract.
 */
import type { Path, RequestError } from '../../protocol/index.ts'
import { admin, type Identity } from '../identity.ts'
import type { Commit, Entry } from '../store/store.ts'

/** A request to change data. Entries are parsed and checked for shape; server values are still placeholders. */
export interface Write {
  /**
   * What becomes of which path; entries do not contain each other. Atomic. A path that ends in `.priority` names the
   * priority of the node above it: its value is a number, a string, or null for none.
   * Once the write is written, their server values are resolved.
   */
  entries: readonly Entry[]
  /** Where an update without any entries would write: `.write` must grant there, as it must for one with entries. */
  emptyAt?: Path
  /** Places at and below which all stays as it is, whatever the entry above them says. */
  untouched?: readonly Path[]
  identity: Identity
  /**
   * Refused as `stale` if anything at, above or below the first entry's path changed after this revision; as any
   * condition, also if the identity may not read there.
   */
  expectedRevision: number | null
  /**
   * Refused as `stale` unless the first entry's path holds a value of this hash (`node-hash.ts`). The hash of nothing needs
   * no right to read.
   */
  expectedHash?: string
  /** The path that `expectedRevision` and `expectedHash` speak of, where it is not the first entry's. */
  expectedAt?: Path
  /** Rules decide, but the entries are not applied: an onDisconnect registration. */
  isCheckOnly: boolean
  /** A message: decided as a write of its one entry and told to who listens, but never applied. */
  isMessage?: boolean
  /** What the rules must allow as well, under the same identity, though it is not applied. */
  alsoAllowed?: readonly Entry[]
  /** Set once it was decided: it found what it would have left, and is no commit. */
  isUnchanged?: boolean
  /** Set when it is settled: nothing of its whole group changed anything. */
  isGroupEmpty?: boolean
  /** Records kept beside the tree in the same transaction; null removes one. */
  records: readonly (readonly [key: string, value: unknown])[] | null
  origin: WriteOrigin
  /** What it takes in memory while it waits, about; left out where it is small. */
  bytes?: number
  /** The origin's own number for this write. */
  id: number
}

/** Who hears what became of a write. Called once for each write, after the commit was followed. */
export interface WriteOrigin {
  /** The write is durable and visible at `revision`; for a check-only or empty write, the revision it was decided at. */
  written(write: Write, revision: number): void
  refused(write: Write, error: RequestError): void
  /** All writes of one group are settled: a place to send what was gathered. */
  groupSettled(): void
}

export interface CommitLog {
  /** Queues a write. Writes of one origin are decided in the order of submission. */
  submit(write: Write): void
  /** Whether writes are queued, staged or being flushed. */
  readonly isBusy: boolean
  /** Resolves when nothing is queued or under way. */
  idle(): Promise<void>
}

/** Changes nothing: for what has to be done or answered in the log's own order. */
export function emptyWrite(origin: WriteOrigin, id = 0, records: Write['records'] = null): Write {
  return { entries: [], identity: admin, expectedRevision: null, isCheckOnly: false, records, origin, id }
}

export type { Commit }
