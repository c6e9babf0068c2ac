/**
 * Auth: token -> who it stands for, or why not. Keys and clock come in as arguments; nothing here knows a
 * session or a rule. This file is the only one that knows jose, for checking; `token.ts` asks it to sign.
 *
 *   admin key, `owner` (--dev)   -> admin
 *   unsigned JWT (--dev)         -> its claims, without checking when it expires
 *   HS*  JWT                     -> the shared secret
 *   other JWT                    -> the public key, or the key set behind a URL
 *
 * INVARIANT: the family of a token's algorithm chooses the key, and only algorithms pinned at the start count.
 * So a public key is never taken for a shared secret, and `none` never reaches a key.
 * INVARIANT: no message quotes a token or a secret.
 */
import { createHash, createPublicKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import {
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type FetchImplementation,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from 'jose'
import { clip, RequestError } from '../protocol/index.ts'
import { type AuthConfig, type Config, ConfigError } from './config.ts'
import { admin, type Identity } from './identity.ts'

export interface Verified {
  identity: Identity
  /** When the identity's rights end, clock tolerance included; null for never. */
  expiresAtMs: number | null
}

export interface Verifier {
  /** Answers at once for the admin key and for tokens verified before, so that a reconnect costs no signature check. */
  known(token: string): Verified | null
  /**
   * @throws {RequestError} `invalidToken`, `expiredToken`, or `unavailable` when the key set cannot be fetched.
   */
  verify(token: string): Promise<Verified>
}

export interface VerifierParts {
  nowMs(): number
  /** For the key set; the global one by default. */
  fetch?: FetchImplementation
}

/** Real tokens have 1 to 2 KB; a session token with hundreds of group claims still fits. */
const TOKEN_LENGTH_MAX = 16 * 1024
/** Claims are walked by recursion and handed to rules, so their depth is bounded as data's is. */
const CLAIM_DEPTH_MAX = 32
const UID_LENGTH_MAX = 128
/** A verified token is taken again for this long, so a key withdrawn from a key set counts no longer than that. */
const KNOWN_FOR_MS = 5 * 60_000
/** About 8,000 tokens of 1 KB, claims not counted. */
const KNOWN_LENGTH_MAX = 8 * 1024 * 1024
const KEY_SET_TIMEOUT_MS = 5000
const KEY_SET_RETRY_MS = 2000
/** What Firebase's old token generator promised for tokens without `exp`. */
const LEGACY_LIFETIME_SECONDS = 24 * 60 * 60

/**
 * @throws {ConfigError} when the public key cannot be read or an algorithm has no key.
 */
export function createVerifier(
  config: Pick<Config, 'auth' | 'adminKey' | 'dev'>,
  parts: VerifierParts,
): Verifier {
  return new TokenVerifier(config, parts)
}

class TokenVerifier implements Verifier {
  private readonly config: Pick<Config, 'auth' | 'adminKey' | 'dev'>
  private readonly parts: VerifierParts
  private readonly adminDigest: Buffer | null
  private readonly keys: Keys
  private readonly remembered = new RememberedTokens()

  constructor(config: Pick<Config, 'auth' | 'adminKey' | 'dev'>, parts: VerifierParts) {
    this.config = config
    this.parts = parts
    this.adminDigest = config.adminKey === null ? null : digest(config.adminKey.reveal())
    this.keys = new Keys(config.auth, parts)
  }

  known(token: string): Verified | null {
    if (token.length > TOKEN_LENGTH_MAX) return null
    const verified = this.remembered.get(token, this.parts.nowMs())
    if (verified !== null) return verified
    // Digests have one length and hide where two texts differ, so the comparison tells nothing by its time.
    const isAdminKey = this.adminDigest !== null && timingSafeEqual(this.adminDigest, digest(token))
    return isAdminKey || (this.config.dev && token === 'owner')
      ? { identity: admin, expiresAtMs: null }
      : null
  }

  async verify(token: string): Promise<Verified> {
    const known = this.known(token)
    if (known !== null) return known
    if (token.length > TOKEN_LENGTH_MAX) {
      throw invalid(`token has ${token.length} characters; tokens may have at most ${TOKEN_LENGTH_MAX}`)
    }
    if (token === 'owner') throw invalid('the `owner` token counts with --dev only; use the admin key')
    const algorithm = algorithmOf(token)
    if (algorithm === 'none') {
      if (!this.config.dev) throw invalid('token is not signed; unsigned tokens count with --dev only')
      return { identity: userOf(unsignedClaims(token)), expiresAtMs: null }
    }
    const verified = this.verifiedOf(await this.signedClaims(token, algorithm), algorithm)
    this.remembered.add(token, verified, this.parts.nowMs())
    return verified
  }

  private async signedClaims(token: string, algorithm: string): Promise<JWTPayload> {
    const { issuer, audience, clockToleranceSeconds } = this.config.auth
    this.keys.assertPinned(algorithm)
    try {
      const { payload } = await jwtVerify(token, (header, jws) => this.keys.find(header, jws), {
        algorithms: [algorithm],
        clockTolerance: clockToleranceSeconds,
        currentDate: new Date(this.parts.nowMs()),
        ...(issuer === null ? {} : { issuer }),
        ...(audience.length === 0 ? {} : { audience: [...audience] }),
      })
      return payload
    } catch (error) {
      throw refusal(error)
    }
  }

  private verifiedOf(payload: JWTPayload, algorithm: string): Verified {
    const { clockToleranceSeconds, expiryRequired } = this.config.auth
    const nowSeconds = this.parts.nowMs() / 1000
    // jose checks that it is a number, but compares it only when a maximum age is set.
    if (payload.iat !== undefined && payload.iat > nowSeconds + clockToleranceSeconds) {
      throw invalid('token claim `iat` lies in the future')
    }
    // Firebase's tokens of before 2016 wrap the claims; they are always signed with a secret.
    const isLegacy = algorithm.startsWith('HS') && payload['v'] === 0 && isRecord(payload['d'])
    let expiry = payload.exp
    if (isLegacy && expiry === undefined && payload.iat !== undefined) {
      expiry = payload.iat + LEGACY_LIFETIME_SECONDS
      if (expiry <= nowSeconds - clockToleranceSeconds) throw expired()
    }
    if (expiry === undefined && expiryRequired) {
      throw invalid('token has no `exp`; tokens that never expire are refused by configuration')
    }
    // The tolerance counts here too, else a token accepted in its last seconds would lose its rights at once.
    const expiresAtMs = expiry === undefined ? null : (expiry + clockToleranceSeconds) * 1000
    if (!isLegacy) return { identity: userOf(payload), expiresAtMs }
    if (payload['admin'] === true) return { identity: admin, expiresAtMs }
    return { identity: legacyUserOf(payload['d'] as Record<string, unknown>), expiresAtMs }
  }
}

/** The keys of the configuration, and which algorithms they may be used with. */
class Keys {
  private readonly secret: Uint8Array | null
  private readonly publicKey: KeyObject | null
  private readonly keySet: ReturnType<typeof createRemoteJWKSet> | null
  private readonly pinned: ReadonlySet<string>

  constructor(auth: AuthConfig, parts: VerifierParts) {
    this.secret = auth.secret === null ? null : new TextEncoder().encode(auth.secret.reveal())
    this.publicKey = auth.publicKey === null ? null : parsePublicKey(auth.publicKey)
    this.keySet = auth.jwksUrl === null ? null : createKeySet(auth.jwksUrl, parts)
    this.pinned = new Set(auth.algorithms.length > 0 ? auth.algorithms : this.usualAlgorithms())
    for (const algorithm of this.pinned) this.assertUsable(algorithm)
  }

  /** Before any signature is looked at. */
  assertPinned(algorithm: string): void {
    if (this.pinned.size === 0) throw invalid('this server has no key to verify tokens with')
    if (this.pinned.has(algorithm)) return
    throw invalid(`token algorithm \`${clip(algorithm, 16)}\` is not one of ${[...this.pinned].join(', ')}`)
  }

  async find(...[header, jws]: Parameters<ReturnType<typeof createRemoteJWKSet>>) {
    if (header?.alg?.startsWith('HS')) return this.secret!
    if (this.publicKey !== null) return this.publicKey
    try {
      return await this.keySet!(header, jws)
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey)
        throw invalid('token is signed with a key that is not in the key set')
      if (error instanceof errors.JWKSMultipleMatchingKeys)
        throw invalid('token does not say which key signed it (`kid`)')
      throw new RequestError('unavailable', 'the keys that verify tokens cannot be fetched', KEY_SET_RETRY_MS)
    }
  }

  private usualAlgorithms(): string[] {
    const algorithms = this.secret === null ? [] : ['HS256']
    if (this.publicKey !== null) algorithms.push(...algorithmsOf(this.publicKey).usual)
    if (this.keySet !== null) algorithms.push('RS256', 'ES256', 'EdDSA', 'Ed25519')
    return algorithms
  }

  private assertUsable(algorithm: string): void {
    if (algorithm.startsWith('HS')) {
      // RFC 7518 §3.2: a key at least as long as the hash.
      const bytesMin = Number(algorithm.slice(2)) / 8
      if (this.secret === null) throw new ConfigError([`auth.algorithms: ${algorithm} needs auth.secret`])
      if (this.secret.length < bytesMin) {
        throw new ConfigError([
          `auth.secret: has ${this.secret.length} bytes; ${algorithm} needs ${bytesMin}`,
        ])
      }
    } else if (this.publicKey !== null) {
      const { possible } = algorithmsOf(this.publicKey)
      if (possible.includes(algorithm)) return
      throw new ConfigError([
        `auth.algorithms: the public key is for ${possible.join(', ')}, not for ${algorithm}`,
      ])
    } else if (this.keySet === null) {
      throw new ConfigError([`auth.algorithms: ${algorithm} needs auth.publicKeyFile or auth.jwksUrl`])
    }
  }
}

function createKeySet(url: string, parts: VerifierParts): ReturnType<typeof createRemoteJWKSet> {
  const fetchKeys: FetchImplementation = parts.fetch ?? ((address, options) => fetch(address, options))
  let waitUntilMs = 0
  return createRemoteJWKSet(new URL(url), {
    timeoutDuration: KEY_SET_TIMEOUT_MS,
    // jose waits after successful fetches only; while a key server is down, every token would knock again.
    [customFetch]: async (address, options) => {
      if (parts.nowMs() < waitUntilMs) throw new Error('waiting after a failure')
      waitUntilMs = parts.nowMs() + KEY_SET_RETRY_MS
      return fetchKeys(address, options)
    },
  })
}

function parsePublicKey(text: string): KeyObject {
  const problem = (what: string): ConfigError => new ConfigError([`auth.publicKeyFile: ${what}`])
  if (text.includes('PRIVATE KEY')) throw problem('holds a private key; the server needs the public one only')
  let key: KeyObject
  try {
    if (text.trimStart().startsWith('{')) {
      const jwk = JSON.parse(text) as Record<string, unknown>
      if (jwk['kty'] === 'oct') throw problem('holds a shared secret; give it as auth.secretFile')
      if ('d' in jwk) throw problem('holds a private key; the server needs the public one only')
      key = createPublicKey({ key: jwk, format: 'jwk' })
    } else key = createPublicKey(text)
  } catch (error) {
    throw error instanceof ConfigError ? error : problem('is neither a public key in PEM nor a JWK')
  }
  if (key.asymmetricKeyType === 'rsa' && key.asymmetricKeyDetails!.modulusLength! < 2048) {
    throw problem('the RSA key has fewer than 2048 bits')
  }
  if (algorithmsOf(key).possible.length === 0) throw problem('this type of key signs no tokens')
  return key
}

const CURVE_ALGORITHMS: Record<string, string> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}

