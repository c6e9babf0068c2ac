/**
 * REST: `/<path>.json`, as Firebase serves it: verbs, parameters, conditional writes and texts; and PATCH with
 * RFC 6902 and RFC 7396 documents beside Firebase's own form.
 */
import {
  hasIncrement,
  type Path,
  type Query,
  RequestError,
  type ResumePoint,
  type Value,
} from '../../protocol/index.ts'
import type { Verifier } from '../auth.ts'
import type { Database, ReadResult } from '../database.ts'
import { type Databases, DEFAULT_DATABASE } from '../databases.ts'
import type { Identity } from '../identity.ts'
import type { Write } from '../log/log.ts'
import { nodeHash } from '../node-hash.ts'
import type { Turns } from '../sessions/turns.ts'
import type { Entry } from '../store/store.ts'
import { isPriorityPath, locationOf, setEntries, updateEntries } from '../write-entries.ts'
import {
  type EventStreamCounters,
  type EventStreamLimits,
  EventStreams,
  resumePointOf,
} from './event-stream.ts'
import {
  BodyError,
  type HttpReply,
  type HttpRequest,
  type HttpRoute,
  isReferrerAllowed,
  type StreamReply,
} from './http.ts'
import { identify } from './http-auth.ts'
import { badRequest, errorReply, HttpError, READ_TOO_LARGE, WRITE_TOO_LARGE } from './http-error.ts'
import { mergePatchEntries, patchedEntries } from './patch-documents.ts'
import { jsonBody } from './rest-json.ts'
import { keyRangeOf, queryOf } from './rest-query.ts'
import {
  callbackOf,
  dispositionOf,
  invalidKey,
  isExportOf,
  isRestPath,
  methodOf,
  nodesMaxOf,
  parseJsonBody,
  parseObjectBody,
  parseUpdate,
  printOf,
  targetOf,
  timeoutOf,
  writeSizeOf,
} from './rest-request.ts'

export interface RestParts {
  databases: Databases
  verifier: Verifier
  /** Shared with the sessions of this thread: reads are done in turn. */
  turns: Turns
  nowMs(): number
  /** A new push key. */
  pushId(): string
  limits: EventStreamLimits & { bodyBytesMax: number; sessionsWaitingMax: number }
  /** Web origins whose pages may ask; `*` for all. */
  allowedOrigins: readonly string[]
  counters: EventStreamCounters & { errors: number }
}

/** One request, once it is known who asks for what. */
interface Context {
  request: HttpRequest
  database: Database
  identity: Identity
  /** When the identity's rights end. */
  expiresAtMs: number | null
  /** Its last key may be `.priority`. */
  path: Path
}

/** Attempts of an RFC 6902 patch against a value that others change meanwhile. */
const PATCH_ATTEMPTS = 25

export function restRoute(parts: RestParts): HttpRoute {
  const rest = new Rest(parts)
  return (request) => (isRestPath(request.path) ? rest.serve(request) : null)
}

class Rest {
  readonly #parts: RestParts
  readonly #streams: EventStreams

  constructor(parts: RestParts) {
    this.#parts = parts
    this.#streams = new EventStreams(parts)
  }

  async serve(request: HttpRequest): Promise<HttpReply | StreamReply> {
    try {
      const method = methodOf(request)
      const path = targetOf(request.path)
      const { identity, expiresAtMs } = await identify(request, this.#parts.verifier)
      const { database, onDisconnect } = await this.#parts.databases.open(
        request.query.get('ns') || DEFAULT_DATABASE,
      )
      // Whoever asks after a client has gone sees what that client left behind.
      if (onDisconnect.settling !== null) await onDisconnect.settling
      const context: Context = { request, database, identity, expiresAtMs, path }
      switch (method) {
        case 'GET':
          return await this.#get(context)
        case 'PUT':
          return await this.#put(context)
        case 'PATCH':
          return await this.#patch(context)
        case 'POST':
          return await this.#post(context)
        case 'DELETE':
          return await this.#delete(context)
      }
    } catch (error) {
      const reply = errorReply(error)
      this.#parts.counters.errors += 1
      return reply
    }
  }

