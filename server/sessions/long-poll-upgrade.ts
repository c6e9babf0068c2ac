/**
 * The move of a long-polling connection to a WebSocket: the socket that waits to take it over, and what the session sends
 * to before and after.
 */
import type { CloseReason } from '../../protocol/index.ts'
import { FrameJoiner } from './firebase-framing.ts'
import { type FromClient, PONG, parseMessage, SWITCH } from './firebase-messages.ts'
import type { Driven, Sink } from './sink.ts'

/** Frames a socket may bring before the page ends its transmission here; their bytes are limited as one message's are. */
const EARLY_FRAMES_MAX = 10_000

/** A socket that waits to take a connection over. */
export class Upgrade implements Driven {
  readonly socket: Sink
  readonly #sessionOf: () => Driven
  readonly #joiner: FrameJoiner
  readonly #earlyBytesMax: number
  #early: Uint8Array[] = []
  #earlyBytes = 0
  #hasMoved = false
  isClosed = false

  constructor(socket: Sink, messageUnitsMax: number, sessionOf: () => Driven) {
    this.socket = socket
    this.#joiner = new FrameJoiner(messageUnitsMax)
    this.#earlyBytesMax = 2 * messageUnitsMax
    this.#sessionOf = sessionOf
  }

  open(): void {
    this.socket.send(Buffer.from(SWITCH))
  }

  /** Another socket waits instead, if this one has not moved yet. */
  replaced(): void {
    if (!this.#hasMoved && !this.isClosed) this.#refuse()
  }

  receive(frame: Uint8Array): void {
    if (this.isClosed) return
    if (this.#hasMoved) {
      this.#sessionOf().receive(frame)
      return
    }
    const text = Buffer.from(frame).toString()
    try {
      const message = this.#joiner.add(text)
      const type = message === null || this.#early.length > 0 ? null : typeOf(message)
      if (type === 'ping') this.socket.send(Buffer.from(PONG))
      else if (type !== 'switch') {
        this.#early.push(Buffer.from(frame))
        this.#earlyBytes += frame.length
      }
    } catch {
      this.#refuse()
    }
    if (this.#early.length > EARLY_FRAMES_MAX || this.#earlyBytes > this.#earlyBytesMax) this.#refuse()
  }

  #refuse(): void {
    this.isClosed = true
    this.#early = []
    this.socket.close({ code: 4500, reason: 'invalid frame' })
  }

  /** The page sends nothing more the old way: what came early is next. */
  takeOver(): void {
    this.#hasMoved = true
    const early = this.#early
    this.#early = []
    this.#earlyBytes = 0
    for (const frame of early) this.#sessionOf().receive(frame)
  }

  drained(): void {
    if (this.#hasMoved) this.#sessionOf().drained()
  }

  dropped(): void {
    if (this.#hasMoved) this.#sessionOf().dropped()
  }

  closed(): void {
    this.isClosed = true
    if (this.#hasMoved) this.#sessionOf().closed()
  }
}

/** What a session sends to: a poll at first, perhaps a socket later. */
export class MovingSink implements Sink {
  #target: Sink
  readonly #topics = new Set<string>()

  constructor(target: Sink) {
    this.#target = target
  }

  get bufferedBytes(): number {
    return this.#target.bufferedBytes
  }

  send(bytes: Uint8Array): boolean {
    return this.#target.send(bytes)
  }

  cork(call: () => void): void {
    this.#target.cork(call)
  }

  subscribe(topic: string): void {
    this.#topics.add(topic)
    this.#target.subscribe(topic)
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic)
    this.#target.unsubscribe(topic)
  }

  close(reason: CloseReason): void {
    this.#target.close(reason)
  }

  moveTo(target: Sink): void {
    for (const topic of this.#topics) {
      this.#target.unsubscribe(topic)
      target.subscribe(topic)
    }
    this.#target = target
  }
}

/** Whether a message ends the page's transmission here. */
export function isEnd(message: string): boolean {
  return typeOf(message) === 'end'
}

/** Of a control message; anything longer is none. */
function typeOf(message: string): FromClient['type'] | null {
  if (message.length > 64) return null
  try {
    return parseMessage(message).type
  } catch {
    return null
  }
}
