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

/** Literals, not calls: bundlers then leave them out of a client, which knows errors by name. */
export const requestErrors = {
  internal: { code: 100, name: 'internal', retry: true },
  permissionDenied: { code: 101, name: 'permission_denied', retry: false },
  invalidPath: { code: 102, name: 'invalid_path', retry: false },
  invalidValue: { code: 103, name: 'invalid_value', retry: false },
  invalidQuery: { code: 104, name: 'invalid_query', retry: false },
  invalidToken: { code: 105, name: 'invalid_token', retry: false },
  expiredToken: { code: 106, name: 'expired_token', retry: false },
  tooLarge: { code: 107, name: 'too_large', retry: false },
  tooManyListens: { code: 108, name: 'too_many_listens', retry: false },
  stale: { code: 109, name: 'stale', retry: false },
  unavailable: { code: 110, name: 'unavailable', retry: true },
  rateLimited: { code: 111, name: 'rate_limited', retry: true },
  noIndex: { code: 112, name: 'no_index', retry: false },
  invalidMessage: { code: 113, name: 'invalid_message', retry: false },
  duplicateId: { code: 114, name: 'duplicate_id', retry: false },
  notSupported: { code: 115, name: 'not_supported', retry: false },
  unknownDatabase: { code: 116, name: 'unknown_database', retry: false },
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

  /** The name in `requestErrors`. */
  get codeName(): string {
    return this.kind.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  }
}

export function codeOf({ kind }: RequestError): number {
  return requestErrors[kind].code
}

export interface CloseReason {
  code: number
  /** A close frame holds 123 bytes of it. */
  reason: string
}

/**
 * 4000-4499: reconnect. 4500-4999: stop, the same client would fail again.
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
