/**
 * REST.
 */
import type { HttpRoute } from './http.ts'
export function restRoute(_parts: unknown): HttpRoute {
  return () => null
}
