/**
 * Long polling: Firebase's wire for browsers whose WebSocket fails, or failed once. Each request loads a script; what
 * it holds calls back into the page. One connection is a session like any other, over another sink.
 *
 *   start   pLPCommand('start', id, password); pRTLPCB(0, [hello])
 *   poll    brings segments of messages in its URL, and is held until there is something to say:
 *           pRTLPCB(n, [message, ...])        n counts answers, one for each poll, none left out
 *
 * A newer poll releases the older one with an empty answer. Once a WebSocket has proved good the connection moves to
 * it: the page says `n` here, is told `n` after the last message, and everything else goes over the socket.
 *
 * INVARIANT: messages of one direction keep their order across the move. What the socket brings before the page has
 * said its `n` waits, and nothing is sent over it before the `n` here.
 */
import type { CloseReason } from '../../protocol/index.ts'
import { FrameJoiner } from './firebase-framing.ts'
import { END } from './firebase-messages.ts'
import { isEnd, MovingSink, Upgrade } from './long-poll-upgrade.ts'
import { closeScript, dataScript, Segments } from './long-poll-wire.ts'
import type { Driven, Sink } from './sink.ts'

/** Delivers what is published to topics; the transport has its own for sockets. */
export class LongPollTopics {
  readonly #byTopic = new Map<string, Set<LongPoll>>()

  publish(topic: string, bytes: Uint8Array): void {
    const polls = this.#byTopic.get(topic)
    if (polls !== undefined) for (const poll of [...polls]) poll.deliver(bytes)
  }

  add(topic: string, poll: LongPoll): void {
    const polls = this.#byTopic.get(topic)
    if (polls === undefined) this.#byTopic.set(topic, new Set([poll]))
    else polls.add(poll)
  }

  remove(topic: string, poll: LongPoll): void {
    const polls = this.#byTopic.get(topic)
    if (polls?.delete(poll) && polls.size === 0) this.#byTopic.delete(topic)
  }
}

/** A script that answers one poll. @param taken Called once the client has taken it, or is gone. */
export type Answer = (script: string, taken?: () => void) => void

export interface LongPollOptions {
  password: string
  topics: LongPollTopics
  /** Bytes waiting for a poll past which messages are dropped and the session is told. */
  softBytes: number
  messageUnitsMax: number
  /** Called once when the connection has ended or moved. */
  ended(): void
}

/** The page asks again every 25 s; this much later it has gone. */
const SILENCE_MS = 60_000

export class LongPoll {
  readonly password: string
  readonly sink: MovingSink
  readonly #options: LongPollOptions
  readonly #incoming = new Segments()
  readonly #outgoing: FrameJoiner
  #session: Driven | null = null
  #waiting: string[] = []
  #waitingBytes = 0
  /** Of the answer that the page is still loading: the next one with anything in it waits until it has. */
  #loadingBytes = 0
  #held: Answer | null = null
  #nextAnswer = 0
  #flush: NodeJS.Immediate | null = null
  #silence: NodeJS.Timeout
  #upgrade: Upgrade | null = null
  #isOver = false

