/**
 * `hearth import` and `hearth export`: JSON in Firebase's export format into and out of a running server, or a data
 * folder that no server has open. A folder is served by this process itself, on a port only it knows of, so that
 * rules, indexes and the log are those of any other write.
 */
import { randomBytes } from 'node:crypto'
import { type EventEmitter, once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { type Path, parsePath, RequestError } from '../protocol/index.ts'
import { ConfigError } from './config.ts'
import { configFrom } from './config-load.ts'
import { DEFAULT_DATABASE } from './databases.ts'
import { SIGNAL_EXIT } from './serve.ts'
import { assertMayHoldDatabases, StartError, startServer } from './server.ts'
import { StoreCorruptError, StoreLockedError } from './store/store.ts'
import { isDatabaseFolder } from './store/store-lmdb.ts'
import { exportJson } from './transfer/export.ts'
import { type ImportRequest, InterruptedError, importJson } from './transfer/import.ts'
import { RestClient, type Target, TransferError } from './transfer/rest-client.ts'

export interface TransferParts {
  err(text: string): void
  env: Readonly<Record<string, string | undefined>>
  /** Sets the exit code of the process. */
  exit(code: number): void
  /** Emits SIGTERM and SIGINT: the process. */
  signals: EventEmitter
  stdin?: Readable
  stdout?: Writable
  /** Whether progress may be drawn over itself. */
  isTerminal?: boolean
}

/** The call cannot be carried out as it is written. */
class UsageError extends TransferError {}

interface Flags {
  url?: string
  data?: string
  rules?: string
  database: string
  adminKeyFile?: string
}

const DEFAULT_URL = 'http://127.0.0.1:9000'
const PROGRESS_MS = 200
const BAR_WIDTH = 30

export function addImportExportCommands(program: Command, parts: TransferParts): void {
  const common = (command: Command, ifMissing: string): Command =>
    command
      .option('--url <url>', `a running server (${DEFAULT_URL}) [HEARTH_URL]`)
      .option('--database <name>', 'which of its databases', DEFAULT_DATABASE)
      .option('--admin-key-file <path>', 'file with the admin key [HEARTH_ADMIN_KEY_FILE, HEARTH_ADMIN_KEY]')
      .option('--data <path>', `instead of a server: a data folder that no server has open${ifMissing}`)
      .option('--rules <path>', 'with --data: the rules file its server uses, for its indexes')
  common(program.command('import'), '; made if it is not there')
    .description('Read JSON, as Firebase exports it, into a database.')
    .argument('<file>', 'the file, or - for standard input')
    .option('--path <path>', 'where it goes', '/')
    .option('--overwrite', 'replace what is there')
    .option('--merge', 'keep what is there and not named by the file')
    .action((file: string, flags: Flags & { path: string; overwrite?: boolean; merge?: boolean }) =>
      run(parts, flags, (client) => runImport(parts, client, file, flags), {
        mayBeNew: true,
        // Before a folder is made for it.
        check: () => assertSource(file, flags),
      }),
    )
  common(program.command('export'), '')
    .description('Write a database, or a part of it, as JSON.')
    .argument('[path]', 'which part', '/')
    .option('-o, --output <file>', 'where to; standard output by default')
    .action((path: string, flags: Flags & { output?: string }) =>
      run(parts, flags, (client) => runExport(parts, client, path, flags.output)),
    )
}

async function run(
  parts: TransferParts,
  flags: Flags,
  transfer: (client: RestClient) => Promise<void>,
  { mayBeNew = false, check = () => {} }: { mayBeNew?: boolean; check?: () => void } = {},
): Promise<void> {
  let close = async (): Promise<void> => {}
  try {
    assertTarget(flags)
    check()
    const opened = flags.data === undefined ? null : await serveFolder(flags.data, flags, mayBeNew)
    if (opened !== null) close = opened.close
    await transfer(new RestClient(opened ?? targetOf(parts, flags)))
  } catch (error) {
    // Over the progress that stands there.
    parts.err(`${parts.isTerminal === true ? '\r\x1b[K' : ''}hearth: ${problemOf(error)}\n`)
    if (error instanceof InterruptedError) parts.exit(SIGNAL_EXIT[error.signal])
    else parts.exit(error instanceof UsageError || error instanceof ConfigError ? 2 : 1)
  } finally {
    await close()
  }
}

async function runImport(
  parts: TransferParts,
  client: RestClient,
  file: string,
  flags: { path: string; overwrite?: boolean; merge?: boolean },
): Promise<void> {
  const isStdin = file === '-'
  const total = isStdin ? null : statSync(file).size
  const progress = new Progress(parts, 'imported', total)
  const existing: ImportRequest['existing'] =
    flags.overwrite === true ? 'overwrite' : flags.merge === true ? 'merge' : 'refuse'
  const path = pathOf(flags.path)
  const source = isStdin
    ? (parts.stdin ?? process.stdin)
    : createReadStream(file, { highWaterMark: 256 * 1024 })
  // The first signal ends the import with what is stored said; nobody hears the second, so it ends the process.
  const interrupt = (signal: keyof typeof SIGNAL_EXIT): void => {
    stopHearing()
    source.destroy(new InterruptedError(signal))
  }
  const stopHearing = (): void => void parts.signals.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  parts.signals.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    const { bytes, values } = await importJson({
      client,
      source,
      name: isStdin ? 'standard input' : file,
      path,
      existing,
      progress: (done) => progress.show(done),
    })
    progress.end(bytes, `${values.toLocaleString('en')} values`)
  } finally {
    stopHearing()
  }
}

