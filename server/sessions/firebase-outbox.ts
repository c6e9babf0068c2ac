/**
 * Outbox: all that one Firebase client is sent, in order, however slowly it reads. While the socket is full, what is
 * owed waits here: the rest of a message that was begun, then whole values, then answers.
 *
 * INVARIANT: between the pieces of one message nothing else is sent.
 * INVARIANT: an answer leaves after the data it speaks of.
 */
import { closeReasons } from '../../protocol/index.ts'
import { encodedFrames } from './firebase-framing.ts'
import type { Sink } from './sink.ts'

export interface OutboxLimits {
  /** Bytes waiting in the socket past which nothing more is sent until it drains. */
  slowConsumerSoftBytes: number
  /** Answers waiting here past which the connection is closed. */
  slowConsumerHardBytes: number
  /** A client that has not caught up after this long is closed. */
  slowConsumerDeadlineMs: number
}

/** An answer that waits. Its text may change until it leaves. */
export interface HeldAnswer {
  text: string
}

export class Outbox {
  readonly #sink: Sink
  readonly #limits: OutboxLimits
  readonly #becameSlow: () => void
  /** Frames of a message whose first ones have left. */
  #begun: Buffer[] = []
  #begunBytes = 0
  #held: HeldAnswer[] = []
  #heldUnits = 0
  #deadline: NodeJS.Timeout | null = null
  #isSlow = false

  /** @param becameSlow Called once when the socket is full, before anything is held back. */
  constructor(sink: Sink, limits: OutboxLimits, becameSlow: () => void) {
    this.#sink = sink
    this.#limits = limits
    this.#becameSlow = becameSlow
  }

  /** What the socket holds, and the rest of a message that it did not take whole. */
  get unsentBytes(): number {
    return this.#sink.bufferedBytes + this.#begunBytes
  }

  get isSlow(): boolean {
    return this.#isSlow
  }

  /** Sends a message, or holds it back with the answers. */
  send(text: string): void {
    if (!this.trySend(text)) this.hold({ text })
  }

  /** @returns Whether the message is on its way; if not, the client is slow now. */
  trySend(text: string): boolean {
    return this.trySendFrames(() => encodedFrames(text))
  }

  /** @param made The frames of one message, which may be others' as well. */
  trySendFrames(made: () => readonly Buffer[]): boolean {
    if (!this.#isSlow && this.#hasRoom && this.#begin(made())) return true
    this.becomeSlow()
    return false
  }

  /** Holds an answer back until the client has caught up. */
  hold(answer: HeldAnswer): void {
    this.becomeSlow()
    this.#held.push(answer)
    this.#heldUnits += answer.text.length
    if (this.#heldUnits > this.#limits.slowConsumerHardBytes) this.#sink.close(closeReasons.slowConsumer)
  }

  becomeSlow(): void {
    if (this.#isSlow) return
    this.#isSlow = true
    this.#deadline = setTimeout(
      () => this.#sink.close(closeReasons.slowConsumer),
      this.#limits.slowConsumerDeadlineMs,
    )
    this.#becameSlow()
  }

  /** Whether the socket has taken enough to go on with. */
  get mayCatchUp(): boolean {
    return this.#isSlow && this.#sink.bufferedBytes <= this.#limits.slowConsumerSoftBytes / 2
  }

  /**
   * Sends as much as the socket takes of what is owed.
   * @param values What fell behind lacks, each message's frames made when there is room for it. What was taken from
   *   here is on its way: it leaves before anything else.
   * @returns Whether all of it has left.
   */
  catchUp(values: Iterator<readonly Buffer[]>): boolean {
    if (!this.#goOn()) return false
    for (;;) {
      if (!this.#hasRoom) return false
      const next = values.next()
      if (next.done === true) break
      if (!this.#begin(next.value)) this.#keep(next.value)
      if (this.#begun.length > 0) return false
    }
    while (this.#held.length > 0) {
      if (!this.#hasRoom) return false
      const { text } = this.#held[0]!
      if (!this.#begin(encodedFrames(text))) return false
      this.#held.shift()
      this.#heldUnits -= text.length
      if (this.#begun.length > 0) return false
    }
    this.#heldUnits = 0
    this.#isSlow = false
    this.close()
    return true
  }

  close(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    this.#deadline = null
  }

  get #hasRoom(): boolean {
    return this.#sink.bufferedBytes <= this.#limits.slowConsumerSoftBytes
  }

  /** @returns False when not even the first frame was taken. */
  #begin(frames: readonly Buffer[]): boolean {
    for (let i = 0; i < frames.length; i++) {
      if ((i === 0 || this.#hasRoom) && this.#sink.send(frames[i]!)) continue
      if (i === 0) return false
      this.#keep(frames.slice(i))
      this.becomeSlow()
      break
    }
    return true
  }

  #keep(frames: readonly Buffer[]): void {
    this.#begun = [...frames]
    this.#begunBytes = frames.reduce((sum, { length }) => sum + length, 0)
  }

  /** @returns Whether the message that was begun has left. */
  #goOn(): boolean {
    while (this.#begun.length > 0) {
      if (!this.#hasRoom || !this.#sink.send(this.#begun[0]!)) return false
      this.#begunBytes -= this.#begun.shift()!.length
    }
    return true
  }
}
