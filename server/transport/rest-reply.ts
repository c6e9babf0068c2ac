/**
 * What REST answers have in common: their headers, and the ETags that name a value.
 */
import type { Value } from '../../protocol/index.ts'
import { nodeHash } from '../node-hash.ts'
import type { HttpReply, HttpRequest } from './http.ts'

export function ok(
  body: NonNullable<HttpReply['body']>,
  headers: readonly (readonly [string, string])[],
  type = 'application/json; charset=utf-8',
): HttpReply {
  return {
    status: '200 OK',
    headers: [
      ['Content-Type', type],
      ['Cache-Control', 'no-cache'],
      // A browser must not take a string somebody stored for a page.
      ['X-Content-Type-Options', 'nosniff'],
      ...headers,
    ],
    body,
  }
}

/** The ETag of nothing. */
export const NULL_ETAG = 'null_etag'

export function etagOf(value: Value): string {
  return nodeHash(value) || NULL_ETAG
}

/** Firebase's ETags have no quotes; libraries add them. */
export function unquoted(etag: string): string {
  return /^(?:W\/)?"(.*)"$/.exec(etag)?.[1] ?? etag
}

export function wantsETag(request: HttpRequest): boolean {
  return request.header('x-firebase-etag').toLowerCase() === 'true'
}