  async #get(context: Context): Promise<HttpReply | StreamReply> {
    const { request, database, path } = context
    const { query } = request
    refuseHeader(request, 'if-match', 'GET')
    const startMs = performance.now()
    const timeoutMs = timeoutOf(query)
    const isPretty = printOf(query) === 'pretty'
    const callback = callbackOf(query)
    if (callback !== null && !isReferrerAllowed(request, this.#parts.allowedOrigins)) {
      throw new HttpError('403 Forbidden', 'pages of this origin may not use this server')
    }
    if (request.header('accept').includes('text/event-stream')) {
      if (isPriorityPath(path)) throw badRequest('a priority cannot be streamed')
      const shown = { query: queryOf(query), isExport: isExportOf(query), resume: resumePointOf(request) }
      if (shown.resume !== null) await prepared(database, path, shown.query, shown.resume)
      return this.#inTurn(context, () => this.#streams.open({ ...context, ...shown }))
    }
    const { revision, value, isExport } = await this.#read(context)
    if (timeoutMs !== null && performance.now() - startMs > timeoutMs) {
      throw badRequest('the request took longer than its timeout')
    }
    const headers: [string, string][] = [['Hearth-Revision', `${database.epoch}:${revision}`]]
    const known = request.header('if-none-match')
    if (wantsETag(request) || known !== '') {
      const etag = etagOf(value)
      headers.push(['ETag', etag])
      if (known !== '' && unquoted(known) === etag) {
        return { status: '304 Not Modified', headers, body: null }
      }
    }
    const disposition = dispositionOf(query)
    if (disposition !== null) headers.push(['Content-Disposition', disposition])
    if (printOf(query) === 'silent') return { status: '204 No Content', headers, body: null }
    if (callback !== null) {
      const body = jsonBody(value, { isExport, isPretty }, `${callback}(`, ');')
      return ok(body, headers, 'application/javascript; charset=utf-8')
    }
    return ok(jsonBody(value, { isExport, isPretty }), headers)
  }

