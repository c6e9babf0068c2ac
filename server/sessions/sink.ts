/**
 * Sink: all that a session sees of its connection. Transports implement it; sessions never see a socket.
 */
import type { CloseReason } from '../../protocol/index.ts'

export interface Sink {
  /** Sends one frame; the bytes may be reused when it returns. */
  send(bytes: Uint8Array): void
  /** Bytes accepted but not yet taken by the network. */
  readonly bufferedBytes: number
  subscribe(topic: string): void
  unsubscribe(topic: string): void
  /** Ends the connection; `closed` of the session follows. */
  close(reason: CloseReason): void
}

/** Sends bytes to every connection subscribed to a topic, in order with what each was sent directly. */
export interface Publisher {
  publish(topic: string, bytes: Uint8Array): void
}
