/**
 * Answers of REST: what one client may read in a second, and what all of them may have under way. A large answer stands in
 * memory until its client has taken the last piece of it, so a few that read slowly would fill it.
 *
 * Who would be refused for want of room ends the answers that would be held longest, once they have had the time that slow
 * connections have to catch up. One that is not read to its end counts against its client for as long again as it was
 * held, so that who is ended, or goes first, does not take the room anew at once; but not while there is room for all, since
 * people break off downloads, and others may share their address.
 *
 * A client is a user, or an address where there is no user: requests of one connection are not known to belong together.
 * Admins are counted among all, but never refused or ended for it: they export.
 */
import type { Value } from '../../protocol/index.ts'
import type { Identity } from '../identity.ts'
import { Bucket } from '../sessions/budget.ts'
import { lengthOfValue } from '../value-length.ts'
import type { Body, HttpRequest, Pieces } from './http.ts'
import { HttpError } from './http-error.ts'
import { slowestOf, type Transfer } from './slow-transfer.ts'

export interface AnswerLimits {
  /** Of one client; 0 is no limit. */
  readBytesPerSecondMax: number
  /** Bytes of all answers under way past which further ones are refused. */
  answerBytesMax: number
  /** How long an answer may be under way before it can be ended for others. */
  slowConsumerDeadlineMs: number
}

/** Plain numbers the metrics page reads. */
export interface AnswerCounters {
  rateLimited: number
  slowConsumers: number
}

/** One client may have so much of what all may have. */
const SHARE = 1 / 4
/** While less than this of it is taken, what was not read to its end does not count. */
const AMPLE = 1 / 2
/** Clients that have not read for so long have their whole budget again, and are forgotten. */
const SWEEP_MS = 1000
/** A body up to this length is handed to the socket whole, and is of no further account. */
const WHOLE_LENGTH_MAX = 64 * 1024

interface Reader {
  bucket: Bucket
  bytesUnderWay: number
  /** Of answers that were not read to their end, until it is forgiven. */
  bytesUnread: number
  unreadUntilMs: number
}

function unreadBytesOf({ bytesUnread, unreadUntilMs }: Reader, nowMs: number): number {
  return nowMs < unreadUntilMs ? bytesUnread : 0
}

/** An answer under way. */
interface Held extends Transfer {
  /** Null for an admin. */
  readonly reader: Reader | null
  taken: number
  readonly connection: Connection
}

export interface Connection {
  /** Ends it at once. */
  abort(): void
}

export class Answers {
  readonly #limits: AnswerLimits
  readonly #counters: AnswerCounters
  readonly #nowMs: () => number
  readonly #readers = new Map<string, Reader>()
  /** Oldest first. */
  readonly #held = new Set<Held>()
  #bytesUnderWay = 0
  #sweep: NodeJS.Timeout | null = null

  /** @param nowMs Milliseconds of a clock that never steps back. */
  constructor(limits: AnswerLimits, counters: AnswerCounters, nowMs: () => number = () => performance.now()) {
    this.#limits = limits
    this.#counters = counters
    this.#nowMs = nowMs
  }

  get bytesUnderWay(): number {
    return this.#bytesUnderWay
  }

  /** Whether what is not urgent should wait. */
  get isFull(): boolean {
    return this.#bytesUnderWay >= this.#limits.answerBytesMax
  }

  /** To be asked before a value is read. @throws {HttpError} 429, 503 */
  admit(client: string | null): void {
    if (client === null) return
    const waitMs = this.#readers.get(client)?.bucket.waitMs ?? 0
    if (waitMs > 0) this.#refuse('429 Too Many Requests', 'more than one client may read in a second', waitMs)
    this.admitRoom(client)
  }

  /** To be asked before a write whose answer shows what was sent. @throws {HttpError} 429, 503 */
  admitEcho(client: string | null, sent: Uint8Array): void {
    if (client !== null && sent.length > WHOLE_LENGTH_MAX) this.admitRoom(client)
  }

  /** @returns The body of an answer, which counts as long as it takes. */
  carry(client: string | null, value: Value, body: string | Pieces, connection: Connection): string | Pieces {
    if (typeof body !== 'string') return this.carryPieces(client, value, body, connection)
    this.#spend(client, body.length)
    if (body.length <= WHOLE_LENGTH_MAX) return body
    return this.#carried(client, body.length, slicesOf(body), connection)
  }

  carryPieces(client: string | null, value: Value, pieces: Pieces, connection: Connection): Pieces {
    const bytes = lengthOfValue(value)
    this.#spend(client, bytes)
    return this.#carried(client, bytes, pieces, connection)
  }

  /** The same for what a write or a long poll is answered with: these are no reads. */
  carryEcho(client: string | null, value: Value, body: Body, connection: Connection): Body {
    if (body === null) return null
    const isWhole = typeof body === 'string' || body instanceof Uint8Array
    if (!isWhole) return this.#carried(client, lengthOfValue(value), body, connection)
    if (body.length <= WHOLE_LENGTH_MAX) return body
    return this.#carried(client, body.length, slicesOf(body), connection)
  }

  #carried(client: string | null, bytes: number, pieces: Pieces, connection: Connection): Pieces {
    const reader = client === null ? null : this.#readerOf(client)
    const sinceMs = this.#nowMs()
    const held: Held = { reader, bytes, sinceMs, taken: 0, fastAtMs: sinceMs, fastAtTaken: 0, connection }
    this.#held.add(held)
    this.#bytesUnderWay += bytes
    if (reader !== null) reader.bytesUnderWay += bytes
    return new Carried(pieces, held, (isWhole) => this.#release(held, isWhole))
  }

