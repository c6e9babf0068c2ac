/**
 * Follower: a thread with sockets of its own on the server's port. Reads and listens are served from the rows the
 * writing thread writes, which this one follows group by group; what is to be written goes there.
 */
import { createVerifier } from '../auth.ts'
import { bugReporter } from '../bugs.ts'
import type { ConfigValues } from '../config.ts'
import { configFrom } from '../config-load.ts'
import { Front } from '../front.ts'
import { createLogger, finishLog } from '../log.ts'
import { Metrics } from '../metrics.ts'
import { OpenSessions } from '../sessions/open-sessions.ts'
import { HttpError } from '../transport/http-error.ts'
import { FollowerDatabases } from './follower-databases.ts'
import { GroupReader } from './group-ring.ts'
import { Link, type LinkPort } from './link.ts'
import type { FromFollower, FromWriter, ToFollower, ToWriter } from './messages.ts'
import { PROXIED_MAX, proxyRoute } from './proxy.ts'

/** What a thread is started with. */
export interface FollowerData {
  /** From 1; the writing thread is 0. */
  thread: number
  config: ConfigValues
  port: number
  /** Of the group ring. */
  cursors: Int32Array
  /** Sessions of each thread. */
  sessionCounts: Int32Array
}

export interface RunningFollower {
  /** Closes its sockets at once: a thread that ends with open ones takes the process with it. */
  abandon(): void
}

/** @param end Ends the thread. */
export async function runFollower(
  port: LinkPort,
  data: FollowerData,
  end: (code: number) => void,
  started: (follower: RunningFollower) => void,
): Promise<void> {
  const config = configFrom(data.config)
  const logger = createLogger(config.log).child({ worker: data.thread })
  const metrics = new Metrics({ isFollower: true })
  const nowMs = Date.now
  const onBug = bugReporter(metrics.counters, logger)
  const sessions = new OpenSessions(data.sessionCounts, data.thread)
  const front = new Front({ config, metrics, logger, nowMs, onBug, sessions })
  started({ abandon: () => front.close() })
  const link = new Link<ToWriter, ToFollower, FromFollower, FromWriter>({
    port,
    heard(notice) {
      switch (notice.type) {
        case 'fail':
          throw new Error('told to fail')
        case 'fill':
          return fillMemory()
        case 'stall':
          Atomics.wait(notice.flag, 0, 0)
          return
        case 'end':
          front.close()
          return end(1)
        default:
          databases.heard(notice)
      }
    },
    serve: {
      metrics: () => metrics.part(),
      async takeOver({ database, sessionId }) {
        await front.takeOver(database, sessionId)
        return null
      },
      async announceEnd({ delayMs }) {
        front.announceEnd(delayMs)
        await databases.idle()
        return null
      },
      close() {
        front.close()
        databases.flush()
        // In a later turn: what has been posted is on its way by then.
        setImmediate(() => {
          metrics.close()
          databases
            .close()
            .then(finishLog)
            .finally(() => end(0))
        })
        return null
      },
    },
  })
  const databases: FollowerDatabases = new FollowerDatabases({
    config,
    metrics,
    logger,
    publisher: front.publisher,
    reader: new GroupReader(data.cursors, data.thread - 1),
    nowMs,
    onBug,
    openAtWriter: (name) => link.ask('open', { name }),
    sendOperations: (database, bytes) =>
      link.send({ type: 'operations', database, bytes }, [bytes.buffer as ArrayBuffer]),
  })
  const verifier = createVerifier(config, { nowMs })
  for (const name of config.databases.names) await databases.open(name)
  await front.listen({
    databases,
    verifier,
    port: data.port,
    isShared: true,
    routes: (_service, _topics, answers) => [
      proxyRoute(
        isServedByWriter,
        answers,
        async (request) => {
          if (link.pending < PROXIED_MAX) return link.ask('http', request)
          throw new HttpError('503 Service Unavailable', 'try again', [['Retry-After', '1']])
        },
        (request) => link.send({ type: 'gone', request }),
      ),
    ],
    metricsText: () => link.ask('metrics', null),
    takeOverElsewhere: async (database, sessionId) => {
      await link.ask('takeOver', { database, sessionId })
    },
  })
  front.isReady = true
  await link.ask('ready', null)
}

/** Within event turns, as what clients make a thread keep would. */
function fillMemory(kept: object[] = []): void {
  for (let i = 0; i < 10_000; i++) kept.push({ text: `${i}` })
  setImmediate(() => fillMemory(kept))
}

/** Settings, and long polls: whatever REST cannot mean, since its keys have no dot. */
function isServedByWriter(path: string): boolean {
  return /^\/\.(lp|settings|inspect)(\/|$)/.test(path)
}
