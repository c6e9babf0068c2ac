/**
 * Answers of REST: what one client may read in a second, and what all of them may have under way. A large value stands in
 * memory until its client has taken the last piece of its text, so a few that read slowly would fill it.
 *
 * A client is a user, or an address where there is no user: requests of one connection are not known to belong together.
 * Admins are counted among all, but never refused: they export.
 */
import type { Value } from '../../protocol/index.ts'
import type { Identity } from '../identity.ts'
import { Bucket } from '../sessions/budget.ts'
import { lengthOfValue } from '../value-length.ts'
import { HttpError } from './http-error.ts'

export interface AnswerLimits {
  /** Of one client; 0 is no limit. */
  readBytesPerSecondMax: number
  /** Bytes of all answers under way past which further ones are refused. */
  answerBytesMax: number
}

/** Plain numbers the metrics page reads. */
export interface AnswerCounters {
  rateLimited: number
}

/** One client may have so much of what all may have. */
const SHARE = 1 / 4
/** Clients that have not read for so long have their whole budget again, and are forgotten. */
const SWEEP_MS = 1000

interface Reader {
  bucket: Bucket
  bytesUnderWay: number
}

export class Answers {
  readonly #limits: AnswerLimits
  readonly #counters: AnswerCounters
  readonly #readers = new Map<string, Reader>()
  #bytesUnderWay = 0
  #sweep: NodeJS.Timeout | null = null

  constructor(limits: AnswerLimits, counters: AnswerCounters) {
    this.#limits = limits
    this.#counters = counters
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
    const reader = this.#readers.get(client)
    const waitMs = reader?.bucket.waitMs ?? 0
    if (waitMs > 0) this.#refuse('429 Too Many Requests', 'more than one client may read in a second', waitMs)
    if ((reader?.bytesUnderWay ?? 0) >= this.#limits.answerBytesMax * SHARE) {
      this.#refuse(
        '429 Too Many Requests',
        'read the answers you have asked for before you ask for more',
        1000,
      )
    }
    if (this.isFull) this.#refuse('503 Service Unavailable', 'too many answers are under way', 1000)
  }

  /** @returns The body of an answer, which counts as long as it takes. */
  carry(client: string | null, value: Value, body: string | Iterator<string>): string | Iterator<string> {
    if (typeof body === 'string') {
      this.#spend(client, body.length)
      return body
    }
    return new Carried(body, this.hold(client, value))
  }

  /** A value that is about to be sent. @returns What to call, once, when it has been or will not be. */
  hold(client: string | null, value: Value): () => void {
    const bytes = lengthOfValue(value)
    const reader = this.#spend(client, bytes)
    this.#bytesUnderWay += bytes
    if (reader !== null) reader.bytesUnderWay += bytes
    return () => {
      this.#bytesUnderWay -= bytes
      if (reader !== null) reader.bytesUnderWay -= bytes
    }
  }

  #spend(client: string | null, bytes: number): Reader | null {
    if (client === null) return null
    let reader = this.#readers.get(client)
    if (reader === undefined) {
      reader = { bucket: new Bucket(this.#limits.readBytesPerSecondMax), bytesUnderWay: 0 }
      this.#readers.set(client, reader)
    }
    reader.bucket.spend(bytes)
    this.#sweep ??= setInterval(() => this.#forget(), SWEEP_MS).unref()
    return reader
  }

  #forget(): void {
    for (const [client, { bucket, bytesUnderWay }] of this.#readers) {
      if (bytesUnderWay === 0 && bucket.isFull) this.#readers.delete(client)
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
export function clientOf({ isAdmin, auth }: Identity, remoteAddress: string): string | null {
  if (isAdmin) return null
  const uid = auth?.['uid']
  return typeof uid === 'string' ? `uid ${uid}` : `address ${remoteAddress}`
}

class Carried implements Iterator<string> {
  readonly #pieces: Iterator<string>
  #release: (() => void) | null

  constructor(pieces: Iterator<string>, release: () => void) {
    this.#pieces = pieces
    this.#release = release
  }

  next(): IteratorResult<string> {
    const piece = this.#pieces.next()
    if (piece.done === true) this.return()
    return piece
  }

  return(): IteratorResult<string> {
    this.#release?.()
    this.#release = null
    return { done: true, value: undefined }
  }
}
