/**
 * Firebase messages: what clients say, checked once and given names, and what they are told. Text in, text out.
 *
 *   client   {"t":"d","d":{"r":7,"a":"p","b":{"p":"/rooms/a","d":{...}}}}      a request, answered exactly once
 *            {"t":"c","d":{"t":"p","d":{}}}                                     control: a ping
 *   server   {"t":"d","d":{"r":7,"b":{"s":"ok","d":""}}}                        the answer to request 7
 *            {"t":"d","d":{"a":"d","b":{"p":"rooms/a","d":{...}}}}              a push: data, revocation
 *            {"t":"c","d":{"t":"h","d":{...}}}                                  control: hello, pong, shutdown
 */
import {
  clip,
  hasOwn,
  type Path,
  parsePath,
  type Query,
  RequestError,
  type RequestErrorKind,
  type UpdateEntries,
  type Value,
} from '../../protocol/index.ts'
import type { Entry } from '../store/store.ts'
import { PRIORITY_KEY, setEntries, updateEntries } from '../write-entries.ts'
import { parseFirebaseQuery } from './firebase-query.ts'

export type Request =
  | {
      action: 'listen'
      path: Path
      query: Query | null
      /** Names the listen in pushes; null for that of the whole value. */
      tag: number | null
      /** As the client wrote it: a revocation has to repeat it. */
      wireQuery: unknown
      /** Of what the client holds already; empty for nothing. */
      hash: string
    }
  | { action: 'unlisten'; path: Path; tag: number | null }
  | { action: 'get'; path: Path; query: Query | null }
  /** `hash`: only if the value there has it; a transaction. */
  | (Writing & { action: 'write'; hash: string | null })
  | (Writing & { action: 'onDisconnect' })
  | { action: 'onDisconnectCancel'; path: Path }
  /** `override`: an admin who asks for the rights of `auth` being this; undefined for none. */
  | { action: 'auth'; credential: string; override: Record<string, unknown> | null | undefined }
  | { action: 'unauth' }
  /** Answered, and nothing else: statistics, App Check. */
  | { action: 'none' }

export interface Writing {
  /** What the request names: an update may have no entries. */
  path: Path
  entries: readonly Entry[]
}

export type FromClient =
  | { type: 'request'; number: number; request: Request }
  /** A request that cannot be served, told under its number. */
  | { type: 'rejected'; number: number; error: RequestError }
  | { type: 'ping' }
  /** Steps of an upgrade from long polling: the client sends nothing more on this transport; or goes on with it. */
  | { type: 'end' }
  | { type: 'switch' }
  /** Nothing one could answer; `problem` goes to the client's log. */
  | { type: 'unknown'; problem: string }

/** @throws {SyntaxError} Not JSON. */
export function parseMessage(text: string): FromClient {
  const message: unknown = JSON.parse(text)
  if (!isRecord(message)) return unknown('a message is an object')
  const { t, d } = message
  if (t === 'c') return parseControl(d)
  if (t !== 'd') return unknown('`t` is neither `c` nor `d`')
  if (!isRecord(d)) return unknown('`d` of a data message is an object')
  const { r: number, a: action, b: body } = d
  if (typeof number !== 'number') return unknown('a request has a number `r`')
  try {
    if (typeof action !== 'string') throw invalid('a request has an action `a`')
    return { type: 'request', number, request: parseRequest(action, isRecord(body) ? body : {}) }
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    return { type: 'rejected', number, error }
  }
}

function parseControl(raw: unknown): FromClient {
  switch (isRecord(raw) ? raw['t'] : undefined) {
    case 'p':
      return { type: 'ping' }
    case 'n':
      return { type: 'end' }
    case 'a':
      return { type: 'switch' }
    default:
      return unknown('unknown control message')
  }
}

/** @throws {RequestError} */
function parseRequest(action: string, body: Record<string, unknown>): Request {
  switch (action) {
    case 'q': {
      const { h: hash = '' } = body
      if (typeof hash !== 'string') throw invalid('`h` is a text')
      const tag = parseTag(body)
      const query = parseFirebaseQuery(body['q'])
      if (query !== null && tag === null) throw invalid('a listen to a query has a tag `t`')
      return { action: 'listen', path: pathOf(body), query, tag, wireQuery: body['q'], hash }
    }
    case 'n':
      return { action: 'unlisten', path: pathOf(body), tag: parseTag(body) }
    case 'g':
      return { action: 'get', path: pathOf(body), query: parseFirebaseQuery(body['q']) }
    case 'p':
      return { action: 'write', ...putEntries(body), hash: parseHash(body) }
    case 'm':
      return { action: 'write', ...mergeEntries(body), hash: null }
    case 'o':
      return { action: 'onDisconnect', ...putEntries(body) }
    case 'om':
      return { action: 'onDisconnect', ...mergeEntries(body) }
    case 'oc':
      return { action: 'onDisconnectCancel', path: writePathOf(body) }
    case 'auth':
    case 'gauth':
      return parseAuth(body)
    case 'unauth':
      return { action: 'unauth' }
    case 's':
    case 'appcheck':
    // The JavaScript SDK spells it so.
    case 'unappeck':
    case 'unappcheck':
      return { action: 'none' }
    default:
      throw invalid(`unknown action \`${clip(action, 16)}\``)
  }
}

function parseAuth(body: Record<string, unknown>): Request {
  const { cred: credential, authvar, noauth } = body
  if (typeof credential !== 'string') throw invalid('`cred` is a text')
  if (noauth === true) return { action: 'auth', credential, override: null }
  if (authvar === undefined) return { action: 'auth', credential, override: undefined }
  if (authvar !== null && !isRecord(authvar)) throw invalid('`authvar` is an object or null')
  return { action: 'auth', credential, override: authvar }
}

