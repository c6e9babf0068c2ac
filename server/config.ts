/**
 * Configuration: every option is declared once, in `declared`, and read from flags, then HEARTH_* environment,
 * then hearth.config.json, then its default. Names of flags and variables follow from the option's name:
 *
 *   limits.pingIntervalMs     --limits-ping-interval-ms     HEARTH_LIMITS_PING_INTERVAL_MS
 *
 * INVARIANT: nothing is ignored. An unknown key or a bad value in any of the three refuses the start by name.
 * INVARIANT: a secret has no flag (others see the command line) and no place in the config file (it gets
 * committed): only a variable, or a file that is named.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { findNodeAtLocation, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser'
import { clip } from '../protocol/index.ts'
import { nearest } from '../rules/did-you-mean.ts'
import {
  bool,
  bytes,
  databaseName,
  duration,
  fileText,
  GiB,
  KiB,
  keySetUrl,
  list,
  MINUTE,
  MiB,
  Option,
  oneOf,
  option,
  origin,
  path,
  quote,
  Refusal,
  SECOND,
  Secret,
  secret,
  text,
  whole,
} from './config-kinds.ts'

export { isDatabaseName, parseDuration, Secret } from './config-kinds.ts'

/** Signature algorithms a token may use. `none` is not one of them. */
const ALGORITHMS = [
  ...['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const

const declared = {
  host: option(text, '127.0.0.1', 'Address to listen on; `0.0.0.0` or `::` for every interface.'),
  port: option(whole(0, 65_535), 9000, 'Port that serves every protocol; 0 picks a free one.'),
  // Each holds up to two of the 126 read transactions that LMDB has room for.
  workers: option(
    whole(1, 32),
    1,
    'Threads that serve clients; one of them writes. More than one for many subscribers on many cores.',
  ),
  data: option(path, 'data', 'Folder that holds the databases.'),
  rules: option(path, 'database.rules.json', 'Rules of every database that has none of its own.'),
  dev: option(bool, false, 'Development: unsigned emulator tokens and the `owner` token count.'),
  durability: option(
    oneOf('flushed', 'committed'),
    'flushed',
    'When a write is acknowledged: on disk, or earlier, when it is visible.',
  ),
  databases: {
    mode: option(
      oneOf('listed', 'open'),
      null,
      '`listed` serves the names listed, `open` any name (made on first use). Default: listed; open with --dev.',
    ),
    names: option(list(databaseName), ['default'], 'Names of the databases that are served.'),
  },
  // A limit of LMDB's memory map: address space, not memory and not disk.
  databaseBytesMax: option(
    bytes(16 * MiB, 64 * 1024 * GiB),
    64 * GiB,
    'Largest size of one database on disk.',
  ),
  cacheBytes: option(bytes(MiB, 1024 * GiB), 64 * MiB, 'Memory for decoded data kept at hand, per database.'),
  changeLogBytes: option(
    bytes(0, 64 * GiB),
    64 * MiB,
    'Recent changes kept on disk for clients that come back, per database; 0 keeps none.',
  ),
  changeLogMinutes: option(whole(0, 7 * 24 * 60), 10, 'How long recent changes are kept; 0 keeps none.'),
  allowedOrigins: option(
    list(origin),
    ['*'],
    'Web origins whose pages may connect, such as https://app.example.',
  ),
  drainTimeoutMs: option(
    duration(0, 10 * MINUTE),
    // A little less than the 10 s after which most supervisors kill.
    9 * SECOND,
    'Time to tell clients, flush and close after SIGTERM.',
  ),
  presenceGraceMs: option(
    duration(0, 10 * MINUTE),
    // Clients come back within 30 s of a loss at the latest.
    30 * SECOND,
    'Time that who was present before a restart has to come back before it counts as gone.',
  ),
  adminKey: secret('Key that bypasses rules.'),
  auth: {
    secret: secret('Shared secret that signs tokens (HS256).'),
    publicKey: fileText('Public key that verifies tokens (PEM or JWK).'),
    jwksUrl: option(keySetUrl, null, 'Address of a JSON Web Key Set; https, or http to this machine.'),
    issuer: option(text, null, 'Issuer (`iss`) that tokens must name.'),
    audience: option(list(text), [], 'Audiences (`aud`); a token must name one of them.'),
    algorithms: option(
      list(oneOf(...ALGORITHMS)),
      [],
      'Signature algorithms that count. Default: those that fit the keys.',
    ),
    clockToleranceSeconds: option(whole(0, 600), 5, 'How far the clock of the token issuer may be off.'),
    expiryRequired: option(bool, true, 'Whether a token without `exp` is refused.'),
  },
  limits: {
    // Firebase's largest string is 10 MB and its SDK sends up to 16 MB; twice that, for framing.
    frameBytesMax: option(bytes(64 * KiB, 256 * MiB), 32 * MiB, 'Largest message a client may send.'),
    // Firebase's largest write over REST. A longer body would not fit into one JavaScript string much past it.
    bodyBytesMax: option(bytes(64 * KiB, 500 * MiB), 256 * MiB, 'Largest body of an HTTP request.'),
    listensMax: option(whole(1, 1_000_000), 1000, 'Listens one connection may hold.'),
    connectionsMax: option(whole(1, 10_000_000), 100_000, 'Connections open at the same time.'),
    writeQueueMax: option(whole(1, 10_000_000), 100_000, 'Writes waiting for their commit, per database.'),
    // Far above what an app does: these keep one connection from taking the server from the others.
    messagesPerSecondMax: option(
      whole(0, 10_000_000),
      20_000,
      'Messages of one connection in a second; 0 is no limit.',
    ),
    messageBytesPerSecondMax: option(
      bytes(0, 64 * GiB),
      128 * MiB,
      'Bytes of these messages in a second; 0 is no limit.',
    ),
    readBytesPerSecondMax: option(
      bytes(0, 64 * GiB),
      256 * MiB,
      'Bytes of values one connection reads in a second, listens included; 0 is no limit.',
    ),
    slowConsumerSoftBytes: option(
      bytes(16 * KiB, GiB),
      MiB,
      'Unsent bytes from which a connection counts as slow: it gets the latest of each place when it reads again.',
    ),
    slowConsumerHardBytes: option(
      bytes(64 * KiB, 4 * GiB),
      64 * MiB,
      'Bytes of answers waiting for a slow connection at which it is closed. Changes take 16 MiB a database for all of them.',
    ),
    slowConsumerDeadlineMs: option(
      duration(SECOND, 10 * MINUTE),
      30 * SECOND,
      'Time a slow connection has to catch up before it is closed.',
    ),
    readNodesMax: option(
      whole(100, 1_000_000_000),
      1_000_000,
      'Values one read may return; larger ones are refused.',
    ),
    pingIntervalMs: option(
      duration(SECOND, 5 * MINUTE),
      25 * SECOND,
      'How often a client sends something at least.',
    ),
    snapshotBytesInFlightMax: option(
      bytes(MiB, 64 * GiB),
      64 * MiB,
      'Answers waiting in sockets, over all connections, past which reads and listens wait for their turn.',
    ),
    sessionsWaitingMax: option(
      whole(1, 10_000_000),
      20_000,
      'Connections with reads or listens that wait for their turn, past which new connections are refused.',
    ),
    // uWebSockets.js counts idle time in seconds, from 8 to 960. Firebase's SDK speaks every 45 s.
    idleTimeoutMs: option(
      duration(8 * SECOND, 960 * SECOND),
      60 * SECOND,
      'Silence after which a connection is closed.',
    ),
  },
  log: {
    level: option(
      oneOf('trace', 'debug', 'info', 'warn', 'error', 'silent'),
      'info',
      'Least severe line that is logged.',
    ),
    format: option(
      oneOf('auto', 'json', 'pretty'),
      'auto',
      'Lines for machines or people; `auto` is pretty on a terminal.',
    ),
  },
}

type Declared = typeof declared
type Resolved<T> = T extends Option<infer V> ? V : { readonly [K in keyof T]: Resolved<T[K]> }
type Settings = Resolved<Declared>

/** All options with their values, deeply read-only. */
export interface Config extends Omit<Settings, 'databases'> {
  readonly databases: { readonly mode: 'listed' | 'open'; readonly names: readonly string[] }
}
export type AuthConfig = Config['auth']
export type LogConfig = Config['log']

type Given<T> =
  T extends Option<infer V>
    ? Secret extends V
      ? string | null
      : V
    : { readonly [K in keyof T]?: Given<T[K]> }
/** Options as code gives them: any part of `Config`, secrets as text. */
export type ConfigValues = Given<Declared>

/** Everything that is wrong with a configuration, one line for each. */
export class ConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** One thing that can be set, and how it is written in each place. */
export interface Input {
  /** `limits.listensMax`: its name in the config file. */
  readonly name: string
  /** `--limits-listens-max`, or null for secrets. */
  readonly flag: string | null
  readonly env: string
  readonly isInFile: boolean
  /** What stands for the value in the help. */
  readonly placeholder: string
  readonly isBoolean: boolean
  /** As one would write it, or null for none. */
  readonly fallback: string | null
  readonly help: string
}

/** Every input, in the order of declaration. The flags, the help and the README's table are made from it. */
export const inputs: readonly Input[] = listInputs(declared, '')

export const CONFIG_FILE = 'hearth.config.json'

export interface ConfigSources {
  /** By input name, as the command line gave them. */
  flags?: Readonly<Record<string, unknown>>
  env?: Readonly<Record<string, string | undefined>>
  /** A file that must exist; without it hearth.config.json is read if it exists. */
  configFile?: string
}

/**
 * @throws {ConfigError} naming each unknown key and bad value.
 */
export function loadConfig(sources: ConfigSources): Config {
  const gathered = new Gathered()
  for (const [name, raw] of Object.entries(sources.flags ?? {})) {
    const input = inputs.find((known) => known.name === name)
    gathered.add('flags', name, input?.flag ?? name, raw, '')
  }
  const env = sources.env ?? {}
  gatherEnvironment(gathered, env)
  const file = sources.configFile ?? (env['HEARTH_CONFIG'] || undefined)
  gatherFile(gathered, file ?? CONFIG_FILE, file !== undefined)
  const rules = gathered.get('rules')
  // Without a rules file everything is denied; a name that was mistyped must not end there silently.
  if (rules !== undefined && !existsSync(rules.raw as string)) {
    gathered.problems.push(`${rules.where}: ${quote(rules.raw)} does not exist`)
  }
  return resolve(gathered)
}

/**
 * A configuration from code: no environment, no file; what is not given has its default.
 * @throws {ConfigError}
 */
export function configFrom(values: ConfigValues): Config {
  const gathered = new Gathered()
  const walk = (object: object, declaredPart: object, prefix: string): void => {
    for (const [key, raw] of Object.entries(object)) {
      if (raw === undefined || raw === null) continue
      const name = prefix + key
      const part = Object.hasOwn(declaredPart, key) ? (declaredPart as Record<string, object>)[key]! : null
      if (part === null)
        gathered.problems.push(
          unknown(
            name,
            name,
            inputs.map((input) => input.name),
          ),
        )
      else if (part instanceof Option) gathered.add('flags', name, name, raw, '')
      else walk(raw, part, `${name}.`)
    }
  }
  walk(values, declared, '')
  return resolve(gathered)
}

/**
 * A configuration as values, for another thread of this process: the one place where secrets are taken out of it.
 * `configFrom` makes the same configuration of them.
 */
export function valuesOf(config: Config): ConfigValues {
  const plainOf = (part: unknown): unknown => {
    if (part instanceof Secret) return part.reveal()
    if (typeof part !== 'object' || part === null) return part
    if (Array.isArray(part)) return part.length === 0 ? undefined : [...part]
    return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, plainOf(value)]))
  }
  return plainOf(config) as ConfigValues
}

