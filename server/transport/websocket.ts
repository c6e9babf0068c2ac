/**
 * The transport: uWebSockets.js on one side, sessions and HTTP handlers on the other. Bytes in, bytes out,
 * backpressure. The only file that knows uWebSockets.js.
 *
 * The package is not on the npm registry under its own name: `uWebSockets.js` is an alias of `uwebsockets`, a third
 * party's republication, pinned to an exact version whose hash the lock file holds. README.md tells how to put the
 * official build in its place. The binary it loads on Node 20 is older than its type file, so use nothing without
 * trying it (`addChildAppDescriptor` is missing, for one). A worker thread has to close its app before it exits.
 */
import './header-limit.ts'
// The package is CommonJS: its functions are reached through the default export, its types by name.
import uws, { type TemplatedApp, type us_listen_socket, type WebSocket } from 'uWebSockets.js'
import { randomInt } from 'node:crypto'
import { type CloseReason, closeReasons } from '../../protocol/index.ts'
import type { ConnectionCount } from '../sessions/open-sessions.ts'
import type { Publisher, Sink } from '../sessions/sink.ts'
import type { HttpHandler } from './http.ts'
import { BodyBudget, serveExchange } from './http-exchange.ts'

/** What the transport needs of a session, whatever its wire. */
export interface Connection {
  open(): void
  /** @param frame Valid only during the call. */
  receive(frame: Uint8Array, isBinary: boolean): void
  drained(): void
  dropped(): void
  closed(): void
}

/** What a client's upgrade request says. */
export interface UpgradeRequest {
  query: URLSearchParams
  /** The address the client knows this server by, `name:port`; empty when it did not say. */
  host: string
  /** Of the page that opens the connection; empty outside browsers. */
  origin: string
  remoteAddress: string
}

export interface WebSocketRoute {
  path: string
  /** Called before the upgrade is answered. @returns A status line that refuses it, or null. */
  refuse(request: UpgradeRequest): string | null
  /** Called once the connection is open. @returns What `connect` and the client's frames have to wait for, if anything. */
  prepare?(request: UpgradeRequest): Promise<void> | null
  /** Counts connections that wait for that. */
  waiting?: ConnectionCount
  /** Called then. A close reason ends the connection at once, so that browsers see why. */
  connect(request: UpgradeRequest, sink: Sink): Connection | CloseReason
  /** What clients are sent. A binary route refuses text; a text route takes both as UTF-8. */
  frames: 'binary' | 'text'
  frameBytesMax: number
  /** Bytes waiting in a socket past which published messages are dropped and `dropped` is called. */
  backpressureBytesMax: number
  /** Seconds without any traffic, pings included, until a connection counts as dead. */
  idleTimeoutSeconds: number
  /** How long a socket that is full when it is to be closed may take to read on up to the reason. */
  farewellMs?: number
}

export interface Transport extends Publisher {
  readonly port: number
  /** No new connections; those that are open go on. */
  stopAccepting(): void
  /** Ends every connection at once. */
  close(): void
}

interface UserData {
  /** Until the connection is open. */
  request: UpgradeRequest | null
  sink: WebSocketSink | null
  connection: Connection | null
  /** While `connect` waits: what the client has sent. */
  early: EarlyFrames | null
}

export interface TransportOptions {
  host: string
  /** 0 picks a free port. */
  port: number
  /** Threads of one server share its port: the kernel deals connections out to all that listen. */
  isShared?: boolean
  routes: readonly WebSocketRoute[]
  http: HttpHandler
  /** Largest body of an HTTP request. */
  bodyBytesMax: number
  /** What a body may take before it can be ended for others. */
  bodyDeadlineMs: number
  onBug(error: unknown): void
}

/** The address is in use, or not this machine's. */
export class ListenError extends Error {}

const FAREWELL_MS = 10_000
/** Bytes waiting in all sockets that are to read on up to the reason; past it a full socket is closed without one. */
const FAREWELL_BYTES_MAX = 64 * 1024 * 1024

/** Few clients send before they are spoken to, and what they wait for takes milliseconds. */
const EARLY_BYTES_MAX = 1024 * 1024
/** Of all sockets together: they are replayed in one turn, too. */
const EARLY_BYTES_MAX_OF_ALL = 32 * 1024 * 1024
/** About what a frame costs beside its bytes. */
const EARLY_FRAME_BYTES = 256

