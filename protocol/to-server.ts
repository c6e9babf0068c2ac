/**
 * Messages from client to server. On the wire each is a msgpack array `[type, id, ...fields]` in the order
 * given here. `id` is a positive integer of the client's choosing; each id is answered exactly once.
 * Paths travel as text, `a/b`, the root as the empty text.
 */
import type { Delivery } from './delivery.ts'
import type { Path } from './path.ts'
import type { Query } from './query.ts'

export const ToServerType = {
  auth: 1,
  unauth: 2,
  listen: 3,
  unlisten: 4,
  get: 5,
  set: 6,
  update: 7,
  remove: 8,
  push: 9,
  compareAndSet: 10,
  onDisconnectSet: 11,
  onDisconnectUpdate: 12,
  onDisconnectCancel: 13,
  ping: 14,
  send: 15,
  listenMessages: 16,
  unlistenMessages: 17,
  presenceSet: 18,
  presenceEnd: 19,
} as const

/** Paths below the request's path, with the value for each; nulls delete. Atomic. */
export type UpdateEntries = readonly (readonly [Path, unknown])[]

/** The state a client holds of a query: the epoch and the revision it was told. */
export interface ResumePoint {
  epoch: string
  revision: number
}

export type ToServer =
  /** `token`: a JWT, or the admin key. Answer: ack. */
  | { type: 'auth'; id: number; token: string }
  /** Drops the identity. Answer: ack. */
  | { type: 'unauth'; id: number }
  /** Answer: snapshot, or resumed where that was asked for; then patches until unlisten or cancel; without `delivery` a step for every change. */
  | {
      type: 'listen'
      id: number
      path: Path
      query: Query | null
      delivery?: Delivery
      /** Wire: `r` of the options. */
      resume?: ResumePoint
    }
  /** Answer: ack, also when nothing was listened to. */
  | { type: 'unlisten'; id: number; path: Path; query: Query | null }
  /** Answer: value. */
  | { type: 'get'; id: number; path: Path; query: Query | null }
  /** Replaces the value at a path. Answer: ack. */
  | { type: 'set'; id: number; path: Path; value: unknown }
  /** Wire: `{childPath: value}`. Replaces several values below a path at once. Answer: ack. */
  | { type: 'update'; id: number; path: Path; entries: UpdateEntries }
  /** Deletes the value at a path. Answer: ack. */
  | { type: 'remove'; id: number; path: Path }
  /** Sets a child under a new time-ordered key made by the server. Answer: pushed. */
  | { type: 'push'; id: number; path: Path; value: unknown }
  /** Sets if nothing at, above or below the path changed after `revision`, else answers `stale`. Answer: ack. */
  | { type: 'compareAndSet'; id: number; path: Path; revision: number; value: unknown }
  /** A write the server runs when this session ends. Answer: ack once it is stored. */
  | { type: 'onDisconnectSet'; id: number; path: Path; value: unknown }
  | { type: 'onDisconnectUpdate'; id: number; path: Path; entries: UpdateEntries }
  /** Drops what is registered at and below a path. Answer: ack. */
  | { type: 'onDisconnectCancel'; id: number; path: Path }
  /** Answer: pong. */
  | { type: 'ping'; id: number }
  /** Tells everyone who listens to the messages of a path; nothing is stored. Answer: ack. */
  | { type: 'send'; id: number; path: Path; value: unknown }
  /** Answer: a snapshot of nothing, then messages until unlistenMessages or cancel. */
  | { type: 'listenMessages'; id: number; path: Path }
  /** Answer: ack, also when nothing was listened to. */
  | { type: 'unlistenMessages'; id: number; path: Path }
  /**
   * This connection is present below `path`, with that state. `ttlMs` is the silence after which it is taken for dead;
   * null leaves that to the server. Answer: pushed, with the member's key.
   */
  | { type: 'presenceSet'; id: number; path: Path; value: unknown; ttlMs: number | null }
  /** Answer: ack, also when it was not present. */
  | { type: 'presenceEnd'; id: number; path: Path }
