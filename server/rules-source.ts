/**
 * Rules source: which rules hold for which database, from where, and when they change.
 *
 *   a database's own rules    uploaded; kept as `rules.json` in its folder, so that they survive a restart
 *   the rules file            for every database without rules of its own; watched, and taken anew when it changes
 *   neither                   everything is denied, or with `--dev` everything is open
 *
 * INVARIANT: rules in force are replaced by valid rules only. A text with errors is told about and changes nothing.
 */
import {
  existsSync,
  type FSWatcher,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import {
  allowAll,
  denyAll,
  formatError,
  type LoadResult,
  loadRuleset,
  type RulesError,
  type Ruleset,
} from '../rules/index.ts'
import type { Logger } from './log.ts'

export interface RulesSourceOptions {
  /** The rules file; it need not exist. */
  file: string
  /** Whether a server without a rules file is open. */
  isDev: boolean
  /** Holds a folder for each database. */
  dataFolder: string
  logger: Logger
}

/** The rules file that a server is to start with has errors. */
export class RulesFileError extends Error {}

const OWN_RULES_FILE = 'rules.json'
/** Editors write a file in several steps: this much quiet means that they are done. */
const QUIET_MS = 50
/** A folder in which something changes all the time, such as a log, is looked into nevertheless. */
const RESTLESS_MS = 500

export class RulesSource {
  readonly #options: RulesSourceOptions
  readonly #own = new Map<string, Ruleset | null>()
  #shared: Ruleset
  /** Content of the rules file as it was last looked at, valid or not; null while there is none. */
  #seen: Buffer | null = null
  #seenStamp = ''
  #watcher: FSWatcher | null = null
  #quiet: NodeJS.Timeout | null = null
  /** When the first change came that was not looked into yet, by the monotonic clock. */
  #restlessSinceMs = 0
  /** Hears of new rules: for one database, or with null for all that have none of their own. */
  onChange: (database: string | null) => void = () => {}

  /** @throws {RulesFileError} The rules file has errors. */
  constructor(options: RulesSourceOptions) {
    this.#options = options
    this.#shared = this.#loadFirst()
  }

  /** Whether everything is open, since there is no rules file. */
  get isOpen(): boolean {
    return this.#shared === allowAll
  }

  rulesetOf(database: string): Ruleset {
    return this.#ownOf(database) ?? this.#shared
  }

  hasOwn(database: string): boolean {
    return this.#ownOf(database) !== null
  }

  check(text: string | Uint8Array): LoadResult {
    return loadRuleset(text)
  }

  /** Gives a database rules of its own. They are on disk, and in force, when this returns without errors. */
  install(database: string, text: string | Uint8Array): LoadResult {
    const loaded = loadRuleset(text)
    if (!loaded.ok) return loaded
    const file = this.#ownFile(database)
    mkdirSync(dirname(file), { recursive: true })
    // Renamed into place: a crash leaves the old rules or the new ones, never half of them.
    writeFileSync(`${file}.new`, loaded.ruleset.source, { flush: true })
    renameSync(`${file}.new`, file)
    this.#own.set(database, loaded.ruleset)
    this.onChange(database)
    return loaded
  }

  /** Takes a database's own rules away: the rules file holds for it again. */
  uninstall(database: string): void {
    if (!this.hasOwn(database)) return
    rmSync(this.#ownFile(database), { force: true })
    this.#own.set(database, null)
    this.onChange(database)
  }

  /** Follows the rules file from now on. */
  watch(): void {
    const file = resolve(this.#options.file)
    try {
      // The folder, not the file: editors put a new file in the old one's place, and a watch on that follows the old
      // one. Every name counts, since mounted configuration changes by a link beside the file.
      this.#watcher = watch(dirname(file), { persistent: false }, () => this.#changed())
      this.#watcher.on('error', (error) => this.#notWatched(error))
    } catch (error) {
      this.#notWatched(error)
    }
    // What was written between the first look and the watch was not told of.
    this.#changed()
  }

  close(): void {
    this.#watcher?.close()
    this.#watcher = null
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    this.#quiet = null
  }

  #loadFirst(): Ruleset {
    const { file, isDev } = this.#options
    const bytes = this.#readFile()
    if (bytes === null) return isDev ? allowAll : denyAll
    const loaded = loadRuleset(bytes)
    if (loaded.ok) return loaded.ruleset
    throw new RulesFileError(describeErrors(loaded.errors, file))
  }

  #changed(): void {
    if (this.#quiet === null) this.#restlessSinceMs = performance.now()
    else if (performance.now() - this.#restlessSinceMs > RESTLESS_MS) return
    else clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => {
      this.#quiet = null
      this.#lookAgain()
    }, QUIET_MS)
    this.#quiet.unref()
  }

  #lookAgain(): void {
    const { file, logger } = this.#options
    const before = this.#seen
    let bytes: Buffer | null
    try {
      // The folder may hold other things that change all the time; only a file that is another is read.
      if (stampOf(file) === this.#seenStamp) return
      bytes = this.#readFile()
    } catch (error) {
      logger.error({ rules: file, err: error }, 'the rules file cannot be read; the rules stay as they were')
      return
    }
    if (bytes === null ? before === null : before?.equals(bytes)) return
    if (bytes === null) {
      logger.warn({ rules: file }, 'the rules file is gone; its rules stay in force until the server ends')
      return
    }
    const loaded = loadRuleset(bytes)
    if (!loaded.ok) {
      const problem = describeErrors(loaded.errors, file)
      logger.error({ rules: file, problem }, 'the rules file has errors; the rules stay as they were')
      return
    }
    this.#shared = loaded.ruleset
    logger.info({ rules: file, count: loaded.ruleset.rules.length }, 'new rules are in force')
    this.onChange(null)
  }

  /** As bytes: decoding them here would hide that they are no UTF-8. */
  #readFile(): Buffer | null {
    const { file } = this.#options
    this.#seenStamp = stampOf(file)
    try {
      this.#seen = readFileSync(file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      this.#seen = null
    }
    return this.#seen
  }

  #ownOf(database: string): Ruleset | null {
    let own = this.#own.get(database)
    if (own === undefined) {
      own = this.#loadOwn(database)
      this.#own.set(database, own)
    }
    return own
  }

  #loadOwn(database: string): Ruleset | null {
    const file = this.#ownFile(database)
    if (!existsSync(file)) return null
    const loaded = loadRuleset(readFileSync(file))
    if (loaded.ok) return loaded.ruleset
    // Somebody edited it. To fall back on the rules file could open what was closed.
    const problem = describeErrors(loaded.errors, file)
    this.#options.logger.error({ database, problem }, 'the rules of a database have errors; it denies all')
    return denyAll
  }

  #ownFile(database: string): string {
    return join(this.#options.dataFolder, database, OWN_RULES_FILE)
  }

  #notWatched(error: unknown): void {
    this.#watcher?.close()
    this.#watcher = null
    const { file, logger } = this.#options
    logger.warn({ rules: file, err: error }, 'the rules file cannot be watched; restart to apply changes')
  }
}

/** The first error with its place, and how many more there are. */
export function describeErrors(errors: readonly RulesError[], file: string): string {
  const first = formatError(errors[0]!, file)
  if (errors.length === 1) return first
  return `${first}\n(and ${errors.length - 1} more; see them with: hearth rules check ${file})`
}

/** Tells one state of a file from the next without reading it. */
function stampOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false })
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`
}
