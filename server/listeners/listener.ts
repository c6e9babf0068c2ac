/**
 * Listener: the server's record of one session's listen to one query.
 */
import type { Delivery, RequestError, Step, Value } from '../../protocol/index.ts'
import type { Decision } from '../../rules/index.ts'
import type { Identity } from '../identity.ts'
import type { LiveQuery } from './listener-tree.ts'
import type { Grant } from './read-rights.ts'

/** A session as the listeners see it, whatever its wire. */
export interface Subscriber {
  readonly identity: Identity
  readonly wire: Wire
  /** The right to read is gone: nothing more of this query goes to the session. */
  canceled(live: LiveQuery, error: RequestError): void
}

/** One way to the clients: how patches look there and how the bytes shared by a query's listeners are sent. */
export interface Wire {
  readonly name: string
  /** Sends what one commit group did to all of this wire's listeners of a query; encodes at most once. */
  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void
  /** Sends the messages of one group; left out by wires whose clients know none. */
  deliverMessages?(live: LiveQuery, values: readonly Value[], revision: number): void
}

export interface Listener {
  readonly subscriber: Subscriber
  readonly live: LiveQuery
  /** How often it wants to hear; left out, of every change. */
  delivery?: Delivery
  /** What the decision to let it read rested on. */
  grant: Grant
  /** Lost its right within the group under way; told so before anything of the group is delivered. */
  isRevoked: boolean
  /** The decision that took its right, once one has. */
  denial: Decision | null
}
