/**
 * Reads the configuration: gathers flags, environment and config file, or what code gives, and resolves each option to
 * its strongest value or its default.
 */
import { existsSync, readFileSync } from 'node:fs'
import {
  type Config,
  ConfigError,
  type ConfigValues,
  declared,
  groups,
  inputs,
  type Settings,
} from './config.ts'
import { gatherFile, readProblem } from './config-file.ts'
import { Gathered, isStronger } from './config-gathered.ts'
import { Option, quote, Refusal, Secret } from './config-kinds.ts'

const CONFIG_FILE = 'hearth.config.json'

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
    gathered.add('flags', name, input?.flag ?? name, raw)
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
  const names = [...inputs.map((input) => input.name), ...groups]
  const walk = (object: object, declaredPart: object, prefix: string): void => {
    for (const [key, raw] of Object.entries(object)) {
      if (raw === undefined || raw === null) continue
      const name = prefix + key
      const part = Object.hasOwn(declaredPart, key) ? (declaredPart as Record<string, object>)[key]! : null
      if (part === null) gathered.complainOfUnknown(name, name, names)
      else if (part instanceof Option) gathered.add('flags', name, name, raw)
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
    if (input !== undefined) gathered.add('environment', input.name, variable, value)
    else {
      gathered.complainOfUnknown(variable, variable, [...inputs.map((known) => known.env), 'HEARTH_CONFIG'])
    }
  }
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
  if (direct !== undefined && (file === undefined || isStronger(direct, file))) return direct.raw
  if (file === undefined) return option.fallback
  try {
    // Editors and `echo` end a file with a line break; it is not part of the secret.
    return option.kind.parse(readFileSync(file.raw as string, 'utf8').replace(/\r?\n$/, ''))
  } catch (error) {
    const problem = error instanceof Refusal ? error.message : readProblem(error)
    gathered.problems.push(`${file.where}: ${quote(file.raw)}: ${problem}`)
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
