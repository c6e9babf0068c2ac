/** The test vectors of vectors.json with their types, for tests. */
import { readFileSync } from 'node:fs'
import type { ToClient } from './to-client.ts'
import type { ToServer } from './to-server.ts'

interface MessageVectorOf<Direction, Message> {
  name: string
  direction: Direction
  /** Named fields, as this repository's code holds them. */
  message: Message
  /** The array on the wire. */
  items: unknown[]
  hex: string
}

export type MessageVector = MessageVectorOf<'toServer', ToServer> | MessageVectorOf<'toClient', ToClient>

/** A frame from a client that is refused. */
export interface InvalidVector {
  name: string
  hex: string
  /** The code with which the connection is closed, or the name of the error that answers the request. */
  outcome: number | string
}

export const vectors = JSON.parse(readFileSync(new URL('vectors.json', import.meta.url), 'utf8')) as {
  messages: MessageVector[]
  invalid: InvalidVector[]
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
