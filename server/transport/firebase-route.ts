/**
 * Firebase route: where unmodified Firebase SDKs connect. A namespace names a database; a client that comes back
 * takes over the session it had.
 */
import { closeReasons } from '../../protocol/index.ts'
import type { Verifier } from '../auth.ts'
import type { Config } from '../config.ts'
import { type Databases, DEFAULT_DATABASE, type OpenDatabase, openFirst, whyUnknown } from '../databases.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { randomId } from '../random-id.ts'
import { complaint, reset, shutdown } from '../sessions/firebase-messages.ts'
import { FirebaseSession, type FirebaseSessionContext } from '../sessions/firebase-session.ts'
import { FirebaseSnapshots } from '../sessions/firebase-snapshots.ts'
import type { LongPoll } from '../sessions/long-poll.ts'
import type { ConnectionCount } from '../sessions/open-sessions.ts'
import type { Driven, Sink } from '../sessions/sink.ts'
import type { Turns } from '../sessions/turns.ts'
import type { WaitingRoom } from '../sessions/waiting-room.ts'
import type { UpgradeRequest, WebSocketRoute } from './websocket.ts'

export interface FirebaseServiceParts {
  config: Config
  databases: Databases
  /** All open sessions, whatever their wire. */
  sessions: ConnectionCount & {
    add(session: FirebaseSession): void
    delete(session: FirebaseSession): void
  }
  verifier: Verifier
  turns: Turns
  waitingRoom: WaitingRoom
  metrics: Metrics
  logger: Logger
  nowMs(): number
  onBug(error: unknown): void
  /** Ends a session that another thread of this server may have; resolves when what it left is visible. */
  takeOverElsewhere?: (database: string, sessionId: string) => Promise<void>
}

/** The SDK speaks every 45 s when it has nothing to say; a connection must outlive that. */
const IDLE_SECONDS_MIN = 60

export function firebaseRoute(service: FirebaseService, config: Config): WebSocketRoute {
  const { limits, allowedOrigins } = config
  return {
    path: '/.ws',
    frames: 'text',
    frameBytesMax: limits.frameBytesMax,
    backpressureBytesMax: limits.slowConsumerSoftBytes,
    idleTimeoutSeconds: Math.max(IDLE_SECONDS_MIN, Math.round(limits.idleTimeoutMs / 1000)),
    refuse: (request) => {
      const { origin } = request
      if (origin !== '' && !allowedOrigins.includes('*') && !allowedOrigins.includes(origin)) {
        return '403 Forbidden'
      }
      return service.refuse()
    },
    prepare: (request) => service.prepare(request),
    waiting: service.waiting,
    connect: (request, sink) => service.connect(request, sink),
  }
}

/** The client leaves it out when the host itself names it, which only Firebase's own hosts do. */
function namespaceOf(query: URLSearchParams): string {
  return query.get('ns') || DEFAULT_DATABASE
}

/** Makes sessions for connections, whichever way they come. */
export class FirebaseService {
  readonly #parts: FirebaseServiceParts
  readonly #contexts = new Map<OpenDatabase, FirebaseSessionContext>()
  /** By database and id. */
  readonly #byId = new Map<string, FirebaseSession>()
  /** Sessions that came by long polling and may move to a socket, by the same. */
  readonly #polls = new Map<string, LongPoll>()

  constructor(parts: FirebaseServiceParts) {
    this.#parts = parts
  }

  /** Counts connections that wait for `prepare`. */
  get waiting(): ConnectionCount {
    return this.#parts.sessions
  }

  /** @returns A status line that refuses a connection that is about to be made, or null. */
  refuse(): string | null {
    const { config, sessions, turns, metrics } = this.#parts
    const { connectionsMax, sessionsWaitingMax } = config.limits
    if (sessions.size < connectionsMax && turns.waiting < sessionsWaitingMax) return null
    metrics.counters.connectionsRefused += 1
    return '503 Service Unavailable'
  }