function listInputs(part: object, prefix: string): Input[] {
  const all: Input[] = []
  for (const [key, item] of Object.entries(part)) {
    const name = prefix + key
    if (!(item instanceof Option)) {
      all.push(...listInputs(item, `${name}.`))
      continue
    }
    const words = name.replace(/\./g, '-').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    const variable = `HEARTH_${words.replace(/-/g, '_').toUpperCase()}`
    const common = { isBoolean: false, fallback: null, help: item.help }
    if (item.channel === 'plain') {
      const isShown = item.fallback !== null && String(item.fallback) !== ''
      const fallback = isShown ? (item.kind.show?.(item.fallback) ?? String(item.fallback)) : null
      const { placeholder } = item.kind
      const isBoolean = placeholder === 'true|false'
      all.push({
        name,
        flag: `--${words}`,
        env: variable,
        isInFile: true,
        placeholder,
        isBoolean,
        fallback,
        help: item.help,
      })
    } else {
      if (item.channel === 'secret') {
        all.push({ ...common, name, flag: null, env: variable, isInFile: false, placeholder: 'text' })
      }
      all.push({
        ...common,
        name: `${name}File`,
        flag: `--${words}-file`,
        env: `${variable}_FILE`,
        isInFile: true,
        placeholder: 'path',
        help:
          item.channel === 'secret'
            ? `File with it: ${lowerFirst(item.help)}`
            : `File: ${lowerFirst(item.help)}`,
      })
    }
  }
  return all
}

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1)
}

