/**
 * Who asks, over HTTP: a token in the Authorization header, in `access_token` or in `auth`, or nobody.
 */
import { clip, PATH_DEPTH_MAX } from '../../protocol/index.ts'
import type { Verified, Verifier } from '../auth.ts'
import { anonymous } from '../identity.ts'
import type { HttpRequest } from './http.ts'
import { badRequest, HttpError } from './http-error.ts'

/**
 * @throws {RequestError} `invalid_token`, `expired_token`, `unavailable`
 * @throws {HttpError} for an override by somebody who is no admin, or one that is no object.
 */
export async function identify(request: HttpRequest, verifier: Verifier): Promise<Verified> {
  const token = tokenOf(request)
  const verified: Verified =
    token === null
      ? { identity: anonymous, expiresAtMs: null }
      : (verifier.known(token) ?? (await verifier.verify(token)))
  const override = request.query.get('auth_variable_override')
  if (override === null) return verified
  if (!verified.identity.isAdmin) throw new HttpError('401 Unauthorized', 'Permission denied')
  return { identity: { isAdmin: false, auth: parseOverride(override) }, expiresAtMs: verified.expiresAtMs }
}

/** @throws {RequestError} as `identify`; @throws {HttpError} 401 for anyone but an admin. */
export async function assertAdmin(request: HttpRequest, verifier: Verifier): Promise<void> {
  const { identity } = await identify(request, verifier)
  if (!identity.isAdmin) throw new HttpError('401 Unauthorized', 'Permission denied')
}

function tokenOf(request: HttpRequest): string | null {
  // Not one expression for it all: one that looks for blanks at the end tries at each blank of a header that is full of them.
  const header = request.header('authorization')
  const bearer = /^Bearer /i.test(header) ? header.slice('Bearer '.length).trim() : ''
  return bearer || request.query.get('access_token') || request.query.get('auth') || null
}

/** What rules see as `auth` when an admin acts as somebody, or with null as nobody. */
function parseOverride(text: string): Record<string, unknown> | null {
  let auth: unknown
  try {
    auth = JSON.parse(text)
  } catch {
    throw badRequest(`auth_variable_override \`${clip(text)}\` is not JSON`)
  }
  if (auth === null) return null
  if (typeof auth !== 'object' || Array.isArray(auth)) {
    throw badRequest('auth_variable_override is neither a JSON object nor null')
  }
  if (depthOf(auth) > PATH_DEPTH_MAX) throw badRequest('auth_variable_override is nested too deep')
  return auth as Record<string, unknown>
}

/** How deep objects and lists are nested in JSON; stops looking past what is too deep anywhere. */
export function depthOf(value: unknown, depth = 0): number {
  if (typeof value !== 'object' || value === null || depth > PATH_DEPTH_MAX) return depth
  let deepest = depth
  for (const child of Object.values(value)) deepest = Math.max(deepest, depthOf(child, depth + 1))
  return deepest
}
