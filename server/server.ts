/**
 * Server: the composition root. The only file that builds the parts and joins them.
 */
import { mkdirSync, statSync } from 'node:fs'
import { createVerifier } from './auth.ts'
import { bugReporter } from './bugs.ts'
import type { Config } from './config.ts'
import { LocalDatabases } from './databases.ts'
import { Front } from './front.ts'
import { createLogger, type Logger } from './log.ts'
import { Metrics } from './metrics.ts'
import { RulesFileError, RulesSource } from './rules-source.ts'
import type { Store } from './store/store.ts'
import { isDatabaseFolder, openLmdbStore } from './store/store-lmdb.ts'
import type { HttpRoute } from './transport/http.ts'
import { longPollRoute } from './transport/long-poll-route.ts'
import { settingsRoute } from './transport/settings.ts'
import { claimPort } from './transport/websocket.ts'
import { Workers } from './workers/workers.ts'

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
  /** Has a worker thread end by an exception, for tests of what follows. */
  failWorker?(thread: number): void
  /** Has a worker thread use up its memory, likewise. */
  fillWorker?(thread: number): void
  /** Has a worker thread do nothing, likewise. @returns Has it go on. */
  stallWorker?(thread: number): () => void
  /** Ends everything without telling clients first; what is queued is still flushed. */
  close(): Promise<void>
}

export interface ServerParts {
  nowMs?: () => number
  random?: () => number
  logger?: Logger
  /** Opens the store of one database in its own folder. */
  openStore?: (folder: string) => Promise<Store>
  /** The built program of a worker thread, for a server that runs from its sources. */
  workerEntry?: URL
  /** How long a worker thread may follow nothing before it is given up. */
  workerLagMsMax?: number
  /** Memory of a worker thread's heap. */
  workerHeapMiBMax?: number
}

/** Clients of a server that goes away come back over this long, so that the next one is not met by all at once. */
const RECONNECT_SPREAD_MS = 2000

/** @throws {StartError} with one line that says what is wrong and where. */
export async function startServer(config: Config, parts: ServerParts = {}): Promise<RunningServer> {
  const nowMs = parts.nowMs ?? Date.now
  const logger = parts.logger ?? createLogger(config.log)
  assertMayHoldDatabases(config.data)
  const rules = openRules(config, logger)
  const metrics = new Metrics()
  const onBug = bugReporter(metrics.counters, logger)
  mkdirSync(config.data, { recursive: true })
  const openStore =
    parts.openStore ??
    ((folder: string) =>
      openLmdbStore({
        folder,
        databaseBytesMax: config.databaseBytesMax,
        cacheBytes: config.cacheBytes,
        durability: config.durability,
        changeLogBytes: config.changeLogBytes,
        changeLogMs: config.changeLogMinutes * 60_000,
      }))
  const workers =
    config.workers === 1
      ? null
      : new Workers({
          config,
          metrics,
          logger,
          entry: parts.workerEntry,
          lagMsMax: parts.workerLagMsMax,
          heapMiBMax: parts.workerHeapMiBMax,
          onBug,
        })
  const front = new Front({
    config,
    metrics,
    logger,
    nowMs,
    random: parts.random,
    onBug,
    sessions: workers?.sessions,
  })
  const { publisher } = front
  const databases = new LocalDatabases({
    config,
    rules,
    metrics,
    logger,
    publisher,
    nowMs,
    openStore,
    onBug,
    followers: workers ?? undefined,
  })
  try {
    const verifier = createVerifier(config, { nowMs })
    for (const name of config.databases.names) await databases.open(name)
    const { limits, allowedOrigins } = config
    let ownRoutes: readonly HttpRoute[] = []
    const port = await front.listen({
      databases,
      verifier,
      port: workers === null ? config.port : await claimPort(config.host, config.port),
      isShared: workers !== null,
      routes: (service, topics, answers) => {
        ownRoutes = [
          longPollRoute({ service, topics, answers, limits, allowedOrigins }),
          settingsRoute({ databases, rules, verifier, isDev: config.dev, nowMs }),
        ]
        return ownRoutes
      },
      metricsText: () => workers?.metricsText() ?? metrics.text(),
      ...(workers === null ? {} : { takeOverElsewhere: (name, id) => workers.takeOver(name, id) }),
    })
    await workers?.start({ databases, front, port, routes: ownRoutes })
    rules.watch()
    front.isReady = true
    logger.info({ host: config.host, port, dev: config.dev, workers: config.workers }, 'serving')

    let ended: Promise<void> | null = null
    const end = async (isGraceful: boolean): Promise<void> => {
      rules.close()
      databases.suspendPresence()
      if (isGraceful) {
        front.announceEnd(RECONNECT_SPREAD_MS)
        const settled = Promise.all([workers?.announceEnd(RECONNECT_SPREAD_MS), databases.idle()])
        await withinMs(settled, config.drainTimeoutMs / 2)
      }
      front.close()
      // Before the databases: their sessions leave writes behind, too.
      if (workers !== null) await withinMs(workers.close(), config.drainTimeoutMs / 4)
      await withinMs(databases.close(), config.drainTimeoutMs / 2)
      metrics.close()
      logger.info('closed')
    }
    return {
      address: { host: config.host, port },
      url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`,
      isOpen: rules.isOpen,
      ...(workers === null
        ? {}
        : {
            failWorker: (thread: number) => workers.fail(thread),
            fillWorker: (thread: number) => workers.fill(thread),
            stallWorker: (thread: number) => workers.stall(thread),
          }),
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
    front.close()
    await workers?.close()
    await databases.close()
    metrics.close()
    throw error
  }
}

/**
 * For a folder that is one too deep: a database made in it would be empty, and all that clients wrote seem gone.
 * @throws {StartError}
 */
export function assertMayHoldDatabases(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === false) {
    throw new StartError(`data folder \`${folder}\` is a file`)
  }
  if (isDatabaseFolder(folder)) {
    throw new StartError(`\`${folder}\` is the folder of one database; the data folder is the one above it`)
  }
}

function openRules(config: Config, logger: Logger): RulesSource {
  try {
    return new RulesSource({ file: config.rules, isDev: config.dev, dataFolder: config.data, logger })
  } catch (error) {
    throw error instanceof RulesFileError ? new StartError(error.message) : error
  }
}

/** Waits for a promise, but not longer than this: a client or disk that hangs must not keep a server from ending. */
function withinMs(promise: Promise<unknown>, ms: number): Promise<unknown> {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, ms).unref())])
}