  /** @throws {RequestError} {HttpError} */
  async #read(context: Context): Promise<ReadResult & { isExport: boolean }> {
    const { request, database, identity, path } = context
    const { query } = request
    if (query.get('shallow') === 'true') {
      const { from, except, limit } = keyRangeOf(query)
      const range = {
        ...(from === undefined ? {} : { from }),
        ...(limit === undefined ? {} : { limit: except === undefined ? limit : limit + 1 }),
      }
      const { revision, leaf, keys } = await this.#inTurn(context, () =>
        database.shallow(identity, path, range),
      )
      const listed = keys.filter((key) => key !== except).slice(0, limit)
      const value = keys.length === 0 ? leaf : Object.fromEntries(listed.map((key) => [key, true]))
      return { revision, value, isExport: true }
    }
    const wanted = queryOf(query)
    const isExport = isExportOf(query)
    if (isPriorityPath(path)) {
      await readable(database)
      const value = database.priority(identity, path.slice(0, -1))
      return { revision: database.revision, value, isExport }
    }
    const nodesMax = nodesMaxOf(query)
    const read = await this.#inTurn(context, () => readAt(database, identity, path, wanted, nodesMax))
    return { ...read, isExport }
  }

  /** What reads data waits for its turn among all who do. @throws {HttpError} 503 when too many wait already. */
  #inTurn<T>({ request, database }: Context, read: () => T): Promise<T> {
    const { turns, limits } = this.#parts
    if (turns.waiting >= limits.sessionsWaitingMax) {
      throw new HttpError('503 Service Unavailable', 'too many requests are waiting', [['Retry-After', '1']])
    }
    return turns.serve(
      () => request.isGone || database.isReadable,
      () => {
        if (request.isGone) throw new BodyError('gone')
        return read()
      },
    )
  }

  async #put(context: Context): Promise<HttpReply> {
    const { request, path } = context
    const body = await this.#body(request)
    const raw = parseJsonBody(body)
    const entries = checked(body, false, () => setEntries(path, raw))
    return this.#set(context, entries, body)
  }

  async #delete(context: Context): Promise<HttpReply> {
    return this.#set(context, [{ path: context.path, value: null }], 'null')
  }

  /** PUT and DELETE, which may depend on what is there. */
  async #set(context: Context, entries: readonly Entry[], sent: Buffer | string): Promise<HttpReply> {
    const { request, path } = context
    const expected = unquoted(request.header('if-match'))
    if (expected === '') return written(context, await submit(context, entries), sent)
    if (isPriorityPath(path)) throw badRequest('if-match is not supported for a priority')
    try {
      const expectedHash = expected === NULL_ETAG ? '' : expected
      return written(context, await submit(context, entries, { expectedHash }), sent)
    } catch (error) {
      if (!isStale(error)) throw error
      const { database, identity } = context
      const { value } = await this.#inTurn(context, () => readAt(database, identity, path, null))
      return {
        ...ok(jsonBody(value, { isExport: false, isPretty: false }), [['ETag', etagOf(value)]]),
        status: '412 Precondition Failed',
      }
    }
  }

  async #post(context: Context): Promise<HttpReply> {
    const { request, path } = context
    refuseHeader(request, 'if-match', 'POST')
    if (isPriorityPath(path)) throw badRequest('a priority has no children to post')
    const body = await this.#body(request)
    const raw = parseJsonBody(body)
    const name = this.#parts.pushId()
    const entries = checked(body, false, () => setEntries([...path, name], raw))
    const stored = await submit(context, entries)
    return written(
      { ...context, path: [...path, name] },
      { ...stored, isResolved: false },
      JSON.stringify({ name }),
    )
  }

  async #patch(context: Context): Promise<HttpReply> {
    const { request, path } = context
    refuseHeader(request, 'if-match', 'PATCH')
    refuseHeader(request, 'x-firebase-etag', 'PATCH')
    if (isPriorityPath(path)) throw badRequest('a priority has no children to patch')
    const body = await this.#body(request)
    const type = request.header('content-type').split(';')[0]!.trim().toLowerCase()
    if (type === 'application/json-patch+json') return this.#patchDocument(context, parseJsonBody(body))
    if (type === 'application/merge-patch+json') {
      const patch = parseJsonBody(body)
      const entries = checked(body, false, () => mergePatchEntries(path, patch))
      await submit(context, entries)
      return written(context, AS_SENT, body)
    }
    const update = parseUpdate(parseObjectBody(body), body)
    const entries = checked(body, true, () => updateEntries(path, update))
    await submit(context, entries)
    return written(context, AS_SENT, body)
  }

  /** RFC 6902: applied to what is there, and written only if that is still what was there. */
  async #patchDocument(context: Context, patch: unknown): Promise<HttpReply> {
    const { database, identity, path } = context
    for (let attempt = 1; ; attempt++) {
      const { revision, value } = await this.#inTurn(context, () => readAt(database, identity, path, null))
      const { entries, document } = patchedEntries(path, value, patch)
      try {
        await submit(context, entries, { expectedRevision: revision, expectedAt: path })
        return written(context, AS_SENT, JSON.stringify(document))
      } catch (error) {
        if (!isStale(error) || attempt === PATCH_ATTEMPTS) throw error
      }
    }
  }

  async #body(request: HttpRequest): Promise<Buffer> {
    const wanted = writeSizeOf(request.query)
    try {
      return await request.body(Math.min(wanted, this.#parts.limits.bodyBytesMax))
    } catch (error) {
      const isLimit = error instanceof BodyError && error.reason === 'tooLarge'
      throw isLimit && wanted < this.#parts.limits.bodyBytesMax ? badRequest(WRITE_TOO_LARGE) : error
    }
  }
}

/** While a group is being published nothing is read: the next turn will do. */
async function readable(database: Database): Promise<void> {
  while (!database.isReadable) await new Promise((resolve) => setImmediate(resolve))
}

/** Until it is known what a client missed. */
function prepared(database: Database, path: Path, query: Query | null, resume: ResumePoint): Promise<void> {
  return new Promise((resolve) => {
    if (database.prepareResume(path, query, resume, resolve)) resolve()
  })
}

