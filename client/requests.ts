/**
 * Requests: pairs each request with its one answer. Keeps those that wait to be sent, have been sent or were refused for
 * now, and puts what leaves in one turn into one frame.
 *
 * INVARIANT: every request is answered, failed, or, where it says so, forgotten when the connection is lost.
 * Requests of kind `write` are sent again after a loss until they are answered: at least once, as in Firebase, so an
 * increment whose ack was lost with the connection counts twice.
 */
import type { Path } from '../protocol/path.ts'
import type { ToClient } from '../protocol/to-client.ts'
import type { ToServer } from '../protocol/to-server.ts'
import type { Environment } from './environment.ts'
import { type HearthError, requestFailed } from './errors.ts'
import { encodeMessage } from './wire.ts'

export type RequestBody = ToServer extends infer M ? (M extends ToServer ? Omit<M, 'id'> : never) : never

export type Answer = Extract<ToClient, { type: 'ack' | 'snapshot' | 'resumed' | 'value' | 'pong' | 'pushed' }>

export interface Request {
  body: RequestBody
  /**
   * What a loss of the connection means for it:
   * `write` sent again until answered; `read` likewise, but it does not outlive `goOffline`; `once` fails if it was
   * sent, since running it twice would be wrong; `live` is forgotten, for it only makes sense on this connection.
   */
  kind: 'write' | 'read' | 'once' | 'live'
  done(answer: Answer): void
  failed(error: HearthError): void
  /** For `live`: the connection was lost before the answer. */
  forgotten?(): void
  /** Its id on this connection, once sent. */
  id?: number | undefined
}

/** Messages of one turn share a frame up to about this size. */
const FRAME_BYTES = 64 * 1024

export class Requests {
  readonly #connection: { readonly isReady: boolean }
  readonly #environment: Pick<Environment, 'schedule'>
  readonly #sendFrame: (frame: Uint8Array) => void
  /** What the server takes. */
  frameBytesMax = Number.POSITIVE_INFINITY
  #lastId = 0
  /** In the order they were made. */
  readonly #unanswered = new Set<Request>()
  readonly #sent = new Map<number, Request>()
  /**
   * Refused for now, with the ids they had: sent again together, and everything else waits behind them, also where all have
   * been given up meanwhile.
   */
  readonly #refused = new Map<Request, [id: number, error: HearthError]>()
  #cancelRetry: (() => void) | undefined
  /**
   * How many may wait for their answer at once: any number, until the server has refused some. Then one, and twice as many
   * each time all have been answered, since who goes on as before is closed.
   */
  #unansweredMax = Number.POSITIVE_INFINITY
  /** What is new waits: others have to be answered, or sent again, before it. */
  #isHolding = false
  /** The newest write that was done. */
  #lastDoneId = 0
  /** Messages to leave at the end of this turn, in one frame. */
  #outbox: Uint8Array[] = []
  #outboxBytes = 0

  constructor(
    connection: { readonly isReady: boolean },
    environment: Pick<Environment, 'schedule'>,
    sendFrame: (frame: Uint8Array) => void,
  ) {
    this.#connection = connection
    this.#environment = environment
    this.#sendFrame = sendFrame
  }

