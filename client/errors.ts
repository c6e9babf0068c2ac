/**
 * What an app sees when something is refused or fails: one class, a stable code in words, a readable message.
 * Codes are those of the protocol (`permission_denied`, `invalid_value`, ...) and a few of the client's own.
 */
import { RequestError } from '../protocol/errors.ts'
import { formatPath, type Path } from '../protocol/path.ts'

export class HearthError extends Error {
  /** `permission_denied`, `too_large`, `offline`, ...; see docs/protocol.md for the server's. */
  readonly code: string
  /** How long the server asks to wait before the same request; null when it does not say. */
  readonly retryAfterMs: number | null

  constructor(code: string, message: string, retryAfterMs: number | null = null) {
    super(message)
    this.name = 'HearthError'
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

/** A request the server answered with an error. Denials read as Firebase's do, then as the server explains them. */
export function requestFailed(
  path: Path | null,
  name: string,
  message: string,
  retryAfterMs: number | null = null,
): HearthError {
  const place = path === null ? '' : ` at ${formatPath(path)}`
  const denial =
    name === 'permission_denied' ? "Client doesn't have permission to access the desired data. " : ''
  return new HearthError(name, `${name}${place}: ${denial}${message}`, retryAfterMs)
}

/** By close code from 4500: the names of `closeReasons` in protocol/errors.ts, without their texts. */
const STOP_CODES = [
  'invalid_frame',
  'frame_too_large',
  'text_frame',
  'unknown_database',
  'unsupported_version',
]

/** Why a connection ended for good. */
export function connectionClosed(code: number, reason: string): HearthError {
  return new HearthError(
    STOP_CODES[code - 4500] ?? 'closed',
    `connection closed with code ${code}: ${reason}`,
  )
}

/** Runs a check of the app's input; what it refuses names the operation. */
export function refusing<T>(operation: string, check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof RequestError) {
      throw new HearthError(error.codeName, `${operation} failed: ${error.message}`)
    }
    throw error
  }
}
