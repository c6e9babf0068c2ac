/**
 * What a REST request asks for: the path behind its address, its parameters, and the JSON in its body. Refusals have
 * Firebase's texts.
 */
import { keyProblem, PATH_DEPTH_MAX, type Path, parsePath, type UpdateEntries } from '../../protocol/index.ts'
import { isPriorityPath, PRIORITY_KEY } from '../write-entries.ts'
import type { HttpRequest } from './http.ts'
import { badRequest, HttpError } from './http-error.ts'

const METHODS = ['GET', 'PUT', 'PATCH', 'POST', 'DELETE'] as const
export type RestMethod = (typeof METHODS)[number]

const SUFFIX = '.json'

export function isRestPath(path: string): boolean {
  return path.endsWith(SUFFIX)
}

/** The verb that is meant: form posts and old proxies know only GET and POST. @throws {HttpError} 405 */
export function methodOf(request: HttpRequest): RestMethod {
  let method = request.method
  if (method === 'POST') {
    const meant =
      request.header('x-http-method-override') || request.query.get('x-http-method-override') || method
    method = meant.toUpperCase()
  }
  const known = METHODS.find((name) => name === method)
  if (known !== undefined) return known
  throw new HttpError('405 Method Not Allowed', 'the REST API serves GET, PUT, PATCH, POST and DELETE', [
    ['Allow', METHODS.join(', ')],
  ])
}

/**
 * `/rooms/a%20b.json` -> rooms, `a b`. The last key may be `.priority`.
 * @throws {HttpError} 400
 */
export function targetOf(path: string): Path {
  const keys = path.slice(0, -SUFFIX.length).split('/').filter(Boolean).map(decodeKey)
  const nodeKeys = isPriorityPath(keys) ? keys.slice(0, -1) : keys
  for (const key of nodeKeys) if (keyProblem(key) !== null) throw invalidPath()
  if (nodeKeys.length > PATH_DEPTH_MAX) {
    throw badRequest(`Invalid path: it has more than ${PATH_DEPTH_MAX} keys`)
  }
  return keys
}

function decodeKey(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    throw invalidPath()
  }
}

function invalidPath(): HttpError {
  return badRequest('Invalid path: Invalid token in path')
}

const MINUTE = 60_000
const TIMEOUT_MAX_MS = 15 * MINUTE
const UNITS = { ms: 1, s: 1000, min: MINUTE }

/** Milliseconds a read may take, or null. @throws {HttpError} 400 */
export function timeoutOf(params: URLSearchParams): number | null {
  const raw = params.get('timeout')
  if (raw === null) return null
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|min)$/.exec(raw)
  if (match === null) throw badRequest('timeout must be a number with a unit: ms, s or min')
  const ms = Number(match[1]) * UNITS[match[2] as keyof typeof UNITS]
  if (ms <= 0) throw badRequest('timeout must be positive')
  if (ms > TIMEOUT_MAX_MS) throw badRequest('timeout must be at most 15min')
  return ms
}

/**
 * Values an answer may have, for clients that would rather be refused than handle more. Not a parameter of Firebase's.
 * @throws {HttpError} 400
 */
export function nodesMaxOf(params: URLSearchParams): number {
  const raw = params.get('nodesMax')
  if (raw === null) return Number.POSITIVE_INFINITY
  if (/^[1-9]\d{0,14}$/.test(raw)) return Number(raw)
  throw badRequest('nodesMax must be a positive integer')
}

const MiB = 1024 * 1024

/**
 * Firebase names the time a write may take: 1, 10, 30 or 60 s. Here a body is read, parsed and stored at about
 * 4 MiB a second on a small machine, so a size is what a write of that time may have.
 */
const WRITE_SIZES: Readonly<Record<string, number>> = {
  tiny: 4 * MiB,
  small: 40 * MiB,
  medium: 120 * MiB,
  large: 240 * MiB,
  unlimited: Number.POSITIVE_INFINITY,
}

/** Bytes a body may have. @throws {HttpError} 400 */
export function writeSizeOf(params: URLSearchParams): number {
  const name = params.get('writeSizeLimit') ?? 'unlimited'
  const size = Object.hasOwn(WRITE_SIZES, name) ? WRITE_SIZES[name] : undefined
  if (size !== undefined) return size
  throw badRequest(`writeSizeLimit must be one of ${Object.keys(WRITE_SIZES).join(', ')}`)
}

/** @throws {HttpError} 400 */
export function printOf(params: URLSearchParams): 'pretty' | 'silent' | null {
  const print = params.get('print')
  if (print === null || print === '') return null
  if (print === 'pretty' || print === 'silent') return print
  throw badRequest('print must be pretty or silent')
}

/** @throws {HttpError} 400 */
export function isExportOf(params: URLSearchParams): boolean {
  const format = params.get('format')
  if (format !== null && format !== 'export') throw badRequest('format must be export')
  return format === 'export'
}

