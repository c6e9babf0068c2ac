/**
 * A server that says just what a test tells it to, in real frames, over a socket in memory; and the clock, timers
 * and randomness that go with it. Nothing happens by itself.
 */
import {
  decodeToServer,
  Encoder,
  encodeToClient,
  PROTOCOL_VERSION,
  type ToClient,
  type ToServer,
} from '../../protocol/index.ts'
import type { Environment } from '../environment.ts'
import { type Database, type DatabaseOptions, getDatabase, goOnline } from '../index.ts'
import type { SocketEvents } from '../socket.ts'

export class ScriptedServer {
  nowMs = 1_700_000_000_000
  /** What `random()` gives. */
  chance = 0.5
  /** Fields that differ from the usual hello. */
  hello: Partial<Extract<ToClient, { type: 'hello' }>> = {}
  readonly connections: ScriptedConnection[] = []
  readonly #timers: { atMs: number; task: () => void }[] = []
  #networkBack: () => void = () => {}

  readonly environment: Environment = {
    nowMs: () => this.nowMs,
    random: () => this.chance,
    schedule: (delayMs, task) => {
      const timer = { atMs: this.nowMs + delayMs, task }
      this.#timers.push(timer)
      return () => {
        const index = this.#timers.indexOf(timer)
        if (index >= 0) this.#timers.splice(index, 1)
      }
    },
    openSocket: (url, events) => {
      const connection = new ScriptedConnection(url, events, this)
      this.connections.push(connection)
      return connection.clientSocket
    },
    onNetworkBack: (task) => {
      this.#networkBack = task
      return () => {
        this.#networkBack = () => {}
      }
    },
  }

  database(options: DatabaseOptions = {}, address = 'http://server.test:9000'): Database {
    return getDatabase(address, { environment: this.environment, ...options })
  }

  /** A database whose connection is up. */
  async connected(options: DatabaseOptions = {}): Promise<{ db: Database; connection: ScriptedConnection }> {
    const db = this.database(options)
    goOnline(db)
    const connection = this.connection
    await connection.greet()
    return { db, connection }
  }

  /** The newest connection. */
  get connection(): ScriptedConnection {
    return this.connections.at(-1)!
  }

  /** Milliseconds until the next timer; null when none runs. */
  get nextTimerMs(): number | null {
    const times = this.#timers.map(({ atMs }) => atMs)
    return times.length === 0 ? null : Math.min(...times) - this.nowMs
  }

  /** Lets time pass; timers run when they are due. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms
    for (;;) {
      const due = this.#timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#timers.splice(this.#timers.indexOf(due), 1)
      this.nowMs = due.atMs
      due.task()
      await settle()
    }
    this.nowMs = untilMs
  }

  networkBack(): void {
    this.#networkBack()
  }
}

export class ScriptedConnection {
  readonly url: string
  isClosedByClient = false
  /** Number of frames received. */
  frames = 0
  readonly #events: SocketEvents
  readonly #server: ScriptedServer
  #received: ToServer[] = []

  constructor(url: string, events: SocketEvents, server: ScriptedServer) {
    this.url = url
    this.#events = events
    this.#server = server
  }

  readonly clientSocket = {
    send: (bytes: Uint8Array): void => {
      this.frames += 1
      for (const message of decodeToServer(bytes)) {
        if (message.type === 'rejected') throw message.error
        this.#received.push(message)
      }
    },
    close: (): void => {
      this.isClosedByClient = true
    },
  }

  greet(): Promise<void> {
    return this.send({
      type: 'hello',
      version: PROTOCOL_VERSION,
      serverTimeMs: this.#server.nowMs,
      sessionId: 'session',
      epoch: 'epoch',
      revision: 0,
      pingIntervalMs: 20_000,
      limits: { frameBytesMax: 1_000_000, listensMax: 1000 },
      ...this.#server.hello,
    })
  }

  /** Sends messages in one frame. */
  async send(...messages: ToClient[]): Promise<void> {
    const encoder = new Encoder()
    for (const message of messages) encodeToClient(encoder, message)
    this.#events.received(encoder.take())
    await settle()
  }

  sendRaw(bytes: Uint8Array): void {
    this.#events.received(bytes)
  }

  /** What the client sent since the last call. */
  async take(): Promise<ToServer[]> {
    await settle()
    return this.#received.splice(0)
  }

  /** The one message the client sent since the last call. */
  async next<T extends ToServer['type']>(type: T): Promise<Extract<ToServer, { type: T }>> {
    const messages = await this.take()
    if (messages.length !== 1 || messages[0]!.type !== type) {
      throw new Error(`expected one ${type}, the client sent ${JSON.stringify(messages)}`)
    }
    return messages[0] as Extract<ToServer, { type: T }>
  }

  /** Answers the listen the client just sent. */
  async snapshot(value: unknown, queryId = 1, revision = 1): Promise<void> {
    const { id } = await this.next('listen')
    await this.send({ type: 'snapshot', id, queryId, revision, value: value as never })
  }

  /** One commit of one write. */
  patch(revision: number, step: readonly unknown[], queryId = 1): Promise<void> {
    return this.send({ type: 'patch', queryId, revision, steps: [step as never] })
  }

  ack(id: number, revision = 0): Promise<void> {
    return this.send({ type: 'ack', revision, ids: [id] })
  }

  refuse(id: number, name = 'permission_denied', message = 'denied'): Promise<void> {
    return this.send({ type: 'error', id, code: 101, name, message, retryAfterMs: null })
  }

  close(code = 1006, reason = ''): Promise<void> {
    this.#events.closed(code, reason)
    return settle()
  }
}

/** Lets everything that is only waiting for promises happen. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