function parseTag({ t: tag }: Record<string, unknown>): number | null {
  if (tag === undefined || tag === null) return null
  if (!Number.isSafeInteger(tag) || (tag as number) < 1) throw invalid('`t` is a positive integer')
  return tag as number
}

function parseHash({ h: hash }: Record<string, unknown>): string | null {
  if (hash === undefined) return null
  if (typeof hash !== 'string') throw invalid('`h` is a text')
  return hash
}

function pathOf(body: Record<string, unknown>): Path {
  const { p: path } = body
  if (typeof path !== 'string') throw invalid('`p` is a path')
  const keys = keysOf(path)
  // What the SDK itself keeps there is not data; a server has nothing to say about it.
  if (keys[0] === '.info') throw new RequestError('permissionDenied', '`.info` belongs to the client')
  return parsePath(keys.join('/'))
}

/** As `pathOf`, but the last key may name the priority. */
function writePathOf(body: Record<string, unknown>): Path {
  const { p: path } = body
  return typeof path === 'string' && path.endsWith(PRIORITY_KEY)
    ? withPriorityKey(keysOf(path), (keys) => pathOf({ p: keys.join('/') }))
    : pathOf(body)
}

function withPriorityKey(keys: readonly string[], parse: (keys: readonly string[]) => Path): Path {
  return keys.at(-1) === PRIORITY_KEY ? [...parse(keys.slice(0, -1)), PRIORITY_KEY] : parse(keys)
}

/** Some clients leave out the first slash, and some double one. */
function keysOf(path: string): string[] {
  return path.split('/').filter((key) => key !== '')
}

function putEntries(body: Record<string, unknown>): Writing {
  const path = writePathOf(body)
  if (!hasOwn(body, 'd')) throw invalid('a value `d` is missing')
  return { path, entries: setEntries(path, body['d']) }
}

/** Nothing in a merge was made regular by the client: keys may be paths, values hold arrays and nulls. */
function mergeEntries(body: Record<string, unknown>): Writing {
  const base = pathOf(body)
  const { d: children } = body
  if (!isRecord(children)) throw invalid('`d` of a merge is an object')
  const entries: UpdateEntries = Object.keys(children).map((key) => [
    withPriorityKey(keysOf(key), (keys) => parsePath(keys.join('/'))),
    children[key],
  ])
  return { path: base, entries: updateEntries(base, entries) }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(what: string): RequestError {
  return new RequestError('invalidMessage', what)
}

function unknown(problem: string): FromClient {
  return { type: 'unknown', problem }
}

// To the client

const PROTOCOL = '5'

export function hello(host: string, sessionId: string, nowMs: number): string {
  return control('h', { ts: nowMs, v: PROTOCOL, h: host, s: sessionId })
}

/** Without `d`, though it says nothing, clients ignore a pong and hang up. */
export const PONG = control('o', null)

/** The client stays away until its app asks for a connection. */
export function shutdown(reason: string): string {
  return control('s', reason)
}

/** A line in the client's log. */
export function complaint(problem: string): string {
  return control('e', problem)
}

export function reset(host: string): string {
  return control('r', host)
}

/** Of the upgrade from long polling: nothing more comes this way. */
export const END = control('n', null)
/** Of the upgrade from long polling: go on here. */
export const SWITCH = control('a', null)

function control(type: string, data: unknown): string {
  return JSON.stringify({ t: 'c', d: { t: type, d: data } })
}

export function answer(number: number, data: unknown): string {
  return JSON.stringify({ t: 'd', d: { r: number, b: { s: 'ok', d: data } } })
}

export function refusal(number: number, error: RequestError): string {
  const body = { s: statusOf(error.kind), d: textOf(error), ...reasonOf(error) }
  return JSON.stringify({ t: 'd', d: { r: number, b: body } })
}

/** A whole value at a path, or what became of it. */
export function dataPush(path: string, value: Value, tag: number | null): string {
  return push('d', tag === null ? { p: path, d: value } : { p: path, d: value, t: tag })
}

/** The listen is over. Without the query, a client drops its listen to the whole value at the path. */
export function listenRevoked(path: string, wireQuery: unknown, error: RequestError): string {
  return push('c', { p: path, ...(wireQuery !== undefined && { q: [wireQuery] }), ...reasonOf(error) })
}

export function authRevoked(error: RequestError): string {
  return push('ac', { s: statusOf(error.kind), d: textOf(error) })
}

/** Printed on the console of whoever develops with this server. */
export function debugText(text: string): string {
  return push('sd', { msg: text })
}

function push(action: string, body: object): string {
  return JSON.stringify({ t: 'd', d: { a: action, b: body } })
}

/** Names of Firebase's where it has one: its SDKs know them. */
const STATUS: Partial<Record<RequestErrorKind, string>> = {
  permissionDenied: 'permission_denied',
  stale: 'datastale',
  tooLarge: 'too_big',
  unavailable: 'unavailable',
  rateLimited: 'unavailable',
  invalidToken: 'invalid_token',
  expiredToken: 'expired_token',
}

function statusOf(kind: RequestErrorKind): string {
  return STATUS[kind] ?? kind.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/**
 * Which denial this is, or why under `--dev`: the words of an answer are Firebase's. SDKs pass over members they do not
 * know, and show them in the frames they log (`enableLogging`).
 */
function reasonOf(error: RequestError): { reason?: string } {
  return error.kind === 'permissionDenied' ? { reason: error.message } : {}
}

/** Test helpers look for these very words, and a refused get has nothing but its text. */
function textOf(error: RequestError): string {
  switch (error.kind) {
    case 'permissionDenied':
      return 'Permission denied'
    case 'stale':
      return 'Transaction hash does not match'
    default:
      return error.message
  }
}
