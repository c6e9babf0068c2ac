/**
 * Connection: the socket's life. Opens it, proves who the client is, keeps it alive and opens it again when it is lost.
 *
 *   idle -> connecting -> authenticating -> ready -> leaving -> waiting -> connecting ...
 *                                             `- off (goOffline)   `- stopped (the server said not to come back)
 */
import { mayReconnect } from '../protocol/errors.ts'
import type { ToClient } from '../protocol/to-client.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import type { Environment } from './environment.ts'
import { connectionClosed, type HearthError, requestFailed } from './errors.ts'
import { type Request, Requests } from './requests.ts'
import { ABNORMAL, type Socket } from './socket.ts'
import { decodeFrame } from './wire.ts'

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
  #serverTimeOffsetMs = 0
  /** With a revision it names a state of the server's. */
  epoch = ''
  #cancelTimer: (() => void) | undefined
  #ignoreNetwork: (() => void) | undefined
  #stopError: HearthError | null = null
  readonly #requests: Requests

  constructor(url: string, environment: Environment, auth: AuthSource, events: ConnectionEvents) {
    this.#url = url
    this.#environment = environment
    this.#auth = auth
    this.#events = events
    this.#requests = new Requests(this, environment, (frame) => this.#socket?.send(frame))
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
    this.#requests.failAll(offline(), true)
  }

  /** Ends for good: every request fails with `error`. */
  stop(error: HearthError): void {
    if (this.#phase === 'stopped') return
    this.#stopError = error
    this.#drop('stopped')
    this.#ignoreNetwork?.()
    this.#requests.failAll(error, false)
    this.#events.stopped(error)
  }

  send(request: Request): void {
    if (this.#stopError) return request.failed(this.#stopError)
    if (request.kind === 'live' && !this.isReady) return request.forgotten?.()
    if (this.#phase === 'off' && request.kind !== 'write') return request.failed(offline())
    this.#requests.add(request)
  }

  /** The caller no longer waits for the answer. */
  abandon(request: Request): void {
    this.#requests.abandon(request)
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
    this.#cancelTimer?.()
    this.#phase = phase
    this.#socket = null
    this.#reconnectAtMs = 0
    socket?.close()
    const wasOnline = this.#isOnline
    this.#isOnline = false
    this.#requests.lost()
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
          return this.stop(requestFailed(null, 'unsupported_version', String(message.version)))
        }
        this.epoch = message.epoch
        this.#pingIntervalMs = message.pingIntervalMs
        this.#requests.frameBytesMax = message.limits.frameBytesMax
        this.#serverTimeOffsetMs = message.serverTimeMs - this.#receivedMs
        return this.#authenticate()
      case 'ack':
        for (const id of message.ids) this.#requests.answered(id, message)
        return
      case 'snapshot':
      case 'resumed':
      case 'value':
      case 'pong':
      case 'pushed':
        return this.#requests.answered(message.id, message)
      case 'error':
        return this.#requests.failed(message)
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
    this.#requests.transmit({
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
      throw requestFailed(null, 'no_token', `auth() failed: ${error}`)
    }
  }

  #ready(): void {
    const turn = this.#turn
    this.#phase = 'ready'
    this.#beat()
    this.#events.relisten()
    this.#requests.transmitAll()
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

  /** One timer at a time: every phase has just one thing to wait for. */
  #after(delayMs: number, task: () => void): void {
    this.#cancelTimer?.()
    this.#cancelTimer = this.#environment.schedule(delayMs, task)
  }
}

function offline(): HearthError {
  return requestFailed(null, 'offline', 'goOffline() was called')
}
