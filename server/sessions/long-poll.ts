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
import { strict as assert } from 'node:assert'
import type { CloseReason } from '../../protocol/index.ts'
import { FrameJoiner } from './firebase-framing.ts'
import { END, type FromClient, PONG, parseMessage, SWITCH } from './firebase-messages.ts'
import type { Sink } from './sink.ts'

/** What drives a session, whatever its transport. */
export interface Driven {
  open(): void
  receive(frame: Uint8Array): void
  drained(): void
  dropped(): void
  closed(): void
}

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

/** A script that answers one poll. */
export type Answer = (script: string) => void

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
/** Polls overtake each other, but there are at most two under way. */
const SEGMENTS_AHEAD_MAX = 64
/** Frames a socket may bring before the page ends its transmission here; their bytes are limited as one message's are. */
const EARLY_FRAMES_MAX = 10_000

export class LongPoll {
  readonly password: string
  readonly sink: MovingSink
  readonly #options: LongPollOptions
  readonly #incoming = new Segments()
  readonly #outgoing: FrameJoiner
  #session: Driven | null = null
  #waiting: string[] = []
  #waitingBytes = 0
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
    this.#flushNow()
    this.sink.moveTo(upgrade.socket)
    this.#finish()
    upgrade.takeOver()
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
        return poll.#waitingBytes
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
    if (this.#waitingBytes > this.#options.softBytes) {
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

  #close(_reason: CloseReason): void {
    // What was sent before still reaches the page: a shutdown, most of all.
    if (this.#waiting.length > 0) this.#flushNow()
    setImmediate(() => this.end())
  }

  /** All that one turn has to say leaves in one answer. */
  #flushSoon(): void {
    if (this.#held === null || this.#flush !== null) return
    this.#flush = setImmediate(() => {
      this.#flush = null
      this.#flushNow()
    })
  }

  #flushNow(): void {
    const answer = this.#held
    if (answer === null) return
    this.#held = null
    answer(this.#takeAnswer())
    this.#session?.drained()
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
class MovingSink implements Sink {
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

/**
 * Messages out of the segments that polls bring: `seg<i>` counts all segments of a connection, `ts<i>` says how many
 * the message has, `d<i>` is a part of its web-safe base64.
 */
class Segments {
  #next = 0
  readonly #ahead = new Map<number, { of: number; data: string }>()
  #parts: string[] = []
  #units = 0

  /** @returns Messages that are whole now, or null when this is no client of ours. */
  add(query: URLSearchParams, unitsMax: number): string[] | null {
    for (let i = 0; query.has(`seg${i}`); i++) {
      const number = Number(query.get(`seg${i}`))
      const of = Number(query.get(`ts${i}`))
      const data = query.get(`d${i}`) ?? ''
      if (!Number.isSafeInteger(number) || !Number.isSafeInteger(of) || of < 1) return null
      if (number > this.#next + SEGMENTS_AHEAD_MAX) return null
      if (number >= this.#next) this.#ahead.set(number, { of, data })
    }
    const messages: string[] = []
    for (;;) {
      const segment = this.#ahead.get(this.#next)
      if (segment === undefined) return messages
      this.#ahead.delete(this.#next)
      this.#next += 1
      this.#parts.push(segment.data)
      this.#units += segment.data.length
      // Base64 takes four characters for three bytes, and a unit is at most three bytes.
      if (this.#units > unitsMax * 4) return null
      if (this.#parts.length < segment.of) continue
      messages.push(decoded(this.#parts.join('')))
      this.#parts = []
      this.#units = 0
    }
  }
}

function decoded(webSafe: string): string {
  return Buffer.from(webSafe.replace(/\./g, ''), 'base64url').toString()
}

function isEnd(message: string): boolean {
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

/** @param messages JSON texts: values of a script as they are, but for what would end it. */
function dataScript(number: number, messages: readonly string[]): string {
  return `pRTLPCB(${number},[${messages.join(',').replace(/</g, '\\u003c')}]);`
}

export function closeScript(): string {
  return "pLPCommand('close');"
}

/**
 * The first script of a connection: makes the callbacks that later ones call, in the frame they are loaded into.
 * @param callback The page's number for this connection, as it sent it.
 * @param first What `start` gave.
 */
export function startScript(callback: string, id: string, password: string, first: string): string {
  assert(/^\w{0,32}$/.test(callback) && /^[\w-]+$/.test(id) && /^[\w-]+$/.test(password))
  const forward = (name: string, parameters: string): string =>
    `function ${name}(${parameters}){var f=parent.window[${JSON.stringify(name + callback)}];if(f)f(${parameters});}`
  return [
    forward('pLPCommand', 'c,a1,a2,a3,a4'),
    forward('pRTLPCB', 'n,d'),
    `pLPCommand('start','${id}','${password}');`,
    first,
  ].join('\n')
}

/** A page for a frame of its own: as it is taken down, the server is told that the page has left. */
export function farewellPage(url: string): string {
  const script = [
    `var url=${JSON.stringify(url)},told=false;`,
    "function tell(){if(told)return;told=true;try{fetch(url,{keepalive:true,mode:'no-cors'});}catch(e){}}",
    "addEventListener('pagehide',tell);addEventListener('unload',tell);",
  ].join('')
  return `<!doctype html><html><body><script>${script.replace(/</g, '\\u003c')}</script></body></html>`
}
