/**
 * Settings.
 */
import type { HttpRoute } from './http.ts'
export function settingsRoute(_parts: unknown): HttpRoute {
  return () => null
}