/** What a close frame holds of a reason. */
const REASON_BYTES_MAX = 123

/** `internal error` of RFC 6455; clients come back. */
const INTERNAL_ERROR: CloseReason = { code: 1011, reason: 'internal error' }

/** `LIBUS_LISTEN_EXCLUSIVE_PORT`: the binary knows it, its type file does not. */
const LISTEN_EXCLUSIVE_PORT = 1
const LISTEN_SHARED_PORT = 0
/**
 * Each listen socket has an accept queue of its own, of the 512 connections that uWebSockets.js asks the kernel for. When
 * 3,000 clients connect at once while the loop is held for 1.5 s, one queue overflows 2,487 times and the median client
 * waits 2.4 s for its next attempt, four overflow 1,896 times, eight never (0.76 s).
 */
const LISTEN_SOCKETS = 16

interface ExclusiveApp {
  listen(
    host: string,
    port: number,
    options: number,
    listening: (socket: us_listen_socket | false) => void,
  ): void
}

function exclusively(app: TemplatedApp): ExclusiveApp {
  return app as unknown as ExclusiveApp
}

/** @throws {ListenError} */
export async function listen(options: TransportOptions): Promise<Transport> {
  const app = uws.App()
  const held = { farewellBytes: 0, earlyBytes: 0 }
  for (const route of options.routes) addRoute(app, route, held, options.onBug)
  const exchange = { handler: options.http, bodyBytesMax: options.bodyBytesMax, onBug: options.onBug }
  const budget = new BodyBudget(options.bodyBytesMax, options.bodyDeadlineMs)
  app.any('/*', (response, request) => serveExchange(response, request, exchange, budget))
  const { host, isShared = false } = options
  // Exclusive at first: otherwise the kernel lets a second server share the port and deals clients out to both.
  const port = isShared ? options.port : await claimPort(host, options.port)
  let sockets: us_listen_socket[] = []
  const stopAccepting = (): void => {
    for (const socket of sockets) uws.us_listen_socket_close(socket)
    sockets = []
  }
  for (let i = 0; i < LISTEN_SOCKETS; i++) {
    exclusively(app).listen(host, port, LISTEN_SHARED_PORT, (socket) => {
      if (socket) sockets.push(socket)
    })
  }
  if (sockets.length === 0) throw refused(host, port)
  return {
    port,
    stopAccepting,
    close() {
      stopAccepting()
      app.close()
    },
    publish: (topic, bytes, frames = 'binary') => {
      app.publish(topic, bytes, frames === 'binary')
    },
  }
}

/**
 * Finds a port for threads to share. Nobody else has it: a shared listen succeeds beside any other shared one.
 * @returns `port`, or a free one for 0.
 */
export function claimPort(host: string, port: number): Promise<number> {
  const app = uws.App()
  return new Promise((resolve, reject) => {
    exclusively(app).listen(host, port, LISTEN_EXCLUSIVE_PORT, (socket) => {
      const claimed = socket ? uws.us_socket_local_port(socket) : null
      app.close()
      if (claimed === null) reject(refused(host, port))
      else resolve(claimed)
    })
  })
}

function refused(host: string, port: number): ListenError {
  const why = 'is the port in use, or the address not this machine’s?'
  return new ListenError(`cannot listen on ${host}:${port}; ${why}`)
}