  add(request: Request): void {
    this.#unanswered.add(request)
    if (this.#connection.isReady) this.#offer(request)
  }

  /** The caller no longer waits for the answer. */
  abandon(request: Request): void {
    this.#unanswered.delete(request)
    if (request.id) this.#sent.delete(request.id)
    // What was held back follows once all that was sent has been answered, and not refused.
    if (this.#isHolding && this.#connection.isReady && !this.#sent.size && !this.#refused.size) {
      this.#unansweredMax *= 2
      this.transmitAll()
    }
  }

  answered(id: number, answer: Answer): void {
    const request = this.#sent.get(id)
    if (!request) return
    this.abandon(request)
    if (answer.type === 'ack' && request.kind === 'write') this.#lastDoneId = id
    request.done(answer)
  }

  failed({ id, name, message, retryAfterMs }: Extract<ToClient, { type: 'error' }>): void {
    const request = this.#sent.get(id)
    if (!request) return
    const { path = null } = request.body as { path?: Path }
    const error = requestFailed(path, name, message, retryAfterMs)
    // Nothing of it was done, so asking again does nothing twice. Not a token, which has no path.
    if (path && name === 'rate_limited' && retryAfterMs) {
      return this.#sendLater(request, error, retryAfterMs)
    }
    this.abandon(request)
    request.failed(error)
  }

  /** Sends it again once the server wants to hear of it, unless a write made after it has been done meanwhile. */
  #sendLater(request: Request, error: HearthError, delayMs: number): void {
    const id = request.id!
    this.#sent.delete(id)
    request.id = undefined
    this.#refused.set(request, [id, error])
    this.#unansweredMax = 1
    this.#isHolding = true
    if (this.#refused.size > 1) return
    this.#cancelRetry = this.#environment.schedule(delayMs, () => {
      for (const [old, [id, error]] of this.#refused) {
        if (old.kind !== 'write' || id > this.#lastDoneId) continue
        this.abandon(old)
        old.failed(error)
      }
      this.#refused.clear()
      if (this.#connection.isReady) this.transmitAll()
    })
  }

  /** In their order, as many as may be. */
  transmitAll(): void {
    this.#isHolding = false
    for (const request of this.#unanswered) {
      if (!request.id) this.#offer(request)
      if (this.#isHolding) return
    }
  }

  #offer(request: Request): void {
    this.#isHolding ||= this.#sent.size >= this.#unansweredMax
    if (!this.#isHolding) this.transmit(request)
  }

  /** Sends it now, whoever waits. */
  transmit(request: Request): void {
    const id = ++this.#lastId
    const bytes = encodeMessage({ ...request.body, id } as ToServer)
    if (bytes.length > this.frameBytesMax) {
      // The server would close the connection for good.
      this.#unanswered.delete(request)
      request.failed(
        requestFailed(null, 'too_large', `${bytes.length} bytes; the server takes ${this.frameBytesMax}`),
      )
      return
    }
    this.#unanswered.add(request)
    this.#sent.set(id, request)
    request.id = id
    if (this.#outboxBytes + bytes.length > Math.min(FRAME_BYTES, this.frameBytesMax)) this.#flush()
    if (!this.#outbox.length) queueMicrotask(() => this.#flush())
    this.#outbox.push(bytes)
    this.#outboxBytes += bytes.length
  }

  #flush(): void {
    if (!this.#outbox.length) return
    const frame = new Uint8Array(this.#outboxBytes)
    let length = 0
    for (const bytes of this.#outbox) {
      frame.set(bytes, length)
      length += bytes.length
    }
    this.#outbox = []
    this.#outboxBytes = 0
    this.#sendFrame(frame)
  }

  /** The connection is gone: settles what cannot outlive it. */
  lost(): void {
    this.#cancelRetry?.()
    this.#outbox = []
    this.#outboxBytes = 0
    this.#sent.clear()
    this.#refused.clear()
    this.#isHolding = false
    for (const request of [...this.#unanswered]) {
      const { id } = request
      request.id = undefined
      // What is of this connection only is lost with it even where it was not sent yet.
      if (request.kind === 'live') {
        this.#unanswered.delete(request)
        request.forgotten?.()
      } else if (request.kind === 'once' && id) {
        this.#unanswered.delete(request)
        request.failed(requestFailed(null, 'disconnect', 'connection lost before the answer'))
      }
    }
  }

  /** @param keepsWrites Whether writes go on waiting. */
  failAll(error: HearthError, keepsWrites: boolean): void {
    for (const request of [...this.#unanswered]) {
      if (keepsWrites && request.kind === 'write') continue
      this.#unanswered.delete(request)
      request.failed(error)
    }
  }
}
