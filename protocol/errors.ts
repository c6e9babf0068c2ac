/**
 * Every error and close code, declared once. A code is never reused.
 * A request error answers one request and the connection lives on. A close reason ends the connection,
 * and its range tells the client what to do: 4000-4499 reconnect, 4500-4999 stop.
 */

interface ErrorKind {
  /** Stable number on the wire. */
  code: number
  /** Stable name on the wire. */
  name: string
  /** Whether the same request may succeed later, unchanged. */
  retry: boolean
}

function requestError(code: number, name: string, options: { retry: boolean }): ErrorKind {
  return { code, name, retry: options.retry }
}

export const requestErrors = {
  internal: requestError(100, 'internal', { retry: true }),
  permissionDenied: requestError(101, 'permission_denied', { retry: false }),
  invalidPath: requestError(102, 'invalid_path', { retry: false }),
  invalidValue: requestError(103, 'invalid_value', { retry: false }),
  invalidQuery: requestError(104, 'invalid_query', { retry: false }),
  invalidToken: requestError(105, 'invalid_token', { retry: false }),
  expiredToken: requestError(106, 'expired_token', { retry: false }),
  tooLarge: requestError(107, 'too_large', { retry: false }),
  tooManyListens: requestError(108, 'too_many_listens', { retry: false }),
  stale: requestError(109, 'stale', { retry: false }),
  unavailable: requestError(110, 'unavailable', { retry: true }),
  rateLimited: requestError(111, 'rate_limited', { retry: true }),
  noIndex: requestError(112, 'no_index', { retry: false }),
  invalidMessage: requestError(113, 'invalid_message', { retry: false }),
  duplicateId: requestError(114, 'duplicate_id', { retry: false }),
  notSupported: requestError(115, 'not_supported', { retry: false }),
  unknownDatabase: requestError(116, 'unknown_database', { retry: false }),
} as const satisfies Record<string, ErrorKind>

export type RequestErrorKind = keyof typeof requestErrors

/** A request that cannot be served. Sent as the `error` answer of that request. */
export class RequestError extends Error {
  readonly kind: RequestErrorKind
  readonly retryAfterMs: number | null

  constructor(kind: RequestErrorKind, message: string, retryAfterMs: number | null = null) {
    super(message)
    this.name = 'RequestError'
    this.kind = kind
    this.retryAfterMs = retryAfterMs
  }

  get code(): number {
    return requestErrors[this.kind].code
  }

  get codeName(): string {
    return requestErrors[this.kind].name
  }
}

export interface CloseReason {
  code: number
  /** At most 123 bytes, the limit of a WebSocket close frame. */
  reason: string
}

/**
 * 4000-4499: reconnect. 4500-4999: stop, the same client would fail again.
 * Literals, not calls: bundlers then leave them out of a client that does not name them.
 */
export const closeReasons = {
  goingAway: { code: 4000, reason: 'server is going away; reconnect' },
  slowConsumer: { code: 4001, reason: 'slow consumer; reconnect and listen again' },
  idle: { code: 4002, reason: 'no traffic within the idle timeout; reconnect' },
  rateLimited: { code: 4003, reason: 'rate limited; reconnect later' },
  takenOver: { code: 4004, reason: 'session taken over by a newer connection' },
  invalidFrame: { code: 4500, reason: 'invalid frame' },
  frameTooLarge: { code: 4501, reason: 'frame too large' },
  textFrame: { code: 4502, reason: 'text frame; this protocol is binary' },
  unknownDatabase: { code: 4503, reason: 'unknown database' },
  unsupportedVersion: { code: 4504, reason: 'unsupported protocol version' },
} as const satisfies Record<string, CloseReason>

export function mayReconnect(closeCode: number): boolean {
  return closeCode < 4500 || closeCode > 4999
}