type Layer = 'flags' | 'environment' | 'file'
const LAYERS: readonly Layer[] = ['flags', 'environment', 'file']

interface Found {
  layer: Layer
  /** How the user wrote it: a flag, a variable, a place in the file. */
  where: string
  raw: unknown
}

/** What each layer said. Keeps the strongest, and all complaints. */
class Gathered {
  readonly problems: string[] = []
  private readonly found = new Map<string, Found>()

  add(layer: Layer, name: string, where: string, raw: unknown, folder: string): void {
    const option = optionAt(name)
    const kind = option?.kind ?? path()
    let value: unknown
    try {
      value = kind.parse(raw)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.problems.push(`${where}: ${error.message}`)
      return
    }
    // Paths in a config file start at that file, so that it works from every folder.
    if (kind.placeholder === 'path' && folder !== '' && !isAbsolute(value as string))
      value = join(folder, value as string)
    const before = this.found.get(name)
    if (before !== undefined && LAYERS.indexOf(before.layer) <= LAYERS.indexOf(layer)) return
    this.found.set(name, { layer, where, raw: value })
  }

  get(name: string): Found | undefined {
    return this.found.get(name)
  }
}

function optionAt(name: string): Option<unknown> | null {
  let part: unknown = declared
  for (const key of name.split('.')) {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, key)) return null
    part = (part as Record<string, unknown>)[key]
  }
  return part instanceof Option ? part : null
}

