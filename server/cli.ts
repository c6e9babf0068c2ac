/**
 * CLI: the commands of `hearth` and their flags; flags of `serve` are made from the options in `config.ts`.
 * Exit codes: 0 done, 1 failed, 2 not understood (a flag, a value, a configuration).
 */
import type { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { Command, CommanderError, Option } from 'commander'
import { addRulesCommands } from '../rules/cli.ts'
import { type Config, ConfigError, type Input, inputs, parseDuration } from './config.ts'
import { loadConfig } from './config-load.ts'
import { addImportExportCommands } from './import-export.ts'
import { serve } from './serve.ts'
import type { startServer } from './server.ts'
import { emulatorToken, mintToken, parseClaims, TokenError, type TokenRequest } from './token.ts'

export interface CliParts {
  out(text: string): void
  err(text: string): void
  env: Readonly<Record<string, string | undefined>>
  /** Emits SIGTERM and SIGINT: the process. */
  signals: EventEmitter
  start?: typeof startServer
  stdin?: Readable
  stdout?: Writable
  /** Whether progress may be drawn over itself; by default where standard error is a terminal. */
  isTerminal?: boolean
}

/**
 * @param args Without the program's own name.
 * @returns The exit code; for `serve` only once the server has ended.
 */
export async function runCli(args: readonly string[], parts: CliParts): Promise<number> {
  let code = 0
  const program = new Command('hearth')
    .description('A self-hosted realtime JSON database.')
    .version(version(), '-V, --version')
    .exitOverride()
    .configureOutput({
      writeOut: parts.out,
      writeErr: parts.err,
    })
  addServe(program, parts, (exitCode) => {
    code = exitCode
  })
  addToken(program, parts)
  addRulesCommands(program, {
    out: (text) => parts.out(`${text}\n`),
    fail: (text) => parts.err(`${text}\n`),
    exit: (exitCode) => {
      code = exitCode
    },
  })
  addImportExportCommands(program, {
    ...parts,
    isTerminal: parts.isTerminal ?? process.stderr.isTTY === true,
    exit: (exitCode) => {
      code = exitCode
    },
  })
  tellUsage(program)
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    return exitCodeOf(error, parts)
  }
}

function addServe(program: Command, parts: CliParts, ended: (code: number) => void): void {
  const command = program.command('serve').description('Serve databases until SIGTERM or SIGINT.')
  const readFlags = addConfigFlags(command, inputs)
  command.addHelpText('after', CONFIG_HELP).action(async () => {
    const config = readConfig(readFlags(), parts)
    const { start } = parts
    ended(await serve(config, { ...parts, version: version(), ...(start === undefined ? {} : { start }) }))
  })
}

function addToken(program: Command, parts: CliParts): void {
  const command = program
    .command('token')
    .description("Print a token for a user, signed with the server's secret.")
    .requiredOption('--uid <uid>', 'the user it stands for')
    .addOption(
      new Option('--claim <name=value>', 'a claim, or several as a JSON object; may be repeated')
        .argParser(collect)
        .default([], 'none'),
    )
    .option('--expires <time>', 'how long it counts, such as 90s, 15m, 1h or 7d', '1h')
    .option('--dev', "unsigned, in the form of Firebase's emulator; counts with `serve --dev` only")
  const readFlags = addConfigFlags(
    command,
    inputs.filter((input) => ['auth.secretFile', 'auth.issuer', 'auth.audience'].includes(input.name)),
  )
  command.addHelpText('after', TOKEN_HELP)
  command.action(async (given: { uid: string; claim: string[]; expires: string; dev?: boolean }) => {
    const request: TokenRequest = {
      uid: given.uid,
      claims: parseClaims(given.claim),
      issuedAtMs: Date.now(),
      lifetimeMs: lifetime(given.expires),
    }
    if (given.uid === '' || given.uid.length > 128) throw new TokenError('a uid has 1 to 128 characters')
    const token =
      given.dev === true
        ? emulatorToken(request)
        : await mintToken(readConfig(readFlags(), parts).auth, request)
    parts.out(`${token}\n`)
  })
}

const TOKEN_HELP = `
The secret is the one the server has: HEARTH_AUTH_SECRET, or the file named above. --dev needs none. Issuer and audience
are those the server asks for. The token goes to standard output, alone, as in:
  token=$(hearth token --uid ada --claim role=editor --claim '{"level": 3}')`

const CONFIG_HELP = `
Each option can also be given as the variable in brackets, or by its name in hearth.config.json; flags win over
variables, variables over the file. Secrets: HEARTH_AUTH_SECRET and HEARTH_ADMIN_KEY, or the files named above.`

const GROUPS: Readonly<Record<string, string>> = { auth: 'Tokens:', limits: 'Limits:', log: 'Log:' }

/** @returns What reads the flags back once they are parsed: the config file, and values by input name. */
function addConfigFlags(command: Command, shown: readonly Input[]): () => ConfigFlags {
  const options = new Map<string, string>()
  command.option('--config <path>', 'config file (hearth.config.json if it exists) [HEARTH_CONFIG]')
  for (const input of shown) {
    if (input.flag === null) continue
    const value = input.isBoolean ? '[true|false]' : `<${input.placeholder}>`
    const fallback = input.fallback === null || input.fallback === 'false' ? '' : ` (${input.fallback})`
    const option = new Option(`${input.flag} ${value}`, `${input.help}${fallback} [${input.env}]`)
    option.helpGroup(GROUPS[input.name.split('.')[0]!] ?? 'Options:')
    options.set(option.attributeName(), input.name)
    command.addOption(option)
  }
  return () => {
    const flags: Record<string, unknown> = {}
    for (const [attribute, value] of Object.entries(command.opts())) {
      const name = options.get(attribute)
      if (name !== undefined) flags[name] = value
    }
    return { flags, configFile: command.opts()['config'] as string | undefined }
  }
}

interface ConfigFlags {
  flags: Record<string, unknown>
  configFile: string | undefined
}

function readConfig({ flags, configFile }: ConfigFlags, parts: CliParts): Config {
  return loadConfig({ flags, env: parts.env, ...(configFile === undefined ? {} : { configFile }) })
}

function collect(value: string, before: string[]): string[] {
  return [...before, value]
}

function lifetime(text: string): number {
  try {
    return parseDuration(text)
  } catch (error) {
    throw new TokenError(`--expires: ${(error as Error).message}`)
  }
}

/** Whoever leaves out what a command needs is told how it is called. */
function tellUsage(command: Command): void {
  const names: string[] = []
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name())
  const usage = `; usage: ${names.join(' ')} ${command.usage()}`
  command.configureOutput({
    outputError: (text, write) => {
      const isIncomplete = /^error: (missing required|required option)/.test(text)
      write(`hearth: ${oneLine(text)}${isIncomplete ? usage : ''}\n`)
    },
  })
  for (const part of command.commands) tellUsage(part)
}

function exitCodeOf(error: unknown, parts: CliParts): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof ConfigError) {
    for (const problem of error.problems) parts.err(`hearth: ${problem}\n`)
    return 2
  }
  if (error instanceof TokenError) {
    parts.err(`hearth: ${error.message}\n`)
    return 2
  }
  throw error
}

function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
}

/** From package.json: beside `server/` in the sources, one folder further up in the build. */
function version(): string {
  for (const up of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as Record<
        string,
        string
      >
      if (name === 'hearthdb') return version!
    } catch {
      // Not there: look one folder further up.
    }
  }
  return 'unknown'
}
