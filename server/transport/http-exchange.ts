/**
 * HTTP exchange: one request and its answer on uWebSockets.js. Collects the body within limits, sends answers whole
 * or in pieces as fast as the client takes them. Knows the response by its shape only; `websocket.ts` hands it in.
 *
 * INVARIANT: nothing of the response is touched after it ended or the client went away; uWebSockets.js throws then.
 * INVARIANT: a client that sends or reads slowly holds no more than one body, or one piece of an answer.
 */
import {
  type Body,
  BodyError,
  type HttpHandler,
  type HttpReply,
  type HttpRequest,
  isStreamReply,
  type OutStream,
  type Pieces,
  type StreamReply,
} from './http.ts'
import { slowestOf, type Transfer } from './slow-transfer.ts'

/** What is used of uWebSockets.js' response. */
export interface RawResponse {
  writeStatus(status: string): unknown
  writeHeader(name: string, value: string): unknown
  /** @returns Whether the socket took all of it; if not, the rest waits in memory until `onWritable`. */
  write(chunk: string | Uint8Array): boolean
  end(body?: string | Uint8Array, closeConnection?: boolean): unknown
  /** Writes what the socket takes. @returns Whether that was all that was left, and whether the answer has ended. */
  tryEnd(rest: string | Uint8Array, bytesTotal: number): [hasRoom: boolean, isDone: boolean]
  endWithoutBody(reportedLength?: number, closeConnection?: boolean): unknown
  close(): unknown
  cork(call: () => void): unknown
  onAborted(call: () => void): unknown
  getRemoteAddressAsText(): ArrayBuffer
  onData(call: (chunk: ArrayBuffer, isLast: boolean) => void): unknown
  onWritable(call: (offset: number) => boolean): unknown
}

export interface RawRequest {
  getMethod(): string
  getUrl(): string
  getQuery(): string | undefined
  forEach(call: (name: string, value: string) => void): void
}

export interface ExchangeOptions {
  handler: HttpHandler
  /** Largest body anyone may send. */
  bodyBytesMax: number
  onBug(error: unknown): void
}

/** Bodies under way may together take this many times the largest one. */
const BODIES_MAX = 2

/**
 * Bodies being received. One for each transport: those of many clients share the memory. Where it is full, a body that comes
 * ends the slowest, as readers of answers do.
 */
export class BodyBudget {
  readonly nowMs: () => number
  readonly #bytesMax: number
  readonly #deadlineMs: number
  /** Oldest first. */
  readonly #bodies = new Set<BodyCollector>()
  #bytes = 0

  /**
   * @param deadlineMs What a body may take before it can be ended for others.
   * @param nowMs Milliseconds of a clock that never steps back.
   */
  constructor(bodyBytesMax: number, deadlineMs: number, nowMs: () => number = () => performance.now()) {
    this.#bytesMax = BODIES_MAX * bodyBytesMax
    this.#deadlineMs = deadlineMs
    this.nowMs = nowMs
  }