function unknown(where: string, word: string, known: readonly string[]): string {
  const near = nearestOption(word, known)
  return `${where}: unknown option${near === null ? '' : `; did you mean \`${near}\`?`}`
}

/** What all variables begin with makes none of them alike. */
function nearestOption(word: string, known: readonly string[]): string | null {
  const prefix = 'HEARTH_'
  if (!word.startsWith(prefix)) return nearest(word, known)
  const near = nearest(
    word.slice(prefix.length),
    known.map((name) => name.slice(prefix.length)),
  )
  return near === null ? null : prefix + near
}

/** Where the config file is, and the address of a server for clients: both may stand in a developer's shell. */
const NO_OPTIONS = ['HEARTH_CONFIG', 'HEARTH_URL']

// Kubernetes puts these into every pod beside a service named `hearth`, and HEARTH_PORT=tcp://... with them.
const SERVICE_LINK = /^HEARTH_(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP)|SERVICE_PORT_)/

function gatherEnvironment(gathered: Gathered, env: Readonly<Record<string, string | undefined>>): void {
  for (const [variable, value] of Object.entries(env)) {
    // An empty variable is unset: compose files write `HEARTH_PORT=${HEARTH_PORT:-}`.
    if (!variable.startsWith('HEARTH_') || value === undefined || value === '') continue
    if (NO_OPTIONS.includes(variable) || SERVICE_LINK.test(variable)) continue
    if (variable === 'HEARTH_PORT' && /^(tcp|udp):\/\//.test(value)) continue
    const input = inputs.find((known) => known.env === variable)
    if (input !== undefined) gathered.add('environment', input.name, variable, value, '')
    else
      gathered.problems.push(
        unknown(variable, variable, [...inputs.map((known) => known.env), 'HEARTH_CONFIG']),
      )
  }
}

function gatherFile(gathered: Gathered, file: string, isNamed: boolean): void {
  let source: string
  try {
    source = readFileSync(file, 'utf8')
  } catch (error) {
    if (isNamed || !isMissing(error)) gathered.problems.push(`${file}: ${readProblem(error)}`)
    return
  }
  const errors: ParseError[] = []
  const root = parseTree(source, errors, { allowTrailingComma: true })
  const first = errors[0]
  if (first !== undefined) {
    const problem = spaced(printParseErrorCode(first.error))
    gathered.problems.push(`${placeAt(file, source, first.offset)}: not JSON: ${problem}`)
    return
  }
  if (root?.type !== 'object') {
    gathered.problems.push(`${file}: the configuration is not an object`)
    return
  }
  gatherNode(gathered, root, '', { file, source, folder: dirname(file) })
}

interface FileContext {
  file: string
  source: string
  folder: string
}

function gatherNode(gathered: Gathered, node: Node, prefix: string, context: FileContext): void {
  const seen = new Set<string>()
  for (const property of node.children ?? []) {
    const key = property.children![0]!.value as string
    const value = property.children![1]!
    const name = prefix + key
    const where = `${placeAt(context.file, context.source, property.offset)} \`${clip(name)}\``
    const input = inputs.find((known) => known.name === name)
    const isGroup = inputs.some((known) => known.name.startsWith(`${name}.`))
    if (seen.has(key)) gathered.problems.push(`${where}: stands twice in the file`)
    else if (isGroup && value.type === 'object') gatherNode(gathered, value, `${name}.`, context)
    else if (isGroup) gathered.problems.push(`${where}: is a group of options, so its value is an object`)
    else if (name === '$schema') continue
    else if (input === undefined) gathered.problems.push(unknown(where, name, fileNames()))
    else if (!input.isInFile) {
      gathered.problems.push(
        `${where}: a secret does not belong in the configuration; set ${input.env} or \`${name}File\``,
      )
    } else gathered.add('file', name, where, plain(value), context.folder)
    seen.add(key)
  }
}