function assertTarget({ url, data, rules }: Flags): void {
  if (url !== undefined && data !== undefined) throw new UsageError('--url and --data: give one of them')
  if (rules === undefined) return
  if (data === undefined)
    throw new UsageError('--rules goes with --data; a running server has rules of its own')
  // Without them the indexes would be missing, and nobody would notice before the server builds them.
  if (!existsSync(rules)) throw new TransferError(`${rules} does not exist`)
}

function assertSource(file: string, flags: { overwrite?: boolean; merge?: boolean }): void {
  if (flags.overwrite === true && flags.merge === true) {
    throw new UsageError('--overwrite and --merge: give one of them')
  }
  if (file === '-') return
  if (!existsSync(file)) throw new TransferError(`${file} does not exist`)
  if (statSync(file).isDirectory()) throw new TransferError(`${file} is a folder; expected a file of JSON`)
}

async function runExport(
  parts: TransferParts,
  client: RestClient,
  path: string,
  output: string | undefined,
): Promise<void> {
  const progress = new Progress(parts, 'exported', null)
  const out: Writable = output === undefined ? (parts.stdout ?? process.stdout) : createWriteStream(output)
  // Whoever reads us may stop: the write that is waiting has to hear of it.
  const broken = new Promise<never>((_, reject) => {
    out.once('error', (error) => reject(new TransferError(`cannot write the export: ${error.message}`)))
  })
  broken.catch(() => {})
  const { bytes, hasChanged } = await exportJson({
    client,
    path: pathOf(path),
    write: async (text) => {
      if (!out.write(text)) await Promise.race([once(out, 'drain'), broken])
    },
    progress: (done) => progress.show(done),
  })
  if (output !== undefined) {
    out.end()
    await Promise.race([once(out, 'finish'), broken])
  }
  progress.end(bytes, '')
  if (hasChanged) {
    parts.err('hearth: the database changed during the export; its parts are of different moments\n')
  }
}

/** Bytes so far, on standard error: drawn over itself on a terminal, else only the end. */
class Progress {
  readonly #parts: TransferParts
  readonly #verb: string
  readonly #total: number | null
  readonly #startMs = performance.now()
  #shownMs = 0

  constructor(parts: TransferParts, verb: string, total: number | null) {
    this.#parts = parts
    this.#verb = verb
    this.#total = total
  }

  show(bytes: number): void {
    const now = performance.now()
    if (this.#parts.isTerminal !== true || now - this.#shownMs < PROGRESS_MS) return
    this.#shownMs = now
    const share = this.#total === null ? '' : ` ${bar(bytes / Math.max(1, this.#total))}`
    this.#parts.err(`\r\x1b[K${this.#verb} ${size(bytes)}${share}, ${this.#speed(bytes)}`)
  }

  end(bytes: number, what: string): void {
    const start = this.#parts.isTerminal === true ? '\r\x1b[K' : ''
    const values = what === '' ? '' : `, ${what}`
    this.#parts.err(`${start}${this.#verb} ${size(bytes)}${values}, ${this.#speed(bytes)}\n`)
  }

  #speed(bytes: number): string {
    return `${size(bytes / Math.max(0.001, (performance.now() - this.#startMs) / 1000))}/s`
  }
}

function bar(share: number): string {
  const filled = Math.min(BAR_WIDTH, Math.floor(share * BAR_WIDTH))
  return `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${Math.floor(share * 100)} %`
}

function size(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let unit = 0
  let count = bytes
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000
  return `${unit === 0 ? Math.round(count) : count.toFixed(1)} ${units[unit]!}`
}

function targetOf({ env }: TransferParts, flags: Flags): Target {
  const url = flags.url ?? (env['HEARTH_URL'] || DEFAULT_URL)
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new UsageError(`\`${url}\` is not the address of a server; expected http://host:port`)
  }
  const file = flags.adminKeyFile ?? (env['HEARTH_ADMIN_KEY_FILE'] || undefined)
  const token = file === undefined ? env['HEARTH_ADMIN_KEY'] || null : keyIn(file)
  return { url: new URL(url).origin, database: flags.database, token }
}

function keyIn(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    throw new TransferError(`the admin key file ${file} cannot be read`)
  }
}

/** Serves a folder to this process alone: the key is made up and told nobody. */
async function serveFolder(
  data: string,
  flags: Flags,
  mayBeNew: boolean,
): Promise<Target & { close(): Promise<void> }> {
  // A new folder within one that there is; more than that is rather a slip.
  if (!existsSync(data) && !(mayBeNew && existsSync(dirname(resolve(data))))) {
    throw new TransferError(`${data} does not exist`)
  }
  const token = randomBytes(32).toString('base64url')
  const config = configFrom({
    host: '127.0.0.1',
    port: 0,
    data,
    adminKey: token,
    databases: { mode: 'listed', names: [flags.database] },
    log: { level: 'silent' },
    ...(flags.rules === undefined ? {} : { rules: flags.rules }),
  })
  assertMayHoldDatabases(data)
  // A server would make it, and what is exported for a backup be nothing.
  if (!mayBeNew && !isDatabaseFolder(join(data, flags.database))) {
    throw new TransferError(`${data} has no database \`${flags.database}\``)
  }
  const server = await startServer(config)
  return { url: server.url, database: flags.database, token, close: () => server.drain() }
}

function pathOf(text: string): Path {
  try {
    return parsePath(text)
  } catch (error) {
    throw error instanceof RequestError ? new UsageError(error.message) : error
  }
}

function problemOf(error: unknown): string {
  const isExpected =
    error instanceof TransferError ||
    error instanceof ConfigError ||
    error instanceof StartError ||
    error instanceof StoreCorruptError ||
    error instanceof StoreLockedError
  if (isExpected) return error.message
  const { code, path, message } = error as NodeJS.ErrnoException
  if (code !== undefined && path !== undefined) return message
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
