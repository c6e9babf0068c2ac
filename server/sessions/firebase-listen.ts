/** One listen of a Firebase client, and the messages that show it something. */
import type { Path, Value } from '../../protocol/index.ts'
import type { Missed } from '../database.ts'
import type { Listener } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { dataPush } from './firebase-messages.ts'
import type { HeldAnswer } from './firebase-outbox.ts'
import { catchUpPushes, pushTag } from './firebase-wire.ts'

export interface Listen {
  path: Path
  tag: number | null
  wireQuery: unknown
  listener: Listener
  /** Its `ok`, while it waits for the client to catch up. */
  heldAnswer: { number: number; answer: HeldAnswer } | null
}

export function listenKey(path: Path, tag: number | null): string {
  return `${tag ?? ''}/${path.join('/')}`
}

export function wholeValue(live: LiveQuery, value: Value, tag: number | null): string {
  return dataPush(live.pathText, value, pushTag(live, tag))
}

export function messagesOf(live: LiveQuery, missed: Missed, tag: number | null): string[] {
  return 'value' in missed ? [wholeValue(live, missed.value, tag)] : catchUpPushes(live, missed.step, tag)
}
