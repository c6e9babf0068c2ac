/**
 * What the thread that writes and its followers say to each other. A database is named by the number it got when a
 * follower first asked for it.
 */
import type { RequestErrorKind } from '../../protocol/index.ts'
import type { MetricsPart } from '../metrics.ts'
import type { FollowedStore } from '../store/follower-store.ts'
import type { GroupPlace } from './group-ring.ts'
import type { ProxiedReply, ProxiedRequest } from './proxy.ts'

/** A group on disk: commits up to `revision`, or none where only rows beside the tree changed. */
export interface GroupNotice {
  type: 'group'
  database: number
  revision: number
  place: GroupPlace | null
}

/** What became of writes that a follower brought. Sent after the group they were in. */
export interface SettledNotice {
  type: 'settled'
  database: number
  revision: number
  written: number[]
  /** Those of them that changed nothing. */
  unchanged: number[]
  /** Those of a group in which nothing changed anything. */
  inEmptyGroup: number[]
  refused: { number: number; kind: RequestErrorKind; message: string; retryAfterMs: number | null }[]
  /** Entries of those written whose server values were resolved, or whose order changed. */
  resolved: { number: number; entries: Uint8Array }[]
}

export type ToFollower =
  | GroupNotice
  | SettledNotice
  /** What a session left has settled. */
  | { type: 'ran'; database: number; number: number }
  | { type: 'rules'; database: number; source: string }
  /** Close and end: it was given up. */
  | { type: 'end' }
  /** End by an exception nobody catches: for tests. */
  | { type: 'fail' }
  /** Keep more and more in memory: for tests. */
  | { type: 'fill' }
  /** Do nothing at all until the flag is no longer 0: for tests. */
  | { type: 'stall'; flag: Int32Array }

export type ToWriter =
  | { type: 'operations'; database: number; bytes: Uint8Array }
  /** The client of a proxied request went away. */
  | { type: 'gone'; request: number }

export interface OpenedDatabase {
  number: number
  store: FollowedStore
  /** Published; the follower's own view of the disk may be ahead of it. */
  revision: number
  rules: string
}

export type FromFollower = {
  open: [{ name: string }, OpenedDatabase]
  http: [ProxiedRequest, ProxiedReply]
  takeOver: [{ database: string; sessionId: string }, null]
  names: [null, string[]]
  metrics: [null, string]
  ready: [null, null]
}

export type FromWriter = {
  takeOver: [{ database: string; sessionId: string }, null]
  metrics: [null, MetricsPart]
  /** No new connections, clients told to come back elsewhere; answered once all writes are settled. */
  announceEnd: [{ delayMs: number }, null]
  /** Every connection ended; answered once what they left has been sent. The thread ends after that. */
  close: [null, null]
}
