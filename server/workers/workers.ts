/**
 * Workers: the threads of a server as the one that writes sees them. It hands them each group it has flushed, takes
 * their writes, serves what only it can serve, and replaces those that end.
 *
 * INVARIANT 15: a follower is told of every group from the moment it asked for a database, in order, or it ends.
 */
import { Worker } from 'node:worker_threads'
import { Encoder } from '../../protocol/index.ts'
import type { Config } from '../config.ts'
import { valuesOf } from '../config-load.ts'
import type { Database } from '../database.ts'
import type { Followers, LocalDatabases, OpenDatabase } from '../databases.ts'
import type { Front } from '../front.ts'
import type { Commit } from '../log/log.ts'
import type { Logger } from '../log.ts'
import { Metrics, type MetricsPart } from '../metrics.ts'
import { OpenSessions } from '../sessions/open-sessions.ts'
import type { HttpRoute } from '../transport/http.ts'
import type { FollowerData } from './follower.ts'
import { encodeCommits } from './group-codec.ts'
import { GroupRing } from './group-ring.ts'
import { Link, type LinkPort } from './link.ts'
import type { FromFollower, FromWriter, GroupNotice, ToFollower, ToWriter } from './messages.ts'
import { serveProxied } from './proxy.ts'
import { RemoteWrites } from './remote-writes.ts'

export interface WorkersOptions {
  config: Config
  metrics: Metrics
  logger: Logger
  /** The program of a thread, where it is not built beside this file. */
  entry?: URL | undefined
  /** A follower that has not read for so long, though there is something to read, is given up. */
  lagMsMax?: number | undefined
  /** Memory of a thread's heap; V8's own limit by default. */
  heapMiBMax?: number | undefined
  onBug(error: unknown): void
}

export interface WorkersParts {
  databases: LocalDatabases
  front: Front
  port: number
  /** What followers leave to this thread. */
  routes: readonly HttpRoute[]
}

/** Beside this file once it is built; threads have no loader for sources. */
const ENTRY = new URL('./worker-main.ts', import.meta.url).href.replace(/\.ts$/, '.js')
const LAG_MS_MAX = 15_000
/** A follower that reads, but has fallen behind by so much, is given up, too. */
const LAG_BYTES_MAX = 256 * 1024 * 1024
const LOOK_MS = 1000
/** One that ends soon after its start is replaced later and later. */
const RESTART_MS_MIN = 100
const RESTART_MS_MAX = 10_000
const LIVED_LONG_MS = 60_000

/** A follower that does not answer is not waited for longer. */
const PATIENCE_MS = 3000

type FollowerLink = Link<ToFollower, ToWriter, FromWriter, FromFollower>

interface Follower {
  thread: number
  link: FollowerLink
  /** By the number of the database. */
  writes: Map<number, RemoteWrites>
  /** What to call when the client of a request that is served here for it goes away. */
  proxied: Map<number, () => void>
  startedMs: number
  isReady: boolean
  isGivenUp: boolean
  readCount: number
  readMs: number
  exited: Promise<void>
}

export class Workers implements Followers {
  /** Sessions of this thread. */
  readonly sessions: OpenSessions
  readonly #options: WorkersOptions
  readonly #count: number
  readonly #sessionCounts: Int32Array
  readonly #ring: GroupRing
  readonly #encoder = new Encoder()
  readonly #followers = new Map<number, Follower>()
  readonly #numbers = new Map<Database, number>()
  readonly #restarts = new Map<number, number>()
  #parts: WorkersParts | null = null
  #look: NodeJS.Timeout | null = null
  #isClosing = false