function addRoute(
  app: TemplatedApp,
  route: WebSocketRoute,
  held: HeldWithoutSession,
  onBug: (error: unknown) => void,
): void {
  app.ws<UserData>(route.path, {
    maxPayloadLength: route.frameBytesMax,
    maxBackpressure: route.backpressureBytesMax,
    idleTimeout: route.idleTimeoutSeconds,
    sendPingsAutomatically: true,
    // Answered before it returns, whatever has to be opened first. Later is too late: a response is to be corked then, and
    // uWebSockets.js tells by the socket's address whether a corked one was upgraded. Where the larger socket found room
    // in place it goes on to read it as a response, and sometimes closes it.
    upgrade(response, request, context) {
      const upgrade: UpgradeRequest = {
        query: new URLSearchParams(request.getQuery()),
        host: request.getHeader('host'),
        origin: request.getHeader('origin'),
        remoteAddress: text(response.getRemoteAddressAsText()),
      }
      const refusal = refusalOf(route, upgrade, onBug)
      if (refusal !== null) {
        response.writeStatus(refusal)
        // Spread, so that those refused together do not return together.
        if (refusal.startsWith('503')) response.writeHeader('Retry-After', String(randomInt(1, 10)))
        response.end(refusal.slice(4))
        return
      }
      const key = request.getHeader('sec-websocket-key')
      const protocol = request.getHeader('sec-websocket-protocol')
      const extensions = request.getHeader('sec-websocket-extensions')
      const data: UserData = { request: upgrade, sink: null, connection: null, early: null }
      response.upgrade<UserData>(data, key, protocol, extensions, context)
    },
    open(ws) {
      const data = ws.getUserData()
      const sink = new WebSocketSink(ws, route, held)
      data.sink = sink
      // A socket without a session would be open for ever, and heard by nobody.
      const failed = (error: unknown): void => {
        onBug(error)
        guarded(onBug, () => sink.close(INTERNAL_ERROR))
      }
      guarded(failed, () => {
        const prepared = route.prepare?.(data.request!) ?? null
        if (prepared === null) {
          connect(route, data, sink)
          return
        }
        data.early = new EarlyFrames(held)
        route.waiting?.enter()
        prepared.then(() => sink.cork(() => guarded(failed, () => connect(route, data, sink))), failed)
      })
    },
    message(ws, message, isBinary) {
      guarded(onBug, () => {
        const { connection, sink, early } = ws.getUserData()
        if (sink?.isLeaving === true) return
        if (!isBinary && route.frames === 'binary') {
          sink?.close(closeReasons.textFrame)
          return
        }
        if (early === null) connection?.receive(new Uint8Array(message), isBinary)
        else if (!early.add(message, isBinary)) sink?.close(closeReasons.rateLimited)
      })
    },
    drain(ws) {
      guarded(onBug, () => {
        const { connection, sink } = ws.getUserData()
        if (sink?.isLeaving === true) sink.takeLeave()
        else connection?.drained()
      })
    },
    dropped(ws) {
      // Called while uWebSockets.js walks its subscribers: an unsubscribe now frees what it walks on, and crashes the
      // process. Nothing is written to this socket before the next poll, so nothing overtakes the news.
      const { connection } = ws.getUserData()
      setImmediate(() => guarded(onBug, () => connection?.dropped()))
    },
    close(ws) {
      guarded(onBug, () => {
        const { sink } = ws.getUserData()
        sink?.detach()
        stopWaiting(route, ws.getUserData())
        endConnection(ws)
      })
    },
  })
}

function refusalOf(
  route: WebSocketRoute,
  request: UpgradeRequest,
  onBug: (error: unknown) => void,
): string | null {
  try {
    return route.refuse(request)
  } catch (error) {
    onBug(error)
    return '500 Internal Server Error'
  }
}

function connect(route: WebSocketRoute, data: UserData, sink: WebSocketSink): void {
  // Who left while it waited.
  if (sink.isClosed) return
  const early = stopWaiting(route, data)
  const connection = route.connect(data.request!, sink)
  data.request = null
  if ('code' in connection) {
    sink.close(connection)
    return
  }
  data.connection = connection
  connection.open()
  // One of them may end the connection.
  for (const [frame, isBinary] of early) data.connection?.receive(frame, isBinary)
}

/** @returns What came early. */
function stopWaiting(route: WebSocketRoute, data: UserData): readonly EarlyFrame[] {
  const { early } = data
  if (early === null) return []
  data.early = null
  route.waiting?.leave()
  return early.take()
}

function endConnection(ws: WebSocket<UserData>): void {
  const data = ws.getUserData()
  const { connection } = data
  data.connection = null
  connection?.closed()
}

/** An exception that reaches uWebSockets.js ends the process: a bug in one request must not end everyone's connections. */
function guarded(onBug: (error: unknown) => void, call: () => void): void {
  try {
    call()
  } catch (error) {
    onBug(error)
  }
}

/** What sockets hold that have no session yet, or no more: nobody else counts it. One for each transport. */
interface HeldWithoutSession {
  earlyBytes: number
  farewellBytes: number
}

type EarlyFrame = readonly [frame: Uint8Array, isBinary: boolean]

