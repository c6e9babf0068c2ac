/**
 * Front: what clients meet. Sockets and HTTP on one port, over the databases of one thread.
 */
import { closeReasons, pushIdMaker } from '../protocol/index.ts'
import type { Verifier } from './auth.ts'
import type { Config } from './config.ts'
import { type Databases, DEFAULT_DATABASE, type OpenDatabase, openFirst, whyUnknown } from './databases.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'
import { randomId } from './random-id.ts'
import { LongPollTopics } from './sessions/long-poll.ts'
import { NativeSession, type NativeSessionContext } from './sessions/native-session.ts'
import { NativeSnapshots } from './sessions/native-snapshots.ts'
import { OpenSessions } from './sessions/open-sessions.ts'
import type { Publisher } from './sessions/sink.ts'
import { Turns } from './sessions/turns.ts'
import { WaitingRoom } from './sessions/waiting-room.ts'
import { FirebaseService, firebaseRoute } from './transport/firebase-route.ts'
import { type HttpRoute, httpHandler } from './transport/http.ts'
import { restRoute } from './transport/rest.ts'
import { Answers } from './transport/rest-answers.ts'
import { listen, type Transport, type WebSocketRoute } from './transport/websocket.ts'

export interface FrontParts {
  config: Config
  metrics: Metrics
  logger: Logger
  nowMs(): number
  random?: (() => number) | undefined
  onBug(error: unknown): void
  sessions?: OpenSessions | undefined
}

export interface FrontDoors {
  databases: Databases
  verifier: Verifier
  port: number
  /** Whether other threads listen on the port, too. */
  isShared: boolean
  /** Served before REST: what only one thread can serve, or leads there. */
  routes(service: FirebaseService, topics: LongPollTopics, answers: Answers): readonly HttpRoute[]
  metricsText(): Promise<string>
  /** Ends a Firebase session that another thread has; resolves when what it left is visible. */
  takeOverElsewhere?: (database: string, sessionId: string) => Promise<void>
}

export class Front {
  readonly sessions: OpenSessions
  /** Of what databases send to topics. */
  readonly publisher: Publisher
  /** Whether new clients are welcome. */
  isReady = false
  readonly #parts: FrontParts
  readonly #topics = new LongPollTopics()
  #transport: Transport | null = null
  #isClosed = false
  #firebase: FirebaseService | null = null

  constructor(parts: FrontParts) {
    this.#parts = parts
    this.sessions = parts.sessions ?? new OpenSessions()
    this.publisher = {
      publish: (topic, bytes, frames) => {
        this.#transport?.publish(topic, bytes, frames)
        if (frames === 'text') this.#topics.publish(topic, bytes)
      },
    }
  }

