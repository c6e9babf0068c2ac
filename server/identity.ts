/**
 * Who a session acts for. What rules see as `auth` is plain JSON; an admin bypasses rules.
 */
import { createHash } from 'node:crypto'

export interface Identity {
  isAdmin: boolean
  /** The rules' `auth`: null when signed out. */
  auth: Record<string, unknown> | null
}

export const anonymous: Identity = { isAdmin: false, auth: null }
export const admin: Identity = { isAdmin: true, auth: null }

/** Short, stable and not reversible: enough to recognise a user in a log line without naming them. */
export function identityTag(identity: Identity): string {
  if (identity.isAdmin) return 'admin'
  if (identity.auth === null) return 'anonymous'
  return createHash('sha256').update(String(identity.auth['uid'])).digest('base64url').slice(0, 8)
}