/** Frames that came before there was a session to receive them. */
class EarlyFrames {
  readonly #held: HeldWithoutSession
  #frames: EarlyFrame[] = []
  #bytes = 0

  constructor(held: HeldWithoutSession) {
    this.#held = held
  }

  /** @param message Valid only during the call. @returns False when they are too many. */
  add(message: ArrayBuffer, isBinary: boolean): boolean {
    const bytes = message.byteLength + EARLY_FRAME_BYTES
    if (this.#bytes + bytes > EARLY_BYTES_MAX) return false
    if (this.#held.earlyBytes + bytes > EARLY_BYTES_MAX_OF_ALL) return false
    this.#bytes += bytes
    this.#held.earlyBytes += bytes
    this.#frames.push([new Uint8Array(message.slice(0)), isBinary])
    return true
  }

  take(): readonly EarlyFrame[] {
    const frames = this.#frames
    this.#held.earlyBytes -= this.#bytes
    this.#frames = []
    this.#bytes = 0
    return frames
  }
}

class WebSocketSink implements Sink {
  /** Null once closed: uWebSockets.js throws on any use of a closed socket. */
  #ws: WebSocket<UserData> | null
  readonly #route: WebSocketRoute
  readonly #isBinary: boolean
  /** Why it is being closed, while the socket is too full to take it. */
  #farewell: CloseReason | null = null
  #farewellBytes = 0
  readonly #held: HeldWithoutSession
  #patience: NodeJS.Timeout | null = null

  constructor(ws: WebSocket<UserData>, route: WebSocketRoute, held: HeldWithoutSession) {
    this.#ws = ws
    this.#route = route
    this.#held = held
    this.#isBinary = route.frames === 'binary'
  }

  get bufferedBytes(): number {
    return this.#ws?.getBufferedAmount() ?? 0
  }

  send(bytes: Uint8Array): boolean {
    // 2 stands for dropped.
    return this.#ws !== null && this.#ws.send(bytes, this.#isBinary) !== 2
  }

  cork(call: () => void): void {
    if (this.#ws === null) call()
    else this.#ws.cork(call)
  }

  subscribe(topic: string): void {
    this.#ws?.subscribe(topic)
  }

  unsubscribe(topic: string): void {
    this.#ws?.unsubscribe(topic)
  }

  /**
   * uWebSockets.js drops a close frame, as any other, that finds the socket full: it waits until there is room, though not
   * for ever, and not where many do. The session ends at once all the same.
   */
  close(reason: CloseReason): void {
    const ws = this.#ws
    if (ws === null || this.#farewell !== null) return
    if (!this.#isFull) {
      end(ws, reason)
      return
    }
    const bytes = this.bufferedBytes
    if (this.#held.farewellBytes + bytes > FAREWELL_BYTES_MAX) {
      ws.close()
      return
    }
    this.#farewell = reason
    this.#farewellBytes = bytes
    this.#held.farewellBytes += bytes
    this.#patience = setTimeout(() => this.#ws?.close(), this.#route.farewellMs ?? FAREWELL_MS).unref()
    endConnection(ws)
  }

  get isClosed(): boolean {
    return this.#ws === null
  }

  get isLeaving(): boolean {
    return this.#farewell !== null
  }

  /** The socket took some of what was waiting. */
  takeLeave(): void {
    if (!this.#isFull && this.#ws !== null) end(this.#ws, this.#farewell!)
  }

  get #isFull(): boolean {
    return this.bufferedBytes > this.#route.backpressureBytesMax
  }

  detach(): void {
    if (this.#patience !== null) clearTimeout(this.#patience)
    this.#held.farewellBytes -= this.#farewellBytes
    this.#farewellBytes = 0
    this.#ws = null
  }
}

function end(ws: WebSocket<UserData>, { code, reason }: CloseReason): void {
  ws.end(code, Buffer.byteLength(reason) <= REASON_BYTES_MAX ? reason : cut(reason))
}

/** The beginning of a text, in whole characters. */
function cut(reason: string): string {
  const mark = '…'
  const room = new Uint8Array(REASON_BYTES_MAX - Buffer.byteLength(mark))
  const { read } = new TextEncoder().encodeInto(reason, room)
  return reason.slice(0, read) + mark
}

function text(bytes: ArrayBuffer): string {
  return Buffer.from(bytes).toString('latin1')
}
