/**
 * Sink: all that a session sees of its connection, and Driven: all that a connection sees of its session. Transports
 * implement the one and drive the other; sessions never see a socket.
 */
import type { CloseReason } from '../../protocol/index.ts'

export interface Sink {
  /**
   * Sends one frame; the bytes may be reused when it returns.
   * @returns False when the connection was too full to take it; it is lost, and `dropped` is called.
   */
  send(bytes: Uint8Array): boolean
  /** Whatever `call` sends leaves in as few packets as possible. */
  cork(call: () => void): void
  /** Bytes accepted but not yet taken by the network. */
  readonly bufferedBytes: number
  subscribe(topic: string): void
  unsubscribe(topic: string): void
  /** Ends the connection; `closed` of the session follows. */
  close(reason: CloseReason): void
}

/** What drives a session, whatever its transport. */
export interface Driven {
  open(): void
  receive(frame: Uint8Array): void
  drained(): void
  dropped(): void
  closed(): void
}

/** Sends bytes to every connection subscribed to a topic, in order with what each was sent directly. */
export interface Publisher {
  /** @param frames Binary by default. */
  publish(topic: string, bytes: Uint8Array, frames?: 'binary' | 'text'): void
}