function fileNames(): string[] {
  return inputs.filter((input) => input.isInFile).map((input) => input.name)
}

function plain(node: Node): unknown {
  if (node.type === 'array') return (node.children ?? []).map(plain)
  // No option takes an object; the text of one is only quoted back.
  return node.type === 'object' ? {} : (findNodeAtLocation(node, [])?.value as unknown)
}

function placeAt(file: string, source: string, offset: number): string {
  const before = source.slice(0, offset)
  return `${file}:${before.split('\n').length}:${offset - before.lastIndexOf('\n')}`
}

function spaced(name: string): string {
  return name.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).toLowerCase()
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}

function readProblem(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'the file does not exist'
  if (code === 'EACCES') return 'the file may not be read'
  if (code === 'EISDIR') return 'is a folder, not a file'
  return `cannot be read (${code ?? 'unknown reason'})`
}

function resolve(gathered: Gathered): Config {
  const settings = resolvePart(declared, '', gathered) as Settings
  const mode = settings.databases.mode ?? (settings.dev ? 'open' : 'listed')
  const config: Config = Object.freeze({
    ...settings,
    databases: Object.freeze({ ...settings.databases, mode }),
  })
  checkTogether(config, gathered)
  if (gathered.problems.length > 0) throw new ConfigError(gathered.problems)
  return config
}

function resolvePart(part: object, prefix: string, gathered: Gathered): unknown {
  const result: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(part)) {
    const name = prefix + key
    result[key] =
      item instanceof Option ? resolveOption(item, name, gathered) : resolvePart(item, `${name}.`, gathered)
  }
  return Object.freeze(result)
}

function resolveOption(option: Option<unknown>, name: string, gathered: Gathered): unknown {
  const direct = gathered.get(name)
  if (option.channel === 'plain') return direct === undefined ? option.fallback : direct.raw
  const file = gathered.get(`${name}File`)
  if (direct !== undefined && file !== undefined && direct.layer === file.layer) {
    gathered.problems.push(`${direct.where} and ${file.where}: give one of them`)
    return option.fallback
  }
  const isDirect =
    direct !== undefined && (file === undefined || LAYERS.indexOf(direct.layer) < LAYERS.indexOf(file.layer))
  if (isDirect) return direct.raw
  if (file === undefined) return option.fallback
  try {
    // Editors and `echo` end a file with a line break; it is not part of the secret.
    return option.kind.parse(readFileSync(file.raw as string, 'utf8').replace(/\r?\n$/, ''))
  } catch (error) {
    const problem = error instanceof Refusal ? error.message : readProblem(error)
    gathered.problems.push(`${file.where}: ${quote(file.raw)} ${problem}`)
    return option.fallback
  }
}

/** What each value allows alone but two of them do not allow together. */
function checkTogether(config: Config, gathered: Gathered): void {
  const name = (option: string): string => gathered.get(option)?.where ?? option
  const { auth, limits } = config
  if (auth.publicKey !== null && auth.jwksUrl !== null) {
    gathered.problems.push(`${name('auth.publicKeyFile')} and ${name('auth.jwksUrl')}: give one of them`)
  }
  if (limits.idleTimeoutMs < 2 * limits.pingIntervalMs) {
    gathered.problems.push(
      `${name('limits.idleTimeoutMs')}: is less than two ping intervals, so that one late ping would close a connection`,
    )
  }
  if (limits.slowConsumerHardBytes < limits.slowConsumerSoftBytes) {
    gathered.problems.push(
      `${name('limits.slowConsumerHardBytes')}: is less than \`limits.slowConsumerSoftBytes\``,
    )
  }
  if (limits.slowConsumerHardBytes < limits.frameBytesMax) {
    gathered.problems.push(
      `${name('limits.slowConsumerHardBytes')}: is less than \`limits.frameBytesMax\`, so that one large value would close every reader`,
    )
  }
}
