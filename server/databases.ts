/**
 * Databases: the databases of one server by name, opened on first use, each with its own store, log and listeners.
 * By policy a server has the names it lists, or any name a client asks for.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { clip, RequestError } from '../protocol/index.ts'
import { type Config, DATABASE_NAME_RULE, isDatabaseName } from './config.ts'
import { Database } from './database.ts'
import { denialExplainer, type ExplainDenial } from './denials.ts'
import type { Commit } from './log/log.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'
import { LocalOnDisconnect, type OnDisconnect } from './on-disconnect.ts'
import { LocalPresence, type Presence } from './presence.ts'
import type { RulesSource } from './rules-source.ts'
import { FirebaseWire } from './sessions/firebase-wire.ts'
import { NativeWire } from './sessions/native-wire.ts'
import type { Publisher } from './sessions/sink.ts'
import type { Store } from './store/store.ts'

export const DEFAULT_DATABASE = 'default'

/** A database with what sessions need beside it. */
export interface OpenDatabase {
  database: Database
  nativeWire: NativeWire
  firebaseWire: FirebaseWire
  onDisconnect: OnDisconnect
  presence: Presence
}

export interface DatabasesOptions {
  config: Config
  rules: RulesSource
  metrics: Metrics
  logger: Logger
  publisher: Publisher
  nowMs(): number
  /** @param folder Of this database alone; exists. */
  openStore(folder: string): Promise<Store>
  onBug(error: unknown): void
  followers?: Followers | undefined
}

/** Threads that serve the same databases and follow what this one writes. */
export interface Followers {
  /** A group is on disk; its patches go out after this. */
  flushed(database: Database, commits: readonly Commit[]): void
  rulesChanged(database: Database): void
}

/** Each open database holds a file and a memory map; `open` mode lets clients choose names. */
const OPEN_MAX = 1000

/** What the doors of a server need of its databases, in whichever thread they are. */
export interface Databases {
  /** A database that is already open. */
  find(name: string): OpenDatabase | undefined
  all(): Iterable<OpenDatabase>
  readonly size: number
  /** @throws {RequestError} `unknown_database` where the policy does not allow the name. */
  open(name: string): Promise<OpenDatabase>
  /** Names of the databases there are: listed, or open. */
  readonly names: string[]
}

/** What a client is told whose database is not there. */
export function whyUnknown(name: string): string {
  const quoted = `\`${clip(name)}\``
  return isDatabaseName(name)
    ? `this server has no database ${quoted}`
    : `${quoted} cannot name a database; ${DATABASE_NAME_RULE}`
}

/** @returns What to wait for until a database may be found; null where it is open. One that may not be had is not found then. */
export function openFirst(databases: Databases, name: string): Promise<void> | null {
  if (databases.find(name) !== undefined) return null
  return databases.open(name).then(
    () => {},
    (error: unknown) => {
      if (!(error instanceof RequestError)) throw error
    },
  )
}

/** The databases in the thread that writes them. */
export class LocalDatabases implements Databases {
  readonly #options: DatabasesOptions
  readonly #explainDenial: ExplainDenial
  readonly #opening = new Map<string, Promise<OpenDatabase>>()
  readonly #open = new Map<string, OpenDatabase>()
  readonly #presences: LocalPresence[] = []

  constructor(options: DatabasesOptions) {
    this.#options = options
    const { config, logger, nowMs } = options
    this.#explainDenial = denialExplainer({ dev: config.dev, logger, nowMs })
    options.rules.onChange = (name) => this.#rulesChanged(name)
  }

  find(name: string): OpenDatabase | undefined {
    return this.#open.get(name)
  }

  all(): Iterable<OpenDatabase> {
    return this.#open.values()
  }

  get size(): number {
    return this.#open.size
  }

  async open(name: string): Promise<OpenDatabase> {
    const open = this.#open.get(name)
    if (open !== undefined) return open
    const { mode, names } = this.#options.config.databases
    if (!isDatabaseName(name) || (mode === 'listed' && !names.includes(name))) {
      throw new RequestError('unknownDatabase', whyUnknown(name))
    }
    if (this.#opening.size >= OPEN_MAX) {
      throw new RequestError('unknownDatabase', `this server holds at most ${OPEN_MAX} open databases`)
    }
    let opening = this.#opening.get(name)
    if (opening === undefined) {
      opening = this.#openNow(name)
      this.#opening.set(name, opening)
      // A name whose folder could not be opened may be asked for again.
      opening.catch(() => this.#opening.delete(name))
    }
    return opening
  }

  get names(): string[] {
    return [...new Set([...this.#options.config.databases.names, ...this.#open.keys()])].sort()
  }

  /** The server is about to end: whoever leaves from now on may only be on the way to the next one. */
  suspendPresence(): void {
    for (const presence of this.#presences) presence.suspend()
  }

  async idle(): Promise<void> {
    await Promise.all([...this.#open.values()].map(({ database }) => database.idle()))
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#opening.values())
    await Promise.all([...this.#open.values()].map(({ database }) => database.close()))
    this.#open.clear()
  }

  /** @param name Of one database, or null for all that have no rules of their own. */
  #rulesChanged(name: string | null): void {
    const { rules } = this.#options
    for (const { database } of this.#open.values()) {
      const isMeant = name === null ? !rules.hasOwn(database.name) : database.name === name
      if (!isMeant) continue
      database.replaceRuleset(rules.rulesetOf(database.name))
      this.#options.followers?.rulesChanged(database)
    }
  }

  async #openNow(name: string): Promise<OpenDatabase> {
    const { config, metrics, logger, publisher, nowMs, openStore, onBug, followers } = this.#options
    const folder = join(config.data, name)
    mkdirSync(folder, { recursive: true })
    const store = await openStore(folder)
    const database: Database = new Database({
      name,
      store,
      ruleset: this.#options.rules.rulesetOf(name),
      counters: metrics.counters,
      nowMs,
      readNodesMax: config.limits.readNodesMax,
      writeQueueMax: config.limits.writeQueueMax,
      explainDenial: this.#explainDenial,
      countsCoverage: config.dev,
      onGroup: (group) => metrics.observeGroup(group),
      onIndexProgress: (progress) => {
        const message = progress.building > 0 ? 'building indexes' : 'indexes built'
        logger.info({ database: name, ...progress }, message)
      },
      ...(followers === undefined ? {} : { onFlushed: (commits) => followers.flushed(database, commits) }),
      onBug,
    })
    const onDisconnect = new LocalOnDisconnect(database)
    const presence = new LocalPresence(database, config.presenceGraceMs)
    const open: OpenDatabase = {
      database,
      nativeWire: new NativeWire(name, publisher, metrics.counters, database),
      firebaseWire: new FirebaseWire(name, publisher, metrics.counters),
      onDisconnect,
      presence,
    }
    database.addWire(open.nativeWire)
    database.addWire(open.firebaseWire)
    onDisconnect.runLeftovers()
    presence.resume()
    this.#presences.push(presence)
    database.collectGarbage()
    this.#open.set(name, open)
    logger.info({ database: name, revision: database.revision }, 'database open')
    return open
  }
}
