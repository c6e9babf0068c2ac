/**
 * Configuration: every option, declared once, in `declared`. It is read (`config-load.ts`) from flags, then HEARTH_*
 * environment, then hearth.config.json, then its default. Names of flags and variables follow from the option's name:
 *
 *   limits.pingIntervalMs     --limits-ping-interval-ms     HEARTH_LIMITS_PING_INTERVAL_MS
 *
 * INVARIANT: a secret has no flag (others see the command line) and no place in the config file (it gets
 * committed): only a variable, or a file that is named.
 */
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
  SECOND,
  type Secret,
  secret,
  text,
  whole,
} from './config-kinds.ts'

export { DATABASE_NAME_RULE, isDatabaseName, parseDuration, Secret } from './config-kinds.ts'

/** Signature algorithms a token may use. `none` is not one of them. */
const ALGORITHMS = [
  ...['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const

export const declared = {
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
    connectionsMax: option(
      whole(1, 10_000_000),
      100_000,
      'Connections open at the same time: sockets, long polls, event streams, and requests of REST being served.',
    ),
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
      'Bytes of values one native connection, or one client of REST, reads in a second, listens included; 0 is no limit.',
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
    waitingBytesMax: option(
      bytes(64 * KiB, 64 * GiB),
      256 * MiB,
      'Requests that wait, over all connections, past which further ones are refused for now.',
    ),
    answerBytesMax: option(
      bytes(MiB, 64 * GiB),
      256 * MiB,
      'Answers of REST that are not read yet, past which the slowest are ended or reads refused; one client may have a quarter.',
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
/** The options as they are declared, each with its value. */
export type Settings = Resolved<Declared>

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

/** `limits`, `auth` and the others: what stands before the dot of an input's name. */
export const groups: readonly string[] = [
  ...new Set(inputs.filter(({ name }) => name.includes('.')).map(({ name }) => name.split('.')[0]!)),
]

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
    const { help } = item
    const common = {
      name,
      flag: `--${words}`,
      env: variable,
      isInFile: true,
      isBoolean: false,
      fallback: null,
      help,
    }
    if (item.channel === 'plain') {
      const isShown = item.fallback !== null && String(item.fallback) !== ''
      const fallback = isShown ? (item.kind.show?.(item.fallback) ?? String(item.fallback)) : null
      const { placeholder } = item.kind
      all.push({ ...common, placeholder, isBoolean: placeholder === 'true|false', fallback })
      continue
    }
    const isSecret = item.channel === 'secret'
    if (isSecret) all.push({ ...common, flag: null, isInFile: false, placeholder: 'text' })
    all.push({
      ...common,
      name: `${name}File`,
      flag: `${common.flag}-file`,
      env: `${variable}_FILE`,
      placeholder: 'path',
      help: `${isSecret ? 'File with it' : 'File'}: ${lowerFirst(help)}`,
    })
  }
  return all
}

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1)
}

/** The option of a name such as `limits.listensMax`. */
export function optionAt(name: string): Option<unknown> | null {
  let part: unknown = declared
  for (const key of name.split('.')) {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, key)) return null
    part = (part as Record<string, unknown>)[key]
  }
  return part instanceof Option ? part : null
}