/** Whether the client may read where it wrote. */
async function mayRead({ database, identity, path }: Context): Promise<boolean> {
  await readable(database)
  return database.mayRead(identity, locationOf({ path, value: null }))
}

function readAt(
  database: Database,
  identity: Identity,
  path: Path,
  query: Query | null,
  nodesMax?: number,
): ReadResult {
  try {
    return database.get(identity, path, query, nodesMax)
  } catch (error) {
    const isTooLarge = error instanceof RequestError && error.kind === 'tooLarge'
    throw isTooLarge ? badRequest(READ_TOO_LARGE) : error
  }
}

/** What became of a write. */
interface Stored {
  /** Of its first location. */
  value: Value
  /** Whether server values took the place of what was sent. */
  isResolved: boolean
  /** Whether one of them counted on from what was there. */
  holdsIncrement: boolean
}

/** The answer to a PATCH: what was sent, whatever became of its server values. */
const AS_SENT: Stored = { value: null, isResolved: false, holdsIncrement: false }

/** @throws {RequestError} */
function submit(
  { database, identity, path }: Context,
  entries: readonly Entry[],
  conditions: Partial<Pick<Write, 'expectedRevision' | 'expectedHash' | 'expectedAt'>> = {},
): Promise<Stored> {
  return new Promise((resolve, reject) => {
    database.submit({
      entries,
      ...(entries.length === 0 ? { emptyAt: path } : {}),
      identity,
      expectedRevision: null,
      isCheckOnly: false,
      records: null,
      ...conditions,
      origin: {
        written: (write) =>
          resolve({
            value: write.entries[0]?.value ?? null,
            isResolved: write.entries !== entries,
            holdsIncrement: entries.some(({ value }) => hasIncrement(value)),
          }),
        refused: (_write, error) => reject(error),
        groupSettled() {},
      },
      id: 0,
    })
  })
}

/**
 * What was sent, unless it held server values: then what became of them. But an increment tells what was there before,
 * and so does the ETag of its sum: neither is for a client that may not read there.
 * @param sent What was sent, as its text.
 */
async function written(context: Context, stored: Stored, sent: Buffer | string): Promise<HttpReply> {
  const { query } = context.request
  const headers: [string, string][] = []
  const tellsMore = wantsETag(context.request) || (stored.isResolved && stored.holdsIncrement)
  const isTold = !tellsMore || (await mayRead(context))
  if (wantsETag(context.request) && isTold) headers.push(['ETag', etagOf(stored.value)])
  const print = printOf(query)
  if (print === 'silent') return { status: '204 No Content', headers, body: null }
  if (stored.isResolved && (isTold || !stored.holdsIncrement)) {
    return ok(jsonBody(stored.value, { isExport: false, isPretty: print === 'pretty' }), headers)
  }
  if (print === 'pretty') return ok(JSON.stringify(JSON.parse(String(sent)), null, 2), headers)
  return ok(sent, headers)
}

/** Turns a refusal of a value's keys into Firebase's, which names the place. @throws {HttpError} {RequestError} */
function checked<T>(body: Buffer, isUpdate: boolean, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    throw invalidKey(body, isUpdate) ?? badRequest(`Invalid data; ${error.message}`)
  }
}

function ok(
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

const NULL_ETAG = 'null_etag'

function etagOf(value: Value): string {
  return nodeHash(value) || NULL_ETAG
}

/** Firebase's ETags have no quotes; libraries add them. */
function unquoted(etag: string): string {
  return /^(?:W\/)?"(.*)"$/.exec(etag)?.[1] ?? etag
}

function wantsETag(request: HttpRequest): boolean {
  return request.header('x-firebase-etag').toLowerCase() === 'true'
}

function refuseHeader(request: HttpRequest, name: string, method: string): void {
  if (request.header(name) !== '') throw badRequest(`${name} is not supported on ${method}`)
}

function isStale(error: unknown): boolean {
  return error instanceof RequestError && error.kind === 'stale'
}
