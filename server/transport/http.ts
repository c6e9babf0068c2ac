/**
 * HTTP: what a request and its answer look like to handlers, who serves which path, and which pages of other
 * origins may ask. Handlers never see a socket.
 */

export interface HttpRequest {
  /** Upper case. */
  readonly method: string
  /** As sent: percent-encoded, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  /** Of whoever is at the other end of the connection, which may be a proxy. */
  readonly remoteAddress: string
  /** Lower-case name; empty when it was not sent. */
  header(name: string): string
  /**
   * The whole body; to be asked for once.
   * @throws {BodyError} when it is larger than `bytesMax`, or the client went away.
   */
  body(bytesMax: number): Promise<Buffer>
  /** Whether the client went away, or was answered. */
  readonly isGone: boolean
  /** Calls back, once, if the client goes away before it is answered. */
  whenGone(call: () => void): void
  /** Ends the connection at once, whatever was to be sent. */
  abort(): void
}

export type Headers = readonly (readonly [name: string, value: string])[]

/** Asked for as the client takes them; `return` is called where not all of them are. */
export type Pieces = Iterator<string | Uint8Array>

/** Null sends none. */
export type Body = string | Uint8Array | Pieces | null

export interface HttpReply {
  /** Code and reason, such as `200 OK`. */
  status: string
  headers: Headers
  body: Body
}

/** An answer that goes on until one side ends it. */
export interface StreamReply {
  status: string
  headers: Headers
  /** Called once the head is written. */
  stream(out: OutStream): void
}

export interface OutStream {
  readonly isOpen: boolean
  /** @returns Whether the socket took it all. If not, write no more until it is writable again. */
  write(text: string | Uint8Array): boolean
  onWritable(call: () => void): void
  /** The client went away; not called after `end`. */
  onGone(call: () => void): void
  end(): void
  /** Ends the connection at once, whatever is waiting to be sent. */
  abort(): void
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpReply | StreamReply>

/** A body that did not arrive, or was not wanted. */
export class BodyError extends Error {
  /** `busy`: bodies of other clients take all the memory there is for them. */
  readonly reason: 'tooLarge' | 'gone' | 'busy'

  constructor(reason: BodyError['reason']) {
    super(`body: ${reason}`)
    this.reason = reason
  }
}

export function isStreamReply(reply: HttpReply | StreamReply): reply is StreamReply {
  return 'stream' in reply
}

/** Serves the paths it knows; null for others. */
export type HttpRoute = (request: HttpRequest) => Promise<HttpReply | StreamReply> | null

export interface HttpSources {
  /** Whether new clients are welcome: false while starting and draining. */
  isReady(): boolean
  metrics(): Promise<{ contentType: string; text: string }>
  /** Asked in this order. */
  routes: readonly HttpRoute[]
  /** Web origins whose pages may ask; `*` for all. */
  allowedOrigins: readonly string[]
}

/** A browser asks again after this long whether it may. */
const PREFLIGHT_SECONDS = 3600

export function httpHandler(sources: HttpSources): HttpHandler {
  return async (request) => {
    const operator = await serveOperator(sources, request)
    if (operator !== null) return operator
    const origin = request.header('origin')
    if (!isAllowed(origin, sources.allowedOrigins, request)) {
      return jsonError('403 Forbidden', 'pages of this origin may not use this server')
    }
    const cors = corsHeaders(origin, sources.allowedOrigins)
    if (request.method === 'OPTIONS') return preflight(request, cors)
    for (const route of sources.routes) {
      const serving = route(request)
      if (serving === null) continue
      const reply = await serving
      return { ...reply, headers: [...reply.headers, ...cors] }
    }
    return plain('404 Not Found', notFoundHint(request.path))
  }
}

export function plain(status: string, body: string): HttpReply {
  return {
    status,
    headers: [
      ['Content-Type', 'text/plain; charset=utf-8'],
      ['Cache-Control', 'no-store'],
    ],
    body,
  }
}

/** In the form of Firebase's own errors, spaces and all. */
export function jsonError(status: string, message: string, headers: Headers = []): HttpReply {
  return {
    status,
    headers: [['Content-Type', 'application/json; charset=utf-8'], ['Cache-Control', 'no-cache'], ...headers],
    body: `{\n  "error" : ${JSON.stringify(message)}\n}\n`,
  }
}

/** Health and metrics, for whoever runs the server. */
async function serveOperator(sources: HttpSources, { method, path }: HttpRequest): Promise<HttpReply | null> {
  if (path !== '/metrics' && !path.startsWith('/health/')) return null
  if (method !== 'GET' && method !== 'HEAD') {
    return plain('405 Method Not Allowed', `${printable(method)} is not served here\n`)
  }
  switch (path) {
    case '/health/live':
      return plain('200 OK', 'live\n')
    case '/health/ready':
      return sources.isReady() ? plain('200 OK', 'ready\n') : plain('503 Service Unavailable', 'not ready\n')
    case '/metrics': {
      const { contentType, text } = await sources.metrics()
      return { ...plain('200 OK', text), headers: [['Content-Type', contentType]] }
    }
    default:
      return null
  }
}

function isAllowed(origin: string, allowed: readonly string[], request: HttpRequest): boolean {
  if (origin === '' || allowed.includes('*') || allowed.includes(origin)) return true
  // Pages this server serves itself: their host is the one they ask.
  return URL.canParse(origin) && new URL(origin).host === request.header('host')
}

/** For what pages load as a script, which does not say whose page wants it: the referrer is all there is. */
export function isReferrerAllowed(request: HttpRequest, allowed: readonly string[]): boolean {
  if (allowed.includes('*')) return true
  const referrer = request.header('referer')
  return URL.canParse(referrer) && isAllowed(new URL(referrer).origin, allowed, request)
}

function corsHeaders(origin: string, allowed: readonly string[]): Headers {
  const isForAll = allowed.includes('*')
  if (origin === '') return isForAll ? [] : [['Vary', 'Origin']]
  const exposed = ['Access-Control-Expose-Headers', 'ETag, Hearth-Revision, Hearth-Reason'] as const
  if (isForAll) return [['Access-Control-Allow-Origin', '*'], exposed]
  return [['Access-Control-Allow-Origin', origin], ['Vary', 'Origin'], exposed]
}

function preflight(request: HttpRequest, cors: Headers): HttpReply {
  const wanted = request.header('access-control-request-headers')
  const headers: (readonly [string, string])[] = [
    ['Allow', 'GET, PUT, PATCH, POST, DELETE, OPTIONS'],
    ['Accept-Patch', 'application/json, application/json-patch+json, application/merge-patch+json'],
    ...cors,
  ]
  if (request.header('origin') !== '') {
    headers.push(
      ['Access-Control-Allow-Methods', 'GET, PUT, PATCH, POST, DELETE'],
      ['Access-Control-Max-Age', String(PREFLIGHT_SECONDS)],
    )
    // A header of another name than HTTP allows could not be sent anyway.
    if (/^[\w!#$%&'*+.^`|~, -]+$/.test(wanted)) headers.push(['Access-Control-Allow-Headers', wanted])
  }
  return { status: '204 No Content', headers, body: null }
}

function notFoundHint(path: string): string {
  return path.startsWith('/v1') || path.startsWith('/.')
    ? 'nothing here; clients connect to /v1 by WebSocket\n'
    : 'nothing here; append .json to the path to use the REST API\n'
}

/** What a client sent, in an answer: nothing that could be taken for markup or a second line. */
function printable(text: string): string {
  return text.replace(/[^A-Za-z-]/g, '?').slice(0, 32)
}