/** A function's name, and nothing that could be more than a name. @throws {HttpError} 400 */
export function callbackOf(params: URLSearchParams): string | null {
  const callback = params.get('callback')
  if (callback === null || callback === '') return null
  if (callback.length <= 128 && /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/.test(callback)) return callback
  throw badRequest('callback must be the name of a JavaScript function')
}

/** The header that makes browsers save an answer under a name; the name may hold anything. */
export function dispositionOf(params: URLSearchParams): string | null {
  const name = params.get('download')
  if (name === null || name === '') return null
  // Cut between code points: half of one cannot be encoded. URLSearchParams has made the rest well-formed.
  const short = Array.from(name).slice(0, 200).join('')
  const plain = short.replace(/[^\w. -]/g, '_')
  const encoded = encodeURIComponent(short).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`
}

/** What was sent instead of a value: nothing at all. */
const NO_DATA = 'Error: No data supplied.'
const NOT_JSON = "Invalid data; couldn't parse JSON object, array, or value."
const NO_OBJECT =
  "Invalid data; couldn't parse JSON object. Are you sending a JSON object with valid key names?"

/** @throws {HttpError} 400 */
export function parseJsonBody(body: Buffer): unknown {
  if (body.length === 0) throw badRequest(NO_DATA)
  try {
    return JSON.parse(decodeUtf8(body)) as unknown
  } catch {
    throw badRequest(NOT_JSON)
  }
}

/** @throws {HttpError} 400 */
export function parseObjectBody(body: Buffer): Record<string, unknown> {
  if (body.length === 0) throw badRequest(NO_DATA)
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(body))
  } catch {
    throw badRequest(NO_OBJECT)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  throw badRequest(NO_OBJECT)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decodeUtf8(body: Buffer): string {
  return utf8.decode(body)
}

/** The members of a PATCH: each key is a path below the request's own. @throws {HttpError} 400 */
export function parseUpdate(object: Record<string, unknown>, body: Buffer): UpdateEntries {
  return Object.entries(object).map(([text, value]) => {
    const path = text.split('/')
    if (path[0] === '' && path.length > 1) path.shift()
    if (path.at(-1) === '' && path.length > 1) path.pop()
    const keys = isPriorityPath(path) ? path.slice(0, -1) : path
    if (keys.some((key) => keyProblem(key) !== null)) throw invalidKey(body, true) ?? badRequest(NO_OBJECT)
    return [keys.length === 0 ? [PRIORITY_KEY] : path, value] as const
  })
}

/**
 * The refusal of a body with a key that is none, at the place where that key stands; null if all keys are fine.
 * Looked for only once a body was refused, so that good bodies pay nothing.
 * @param isUpdate Whether the outermost keys are paths.
 */
export function invalidKey(body: Buffer, isUpdate: boolean): HttpError | null {
  const text = body.toString('utf8')
  for (const { key, at, depth } of keysIn(text)) {
    const isPath = isUpdate && depth === 1
    if (!isBadKey(key, isPath)) continue
    const before = text.slice(0, at)
    const place = `${before.split('\n').length}:${at - before.lastIndexOf('\n')}`
    return badRequest(`Invalid data; couldn't parse key beginning at ${place}${whyBad(key, isPath)}`)
  }
  return null
}

/** Keys of a well-formed JSON text, which falls apart into brackets and strings with what follows them. */
function* keysIn(text: string): Generator<{ key: string; at: number; depth: number }> {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text[i]!
    if (unit === '{' || unit === '[') depth += 1
    else if (unit === '}' || unit === ']') depth -= 1
    if (unit !== '"') continue
    const at = i
    for (i += 1; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i += 1
    const after = /^\s*:/.test(text.slice(i + 1, i + 1 + GAP_MAX))
    if (after) yield { key: JSON.parse(text.slice(at, i + 1)) as string, at, depth }
  }
}

/** Firebase's words, unless they would name what is not the matter: a length, a control character, a reserved key. */
function whyBad(key: string, isPath: boolean): string {
  const odd = (isPath ? key.split('/') : [key]).find(
    (part) => part !== '' && !/[.$#[\]/]/.test(part) && keyProblem(part),
  )
  return odd === undefined ? ". Key value can't be empty or contain $ # [ ] / or ." : `: ${keyProblem(odd)}`
}

/** Whitespace looked through between a key and its colon; past it the message names no place. */
const GAP_MAX = 64

const DOTTED = ['.priority', '.value', '.sv']

function isBadKey(key: string, isPath: boolean): boolean {
  if (DOTTED.includes(key)) return isPath && key !== PRIORITY_KEY
  if (!isPath) return keyProblem(key) !== null
  try {
    parsePath(key.endsWith(`/${PRIORITY_KEY}`) ? key.slice(0, -PRIORITY_KEY.length) : key)
    return key === '' || key === '/'
  } catch {
    return true
  }
}
