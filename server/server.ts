/**
 * Server: the composition root. The only file that builds the parts and joins them.
 */
import { mkdirSync } from 'node:fs'
import { closeReasons, pushIdMaker, RequestError } from '../protocol/index.ts'
import { createVerifier, type Verifier } from './auth.ts'
import type { Config } from './config.ts'
import { Databases, DEFAULT_DATABASE, type OpenDatabase } from './databases.ts'
import { createLogger, type Logger } from './log.ts'
import { Metrics } from './metrics.ts'
import { randomId } from './random-id.ts'
import { RulesFileError, RulesSource } from './rules-source.ts'
import type { FirebaseSession } from './sessions/firebase-session.ts'
import { LongPollTopics } from './sessions/long-poll.ts'
import { NativeSession, type NativeSessionContext, type SessionLimits } from './sessions/native-session.ts'
import type { Publisher } from './sessions/sink.ts'
import type { Store } from './store/store.ts'
import { openLmdbStore } from './store/store-lmdb.ts'
import { FirebaseService, firebaseRoute } from './transport/firebase-route.ts'
import { httpHandler } from './transport/http.ts'
import { longPollRoute } from './transport/long-poll-route.ts'
import { restRoute } from './transport/rest.ts'
import { settingsRoute } from './transport/settings.ts'
import { listen, type Transport, type WebSocketRoute } from './transport/websocket.ts'

/** Why a server could not start, in one line. */
export class StartError extends Error {}

export interface RunningServer {
  readonly address: { host: string; port: number }
  /** `http://host:port`; the same port serves every protocol. */
  readonly url: string
  /** True when there is no rules file and everything is open (`--dev`). */
  readonly isOpen: boolean
  /** Stops accepting, tells clients to come back elsewhere, flushes, closes. Safe to call twice. */
  drain(): Promise<void>
  /** Ends everything without telling clients first; what is queued is still flushed. */
  close(): Promise<void>
}

export interface ServerParts {
  nowMs?: () => number
  random?: () => number
  logger?: Logger
  /** Opens the store of one database in its own folder. */
  openStore?: (folder: string) => Promise<Store>
}

/** Clients of a server that goes away come back over this long, so that the next one is not met by all at once. */
const RECONNECT_SPREAD_MS = 2000