  constructor(options: WorkersOptions) {
    this.#options = options
    this.#count = options.config.workers - 1
    this.#sessionCounts = new Int32Array(new SharedArrayBuffer(4 * options.config.workers))
    this.#ring = new GroupRing(this.#count)
    this.sessions = new OpenSessions(this.#sessionCounts, 0)
  }

  /** Resolves when all of them serve. @throws {Error} One ended before it served. */
  async start(parts: WorkersParts): Promise<void> {
    this.#parts = parts
    this.#look = setInterval(() => this.#lookAfterThem(), Math.min(LOOK_MS, this.#lagMsMax))
    this.#look.unref()
    await Promise.all(Array.from({ length: this.#count }, (_, i) => this.#spawn(i + 1)))
  }

  // Followers

  flushed(database: Database, commits: readonly Commit[]): void {
    const number = this.#numbers.get(database)
    if (number === undefined) return
    const told = [...this.#followers.values()].filter(({ writes }) => writes.has(number))
    if (told.length === 0) return
    const notice: GroupNotice = { type: 'group', database: number, revision: database.revision, place: null }
    if (commits.length > 0) {
      this.#encoder.reset()
      encodeCommits(this.#encoder, commits)
      const indexes = told.map(({ thread }) => thread - 1)
      notice.revision = commits[commits.length - 1]!.revision
      notice.place = this.#ring.write(this.#encoder.view(), indexes)
    }
    for (const { link } of told) link.send(notice)
  }

  rulesChanged(database: Database): void {
    const number = this.#numbers.get(database)
    if (number === undefined) return
    const notice: ToFollower = { type: 'rules', database: number, source: database.ruleset.source }
    for (const { writes, link } of this.#followers.values()) if (writes.has(number)) link.send(notice)
  }

  // For this thread's front

  /** Ends a session of another thread; resolves when what it left is visible. */
  takeOver(database: string, sessionId: string): Promise<void> {
    return this.#takeOver(database, sessionId, null)
  }

  async #takeOver(database: string, sessionId: string, asking: Follower | null): Promise<void> {
    if (asking !== null) await this.#parts!.front.takeOver(database, sessionId)
    const others = [...this.#followers.values()].filter((follower) => follower !== asking)
    // One that ends meanwhile has its sessions ended, too.
    const ended = Promise.allSettled(others.map(({ link }) => link.ask('takeOver', { database, sessionId })))
    await orAfter(ended, PATIENCE_MS, null)
    await this.#parts!.databases.find(database)?.onDisconnect.settling
  }

  /** Metrics of all threads, by worker. */
  async metricsText(): Promise<string> {
    const parts: [string, MetricsPart][] = [['0', await this.#options.metrics.part()]]
    const ready = [...this.#followers.values()].filter(({ isReady }) => isReady)
    for (const { thread, link } of ready) {
      const asked = link.ask('metrics', null).catch(() => null)
      const part = await orAfter(asked, PATIENCE_MS, null)
      if (part !== null) parts.push([String(thread), part])
    }
    return Metrics.merged(parts)
  }

  /** @returns Resolves when their writes are settled. */
  async announceEnd(delayMs: number): Promise<void> {
    this.#isClosing = true
    await Promise.allSettled(
      [...this.#followers.values()].map(({ link }) => link.ask('announceEnd', { delayMs })),
    )
  }

  /** Resolves when all threads have ended, and what their sessions left has been submitted. */
  async close(): Promise<void> {
    this.#isClosing = true
    if (this.#look !== null) clearInterval(this.#look)
    const followers = [...this.#followers.values()]
    await Promise.allSettled(followers.map(({ link }) => link.ask('close', null)))
    await Promise.all(followers.map(({ exited }) => exited))
  }

  /** Has a thread end by an exception: for tests. */
  fail(thread: number): void {
    this.#followers.get(thread)?.link.send({ type: 'fail' })
  }

  /** Has a thread use up its memory: for tests. */
  fill(thread: number): void {
    this.#followers.get(thread)?.link.send({ type: 'fill' })
  }

  /** Has a thread do nothing: for tests. @returns Has it go on. */
  stall(thread: number): () => void {
    const flag = new Int32Array(new SharedArrayBuffer(4))
    this.#followers.get(thread)?.link.send({ type: 'stall', flag })
    return () => {
      Atomics.store(flag, 0, 1)
      Atomics.notify(flag, 0)
    }
  }

  get #lagMsMax(): number {
    return this.#options.lagMsMax ?? LAG_MS_MAX
  }

  /** @returns Resolves once it serves, or rejects when it ends before. */
  #spawn(thread: number): Promise<void> {
    const { config, entry, heapMiBMax } = this.#options
    const data: FollowerData = {
      thread,
      config: valuesOf(config),
      port: this.#parts!.port,
      cursors: this.#ring.cursors,
      sessionCounts: this.#sessionCounts,
    }
    const worker = new Worker(entry ?? new URL(ENTRY), {
      workerData: data,
      name: `hearth worker ${thread}`,
      ...(heapMiBMax === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: heapMiBMax } }),
    })
    return new Promise((resolve, reject) => {
      const startedMs = performance.now()
      let problem = new Error(`worker ${thread} ended before it served`)
      const link: FollowerLink = this.#linkTo(worker, () => follower, resolve)
      const follower: Follower = {
        thread,
        link,
        writes: new Map(),
        proxied: new Map(),
        startedMs,
        isReady: false,
        isGivenUp: false,
        readCount: this.#ring.readCount(thread - 1),
        readMs: startedMs,
        exited: new Promise((exited) => {
          worker.on('exit', () => {
            this.#ended(follower)
            exited()
            reject(problem)
          })
        }),
      }
      worker.on('error', (error: Error) => {
        problem = error
        this.#options.onBug(error)
      })
      this.#ring.attach(thread - 1)
      this.#followers.set(thread, follower)
    })
  }

  #linkTo(worker: LinkPort, follower: () => Follower, ready: () => void): FollowerLink {
    const { onBug } = this.#options
    return new Link<ToFollower, ToWriter, FromWriter, FromFollower>({
      port: worker,
      heard(notice) {
        try {
          if (notice.type === 'gone') follower().proxied.get(notice.request)?.()
          else follower().writes.get(notice.database)?.perform(notice.bytes)
        } catch (error) {
          onBug(error)
        }
      },
      serve: {
        open: async ({ name }) => {
          const open = await this.#parts!.databases.open(name)
          const number = this.#numberOf(open)
          const { link, writes } = follower()
          writes.set(number, new RemoteWrites(number, open, (notice) => link.send(notice)))
          const { followed: store, revision, ruleset } = open.database
          return { number, store, revision, rules: ruleset.source }
        },
        http: (request) => {
          const { proxied } = follower()
          const { number } = request
          const serving = serveProxied(request, this.#parts!.routes, (call) => proxied.set(number, call))
          return serving.finally(() => proxied.delete(number))
        },
        takeOver: async ({ database, sessionId }) => {
          await this.#takeOver(database, sessionId, follower())
          return null
        },
        names: () => this.#parts!.databases.names,
        metrics: () => this.metricsText(),
        ready: () => {
          follower().isReady = true
          ready()
          return null
        },
      },
    })
  }

  #numberOf({ database }: OpenDatabase): number {
    let number = this.#numbers.get(database)
    if (number === undefined) {
      number = this.#numbers.size
      this.#numbers.set(database, number)
    }
    return number
  }

  #ended(follower: Follower): void {
    const { thread, link, writes, startedMs, isReady } = follower
    const { logger, metrics } = this.#options
    this.#followers.delete(thread)
    this.#ring.detach(thread - 1)
    Atomics.store(this.#sessionCounts, thread, 0)
    link.close()
    for (const ofDatabase of writes.values()) ofDatabase.followerEnded()
    for (const gone of follower.proxied.values()) gone()
    if (this.#isClosing || (!isReady && !this.#restarts.has(thread))) return
    metrics.counters.workerRestarts += 1
    const hasLived = performance.now() - startedMs > LIVED_LONG_MS
    const soon = hasLived ? 0 : (this.#restarts.get(thread) ?? 0)
    this.#restarts.set(thread, soon + 1)
    const delayMs = Math.min(RESTART_MS_MIN * 2 ** soon, RESTART_MS_MAX)
    logger.error({ worker: thread, delayMs }, 'a worker has ended; it is replaced')
    setTimeout(() => {
      if (this.#isClosing) return
      this.#spawn(thread).then(
        () => logger.info({ worker: thread }, 'a worker was replaced'),
        // It ended again, which was seen to there.
        () => {},
      )
    }, delayMs).unref()
  }

  /** Gives up those that do not read what they are told of. */
  #lookAfterThem(): void {
    const nowMs = performance.now()
    for (const follower of this.#followers.values()) {
      const { thread, link, isGivenUp } = follower
      const unread = this.#ring.unread(thread - 1)
      const readCount = this.#ring.readCount(thread - 1)
      if (unread === 0 || readCount !== follower.readCount) follower.readMs = nowMs
      follower.readCount = readCount
      const isStuck = nowMs - follower.readMs > this.#lagMsMax || unread > LAG_BYTES_MAX
      if (isGivenUp || !isStuck) continue
      follower.isGivenUp = true
      this.#options.logger.error({ worker: thread, unread }, 'a worker does not follow; it is told to end')
      // What it was told of stays where it is until it has ended: it may wake and read on up to this.
      link.send({ type: 'end' })
      for (const ofDatabase of follower.writes.values()) ofDatabase.followerEnded()
      follower.writes.clear()
    }
  }
}

async function orAfter<T, F>(promise: Promise<T>, ms: number, fallback: F): Promise<T | F> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<F>((resolve) => {
    timer = setTimeout(() => resolve(fallback), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