  /**
   * Opens the database of a connection. One whose name this server does not have is let in and told at once: the SDK takes a
   * refused upgrade for a bad line and tries for ever.
   */
  prepare({ query }: Pick<UpgradeRequest, 'query'>): Promise<void> | null {
    return openFirst(this.#parts.databases, namespaceOf(query))
  }

  /** @param poll What brings the connection, if it is not a socket. */
  connect(request: UpgradeRequest, sink: Sink, poll: LongPoll | null = null): Driven {
    const { query, host, remoteAddress } = request
    const { databases, sessions, metrics, logger } = this.#parts
    const name = namespaceOf(query)
    const open = databases.find(name)
    if (open === undefined) return new Turned(sink, whyUnknown(name))
    if (poll === null && query.has('s')) {
      const moving = this.#polls.get(`${name}/${query.get('s')}`)
      return moving === undefined ? new Invalid(sink, host) : moving.upgradeTo(sink)
    }
    const context = this.#contextOf(open)
    const last = query.get('ls')
    const isBack = last !== null
    const afterwards = this.#endLast(name, last)
    const session = new FirebaseSession(context, { id: randomId(), sink, host, isBack, afterwards })
    sessions.add(session)
    const key = `${name}/${session.id}`
    this.#byId.set(key, session)
    if (poll !== null) this.#polls.set(key, poll)
    metrics.counters.connectionsOpened += 1
    logger.debug(
      { connection: session.id, database: name, remoteAddress, wire: 'firebase' },
      'connection open',
    )
    return session
  }

  /** The client was here before, and its last session may not have ended yet. @returns What to wait for. */
  #endLast(database: string, sessionId: string | null): Promise<void> | null {
    if (sessionId === null) return null
    if (this.#byId.has(`${database}/${sessionId}`)) return this.takeOver(database, sessionId)
    return this.#parts.takeOverElsewhere?.(database, sessionId) ?? null
  }

  /** @returns What a session left behind and has to settle; null for nothing, or for a session that is not here. */
  takeOver(database: string, sessionId: string): Promise<void> | null {
    return this.#byId.get(`${database}/${sessionId}`)?.takeOver() ?? null
  }

  #contextOf(open: OpenDatabase): FirebaseSessionContext {
    let context = this.#contexts.get(open)
    if (context === undefined) {
      const { config, verifier, turns, waitingRoom, metrics, nowMs, onBug } = this.#parts
      const { database, firebaseWire: wire, onDisconnect } = open
      const { limits, dev: isDev } = config
      const { counters } = metrics
      const ended = (session: FirebaseSession): void => this.#ended(database.name, session)
      const snapshots = new FirebaseSnapshots()
      database.addWire(snapshots)
      context = {
        ...{ database, wire, snapshots, onDisconnect, verifier, turns, waitingRoom },
        ...{ nowMs, limits, counters, isDev, ended, onBug },
      }
      this.#contexts.set(open, context)
    }
    return context
  }

  #ended(name: string, session: FirebaseSession): void {
    this.#parts.sessions.delete(session)
    this.#byId.delete(`${name}/${session.id}`)
    this.#polls.delete(`${name}/${session.id}`)
    this.#parts.logger.debug({ connection: session.id }, 'connection closed')
  }
}

/** A client whose namespace this server does not have: told why, so that it stays away. */
class Turned implements Driven {
  readonly #sink: Sink
  readonly #reason: string

  constructor(sink: Sink, reason: string) {
    this.#sink = sink
    this.#reason = `${reason} (\`ns\`)`
  }

  open(): void {
    this.#sink.send(Buffer.from(complaint(this.#reason)))
    this.#sink.send(Buffer.from(shutdown(this.#reason)))
    this.#sink.close(closeReasons.unknownDatabase)
  }

  receive(): void {}
  drained(): void {}
  dropped(): void {}
  closed(): void {}
}

/** A socket that wants to take over a connection that is not there; the page goes on without it. */
class Invalid implements Driven {
  readonly #sink: Sink
  readonly #host: string

  constructor(sink: Sink, host: string) {
    this.#sink = sink
    this.#host = host
  }

  open(): void {
    this.#sink.send(Buffer.from(reset(this.#host)))
    this.#sink.close(closeReasons.goingAway)
  }

  receive(): void {}
  drained(): void {}
  dropped(): void {}
  closed(): void {}
}
