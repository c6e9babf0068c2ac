/**
 * Proxy: HTTP requests that only the writing thread can serve, carried there and back. Those are the settings, and long
 * polls, whose requests of one connection come to whichever thread the kernel deals them to.
 */
import {
  BodyError,
  type HttpReply,
  type HttpRequest,
  type HttpRoute,
  isStreamReply,
} from '../transport/http.ts'
import { errorReply, HttpError } from '../transport/http-error.ts'
import { isLongPoll } from '../transport/long-poll-route.ts'
import { type Answers, addressOf } from '../transport/rest-answers.ts'

export interface ProxiedRequest {
  /** The follower's own, for saying that its client went away. */
  number: number
  method: string
  path: string
  query: string
  headers: [name: string, value: string][]
  body: Uint8Array | null
}

export interface ProxiedReply {
  status: string
  headers: [name: string, value: string][]
  body: string | Uint8Array | null
}

/** What the routes behind the proxy look at. */
const HEADERS = ['authorization', 'content-type', 'content-length', 'host', 'origin', 'referer', 'accept']

/** Rules are the largest of what is sent: twice what the rules engine takes. */
const BODY_BYTES_MAX = 16 * 1024 * 1024

/** Requests one follower may have under way; each long poll holds one. */
export const PROXIED_MAX = 20_000

/**
 * @param answers Where those to long polls count in this thread: the writing thread does not learn how fast they are read here,
 *   so that of a client that reads none there are no more than its share.
 * @param forward Rejects when the writing thread is not there.
 */
export function proxyRoute(
  isProxied: (path: string) => boolean,
  answers: Answers,
  forward: (request: ProxiedRequest) => Promise<ProxiedReply>,
  gone: (number: number) => void,
): HttpRoute {
  let nextNumber = 1
  const serve = async (request: HttpRequest): Promise<HttpReply> => {
    try {
      const client = isLongPoll(request.path) ? addressOf(request) : null
      if (client !== null) answers.admitRoom(client)
      const headers = HEADERS.map((name): [string, string] => [name, request.header(name)])
      const number = nextNumber++
      const body = request.method === 'GET' ? null : await request.body(BODY_BYTES_MAX)
      const replying = forward({
        number,
        method: request.method,
        path: request.path,
        query: request.query.toString(),
        headers: headers.filter(([, value]) => value !== ''),
        body,
      })
      request.whenGone(() => gone(number))
      const reply = await replying
      return client === null
        ? reply
        : { ...reply, body: answers.carryEcho(client, null, reply.body, request) }
    } catch (error) {
      return errorReply(error)
    }
  }
  return (request) => (isProxied(request.path) ? serve(request) : null)
}

/**
 * Serves what a follower has forwarded.
 * @param whenGone Takes what is to be called if the client goes away.
 */
export async function serveProxied(
  { method, path, query, headers, body }: ProxiedRequest,
  routes: readonly HttpRoute[],
  whenGone: (call: () => void) => void,
): Promise<ProxiedReply> {
  const byName = new Map(headers)
  const request: HttpRequest = {
    method,
    path,
    query: new URLSearchParams(query),
    remoteAddress: '',
    header: (name) => byName.get(name) ?? '',
    body: async (bytesMax) => {
      if ((body?.length ?? 0) > bytesMax) throw new BodyError('tooLarge')
      return Buffer.from(body ?? [])
    },
    isGone: false,
    whenGone,
    abort() {},
  }
  for (const route of routes) {
    const serving = route(request)
    if (serving === null) continue
    const reply = await serving
    if (isStreamReply(reply))
      throw new HttpError('501 Not Implemented', 'streams are not carried between threads')
    return { status: reply.status, headers: reply.headers.map(([n, v]) => [n, v]), body: wholeOf(reply.body) }
  }
  throw new HttpError('404 Not Found', 'nothing here')
}

function wholeOf(body: HttpReply['body']): string | Uint8Array | null {
  if (body === null || typeof body === 'string' || body instanceof Uint8Array) return body
  const pieces: Buffer[] = []
  for (let piece = body.next(); piece.done !== true; piece = body.next())
    pieces.push(Buffer.from(piece.value))
  return Buffer.concat(pieces)
}
