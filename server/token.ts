/**
 * Token: what `hearth token` prints. Signed with the server's own secret, it stands for a user until it expires;
 * unsigned, in the form of Firebase's emulator, it counts with --dev only.
 */
import { signToken } from './auth.ts'
import type { AuthConfig } from './config.ts'

export interface TokenRequest {
  uid: string
  claims: Readonly<Record<string, unknown>>
  /** Unix milliseconds. */
  issuedAtMs: number
  lifetimeMs: number
}

/** What was asked for cannot be put into a token. */
export class TokenError extends Error {}

const RESERVED_CLAIMS: Readonly<Record<string, string>> = {
  sub: 'set by --uid',
  user_id: 'set by --uid',
  exp: 'set by --expires',
  iat: 'the time of now',
  nbf: 'the time of now',
  iss: 'set by auth.issuer',
  aud: 'set by auth.audience',
}

/**
 * Reads `name=value` pairs and JSON objects. A value that is JSON counts as JSON (`age=7`, `roles=["a"]`), all
 * else as text.
 * @throws {TokenError}
 */
export function parseClaims(texts: readonly string[]): Record<string, unknown> {
  const claims: Record<string, unknown> = {}
  for (const text of texts) {
    const equals = text.indexOf('=')
    const given = text.startsWith('{')
      ? claimsObject(text)
      : equals > 0
        ? { [text.slice(0, equals)]: jsonOrText(text.slice(equals + 1)) }
        : null
    if (given === null) throw new TokenError(`claim \`${text}\` is neither name=value nor a JSON object`)
    for (const [name, value] of Object.entries(given)) {
      const reserved = Object.hasOwn(RESERVED_CLAIMS, name) ? RESERVED_CLAIMS[name] : undefined
      if (reserved !== undefined) throw new TokenError(`claim \`${name}\` is ${reserved}`)
      claims[name] = value
    }
  }
  return claims
}

/** @throws {TokenError} without a secret, or when configuration pins other algorithms than the secret's. */
export function mintToken(auth: AuthConfig, request: TokenRequest): Promise<string> {
  if (auth.secret === null) {
    throw new TokenError(
      'no secret to sign with; give --auth-secret-file or HEARTH_AUTH_SECRET, or ask for --dev',
    )
  }
  const algorithm =
    auth.algorithms.length === 0 ? 'HS256' : auth.algorithms.find((name) => name.startsWith('HS'))
  if (algorithm === undefined) throw new TokenError('auth.algorithms allows no token signed with a secret')
  const claims = {
    ...timedClaims(request),
    ...(auth.issuer === null ? {} : { iss: auth.issuer }),
    ...(auth.audience.length === 0 ? {} : { aud: auth.audience[0]! }),
  }
  return signToken(claims, auth.secret.reveal(), algorithm)
}

/** The emulator's form: no signature, and a project's name where Firebase has one. */
export function emulatorToken(request: TokenRequest): string {
  const claims = {
    iss: 'https://securetoken.google.com/hearth',
    aud: 'hearth',
    firebase: { sign_in_provider: 'custom', identities: {} },
    user_id: request.uid,
    ...timedClaims(request),
  }
  return `${base64url({ alg: 'none', type: 'JWT' })}.${base64url(claims)}.`
}

function timedClaims(request: TokenRequest): Record<string, unknown> {
  const issuedAt = Math.floor(request.issuedAtMs / 1000)
  return {
    ...request.claims,
    sub: request.uid,
    iat: issuedAt,
    exp: issuedAt + Math.ceil(request.lifetimeMs / 1000),
  }
}

function claimsObject(text: string): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : null
  } catch {
    return null
  }
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