  /** @returns Whether there is room for so much more of a body. */
  take(body: BodyCollector, bytes: number): boolean {
    while (this.#bytes + bytes > this.#bytesMax) {
      const slowest = slowestOf(this.#bodies, this.nowMs(), this.#deadlineMs)
      if (slowest === null || slowest === body) return false
      slowest.fail('busy')
    }
    this.#bytes += bytes
    this.#bodies.add(body)
    return true
  }

  /** The memory of a body is needed no longer. */
  release(body: BodyCollector): void {
    if (this.#bodies.delete(body)) this.#bytes -= body.taken
  }
}

/** Another client is served after this long, however fast this one reads. */
const SLICE_MS = 5
/** A client that takes less than one piece (64 KiB) in this time is not reading. */
const STALLED_MS = 30_000

export function serveExchange(
  response: RawResponse,
  request: RawRequest,
  options: ExchangeOptions,
  budget: BodyBudget,
): void {
  const exchange = new Exchange(response, request, options, budget)
  // A handler that throws before its first await must not reach uWebSockets.js either.
  const replying = new Promise<HttpReply | StreamReply>((resolve) => resolve(options.handler(exchange)))
  replying
    .then((reply) => exchange.send(reply))
    .catch((error: unknown) => {
      if (error instanceof BodyError) return
      options.onBug(error)
      exchange.fail()
    })
}

class Exchange implements HttpRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly remoteAddress: string
  readonly #headers = new Map<string, string>()
  readonly #response: RawResponse
  readonly #options: ExchangeOptions
  readonly #body: BodyCollector
  #isOver = false
  #hasBegun = false
  #gone: (() => void) | null = null

  constructor(response: RawResponse, request: RawRequest, options: ExchangeOptions, budget: BodyBudget) {
    this.#response = response
    this.#options = options
    this.method = request.getMethod().toUpperCase()
    this.path = request.getUrl()
    this.query = new URLSearchParams(request.getQuery() ?? '')
    this.remoteAddress = Buffer.from(response.getRemoteAddressAsText()).toString('latin1')
    request.forEach((name, value) => {
      // Of a header sent twice the first counts, so that nothing can be laid over what a proxy has set.
      if (!this.#headers.has(name)) this.#headers.set(name, value)
    })
    this.#body = new BodyCollector(this.#headers, options.bodyBytesMax, budget)
    response.onAborted(() => this.#aborted())
    if (this.#body.isExpected) response.onData((chunk, isLast) => this.#body.add(chunk, isLast))
  }

  header(name: string): string {
    return this.#headers.get(name) ?? ''
  }

  body(bytesMax: number): Promise<Buffer> {
    return this.#body.whole(bytesMax)
  }

  get isGone(): boolean {
    return this.#isOver
  }

  send(reply: HttpReply | StreamReply): void {
    // What still comes of the body is not wanted any more.
    const mustClose = !this.#body.isComplete
    this.#body.abandon()
    if (this.#isOver) {
      if (isStreamReply(reply)) reply.stream(closedStream)
      else if (isPieces(reply.body)) reply.body.return?.()
      return
    }
    this.#hasBegun = true
    const response = this.#response
    response.cork(() => {
      response.writeStatus(reply.status)
      for (const [name, value] of reply.headers) response.writeHeader(name, value)
      if (isStreamReply(reply)) {
        reply.stream(new ExchangeStream(this, response))
      } else if (reply.body === null) {
        this.#isOver = true
        // A length that is passed as undefined is sent as a number nobody can wait for.
        if (mustClose) response.endWithoutBody(0, true)
        else response.endWithoutBody()
      } else if (isPieces(reply.body)) this.#pump(reply.body, mustClose)
      else if (mustClose || this.method === 'HEAD' || reply.body.length === 0) {
        this.#isOver = true
        if (this.method === 'HEAD') response.endWithoutBody(Buffer.byteLength(reply.body), mustClose)
        else response.end(reply.body, mustClose)
      } else this.#endWith(reply.body)
    })
  }

  /**
   * Where the client has not read the answer before, this one stays under way until it has. uWebSockets.js takes no other
   * request meanwhile and closes who sends one: to ask on and on and read nothing would fill the memory.
   */
  #endWith(body: string | Uint8Array): void {
    const response = this.#response
    const bytesTotal = Buffer.byteLength(body)
    const goOn = (rest: string | Uint8Array): boolean => {
      const [hasRoom, isDone] = response.tryEnd(rest, bytesTotal)
      if (isDone) this.ended()
      return hasRoom
    }
    if (goOn(body) || this.#isOver) return
    const bytes = Buffer.from(body)
    response.onWritable((offset) => this.#isOver || goOn(bytes.subarray(offset)))
  }

  /** Ends an exchange in which something broke. */
  fail(): void {
    this.#body.abandon()
    if (this.#isOver) return
    const response = this.#response
    if (this.#hasBegun) {
      // The status is out already: only a broken connection tells the client that the answer is not whole.
      this.abort()
      return
    }
    this.#isOver = true
    response.cork(() => {
      response.writeStatus('500 Internal Server Error')
      response.writeHeader('Content-Type', 'application/json; charset=utf-8')
      response.end('{\n  "error" : "internal error"\n}\n', true)
    })
  }

  abort(): void {
    if (!this.#isOver) this.#response.close()
  }

  ended(): void {
    this.#isOver = true
    this.#gone = null
  }

  whenGone(call: () => void): void {
    this.#gone = call
  }

  /** Hands over pieces until the socket is full, then goes on whenever it has room again. */
  #pump(pieces: Pieces, mustClose: boolean): void {
    const response = this.#response
    let piecesSent = 0
    let piecesSeen = -1
    const stalled = setInterval(() => {
      if (piecesSent === piecesSeen) this.abort()
      piecesSeen = piecesSent
    }, STALLED_MS)
    stalled.unref()
    const stop = (): void => clearInterval(stalled)
    this.whenGone(() => {
      stop()
      pieces.return?.()
    })
    const step = (): boolean => {
      if (this.#isOver) return true
      const untilMs = performance.now() + SLICE_MS
      let isFull = false
      try {
        response.cork(() => {
          while (!isFull) {
            const piece = pieces.next()
            if (piece.done === true) {
              stop()
              this.ended()
              response.end('', mustClose)
              return
            }
            piecesSent += 1
            isFull = !response.write(piece.value)
            if (!isFull && performance.now() > untilMs) {
              setImmediate(step)
              return
            }
          }
        })
      } catch (error) {
        this.#options.onBug(error)
        this.abort()
      }
      return !isFull
    }
    response.onWritable(step)
    step()
  }

  #aborted(): void {
    this.#isOver = true
    this.#body.fail('gone')
    const gone = this.#gone
    this.#gone = null
    gone?.()
  }
}

/** The body of one request while it arrives. */
class BodyCollector implements Transfer {
  /** When the first of it came. */
  sinceMs = 0
  fastAtMs = 0
  fastAtTaken = 0
  readonly bytes: number
  readonly isExpected: boolean
  isComplete: boolean
  readonly #declaredBytes: number
  readonly #bytesMax: number
  readonly #budget: BodyBudget
  #chunks: Buffer[] = []
  #taken = 0
  #failure: BodyError | null = null
  #waiter: { bytesMax: number; resolve(body: Buffer): void; reject(error: BodyError): void } | null = null

  constructor(headers: ReadonlyMap<string, string>, bytesMax: number, budget: BodyBudget) {
    this.#declaredBytes = Number(headers.get('content-length') ?? 0)
    this.isExpected = this.#declaredBytes > 0 || headers.has('transfer-encoding')
    this.isComplete = !this.isExpected
    this.bytes = this.#declaredBytes
    this.#bytesMax = bytesMax
    this.#budget = budget
    if (this.#declaredBytes > bytesMax) this.#failure = new BodyError('tooLarge')
  }

  get taken(): number {
    return this.#taken
  }

  /** @param chunk Taken back when this returns. */
  add(chunk: ArrayBuffer, isLast: boolean): void {
    if (isLast) this.isComplete = true
    if (this.#failure !== null) return
    if (this.#taken === 0) this.sinceMs = this.fastAtMs = this.#budget.nowMs()
    const bytes = this.#taken + chunk.byteLength
    if (bytes > Math.min(this.#bytesMax, this.#waiter?.bytesMax ?? this.#bytesMax)) {
      this.fail('tooLarge')
      return
    }
    if (!this.#budget.take(this, chunk.byteLength)) {
      this.fail('busy')
      return
    }
    this.#taken = bytes
    this.#chunks.push(Buffer.from(chunk.slice(0)))
    if (isLast && this.#waiter !== null) this.#waiter.resolve(this.#take())
  }

  /** @throws {BodyError} */
  whole(bytesMax: number): Promise<Buffer> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (Math.max(this.#declaredBytes, this.#taken) > bytesMax) {
      return Promise.reject(this.fail('tooLarge'))
    }
    if (this.isComplete) return Promise.resolve(this.#take())
    return new Promise((resolve, reject) => {
      this.#waiter = { bytesMax, resolve, reject }
    })
  }

  abandon(): void {
    if (this.#failure === null) this.fail('gone')
  }

  fail(reason: BodyError['reason']): BodyError {
    const error = this.#failure ?? new BodyError(reason)
    this.#failure = error
    this.#release()
    const waiter = this.#waiter
    this.#waiter = null
    waiter?.reject(error)
    return error
  }

  #take(): Buffer {
    const whole = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    this.#waiter = null
    this.#release()
    return whole
  }

  #release(): void {
    this.#budget.release(this)
    this.#taken = 0
    this.#chunks = []
  }
}

class ExchangeStream implements OutStream {
  readonly #exchange: Exchange
  readonly #response: RawResponse

  constructor(exchange: Exchange, response: RawResponse) {
    this.#exchange = exchange
    this.#response = response
  }

  get isOpen(): boolean {
    return !this.#exchange.isGone
  }

  write(text: string | Uint8Array): boolean {
    if (this.#exchange.isGone) return false
    let hasRoom = false
    this.#response.cork(() => {
      hasRoom = this.#response.write(text)
    })
    return hasRoom
  }

  onWritable(call: () => void): void {
    this.#response.onWritable(() => {
      call()
      return true
    })
  }

  onGone(call: () => void): void {
    this.#exchange.whenGone(call)
  }

  end(): void {
    if (this.#exchange.isGone) return
    this.#exchange.ended()
    this.#response.cork(() => this.#response.end())
  }

  abort(): void {
    this.#exchange.abort()
  }
}

function isPieces(body: Body): body is Pieces {
  return typeof body === 'object' && body !== null && !(body instanceof Uint8Array)
}

/** For a client that went away before its stream began. */
const closedStream: OutStream = {
  isOpen: false,
  write: () => false,
  onWritable() {},
  onGone: (call) => call(),
  end() {},
  abort() {},
}
