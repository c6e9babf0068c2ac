/**
 * REST: `/<path>.json`, as Firebase serves it: verbs, parameters, conditional writes and texts; and PATCH with
 * RFC 6902 and RFC 7396 documents beside Firebase's own form.
 */
import { type Path, type Query, RequestError, type ResumePoint } from '../../protocol/index.ts'
import type { Verifier } from '../auth.ts'
import type { Database, ReadResult } from '../database.ts'
import { type Databases, DEFAULT_DATABASE } from '../databases.ts'
import type { Identity } from '../identity.ts'
import type { ConnectionCount } from '../sessions/open-sessions.ts'
import type { Turns } from '../sessions/turns.ts'
import type { Entry } from '../store/store.ts'
import { isPriorityPath, setEntries, updateEntries } from '../write-entries.ts'
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
import { type Answers, clientOf } from './rest-answers.ts'
import { jsonBody } from './rest-json.ts'
import { keyRangeOf, queryOf } from './rest-query.ts'
import { etagOf, NULL_ETAG, ok, unquoted, wantsETag } from './rest-reply.ts'
import {
  callbackOf,
  dispositionOf,
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
import {
  AS_SENT,
  checked,
  isStale,
  type RestRequest,
  readable,
  type Stored,
  submit,
  written,
} from './rest-write.ts'

export interface RestParts {
  databases: Databases
  verifier: Verifier
  /** Shared with the sessions of this thread: reads are done in turn. */
  turns: Turns
  answers: Answers
  nowMs(): number
  /** A new push key. */
  pushId(): string
  limits: EventStreamLimits & { bodyBytesMax: number; sessionsWaitingMax: number; connectionsMax: number }
  /** Web origins whose pages may ask; `*` for all. */
  allowedOrigins: readonly string[]
  counters: EventStreamCounters & { errors: number; connectionsRefused: number }
  connections: ConnectionCount
}

interface Context extends RestRequest {
  /** When the identity's rights end. */
  expiresAtMs: number | null
  /** Whose budget it is; null for an admin. */
  client: string | null
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
    const { connections } = this.#parts
    connections.enter()
    try {
      const method = methodOf(request)
      const path = targetOf(request.path)
      const { identity, expiresAtMs } = await identify(request, this.#parts.verifier)
      if (!identity.isAdmin) this.#assertNotTooMany()
      const { database, onDisconnect } = await this.#parts.databases.open(
        request.query.get('ns') || DEFAULT_DATABASE,
      )
      // Whoever asks after a client has gone sees what that client left behind.
      if (onDisconnect.settling !== null) await onDisconnect.settling
      const client = clientOf(identity, request)
      const context: Context = { request, database, identity, client, expiresAtMs, path }
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
    } finally {
      connections.leave()
    }
  }

  /** @throws {HttpError} 503 */
  #assertNotTooMany(): void {
    const { connections, limits, counters } = this.#parts
    if (connections.size <= limits.connectionsMax) return
    counters.connectionsRefused += 1
    throw new HttpError('503 Service Unavailable', 'too many connections', [['Retry-After', '5']])
  }

  async #get(context: Context): Promise<HttpReply | StreamReply> {
    const { request, database, client, path } = context
    const { answers } = this.#parts
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
      return ok(answers.carry(client, value, body, request), headers, 'application/javascript; charset=utf-8')
    }
    return ok(answers.carry(client, value, jsonBody(value, { isExport, isPretty }), request), headers)
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
    // As Firebase does: a query lists children, and clients walk the list without asking whether there is one.
    const value = wanted !== null && read.value === null ? {} : read.value
    return { ...read, value, isExport }
  }

  /**
   * What reads data waits for its turn among all who do.
   * @throws {HttpError} 503 when too many wait already; @throws as `Answers.admit`.
   */
  #inTurn<T>({ request, database, client }: Context, read: () => T): Promise<T> {
    const { turns, answers, limits } = this.#parts
    if (turns.waiting >= limits.sessionsWaitingMax) {
      throw new HttpError('503 Service Unavailable', 'too many requests are waiting', [['Retry-After', '1']])
    }
    return turns.serve(
      () => request.isGone || database.isReadable,
      () => {
        if (request.isGone) throw new BodyError('gone')
        answers.admit(client)
        return read()
      },
    )
  }

  async #put(context: Context): Promise<HttpReply> {
    const { path } = context
    const body = await this.#body(context)
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
    if (expected === '') return this.#written(context, await submit(context, entries), sent)
    if (isPriorityPath(path)) throw badRequest('if-match is not supported for a priority')
    try {
      const expectedHash = expected === NULL_ETAG ? '' : expected
      return this.#written(context, await submit(context, entries, { expectedHash }), sent)
    } catch (error) {
      if (!isStale(error)) throw error
      const { database, identity, client } = context
      const { value } = await this.#inTurn(context, () => readAt(database, identity, path, null))
      const body = jsonBody(value, { isExport: false, isPretty: false })
      return {
        ...ok(this.#parts.answers.carry(client, value, body, request), [['ETag', etagOf(value)]]),
        status: '412 Precondition Failed',
      }
    }
  }

  async #post(context: Context): Promise<HttpReply> {
    const { request, path } = context
    refuseHeader(request, 'if-match', 'POST')
    if (isPriorityPath(path)) throw badRequest('a priority has no children to post')
    const body = await this.#body(context, false)
    const raw = parseJsonBody(body)
    const name = this.#parts.pushId()
    const entries = checked(body, false, () => setEntries([...path, name], raw))
    const stored = await submit(context, entries)
    return this.#written(
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
    const type = request.header('content-type').split(';')[0]!.trim().toLowerCase()
    // Answered with what became of it, which is read in turn with all that is.
    const isDocument = type === 'application/json-patch+json'
    const body = await this.#body(context, !isDocument)
    if (isDocument) return this.#patchDocument(context, parseJsonBody(body))
    if (type === 'application/merge-patch+json') {
      const patch = parseJsonBody(body)
      const entries = checked(body, false, () => mergePatchEntries(path, patch))
      await submit(context, entries)
      return this.#written(context, AS_SENT, body)
    }
    const update = parseUpdate(parseObjectBody(body), body)
    const entries = checked(body, true, () => updateEntries(path, update))
    await submit(context, entries)
    return this.#written(context, AS_SENT, body)
  }

  /** RFC 6902: applied to what is there, and written only if that is still what was there. */
  async #patchDocument(context: Context, patch: unknown): Promise<HttpReply> {
    const { database, identity, path } = context
    for (let attempt = 1; ; attempt++) {
      const { revision, value } = await this.#inTurn(context, () => readAt(database, identity, path, null))
      const { entries, document } = patchedEntries(path, value, patch)
      try {
        await submit(context, entries, { expectedRevision: revision, expectedAt: path })
        return this.#written(context, AS_SENT, JSON.stringify(document))
      } catch (error) {
        if (!isStale(error) || attempt === PATCH_ATTEMPTS) throw error
      }
    }
  }

  async #written(context: Context, stored: Stored, sent: Buffer | string): Promise<HttpReply> {
    const reply = await written(context, stored, sent)
    const { client, request } = context
    return { ...reply, body: this.#parts.answers.carryEcho(client, stored.value, reply.body, request) }
  }

  /**
   * What a write sends.
   * @param mayEcho Whether it is answered with that, unless the client would rather not.
   * @throws as `Answers.admitEcho`.
   */
  async #body({ request, client }: Context, mayEcho = true): Promise<Buffer> {
    const wanted = writeSizeOf(request.query)
    const isEchoed = printOf(request.query) !== 'silent' && mayEcho
    try {
      const body = await request.body(Math.min(wanted, this.#parts.limits.bodyBytesMax))
      if (isEchoed) this.#parts.answers.admitEcho(client, body)
      return body
    } catch (error) {
      const isLimit = error instanceof BodyError && error.reason === 'tooLarge'
      throw isLimit && wanted < this.#parts.limits.bodyBytesMax ? badRequest(WRITE_TOO_LARGE) : error
    }
  }
}

/** Until it is known what a client missed. */
function prepared(database: Database, path: Path, query: Query | null, resume: ResumePoint): Promise<void> {
  return new Promise((resolve) => {
    if (database.prepareResume(path, query, resume, resolve)) resolve()
  })
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

function refuseHeader(request: HttpRequest, name: string, method: string): void {
  if (request.header(name) !== '') throw badRequest(`${name} is not supported on ${method}`)
}