  /** Once it is released, this does nothing. @param isForgiven Whether it is of no further account. */
  #release(held: Held, isForgiven: boolean): void {
    if (!this.#held.delete(held)) return
    const { reader, bytes, sinceMs } = held
    this.#bytesUnderWay -= bytes
    if (reader === null) return
    reader.bytesUnderWay -= bytes
    if (isForgiven) return
    const nowMs = this.#nowMs()
    const heldMs = Math.min(nowMs - sinceMs, this.#limits.slowConsumerDeadlineMs)
    reader.bytesUnread = unreadBytesOf(reader, nowMs) + bytes
    reader.unreadUntilMs = Math.max(reader.unreadUntilMs, nowMs + heldMs)
  }

  /** To be asked before what may be answered at length. @throws {HttpError} 429, 503 */
  admitRoom(client: string): void {
    const reader = this.#readers.get(client)
    if (reader !== undefined && !this.#makeRoom(reader)) {
      this.#refuse(
        '429 Too Many Requests',
        'read the answers you have asked for before you ask for more',
        1000,
      )
    }
    if (!this.#makeRoom(null)) this.#refuse('503 Service Unavailable', 'too many answers are under way', 1000)
  }

  /**
   * Ends the answers that would be held longest, as long as there is no room.
   * @param reader Whose share is to have room; null for the memory of all.
   * @returns Whether there is room.
   */
  #makeRoom(reader: Reader | null): boolean {
    const nowMs = this.#nowMs()
    const { answerBytesMax } = this.#limits
    const isFull = (): boolean => {
      if (reader === null) return this.isFull
      const isAmple = this.#bytesUnderWay < answerBytesMax * AMPLE
      const unread = isAmple ? 0 : unreadBytesOf(reader, nowMs)
      return reader.bytesUnderWay + unread >= answerBytesMax * SHARE
    }
    if (reader !== null && this.#isSpent(reader, nowMs)) return false
    const mayEnd = (held: Held): boolean =>
      held.reader !== null && (reader === null || held.reader === reader)
    while (isFull()) {
      const slowest = slowestOf(this.#held, nowMs, this.#limits.slowConsumerDeadlineMs, mayEnd)
      if (slowest === null) return false
      this.#counters.slowConsumers += 1
      // Its client makes room for itself, which counting it on would take away.
      this.#release(slowest, reader !== null)
      slowest.connection.abort()
    }
    return true
  }

  /** Whether a client has no room even without its answers under way: to end these would be for nothing. */
  #isSpent(reader: Reader, nowMs: number): boolean {
    const { answerBytesMax } = this.#limits
    const bytesOfOthers = this.#bytesUnderWay - reader.bytesUnderWay
    return bytesOfOthers >= answerBytesMax * AMPLE && unreadBytesOf(reader, nowMs) >= answerBytesMax * SHARE
  }

  #spend(client: string | null, bytes: number): void {
    if (client !== null) this.#readerOf(client).bucket.spend(bytes)
  }

  #readerOf(client: string): Reader {
    let reader = this.#readers.get(client)
    if (reader === undefined) {
      const bucket = new Bucket(this.#limits.readBytesPerSecondMax, this.#nowMs)
      reader = { bucket, bytesUnderWay: 0, bytesUnread: 0, unreadUntilMs: 0 }
      this.#readers.set(client, reader)
    }
    this.#sweep ??= setInterval(() => this.#forget(), SWEEP_MS).unref()
    return reader
  }

  #forget(): void {
    const nowMs = this.#nowMs()
    for (const [client, reader] of this.#readers) {
      const isIdle = reader.bytesUnderWay === 0 && unreadBytesOf(reader, nowMs) === 0
      if (isIdle && reader.bucket.isFull) this.#readers.delete(client)
    }
    if (this.#readers.size > 0 || this.#sweep === null) return
    clearInterval(this.#sweep)
    this.#sweep = null
  }

  #refuse(status: string, message: string, waitMs: number): never {
    this.#counters.rateLimited += 1
    throw new HttpError(status, message, [['Retry-After', String(Math.ceil(waitMs / 1000))]])
  }
}

/** Who reads, as far as it is known; null for an admin. */
export function clientOf({ isAdmin, auth }: Identity, request: HttpRequest): string | null {
  if (isAdmin) return null
  const uid = auth?.['uid']
  return typeof uid === 'string' ? `uid ${uid}` : addressOf(request)
}

export function addressOf({ remoteAddress }: HttpRequest): string {
  return `address ${remoteAddress}`
}

class Carried implements Pieces {
  readonly #pieces: Pieces
  readonly #held: Held
  readonly #release: (isWhole: boolean) => void

  constructor(pieces: Pieces, held: Held, release: (isWhole: boolean) => void) {
    this.#pieces = pieces
    this.#held = held
    this.#release = release
  }

  next(): IteratorResult<string | Uint8Array> {
    const piece = this.#pieces.next()
    if (piece.done === true) this.#release(true)
    else this.#held.taken += piece.value.length
    return piece
  }

  return(): IteratorResult<string | Uint8Array> {
    this.#release(false)
    return { done: true, value: undefined }
  }
}

function* slicesOf(body: string | Uint8Array): Generator<string | Uint8Array> {
  for (let at = 0, end = 0; at < body.length; at = end) {
    end = at + WHOLE_LENGTH_MAX
    if (typeof body !== 'string') yield body.subarray(at, end)
    else {
      // Halves of a character could not be encoded each by itself.
      if (isHighSurrogate(body.charCodeAt(end - 1))) end += 1
      yield body.slice(at, end)
    }
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00
}
