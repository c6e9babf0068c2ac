/**
 * REST writes: hands one to the database, and answers with what became of it.
 */
import { hasIncrement, type Path, RequestError, type Value } from '../../protocol/index.ts'
import type { Database } from '../database.ts'
import type { Identity } from '../identity.ts'
import type { Write } from '../log/log.ts'
import type { Entry } from '../store/store.ts'
import { locationOf } from '../write-entries.ts'
import type { HttpReply, HttpRequest } from './http.ts'
import { badRequest } from './http-error.ts'
import { jsonBody } from './rest-json.ts'
import { etagOf, ok, wantsETag } from './rest-reply.ts'
import { invalidKey, printOf } from './rest-request.ts'

/** One request, once it is known who asks for what. */
export interface RestRequest {
  request: HttpRequest
  database: Database
  identity: Identity
  /** Its last key may be `.priority`. */
  path: Path
}

/** Turns a refusal of a value's keys into Firebase's, which names the place. @throws {HttpError} {RequestError} */
export function checked<T>(body: Buffer, isUpdate: boolean, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    throw invalidKey(body, isUpdate) ?? badRequest(`Invalid data; ${error.message}`)
  }
}

/** What became of a write. */
export interface Stored {
  /** Of its first location. */
  value: Value
  /** Whether server values took the place of what was sent. */
  isResolved: boolean
  /** Whether one of them counted on from what was there. */
  holdsIncrement: boolean
}

/** The answer to a PATCH: what was sent, whatever became of its server values. */
export const AS_SENT: Stored = { value: null, isResolved: false, holdsIncrement: false }

/** @throws {RequestError} */
export function submit(
  { database, identity, path }: RestRequest,
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
export async function written(
  context: RestRequest,
  stored: Stored,
  sent: Buffer | string,
): Promise<HttpReply> {
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

/** Whether the client may read where it wrote. */
async function mayRead({ database, identity, path }: RestRequest): Promise<boolean> {
  await readable(database)
  return database.mayRead(identity, locationOf({ path, value: null }))
}

/** While a group is being published nothing is read: the next turn will do. */
export async function readable(database: Database): Promise<void> {
  while (!database.isReadable) await new Promise((resolve) => setImmediate(resolve))
}

export function isStale(error: unknown): boolean {
  return error instanceof RequestError && error.kind === 'stale'
}
