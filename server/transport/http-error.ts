/**
 * HTTP errors: from what went wrong to a status and a text. The texts are Firebase's where Firebase has one, since
 * client libraries and people look for them.
 */
import { RequestError } from '../../protocol/index.ts'
import { BodyError, type Headers, type HttpReply, jsonError } from './http.ts'

/** A request that is answered with this status and text. */
export class HttpError extends Error {
  readonly status: string
  readonly headers: Headers

  constructor(status: string, message: string, headers: Headers = []) {
    super(message)
    this.status = status
    this.headers = headers
  }
}

export function badRequest(message: string): HttpError {
  return new HttpError('400 Bad Request', message)
}

export const WRITE_TOO_LARGE =
  'Data to write exceeds the maximum size that can be modified with a single request.'
export const READ_TOO_LARGE =
  'Data requested exceeds the maximum size that can be accessed with a single request.'

/** @throws whatever is not an answer to the client. */
export function errorReply(error: unknown): HttpReply {
  if (error instanceof HttpError) return jsonError(error.status, error.message, error.headers)
  if (error instanceof BodyError) {
    if (error.reason === 'tooLarge') return jsonError('413 Payload Too Large', WRITE_TOO_LARGE)
    if (error.reason === 'busy')
      return jsonError('503 Service Unavailable', 'try again', [['Retry-After', '1']])
  }
  if (error instanceof RequestError) return requestErrorReply(error)
  throw error
}

function requestErrorReply(error: RequestError): HttpReply {
  const retryAfter: Headers =
    error.retryAfterMs === null ? [] : [['Retry-After', String(Math.ceil(error.retryAfterMs / 1000))]]
  switch (error.kind) {
    case 'permissionDenied':
      // Why is said beside Firebase's text: with --dev the rule, else an id that the server's log resolves.
      return jsonError('401 Unauthorized', 'Permission denied', [
        ['Hearth-Reason', headerText(error.message)],
      ])
    case 'invalidToken':
      return jsonError('401 Unauthorized', 'Could not parse auth token.', [challenge(error.message)])
    case 'expiredToken':
      return jsonError('401 Unauthorized', 'Auth token is expired', [challenge(error.message)])
    case 'unknownDatabase':
      return jsonError('404 Not Found', error.message)
    case 'stale':
      return jsonError('412 Precondition Failed', error.message)
    case 'rateLimited':
      return jsonError('429 Too Many Requests', error.message, retryAfter)
    case 'unavailable':
      return jsonError('503 Service Unavailable', error.message, retryAfter)
    case 'internal':
      return jsonError('500 Internal Server Error', error.message)
    case 'notSupported':
      return jsonError('501 Not Implemented', error.message)
    default:
      return jsonError('400 Bad Request', error.message)
  }
}

/** RFC 6750: what is wrong with the token, where clients that ask for more than the status look for it. */
function challenge(message: string): readonly [string, string] {
  const description = headerText(message).replace(/["\\]/g, "'")
  return ['WWW-Authenticate', `Bearer error="invalid_token", error_description="${description}"`]
}

/** Nothing that could end a header or start another. */
export function headerText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)
}