/** @throws {StartError} with one line that says what is wrong and where. */
export async function startServer(config: Config, parts: ServerParts = {}): Promise<RunningServer> {
  const nowMs = parts.nowMs ?? Date.now
  const logger = parts.logger ?? createLogger(config.log)
  const rules = openRules(config, logger)
  const metrics = new Metrics()
  const onBug = (error: unknown): void => {
    metrics.counters.bugs += 1
    logger.error({ err: error }, 'internal error')
  }
  mkdirSync(config.data, { recursive: true })
  const transportSlot: { current: Transport | null } = { current: null }
  const topics = new LongPollTopics()
  const publisher: Publisher = {
    publish(topic, bytes, frames) {
      transportSlot.current?.publish(topic, bytes, frames)
      if (frames === 'text') topics.publish(topic, bytes)
    },
  }
  const openStore =
    parts.openStore ??
    ((folder: string) =>
      openLmdbStore({
        folder,
        databaseBytesMax: config.databaseBytesMax,
        cacheBytes: config.cacheBytes,
        durability: config.durability,
      }))
  const databases = new Databases({ config, rules, metrics, logger, publisher, nowMs, openStore, onBug })
  const sessions = new Set<Session>()
  const makePushId = pushIdMaker(parts.random)
  let isReady = false
  try {
    const verifier = createVerifier(config, { nowMs })
    for (const name of config.databases.names) await databases.open(name)
    const firebase = new FirebaseService({
      config,
      databases,
      sessions,
      verifier,
      metrics,
      logger,
      nowMs,
      onBug,
    })
    const { limits, allowedOrigins } = config
    const transport = await listen({
      host: config.host,
      port: config.port,
      routes: [
        nativeRoute({ config, databases, sessions, verifier, metrics, logger, nowMs, random: parts.random }),
        firebaseRoute(firebase, config),
      ],
      http: httpHandler({
        isReady: () => isReady,
        metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() }),
        routes: [
          longPollRoute({ service: firebase, topics, limits, allowedOrigins }),
          settingsRoute({ databases, rules, verifier, isDev: config.dev }),
          restRoute({
            databases,
            verifier,
            nowMs,
            pushId: () => makePushId(nowMs()),
            limits,
            counters: metrics.counters,
          }),
        ],
        allowedOrigins: config.allowedOrigins,
      }),
      bodyBytesMax: config.limits.bodyBytesMax,
      onBug,
    })
    transportSlot.current = transport
    rules.watch()
    isReady = true
    metrics.gauge('connections', () => sessions.size)
    metrics.gauge('databases', () => databases.size)
    metrics.gauge('indexesBuilding', () => {
      let count = 0
      for (const { database } of databases.all()) count += database.indexProgress.building
      return count
    })
    metrics.gauge('listeners', () => {
      let count = 0
      for (const { database } of databases.all()) count += database.listenerCount
      return count
    })
    logger.info({ host: config.host, port: transport.port, dev: config.dev }, 'serving')

    let ended: Promise<void> | null = null
    const end = async (isGraceful: boolean): Promise<void> => {
      isReady = false
      rules.close()
      transport.stopAccepting()
      if (isGraceful) {
        for (const session of sessions) session.announceEnd(RECONNECT_SPREAD_MS)
        await withinMs(databases.idle(), config.drainTimeoutMs / 2)
      }
      for (const session of [...sessions]) session.end()
      transport.close()
      await withinMs(databases.close(), config.drainTimeoutMs / 2)
      metrics.close()
      logger.info('closed')
    }
    return {
      address: { host: config.host, port: transport.port },
      url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${transport.port}`,
      isOpen: rules.isOpen,
      drain: () => {
        ended ??= end(true)
        return ended
      },
      close: () => {
        ended ??= end(false)
        return ended
      },
    }
  } catch (error) {
    await databases.close()
    metrics.close()
    throw error
  }
}

function openRules(config: Config, logger: Logger): RulesSource {
  try {
    return new RulesSource({ file: config.rules, isDev: config.dev, dataFolder: config.data, logger })
  } catch (error) {
    throw error instanceof RulesFileError ? new StartError(error.message) : error
  }
}

type Session = NativeSession | FirebaseSession

interface NativeRouteParts {
  config: Config
  databases: Databases
  sessions: Set<Session>
  verifier: Verifier
  metrics: Metrics
  logger: Logger
  nowMs(): number
  random: (() => number) | undefined
}

function nativeRoute(parts: NativeRouteParts): WebSocketRoute {
  const { config, databases, sessions, verifier, metrics, logger, nowMs } = parts
  const makePushId = pushIdMaker(parts.random)
  const limits: SessionLimits = config.limits
  const contexts = new Map<OpenDatabase, NativeSessionContext>()
  const contextOf = (open: OpenDatabase): NativeSessionContext => {
    let context = contexts.get(open)
    if (context === undefined) {
      const { database, nativeWire: wire, onDisconnect } = open
      const pushId = (): string => makePushId(nowMs())
      const ended = (session: NativeSession): void => {
        sessions.delete(session)
        logger.debug({ connection: session.id }, 'connection closed')
      }
      const { counters } = metrics
      context = { database, wire, onDisconnect, verifier, nowMs, pushId, limits, counters, ended }
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
    refuse: ({ query, origin }) => {
      if (sessions.size >= config.limits.connectionsMax) return '503 Service Unavailable'
      if (origin !== '' && !config.allowedOrigins.includes('*') && !config.allowedOrigins.includes(origin)) {
        return '403 Forbidden'
      }
      const name = query.get('database') ?? DEFAULT_DATABASE
      if (databases.find(name) !== undefined) return null
      return databases.open(name).then(
        () => null,
        (error: unknown) => {
          // Let in and closed with a code at once: a browser cannot see why an upgrade was refused.
          if (error instanceof RequestError) return null
          throw error
        },
      )
    },
    connect: ({ query, remoteAddress }, sink) => {
      const open = databases.find(query.get('database') ?? DEFAULT_DATABASE)
      if (open === undefined) return closeReasons.unknownDatabase
      const session = new NativeSession(randomId(), contextOf(open), sink)
      sessions.add(session)
      metrics.counters.connectionsOpened += 1
      logger.debug({ connection: session.id, database: open.database.name, remoteAddress }, 'connection open')
      return session
    },
  }
}

/** Waits for a promise, but not longer than this: a client or disk that hangs must not keep a server from ending. */
function withinMs(promise: Promise<unknown>, ms: number): Promise<unknown> {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, ms).unref())])
}