  constructor(options: LongPollOptions) {
    this.#options = options
    this.password = options.password
    this.sink = new MovingSink(this.#ownSink())
    this.#outgoing = new FrameJoiner(Number.POSITIVE_INFINITY)
    this.#silence = this.#expectPoll()
  }

  serve(session: Driven): void {
    this.#session = session
  }

  /** Takes what waits as the first answer, number 0. */
  start(): string {
    return this.#takeAnswer()
  }

  /**
   * @param query Of the poll's URL: segments, if any.
   * @param answer Called once, perhaps much later.
   */
  poll(query: URLSearchParams, answer: Answer): void {
    clearTimeout(this.#silence)
    this.#silence = this.#expectPoll()
    const messages = this.#isOver ? [] : this.#incoming.add(query, this.#options.messageUnitsMax)
    if (messages === null || this.#isOver) {
      answer(closeScript())
      this.end()
      return
    }
    const older = this.#held
    this.#held = null
    older?.(dataScript(this.#nextAnswer++, []))
    this.#held = answer
    for (const message of messages) this.#receive(message)
    if (this.#waiting.length > 0) this.#flushSoon()
  }

  /**
   * Whoever waits for an answer has gone before it came. If it was the poll that is held, nobody hears what comes
   * next: the page was killed, or the SDK takes the failed script for the end of its connection.
   */
  gone(answer: Answer): void {
    if (this.#held !== answer) return
    this.#held = null
    this.end()
  }

  /** The page left, or has been silent for too long. */
  end(): void {
    if (this.#isOver) return
    this.#finish()
    this.#session?.closed()
  }

  /** A socket by which the page wants to go on. Its first message tells the page to try it. */
  upgradeTo(socket: Sink): Upgrade {
    // A page tries one socket at a time: an older one would only take memory.
    this.#upgrade?.replaced()
    this.#upgrade = new Upgrade(socket, this.#options.messageUnitsMax, () => this.#session!)
    return this.#upgrade
  }

  #receive(message: string): void {
    if (!this.#isOver && isEnd(message)) this.#move()
    else this.#session?.receive(Buffer.from(message))
  }

  #move(): void {
    const upgrade = this.#upgrade
    if (upgrade === null || upgrade.isClosed) return
    this.#waiting.push(END)
    // First, since the session may have been waiting for what this answer takes along.
    this.sink.moveTo(upgrade.socket)
    this.#answerNow()
    this.#finish()
    upgrade.takeOver()
    // What it held back while the page was loading goes over the socket: no answer that is taken here tells it any more.
    this.#session?.drained()
  }

  /** The connection is over here, and nothing of it is left behind. */
  #finish(): void {
    this.#isOver = true
    clearTimeout(this.#silence)
    if (this.#flush !== null) clearImmediate(this.#flush)
    this.#held?.(closeScript())
    this.#held = null
    this.#waiting = []
    this.#waitingBytes = 0
    this.#options.ended()
  }

  #ownSink(): Sink {
    const poll = this
    return {
      get bufferedBytes() {
        return poll.#bufferedBytes
      },
      send: (bytes) => this.deliver(bytes),
      cork: (call) => call(),
      subscribe: (topic) => this.#options.topics.add(topic, this),
      unsubscribe: (topic) => this.#options.topics.remove(topic, this),
      close: (reason: CloseReason) => this.#close(reason),
    }
  }

  /**
   * @param bytes One frame; pieces are put together, since here a message is a value in a script.
   * @returns False when too much waits already; the session is told.
   */
  deliver(bytes: Uint8Array): boolean {
    if (this.#isOver) return false
    if (this.#bufferedBytes > this.#options.softBytes) {
      this.#session?.dropped()
      return false
    }
    const message = this.#outgoing.add(Buffer.from(bytes).toString())
    if (message === null) return true
    this.#waiting.push(message)
    this.#waitingBytes += message.length
    this.#flushSoon()
    return true
  }

  get #bufferedBytes(): number {
    return this.#waitingBytes + this.#loadingBytes
  }

  #close(_reason: CloseReason): void {
    // What was sent before still reaches the page: a shutdown, most of all.
    if (this.#waiting.length > 0) this.#answerNow()
    setImmediate(() => this.end())
  }

  /** All that one turn has to say leaves in one answer. */
  #flushSoon(): void {
    if (this.#held === null || this.#flush !== null) return
    this.#flush = setImmediate(() => {
      this.#flush = null
      // A page that asks on and on and loads nothing would have the memory take an answer for each time.
      if (this.#loadingBytes === 0) this.#answerNow()
    })
  }

  #answerNow(): void {
    const answer = this.#held
    if (answer === null) return
    this.#held = null
    const script = this.#takeAnswer()
    const { length } = script
    this.#loadingBytes += length
    answer(script, () => {
      this.#loadingBytes -= length
      if (this.#isOver) return
      if (this.#waiting.length > 0) this.#flushSoon()
      this.#session?.drained()
    })
  }

  #takeAnswer(): string {
    const messages = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    return dataScript(this.#nextAnswer++, messages)
  }

  #expectPoll(): NodeJS.Timeout {
    return setTimeout(() => this.end(), SILENCE_MS)
  }
}
