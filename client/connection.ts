/**
 * Connection: the socket's life. Opens it, proves who the client is, keeps it alive, opens it again when it is lost,
 * and pairs each request with its one answer.
 *
 *   idle -> connecting -> authenticating -> ready -> leaving -> waiting -> connecting ...
 *                                             `- off (goOffline)   `- stopped (the server said not to come back)
 *
 * INVARIANT: every request is answered, failed, or, where it says so, forgotten when the connection is lost.
 * Requests of kind `write` are sent again after a loss until they are answered: at least once, as in Firebase, so an
 * increment whose ack was lost with the connection counts twice.
 */
import { mayReconnect } from '../protocol/errors.ts'
import type { ToClient } from '../protocol/to-client.ts'
import type { ToServer } from '../protocol/to-server.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import type { Environment } from './environment.ts'
import { connectionClosed, HearthError, requestFailed } from './errors.ts'
import { ABNORMAL, type Socket } from './socket.ts'
import { decodeFrame, encodeMessage } from './wire.ts'

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
  /** Its id on this connection, once sent. Kept by the connection. */
  id?: number | undefined
}

/** A token, or a function that gives a fresh one; null for nobody. */
export type AuthSource = string | null | (() => string | null | Promise<string | null>)

/** What comes unasked, for what `queryId` names. */
export type Pushed = Extract<ToClient, { type: 'patch' | 'cancel' | 'resync' | 'message' }>

export interface ConnectionEvents {
  /** The server answers again: listen again. Requests not yet answered are sent after this. */
  relisten(): void
  /** After everything is sent again. */
  online(serverTimeOffsetMs: number): void
  lost(): void
  pushed(message: Pushed): void
  /** The server took another identity for this connection. */
  identified(): void
  /** The connection ended for good; all requests have failed. */
  stopped(error: HearthError): void
  /** The token was refused or could not be had. The connection goes on without identity or tries again. */
  authFailed(error: HearthError): void
}

/** Until hello, and until the token is accepted. */
const HANDSHAKE_MS_MAX = 30_000
const RECONNECT_MS_MIN = 1000
const RECONNECT_MS_MAX = 30_000
const RECONNECT_GROWTH = 1.6
/** A connection that lived this long was a good one: the next attempt starts from the shortest delay. */
const GOOD_AFTER_MS = 30_000
/** Messages of one turn share a frame up to about this size. */
const FRAME_BYTES = 64 * 1024

export class Connection {
  readonly #url: string
  readonly #environment: Environment
  readonly #events: ConnectionEvents
  #auth: AuthSource
  #phase: 'idle' | 'waiting' | 'connecting' | 'authenticating' | 'ready' | 'leaving' | 'off' | 'stopped' =
    'idle'
  #socket: Socket | null = null
  /** Counts sockets, so that what an old one still reports is ignored. */
  #turn = 0
  #isOnline = false
  #hasIdentity = false
  #attempt = 0
  #onlineSinceMs = 0
  #receivedMs = 0
  /** After goingAway: not before this. */
  #reconnectAtMs = 0
  #pingIntervalMs = 0
  #frameBytesMax = Number.POSITIVE_INFINITY
  #serverTimeOffsetMs = 0
  /** With a revision it names a state of the server's. */
  epoch = ''
  #cancelTimer: () => void = () => {}
  #ignoreNetwork: () => void = () => {}
  #stopError: HearthError | null = null
  #lastId = 0
  /** In the order they were made. */
  readonly #unanswered = new Set<Request>()
  readonly #sent = new Map<number, Request>()
  /** Refused for now, with the ids they had: sent again together, and everything else waits behind them. */
  readonly #refused = new Map<Request, [id: number, error: HearthError]>()
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

  constructor(url: string, environment: Environment, auth: AuthSource, events: ConnectionEvents) {
    this.#url = url
    this.#environment = environment
    this.#auth = auth
    this.#events = events
  }

  /** Whether what is sent now goes out now. */
  get isReady(): boolean {
    return this.#phase === 'ready'
  }

  /** Connects, unless it did before. */
  start(): void {
    if (this.#phase !== 'idle') return
    this.#ignoreNetwork = this.#environment.onNetworkBack(() => {
      if (this.#phase === 'waiting') this.goOnline()
    })
    this.#connect()
  }

