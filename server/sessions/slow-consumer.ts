/**
 * Slow consumer: what is owed to a native session whose socket is full. Its listeners are sent no patches until they were
 * sent the latest of each place that changed; its answers are held back. It lives until the session has caught up.
 *
 * INVARIANT 9: a session that fell behind is sent no more patches until one that holds the latest of all it missed, or a
 * whole value.
 * INVARIANT: an answer leaves after the data it speaks of.
 */
import { closeReasons, Encoder, encodeToClient, RequestError } from '../../protocol/index.ts'
import type { Behind, Database } from '../database.ts'
import type { Listener } from '../listeners/listener.ts'
import { warningFor } from '../listeners/live-queries.ts'
import type { Budget } from './budget.ts'
import type { NativeWire } from './native-wire.ts'
import type { Sink } from './sink.ts'

export interface SlowConsumerLimits {
  /** Bytes waiting in the socket past which the session is a slow consumer and is sent no more patches. */
  slowConsumerSoftBytes: number
  /** Bytes waiting past which the connection is closed. */
  slowConsumerHardBytes: number
  /** A slow consumer that has not caught up after this long is closed. */
  slowConsumerDeadlineMs: number
}

export interface SlowConsumerContext {
  database: Database
  wire: NativeWire
  limits: SlowConsumerLimits
}

/** What an answer that is held back takes beside its bytes. */
const HELD_ANSWER_BYTES = 128
/** One for the process: a frame is encoded and sent within one call. */
const frame = new Encoder()

export class SlowConsumer {
  readonly #context: SlowConsumerContext
  readonly #sink: Sink
  readonly #budget: Budget
  /** Listeners that get no patches until they were sent what they lack; or the id of a listen not yet answered. */
  readonly #behind = new Map<Listener, number | Behind>()
  readonly #heldBack: Uint8Array[] = []
  #heldBackBytes = 0
  readonly #deadline: NodeJS.Timeout

  constructor(context: SlowConsumerContext, sink: Sink, budget: Budget) {
    this.#context = context
    this.#sink = sink
    this.#budget = budget
    this.#deadline = setTimeout(
      () => sink.close(closeReasons.slowConsumer),
      context.limits.slowConsumerDeadlineMs,
    )
  }

  /** It may have missed patches, and is sent no more of them. */
  fallsBehind(listener: Listener): void {
    if (listener.live.isMessages || this.#behind.has(listener)) return
    const { database, wire } = this.#context
    wire.unsubscribe(listener.live, this.#sink, listener.delivery)
    this.#behind.set(listener, database.fallsBehind(listener))
  }

  /** The answer to a listen, its value, is still owed. */
  owes(listener: Listener, id: number): void {
    this.#behind.set(listener, id)
  }

  /** The id of the listen if its answer is still owed. */
  unansweredOf(listener: Listener): number | null {
    const held = this.#behind.get(listener)
    return typeof held === 'number' ? held : null
  }

  /** The listener has ended. @returns Whether it had fallen behind; else it is subscribed. */
  forget(listener: Listener): boolean {
    const held = this.#behind.get(listener)
    if (typeof held === 'object') this.#context.database.caughtUp(listener)
    return this.#behind.delete(listener)
  }

  /** Keeps an answer until the socket has room for it. */
  holdBack(answer: Uint8Array): void {
    this.#heldBack.push(answer)
    this.#heldBackBytes += answer.length + HELD_ANSWER_BYTES
    if (this.#heldBackBytes > this.#context.limits.slowConsumerHardBytes) {
      this.#sink.close(closeReasons.slowConsumer)
    }
  }

  /** Whether the socket has taken enough to go on with. */
  get mayCatchUp(): boolean {
    return this.#sink.bufferedBytes <= this.#context.limits.slowConsumerSoftBytes / 2
  }

  /**
   * Sends what fell behind the latest of each place that changed, then the answers held back, since an answer
   * promises that what it speaks of has been sent: all in one frame, or as much as the socket takes.
   * @param end Ends a listen whose value has grown past what one read may take; the others go on.
   * @returns Whether all of it was sent: nothing is owed any more.
   */
  catchUp(end: (listener: Listener, error: RequestError) => void): boolean {
    const { slowConsumerSoftBytes: bytesMax } = this.#context.limits
    const told: Listener[] = []
    let answers = 0
    const send = (): boolean => {
      if (frame.length > 0 && !this.#sink.send(frame.view())) return false
      frame.reset()
      for (const listener of told.splice(0)) this.#rejoin(listener)
      for (const bytes of this.#heldBack.splice(0, answers)) {
        this.#heldBackBytes -= bytes.length + HELD_ANSWER_BYTES
      }
      answers = 0
      return true
    }
    const sendAndGoOn = (): boolean => send() && this.#sink.bufferedBytes <= bytesMax

    frame.reset()
    for (const [listener, held] of this.#behind) {
      if (frame.length > bytesMax && !sendAndGoOn()) return false
      try {
        this.#writeMissed(listener, held)
        told.push(listener)
      } catch (error) {
        if (!(error instanceof RequestError)) throw error
        end(listener, error)
      }
    }
    for (let next = this.#heldBack[0]; next !== undefined; next = this.#heldBack[answers]) {
      const isLong = frame.length > 0 && frame.length + next.length > bytesMax
      if (isLong && !sendAndGoOn()) return false
      frame.raw(next)
      answers += 1
    }
    return send()
  }

  /** @throws {RequestError} `too_large` */
  #writeMissed(listener: Listener, held: number | Behind): void {
    const { database } = this.#context
    const { live } = listener
    const queryId = live.id
    if (typeof held === 'number') {
      const warning = warningFor(live)
      const snapshot = { type: 'snapshot' as const, id: held, queryId, ...database.snapshotOf(listener) }
      const before = frame.length
      encodeToClient(frame, warning === null ? snapshot : { ...snapshot, warning })
      this.#budget.spendOnRead(frame.length - before)
      return
    }
    const missed = database.missed(held, listener)
    const { revision } = missed
    if ('value' in missed) {
      encodeToClient(frame, { type: 'resync', queryId, revision, value: missed.value })
    } else if (missed.step.length > 0) {
      encodeToClient(frame, { type: 'patch', queryId, revision, steps: [missed.step] })
    }
  }

  /** It was sent all it lacked: it hears of each change again. */
  #rejoin(listener: Listener): void {
    this.forget(listener)
    this.#context.wire.subscribe(listener.live, this.#sink, listener.delivery)
  }

  /** The session has caught up, or has ended. */
  close(): void {
    clearTimeout(this.#deadline)
  }
}