function algorithmsOf(key: KeyObject): { usual: readonly string[]; possible: readonly string[] } {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return { usual: ['RS256'], possible: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] }
    case 'ec': {
      const algorithm = CURVE_ALGORITHMS[key.asymmetricKeyDetails?.namedCurve ?? '']
      const algorithms = algorithm === undefined ? [] : [algorithm]
      return { usual: algorithms, possible: algorithms }
    }
    case 'ed25519':
      // Two names of one algorithm: RFC 8037's, and RFC 9864's that replaces it.
      return { usual: ['EdDSA', 'Ed25519'], possible: ['EdDSA', 'Ed25519'] }
    default:
      return { usual: [], possible: [] }
  }
}

/** Verified tokens, the oldest forgotten first. */
class RememberedTokens {
  private readonly tokens = new Map<string, { verified: Verified; untilMs: number }>()
  private length = 0

  get(token: string, nowMs: number): Verified | null {
    const entry = this.tokens.get(token)
    if (entry === undefined) return null
    if (nowMs < entry.untilMs) return entry.verified
    this.remove(token)
    return null
  }

  add(token: string, verified: Verified, nowMs: number): void {
    this.remove(token)
    this.tokens.set(token, {
      verified,
      untilMs: Math.min(nowMs + KNOWN_FOR_MS, verified.expiresAtMs ?? Infinity),
    })
    this.length += token.length
    for (const oldest of this.tokens.keys()) {
      if (this.length <= KNOWN_LENGTH_MAX) break
      this.remove(oldest)
    }
  }

