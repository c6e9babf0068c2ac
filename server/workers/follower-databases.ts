/**
 * Follower databases: the databases of a thread that does not write. Each reads the writer's rows, follows its groups
 * and sends it what is to be written.
 *
 * LMDB shows a reader its newest commit, which may be ahead of the group that is told of. So the rows are held as they
 * are when a group comes, and groups gathered until they reach the revision those rows are of; then all of them are
 * shown as one. That takes one flush at most, and what is read is always exactly what has been shown.
 *
 * INVARIANT 14: between groups a follower's rows, windows and rights are as of one revision, one the writer has flushed.
 */
import { join } from 'node:path'
import { Decoder } from '../../protocol/index.ts'
import { denyAll, loadRuleset, type Ruleset } from '../../rules/index.ts'
import type { Config } from '../config.ts'
import { Database } from '../database.ts'
import type { Databases, OpenDatabase } from '../databases.ts'
import { denialExplainer, type ExplainDenial } from '../denials.ts'
import type { Commit } from '../log/log.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { FirebaseWire } from '../sessions/firebase-wire.ts'
import { NativeWire } from '../sessions/native-wire.ts'
import type { Publisher } from '../sessions/sink.ts'
import type { FollowerStore } from '../store/follower-store.ts'
import { openLmdbFollower } from '../store/store-lmdb.ts'
import { FollowerLog } from './follower-log.ts'
import { decodeCommits, decodeEntries } from './group-codec.ts'
import type { GroupReader } from './group-ring.ts'
import type { GroupNotice, OpenedDatabase, SettledNotice, ToFollower } from './messages.ts'

export interface FollowerDatabasesOptions {
  config: Config
  metrics: Metrics
  logger: Logger
  publisher: Publisher
  reader: GroupReader
  nowMs(): number
  onBug(error: unknown): void
  /** Has the writer open a database. @throws {RequestError} */
  openAtWriter(name: string): Promise<OpenedDatabase>
  sendOperations(database: number, bytes: Uint8Array): void
}

/** With a group's commits read: the memory they lay in is the writer's again. */
type DatabaseNotice =
  | Exclude<Extract<ToFollower, { database: number }>, GroupNotice>
  | { type: 'group'; database: number; revision: number; commits: readonly Commit[] }

export class FollowerDatabases implements Databases {
  readonly #options: FollowerDatabasesOptions
  readonly #explainDenial: ExplainDenial
  readonly #opening = new Map<string, Promise<FollowedDatabase>>()
  readonly #open = new Map<string, FollowedDatabase>()
  readonly #byNumber = new Map<number, FollowedDatabase>()
  /** Told of databases that are being opened here. */
  readonly #early: DatabaseNotice[] = []
  #openingCount = 0

  constructor(options: FollowerDatabasesOptions) {
    this.#options = options
    const { config, logger, nowMs } = options
    this.#explainDenial = denialExplainer({ dev: config.dev, logger, nowMs })
  }

  find(name: string): OpenDatabase | undefined {
    return this.#open.get(name)?.open
  }

