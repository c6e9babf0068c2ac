/**
 * Serve: runs a server from its start to its end, and says on the terminal what an operator has to know.
 *
 *   first SIGTERM or SIGINT   drain: clients are told, writes flushed, exit 0
 *   second one                exit at once
 *   the drain hangs           exit 1 once its time is over
 */

import type { EventEmitter } from 'node:events'
import { existsSync } from 'node:fs'
import { type Config, ConfigError } from './config.ts'
import { createLogger, withoutTokens } from './log.ts'
import { type RunningServer, StartError, startServer } from './server.ts'
import { StoreCorruptError, StoreLockedError } from './store/store.ts'
import { ListenError } from './transport/websocket.ts'

export interface ServeParts {
  /** Emits SIGTERM and SIGINT: the process. */
  signals: EventEmitter
  out(text: string): void
  err(text: string): void
  version: string
  start?: typeof startServer
}

/** The server stops waiting by itself when the drain's time is over; this much later something hangs. */
const DRAIN_SLACK_MS = 500

/** What a shell reports for a process that a signal ended: 128 and its number. */
export const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 } as const

/** @returns The exit code, once the server has ended. */
export async function serve(config: Config, parts: ServeParts): Promise<number> {
  const logger = createLogger(config.log)
  let server: RunningServer
  try {
    server = await (parts.start ?? startServer)(config, { logger })
  } catch (error) {
    parts.err(`hearth: ${withoutTokens(startProblem(error))}\n`)
    return 1
  }
  for (const warning of warnings(config, server)) parts.err(warning)
  parts.out(addresses(config, server, parts.version))
  return new Promise((resolve) => {
    let isDraining = false
    const onSignal = (signal: keyof typeof SIGNAL_EXIT): void => {
      if (isDraining) {
        finish(SIGNAL_EXIT[signal])
        return
      }
      isDraining = true
      logger.info({ signal }, 'draining')
      const deadline = setTimeout(() => {
        logger.error('the drain did not end in time')
        finish(1)
      }, config.drainTimeoutMs + DRAIN_SLACK_MS)
      server
        .drain()
        .then(
          () => 0,
          (error: unknown) => {
            logger.error({ err: error }, 'the drain failed')
            return 1
          },
        )
        .then((code) => {
          clearTimeout(deadline)
          finish(code)
        })
    }
    const finish = (code: number): void => {
      parts.signals.off('SIGTERM', onSignal).off('SIGINT', onSignal)
      resolve(code)
    }
    parts.signals.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  })
}

function startProblem(error: unknown): string {
  if (error instanceof StartError || error instanceof ConfigError) return error.message
  if (error instanceof ListenError) return error.message
  if (error instanceof StoreLockedError || error instanceof StoreCorruptError) return error.message
  const { code, path, message } = error as NodeJS.ErrnoException
  // A system error names what failed (`EACCES: permission denied, mkdir 'data'`); anything else is a bug.
  if (code !== undefined && (path !== undefined || code === 'EISDIR')) return `cannot start: ${message}`
  return `cannot start: ${error instanceof Error ? error.stack : String(error)}`
}

function addresses(config: Config, server: RunningServer, version: string): string {
  const { port } = server.address
  const isWildcard = ['0.0.0.0', '::', '[::]'].includes(config.host)
  const url = isWildcard ? `http://localhost:${port}` : server.url
  const lines = [
    `Hearth ${version} is serving${isWildcard ? ' on every interface' : ''}`,
    `  clients    ${url.replace(/^http/, 'ws')}/v1`,
    `  health     ${url}/health/ready`,
    `  metrics    ${url}/metrics`,
    `  data       ${config.data}`,
    `  rules      ${rulesLine(config, server)}`,
  ]
  return `${lines.join('\n')}\n`
}

function rulesLine({ rules }: Config, server: RunningServer): string {
  if (server.isOpen) return `none (${rules} does not exist): everything is open`
  if (!existsSync(rules)) return `none (${rules} does not exist): every read and write is denied`
  return rules
}

function* warnings(config: Config, server: RunningServer): Iterable<string> {
  const isLocal = ['127.0.0.1', '::1', 'localhost'].includes(config.host)
  if (server.isOpen) {
    yield banner([
      'NO RULES: EVERYTHING IS OPEN',
      `There is no rules file at ${config.rules}, and --dev opens what has no rules.`,
      isLocal
        ? 'Every program on this machine may read and write all data.'
        : `Everyone who reaches ${config.host} may read and write all data.`,
    ])
  } else if (config.dev) {
    yield banner([
      'DEVELOPMENT: ANYONE CAN BE ANYONE',
      'With --dev unsigned tokens and the `owner` token count.',
      isLocal ? 'Do not serve users this way.' : `Everyone who reaches ${config.host} can become an admin.`,
    ])
  }
}

function banner(lines: readonly string[]): string {
  const width = Math.max(...lines.map((line) => line.length))
  const edge = '!'.repeat(width + 6)
  return `${edge}\n${lines.map((line) => `!! ${line.padEnd(width)} !!`).join('\n')}\n${edge}\n`
}
