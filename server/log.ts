/**
 * Log: one structured line for each thing an operator may ask about, never one for each request. Lines are JSON
 * (pino) for machines, or one short readable line on a terminal. They go to stderr: stdout is for answers.
 *
 * INVARIANT: no line holds a token or a secret. Fields that are named like one are cut, and whatever looks like
 * one in the finished line too, since messages quote what clients sent.
 */
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino'
import type { LogConfig } from './config.ts'
import { LogStream } from './log-stream.ts'

export type Logger = PinoLogger

export interface LogParts {
  /** Where lines go instead of stderr. */
  stream?: DestinationStream
  /** Whether `auto` means pretty. */
  isTerminal?: boolean
}

const SECRET_FIELDS = ['token', 'secret', 'adminKey', 'password', 'authorization', 'cookie']

/** Lines still unwritten when the process ends are given this long. */
const LAST_WRITE_MS = 300

/** One for all loggers of this thread, so that their lines keep their order. */
let stderr: LogStream | null = null

function standardError(): LogStream {
  if (stderr === null) {
    const stream = new LogStream(2)
    process.once('exit', () => stream.writeRest())
    stderr = stream
  }
  return stderr
}

/** Lines of this thread that nobody took. */
export function logLinesLost(): number {
  return stderr?.linesLost ?? 0
}

/** Waits until what was logged is written, though not for a reader that is stuck: before the process ends. */
export async function finishLog(): Promise<void> {
  await stderr?.finished(LAST_WRITE_MS)
}

export function createLogger(config: LogConfig, parts: LogParts = {}): Logger {
  const isTerminal = parts.isTerminal ?? process.stderr.isTTY === true
  const isPretty = config.format === 'pretty' || (config.format === 'auto' && isTerminal)
  const stream = parts.stream ?? standardError()
  const logger = pino(
    {
      level: config.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
        censor: '[redacted]',
      },
      hooks: { streamWrite: withoutTokens },
    },
    isPretty ? { write: (line) => stream.write(prettyLine(line, isTerminal)) } : stream,
  )
  if (stream instanceof LogStream) {
    // As an error, so that it is said whatever else is logged.
    stream.onLost = (lines) =>
      logger.error(lines === 1 ? '1 log line was lost' : `${lines} log lines were lost`)
  }
  return logger
}

const JSON_WEB_TOKEN = /\beyJ[\w-]{4,}\.[\w-]*\.?[\w-]*/g
const SECRET_PARAMETER = /\b(auth|access_token|token)=[^&\s"'\\]+/g
const BEARER = /\b(Bearer|Basic) +[^\s"'\\,]+/gi

/** Also for texts that reach the log or the terminal by another way. */
export function withoutTokens(text: string): string {
  return text
    .replace(JSON_WEB_TOKEN, '[token]')
    .replace(SECRET_PARAMETER, '$1=[redacted]')
    .replace(BEARER, '$1 [redacted]')
}

const COLORS: Record<string, string> = {
  warn: '\x1b[33m',
  error: '\x1b[31m',
  fatal: '\x1b[31m',
  debug: '\x1b[2m',
  trace: '\x1b[2m',
}

/** `12:00:00.123 warn  connection closed  conn=c7 code=4001` */
function prettyLine(line: string, hasColors: boolean): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>
  const parts = [String(time).slice(11, 23), String(level).padEnd(5), printable(String(msg ?? ''))]
  for (const [name, value] of Object.entries(fields)) {
    const isWord = typeof value === 'string' && /^[\w.:/@-]+$/.test(value)
    parts.push(`${name}=${isWord ? value : printable(JSON.stringify(value))}`)
  }
  let text = parts.join('  ')
  if (typeof err === 'object' && err !== null) {
    const { stack, message } = err as { stack?: unknown; message?: unknown }
    text += `\n${printable(String(stack ?? message), '\n')}`
  }
  const color = hasColors ? COLORS[String(level)] : undefined
  return color === undefined ? `${text}\n` : `${color}${text}\x1b[0m\n`
}

/** What clients send may end up in a message: a terminal must not obey it, nor take it for two lines. */
function printable(text: string, allowed = ''): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (control) =>
    control === allowed ? control : `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