  *all(): Iterable<OpenDatabase> {
    for (const { open } of this.#open.values()) yield open
  }

  get size(): number {
    return this.#open.size
  }

  get names(): string[] {
    return [...this.#open.keys()].sort()
  }

  async open(name: string): Promise<OpenDatabase> {
    let opening = this.#opening.get(name)
    if (opening === undefined) {
      opening = this.#openNow(name)
      this.#opening.set(name, opening)
      // Refused by the writer's policy, or the disk: may be asked for again.
      opening.catch(() => this.#opening.delete(name))
    }
    return (await opening).open
  }

  async #openNow(name: string): Promise<FollowedDatabase> {
    this.#openingCount += 1
    let followed: FollowedDatabase
    try {
      const opened = await this.#options.openAtWriter(name)
      followed = new FollowedDatabase(name, opened, this.#options, this.#explainDenial)
      this.#byNumber.set(opened.number, followed)
    } finally {
      this.#openingCount -= 1
    }
    const early = this.#early.splice(0)
    for (const notice of early) this.#pass(notice)
    await followed.whenCurrent
    this.#open.set(name, followed)
    this.#options.logger.info({ database: name, revision: followed.open.database.revision }, 'database open')
    return followed
  }

  heard(notice: Extract<ToFollower, { database: number }>): void {
    if (notice.type !== 'group') {
      this.#pass(notice)
      return
    }
    const { type, database, revision, place } = notice
    const commits = place === null ? [] : this.#options.reader.read(place, decodeCommits)
    this.#pass({ type, database, revision, commits })
  }

  #pass(notice: DatabaseNotice): void {
    const followed = this.#byNumber.get(notice.database)
    if (followed !== undefined) followed.heard(notice)
    else if (this.#openingCount > 0) this.#early.push(notice)
  }

  async idle(): Promise<void> {
    await Promise.all([...this.#open.values()].map(({ log }) => log.idle()))
  }

  /** Sends what still waits for the end of the turn. */
  flush(): void {
    for (const { log } of this.#open.values()) log.flush()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#byNumber.values()].map(({ open }) => open.database.close()))
  }
}

class FollowedDatabase {
  readonly open: OpenDatabase
  readonly log: FollowerLog
  /** Resolves once what its rows show has been shown by the writer. */
  readonly whenCurrent: Promise<void>
  readonly #options: FollowerDatabasesOptions
  readonly #store: FollowerStore
  readonly #database: Database
  /** Groups heard of whose rows, and more, are held. */
  #commits: Commit[] = []
  /** Up to where groups were heard of. */
  #heardRevision: number
  /** What waits for groups up to a revision to be shown. */
  #afterwards: { revision: number; call(): void }[] = []

  constructor(
    name: string,
    { number, store, revision, rules }: OpenedDatabase,
    options: FollowerDatabasesOptions,
    explainDenial: ExplainDenial,
  ) {
    const { config, metrics, publisher, nowMs, onBug, sendOperations } = options
    this.#options = options
    this.#store = openLmdbFollower(join(config.data, name), {
      ...store,
      cacheBytes: config.cacheBytes,
      changeLogBytes: config.changeLogBytes,
      changeLogMs: config.changeLogMinutes * 60_000,
    })
    this.log = new FollowerLog({
      send: (bytes) => sendOperations(number, bytes),
      decodeEntries: (bytes) => decodeEntries(new Decoder(bytes)),
      queueMax: config.limits.writeQueueMax,
    })
    this.#database = new Database({
      name,
      store: this.#store,
      ruleset: rulesetFrom(rules, options),
      counters: metrics.counters,
      nowMs,
      readNodesMax: config.limits.readNodesMax,
      writeQueueMax: config.limits.writeQueueMax,
      explainDenial,
      onBug,
      remoteLog: this.log,
    })
    this.open = {
      database: this.#database,
      nativeWire: new NativeWire(name, publisher, metrics.counters, this.#database),
      firebaseWire: new FirebaseWire(name, publisher, metrics.counters),
      onDisconnect: this.log,
      presence: this.log,
    }
    this.#database.addWire(this.open.nativeWire)
    this.#database.addWire(this.open.firebaseWire)
    this.#heardRevision = revision
    const { flushedRevision } = this.#store
    this.whenCurrent =
      flushedRevision <= revision
        ? Promise.resolve()
        : new Promise((call) => this.#afterwards.push({ revision: flushedRevision, call }))
  }

  heard(notice: DatabaseNotice): void {
    switch (notice.type) {
      case 'group':
        return this.#follow(notice.revision, notice.commits)
      case 'settled':
        return this.#after(notice.revision, () => this.log.settle(notice as SettledNotice))
      case 'ran':
        return this.#after(this.#heardRevision, () => this.log.ran(notice.number))
      case 'rules':
        this.#database.replaceRuleset(rulesetFrom(notice.source, this.#options))
    }
  }

  #follow(revision: number, told: readonly Commit[]): void {
    const { metrics } = this.#options
    for (const commit of told) {
      // What the rows showed when they were opened is told of once more. A message is in no row.
      const isKnown = commit.revision <= this.#store.flushedRevision && commit.messages === undefined
      if (!isKnown) this.#commits.push(commit)
    }
    this.#heardRevision = revision
    if (this.#store.pin() > revision) return
    const startMs = performance.now()
    const commits = this.#commits
    this.#commits = []
    this.#database.followGroup(commits, () => this.#store.advance())
    if (commits.length > 0) metrics.observePublish(performance.now() - startMs)
    this.#goOn()
  }

  #after(revision: number, call: () => void): void {
    if (this.#afterwards.length > 0 || this.#shownRevision < revision)
      this.#afterwards.push({ revision, call })
    else call()
  }

  #goOn(): void {
    while (this.#afterwards.length > 0 && this.#afterwards[0]!.revision <= this.#shownRevision) {
      this.#afterwards.shift()!.call()
    }
  }

  /** The rows may be ahead of what was heard of, as long as the database is being opened. */
  get #shownRevision(): number {
    return Math.min(this.#heardRevision, this.#database.revision)
  }
}

/** The writer has loaded the same text. */
function rulesetFrom(source: string, { logger }: FollowerDatabasesOptions): Ruleset {
  const loaded = loadRuleset(source)
  if (loaded.ok) return loaded.ruleset
  logger.error('rules that the writer has in force do not load in a worker; it denies all')
  return denyAll
}
