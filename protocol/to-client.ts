/**
 * Messages from server to client. On the wire each is a msgpack array `[type, ...fields]` in the order given
 * here. A frame holds one or more messages back to back, so pre-encoded messages are joined by copying bytes.
 *
 * Order: all patches of a commit reach a session before the ack of a write in that commit.
 */
import type { Value } from './value.ts'

export const ToClientType = {
  hello: 1,
  ack: 2,
  error: 3,
  snapshot: 4,
  value: 5,
  patch: 6,
  cancel: 7,
  resync: 8,
  pong: 9,
  pushed: 10,
  authRevoked: 11,
  goingAway: 12,
  resumed: 13,
  message: 14,
} as const

/**
 * What one write changed below a query's path, applied at once: relative path text and new value, alternating.
 * The empty path is the query's path itself; null deletes.
 */
export type Step = readonly (string | Value)[]

export interface Limits {
  /** Largest frame the server accepts, bytes. */
  frameBytesMax: number
  /** Listens one connection may hold. */
  listensMax: number
  /** What one connection may ask for in a second; 0 is no limit. A server may not tell. */
  messagesPerSecondMax?: number
  messageBytesPerSecondMax?: number
  /** Bytes of the values it is sent in answer to reads and listens. */
  readBytesPerSecondMax?: number
}

export type ToClient =
  /** The first message, sent unasked. A revision counts in an epoch, the lifetime of one store. */
  | {
      type: 'hello'
      version: number
      serverTimeMs: number
      sessionId: string
      epoch: string
      revision: number
      /** A client sends something at least this often. */
      pingIntervalMs: number
      limits: Limits
    }
  /** The requests `ids` are done and durable; what they changed has been sent. */
  | { type: 'ack'; revision: number; ids: readonly number[] }
  /** The request `id` failed and changed nothing. */
  | { type: 'error'; id: number; code: number; name: string; message: string; retryAfterMs: number | null }
  /** Answer to listen: the query's whole value at `revision`. `queryId` names the query in later messages. */
  | {
      type: 'snapshot'
      id: number
      queryId: number
      revision: number
      value: Value
      /** Only where there is one: the query is served whole, since no rules name an index for its order. */
      warning?: 'no_index'
    }
  /** Answer to get. */
  | { type: 'value'; id: number; revision: number; value: Value }
  /** Moves a query's value to `revision`: one step for each write, oldest first. */
  | { type: 'patch'; queryId: number; revision: number; steps: readonly Step[] }
  /** The server ended a listen: its right to read is gone. */
  | { type: 'cancel'; queryId: number; code: number; name: string; message: string }
  /** A query's whole value once more, after this client was too slow for its patches. */
  | { type: 'resync'; queryId: number; revision: number; value: Value }
  | { type: 'pong'; id: number; serverTimeMs: number }
  /** Answer to push. */
  | { type: 'pushed'; id: number; revision: number; key: string }
  /** The token expired; the connection goes on without identity. */
  | { type: 'authRevoked'; code: number; name: string; message: string }
  /** The server is about to close: connect again after a random part of `delayMs`. */
  | { type: 'goingAway'; reason: string; delayMs: number }
  /** Sent to the path that `queryId` listens to, oldest first; nothing of it is stored. */
  | { type: 'message'; queryId: number; revision: number; values: readonly Value[] }
  /** Answer to a listen that resumes: what was missed, one step for each write, oldest first; the rest stands. */
  | { type: 'resumed'; id: number; queryId: number; revision: number; steps: readonly Step[] }