  /** Connects again after `goOffline` or an end for good, and at once where it would have waited. */
  goOnline(): void {
    if (this.#phase === 'stopped') this.#phase = 'idle'
    this.#stopError = null
    this.#attempt = 0
    if (this.#phase === 'off' || this.#phase === 'waiting') this.#connect()
    else this.start()
  }

  /** Closes the socket and stays away. Writes wait for `goOnline`; reads fail. */
  goOffline(): void {
    if (this.#phase === 'stopped' || this.#phase === 'off') return
    this.#drop('off')
    for (const request of [...this.#unanswered]) {
      if (request.kind === 'write') continue
      this.#unanswered.delete(request)
      request.failed(offline())
    }
  }

  /** Ends for good: every request fails with `error`. */
  stop(error: HearthError): void {
    if (this.#phase === 'stopped') return
    this.#stopError = error
    this.#drop('stopped')
    this.#ignoreNetwork()
    for (const request of [...this.#unanswered]) {
      this.#unanswered.delete(request)
      request.failed(error)
    }
    this.#events.stopped(error)
  }

  send(request: Request): void {
    if (this.#stopError) return request.failed(this.#stopError)
    if (request.kind === 'live' && !this.isReady) return request.forgotten?.()
    if (this.#phase === 'off' && request.kind !== 'write') return request.failed(offline())
    this.#unanswered.add(request)
    if (this.isReady) this.#offer(request)
  }

  /** The caller no longer waits for the answer. */
  abandon(request: Request): void {
    this.#unanswered.delete(request)
    this.#refused.delete(request)
    if (request.id) this.#sent.delete(request.id)
    // What was held back follows once all that was sent has been answered, and not refused.
    if (this.#isHolding && this.isReady && !this.#sent.size && !this.#refused.size) {
      this.#unansweredMax *= 2
      this.#transmitAll()
    }
  }

  /** Takes another identity now or, while not connected, with the next connection. */
  setAuth(auth: AuthSource): Promise<void> {
    const before = this.#auth
    this.#auth = auth
    if (!this.isReady) return Promise.resolve()
    const turn = this.#turn
    return new Promise((resolve, reject) => {
      this.#token(auth).then((token) => {
        if (turn !== this.#turn || auth !== this.#auth) return resolve()
        const accepted = (): void => {
          this.#events.identified()
          resolve()
        }
        this.#present(token, accepted, resolve, (error) => {
          // The server keeps the identity it had.
          if (this.#auth === auth) this.#auth = before
          reject(error)
        })
      }, reject)
    })
  }

  #connect(): void {
    const turn = ++this.#turn
    this.#phase = 'connecting'
    this.#hasIdentity = false
    this.#after(HANDSHAKE_MS_MAX, () => this.#abort())
    this.#socket = this.#environment.openSocket(this.#url, {
      received: (bytes) => {
        if (turn === this.#turn) this.#received(bytes)
      },
      closed: (code, reason) => {
        if (turn === this.#turn) this.#closed(code, reason)
      },
    })
  }

  /** Closes a socket that is of no more use, and tries again. */
  #abort(): void {
    this.#closed(ABNORMAL, '')
  }

  #closed(code: number, reason: string): void {
    if (!mayReconnect(code)) return this.stop(connectionClosed(code, reason))
    if (this.#isOnline && this.#environment.nowMs() - this.#onlineSinceMs >= GOOD_AFTER_MS) this.#attempt = 0
    const wasTold = this.#reconnectAtMs > 0
    const longest = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * RECONNECT_GROWTH ** this.#attempt)
    // Full jitter: clients that lost the server together come back spread over the whole delay.
    const delayMs = wasTold
      ? Math.max(0, this.#reconnectAtMs - this.#environment.nowMs())
      : longest * this.#environment.random()
    if (!wasTold) this.#attempt += 1
    this.#drop('waiting')
    // What is told of the loss may have brought the connection back or ended it.
    if (this.#phase === 'waiting') this.#after(delayMs, () => this.#connect())
  }

  /** Leaves the socket behind and settles what cannot outlive it. */
  #drop(phase: 'waiting' | 'off' | 'stopped'): void {
    const socket = this.#socket
    this.#turn += 1
    this.#cancelTimer()
    this.#phase = phase
    this.#socket = null
    this.#reconnectAtMs = 0
    this.#outbox = []
    this.#outboxBytes = 0
    socket?.close()
    this.#sent.clear()
    this.#refused.clear()
    this.#isHolding = false
    this.#lastDoneId = 0
    const wasOnline = this.#isOnline
    this.#isOnline = false
    for (const request of [...this.#unanswered]) {
      const { id } = request
      request.id = undefined
      // What is of this connection only is lost with it even where it was not sent yet.
      if (request.kind === 'live') {
        this.#unanswered.delete(request)
        request.forgotten?.()
      } else if (request.kind === 'once' && id) {
        this.#unanswered.delete(request)
        request.failed(new HearthError('disconnect', 'disconnect: connection lost before the answer'))
      }
    }
    if (wasOnline) this.#events.lost()
  }

  #received(bytes: Uint8Array): void {
    this.#receivedMs = this.#environment.nowMs()
    const turn = this.#turn
    let messages: ToClient[]
    try {
      messages = decodeFrame(bytes)
    } catch (error) {
      console.warn(`hearth: unreadable frame: ${error}`)
      return this.#abort()
    }
    for (const message of messages) {
      this.#accept(message)
      if (turn !== this.#turn) return
    }
  }

  #accept(message: ToClient): void {
    switch (message.type) {
      case 'hello':
        if (message.version !== PROTOCOL_VERSION) {
          return this.stop(new HearthError('unsupported_version', `unsupported_version: ${message.version}`))
        }
        this.epoch = message.epoch
        this.#pingIntervalMs = message.pingIntervalMs
        this.#frameBytesMax = message.limits.frameBytesMax
        this.#serverTimeOffsetMs = message.serverTimeMs - this.#receivedMs
        return this.#authenticate()
      case 'ack':
        for (const id of message.ids) {
          const request = this.#take(id)
          if (request?.kind === 'write') this.#lastDoneId = id
          request?.done(message)
        }
        return
      case 'snapshot':
      case 'resumed':
      case 'value':
      case 'pong':
      case 'pushed':
        return this.#take(message.id)?.done(message)
      case 'error': {
        const request = this.#sent.get(message.id)
        if (!request) return
        const path = 'path' in request.body ? request.body.path : null
        const error = requestFailed(path, message.name, message.message, message.retryAfterMs)
        // Listens and presence, which nobody else would ask for again; not a token, which has no path.
        const mayRetry = path && (request.kind === 'write' || request.kind === 'live')
        if (mayRetry && message.name === 'rate_limited' && message.retryAfterMs) {
          return this.#sendLater(request, error, message.retryAfterMs)
        }
        this.abandon(request)
        return request.failed(error)
      }
      case 'patch':
      case 'cancel':
      case 'resync':
      case 'message':
        return this.#events.pushed(message)
      case 'authRevoked':
        this.#hasIdentity = false
        if (typeof this.#auth === 'function') return this.#authenticate()
        return this.#events.authFailed(requestFailed(null, message.name, message.message))
      case 'goingAway': {
        this.#phase = 'leaving'
        const delayMs = this.#environment.random() * message.delayMs
        this.#reconnectAtMs = this.#environment.nowMs() + delayMs
        // Answers already on their way may still come until the server closes.
        return this.#after(delayMs, () => this.#abort())
      }
    }
  }

  /** Sends it again once the server wants to hear of it, unless a write made after it has been done meanwhile. */
  #sendLater(request: Request, error: HearthError, delayMs: number): void {
    const id = request.id!
    const turn = this.#turn
    this.#sent.delete(id)
    request.id = undefined
    this.#refused.set(request, [id, error])
    this.#unansweredMax = 1
    this.#isHolding = true
    if (this.#refused.size > 1) return
    this.#environment.schedule(delayMs, () => {
      if (turn !== this.#turn) return
      for (const [old, [id, error]] of this.#refused) {
        if (old.kind !== 'write' || id > this.#lastDoneId) continue
        this.abandon(old)
        old.failed(error)
      }
      this.#refused.clear()
      if (this.isReady) this.#transmitAll()
    })
  }

  /** In their order, as many as may be. */
  #transmitAll(): void {
    this.#isHolding = false
    for (const request of this.#unanswered) {
      if (!request.id) this.#offer(request)
      if (this.#isHolding) return
    }
  }

  #offer(request: Request): void {
    this.#isHolding ||= this.#sent.size >= this.#unansweredMax
    if (!this.#isHolding) this.#transmit(request)
  }

  #take(id: number): Request | undefined {
    const request = this.#sent.get(id)
    if (request) this.abandon(request)
    return request
  }

  /** Nothing else is sent until the server knows who asks: else queued writes would run as nobody and be denied. */
  #authenticate(isSecondTry = false): void {
    this.#phase = 'authenticating'
    this.#after(HANDSHAKE_MS_MAX, () => this.#abort())
    const auth = this.#auth
    if (auth === null && !this.#hasIdentity) return this.#ready()
    const turn = this.#turn
    this.#token(auth).then(
      (token) => {
        if (turn !== this.#turn) return
        if (token === null && !this.#hasIdentity) return this.#ready()
        this.#present(
          token,
          () => {
            // Another identity was set while this one was being checked.
            if (auth !== this.#auth) this.#authenticate()
            else this.#ready()
          },
          () => {},
          (error) => {
            if (auth !== this.#auth) return this.#authenticate()
            if (typeof auth === 'function' && !isSecondTry) return this.#authenticate(true)
            this.#events.authFailed(error)
            this.#ready()
          },
        )
      },
      (error: HearthError) => {
        if (turn !== this.#turn) return
        this.#events.authFailed(error)
        if (turn === this.#turn) this.#abort()
      },
    )
  }

  #present(
    token: string | null,
    accepted: () => void,
    forgotten: () => void,
    failed: (error: HearthError) => void,
  ): void {
    this.#transmit({
      body: token === null ? { type: 'unauth' } : { type: 'auth', token },
      kind: 'live',
      done: () => {
        this.#hasIdentity = token !== null
        accepted()
      },
      failed,
      forgotten,
    })
  }

  async #token(auth: AuthSource): Promise<string | null> {
    if (typeof auth !== 'function') return auth
    try {
      return await auth()
    } catch (error) {
      throw new HearthError('no_token', `no_token: auth() failed: ${error}`)
    }
  }

  #ready(): void {
    const turn = this.#turn
    this.#phase = 'ready'
    this.#beat()
    this.#events.relisten()
    this.#transmitAll()
    if (this.#isOnline) return
    this.#isOnline = true
    this.#onlineSinceMs = this.#environment.nowMs()
    if (turn === this.#turn) this.#events.online(this.#serverTimeOffsetMs)
  }

  /** Pings at the server's interval. A socket silent for two of them is dead, whatever the network says. */
  #beat(): void {
    this.#after(this.#pingIntervalMs, () => {
      if (this.#environment.nowMs() - this.#receivedMs >= 2 * this.#pingIntervalMs) return this.#abort()
      this.send({ body: { type: 'ping' }, kind: 'live', done() {}, failed() {} })
      this.#beat()
    })
  }

  #transmit(request: Request): void {
    const id = ++this.#lastId
    const bytes = encodeMessage({ ...request.body, id } as ToServer)
    if (bytes.length > this.#frameBytesMax) {
      // The server would close the connection for good.
      this.#unanswered.delete(request)
      request.failed(
        new HearthError(
          'too_large',
          `too_large: ${bytes.length} bytes; the server takes ${this.#frameBytesMax}`,
        ),
      )
      return
    }
    this.#unanswered.add(request)
    this.#sent.set(id, request)
    request.id = id
    if (this.#outboxBytes + bytes.length > Math.min(FRAME_BYTES, this.#frameBytesMax)) this.#flush()
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
    this.#socket?.send(frame)
  }

  /** One timer at a time: every phase has just one thing to wait for. */
  #after(delayMs: number, task: () => void): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#environment.schedule(delayMs, task)
  }
}

function offline(): HearthError {
  return new HearthError('offline', 'offline: goOffline() was called')
}