  /** @throws {ListenError} @throws {Error} It was closed meanwhile. @returns The port. */
  async listen(doors: FrontDoors): Promise<number> {
    if (this.#isClosed) throw closedMeanwhile()
    const { databases, verifier, port, isShared, takeOverElsewhere } = doors
    const { config, metrics, logger, nowMs, random, onBug } = this.#parts
    const { sessions } = this
    const makePushId = pushIdMaker(random)
    const pushId = (): string => makePushId(nowMs())
    const turns = new Turns({ bytesInFlightMax: config.limits.snapshotBytesInFlightMax, onBug })
    const waitingRoom = new WaitingRoom(config.limits.waitingBytesMax)
    const firebase = new FirebaseService({
      config,
      databases,
      sessions,
      verifier,
      turns,
      waitingRoom,
      metrics,
      logger,
      nowMs,
      onBug,
      ...(takeOverElsewhere === undefined ? {} : { takeOverElsewhere }),
    })
    this.#firebase = firebase
    const { limits, allowedOrigins } = config
    const { counters, contentType } = metrics
    const answers = new Answers(limits, counters)
    const transport = await listen({
      host: config.host,
      port,
      isShared,
      routes: [
        nativeRoute({
          ...{ config, databases, sessions, turns, waitingRoom, verifier, metrics, logger, nowMs, pushId },
        }),
        firebaseRoute(firebase, config),
      ],
      http: httpHandler({
        isReady: () => this.isReady,
        metrics: async () => ({ contentType, text: await doors.metricsText() }),
        routes: [
          ...doors.routes(firebase, this.#topics, answers),
          restRoute({
            ...{ databases, verifier, turns, answers, nowMs, pushId, limits, counters, allowedOrigins },
            connections: sessions,
          }),
        ],
        allowedOrigins,
      }),
      bodyBytesMax: limits.bodyBytesMax,
      bodyDeadlineMs: limits.slowConsumerDeadlineMs,
      onBug,
    })
    if (this.#isClosed) {
      transport.close()
      throw closedMeanwhile()
    }
    this.#transport = transport
    metrics.gauge('connections', () => sessions.ownSize)
    metrics.gauge('sessionsWaiting', () => turns.waiting)
    metrics.gauge('waitingBytes', () => waitingRoom.bytes)
    metrics.gauge('answerBytesInFlight', () => turns.bytesInFlight)
    metrics.gauge('restAnswerBytes', () => answers.bytesUnderWay)
    metrics.gauge('databases', () => databases.size)
    const sum = (of: (open: OpenDatabase) => number): number => {
      let count = 0
      for (const open of databases.all()) count += of(open)
      return count
    }
    metrics.gauge('indexesBuilding', () => sum(({ database }) => database.indexProgress.building))
    metrics.gauge('listeners', () => sum(({ database }) => database.listenerCount))
    return transport.port
  }

  /** Ends a session of this thread that its client has left for another. @returns What it left has to settle. */
  takeOver(database: string, sessionId: string): Promise<void> | null {
    return this.#firebase?.takeOver(database, sessionId) ?? null
  }

  /** No new connections; tells clients to come back elsewhere, spread over this long. */
  announceEnd(delayMs: number): void {
    this.isReady = false
    this.#transport?.stopAccepting()
    this.sessions.announceEnd(delayMs)
  }

  /** Ends every connection. One that is about to listen will not: a thread that ends with open sockets aborts the process. */
  close(): void {
    this.isReady = false
    this.#isClosed = true
    const transport = this.#transport
    this.#transport = null
    transport?.stopAccepting()
    try {
      this.sessions.end()
    } finally {
      transport?.close()
    }
  }
}

function closedMeanwhile(): Error {
  return new Error('closed before it listened')
}

interface NativeRouteParts {
  config: Config
  databases: Databases
  sessions: OpenSessions
  turns: Turns
  waitingRoom: WaitingRoom
  verifier: Verifier
  metrics: Metrics
  logger: Logger
  nowMs(): number
  pushId(): string
}

function nativeRoute(parts: NativeRouteParts): WebSocketRoute {
  const { config, databases, sessions, turns, waitingRoom, verifier, metrics, logger, nowMs, pushId } = parts
  const { limits } = config
  const contexts = new Map<OpenDatabase, NativeSessionContext>()
  const contextOf = (open: OpenDatabase): NativeSessionContext => {
    let context = contexts.get(open)
    if (context === undefined) {
      const { database, nativeWire: wire, onDisconnect, presence } = open
      const ended = (session: NativeSession): void => {
        sessions.delete(session)
        logger.debug({ connection: session.id }, 'connection closed')
      }
      const { counters } = metrics
      const snapshots = new NativeSnapshots()
      database.addWire(snapshots)
      context = {
        ...{ database, wire, snapshots, turns, waitingRoom, onDisconnect, presence, verifier },
        ...{ nowMs, pushId, limits, counters, ended },
      }
      contexts.set(open, context)
    }
    return context
  }
  return {
    path: '/v1',
    frames: 'binary',
    frameBytesMax: config.limits.frameBytesMax,
    backpressureBytesMax: config.limits.slowConsumerSoftBytes,
    idleTimeoutSeconds: Math.round(config.limits.idleTimeoutMs / 1000),
    refuse: ({ origin }) => {
      const isFull = sessions.size >= limits.connectionsMax || turns.waiting >= limits.sessionsWaitingMax
      if (isFull) {
        metrics.counters.connectionsRefused += 1
        return '503 Service Unavailable'
      }
      if (origin !== '' && !config.allowedOrigins.includes('*') && !config.allowedOrigins.includes(origin)) {
        return '403 Forbidden'
      }
      return null
    },
    // A name that this server does not have is let in and closed with a code at once: a browser cannot see why an
    // upgrade was refused.
    prepare: ({ query }) => openFirst(databases, query.get('database') ?? DEFAULT_DATABASE),
    waiting: sessions,
    connect: ({ query, remoteAddress }, sink) => {
      const name = query.get('database') ?? DEFAULT_DATABASE
      const open = databases.find(name)
      if (open === undefined) return { ...closeReasons.unknownDatabase, reason: whyUnknown(name) }
      const session = new NativeSession(randomId(), contextOf(open), sink)
      sessions.add(session)
      metrics.counters.connectionsOpened += 1
      logger.debug({ connection: session.id, database: open.database.name, remoteAddress }, 'connection open')
      return session
    },
  }
}