  private remove(token: string): void {
    if (this.tokens.delete(token)) this.length -= token.length
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function algorithmOf(token: string): string {
  let algorithm: unknown
  try {
    algorithm = decodeProtectedHeader(token).alg
  } catch {
    throw invalid('token is not a JSON Web Token')
  }
  if (typeof algorithm !== 'string') throw invalid('token header names no algorithm')
  return algorithm
}

/** The emulator's tokens expired in 1970, so nothing of time is checked; see firebase-tools. */
function unsignedClaims(token: string): JWTPayload {
  try {
    if (!token.endsWith('.')) throw new Error('an unsigned token has an empty signature')
    return decodeJwt(token)
  } catch {
    throw invalid('unsigned token is malformed')
  }
}

/** The rules' `auth` for claims: Firebase's shape. */
function userOf(payload: JWTPayload): Identity {
  const token = copyClaims(payload, 0) as Record<string, unknown>
  const uid = token['user_id'] ?? token['sub']
  const firebase = token['firebase']
  const provider = (isRecord(firebase) ? firebase['sign_in_provider'] : undefined) ?? token['provider_id']
  const auth = { uid: checkUid(uid), provider: typeof provider === 'string' ? provider : 'custom', token }
  return { isAdmin: false, auth: Object.freeze(Object.assign(Object.create(null), auth)) }
}

/** Legacy tokens put their fields on `auth` itself; they are given as `auth.token` too, where today's rules look. */
function legacyUserOf(data: Record<string, unknown>): Identity {
  const token = copyClaims(data, 0) as Record<string, unknown>
  const uid = checkUid(token['uid'])
  return {
    isAdmin: false,
    auth: Object.freeze(Object.assign(Object.create(null), { provider: 'custom', token }, token, { uid })),
  }
}

function checkUid(uid: unknown): string {
  if (typeof uid === 'string' && uid.length >= 1 && uid.length <= UID_LENGTH_MAX) return uid
  throw invalid(`token names no user: \`sub\` or \`user_id\` is a text of 1 to ${UID_LENGTH_MAX} characters`)
}

/** Frozen, since the cache shares it, and without prototypes, so that rules see nothing but what was signed. */
function copyClaims(value: unknown, depth: number): unknown {
  if (depth > CLAIM_DEPTH_MAX) throw invalid(`token claims are nested deeper than ${CLAIM_DEPTH_MAX}`)
  if (Array.isArray(value)) return Object.freeze(value.map((item) => copyClaims(item, depth + 1)))
  if (!isRecord(value)) return value
  const copy: Record<string, unknown> = Object.create(null)
  for (const key of Object.keys(value)) {
    if (key !== '__proto__') copy[key] = copyClaims(value[key], depth + 1)
  }
  return Object.freeze(copy)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(message: string): RequestError {
  return new RequestError('invalidToken', message)
}

function expired(): RequestError {
  return new RequestError('expiredToken', 'token has expired')
}

function refusal(error: unknown): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof errors.JWTExpired) return expired()
  if (error instanceof errors.JWTClaimValidationFailed) {
    const what =
      error.reason === 'missing'
        ? 'is missing'
        : error.claim === 'nbf'
          ? 'lies in the future'
          : 'is not accepted here'
    return invalid(`token claim \`${error.claim}\` ${what}`)
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return invalid('token signature is wrong')
  return invalid('token is malformed')
}

/**
 * @param claims `iat` and `exp` in Unix seconds, as JWT counts.
 * @param algorithm One of HS256, HS384, HS512.
 */
export function signToken(claims: JWTPayload, secret: string, algorithm = 'HS256'): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
    .sign(new TextEncoder().encode(secret))
}
