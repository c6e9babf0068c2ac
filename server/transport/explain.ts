/**
 * Explanations over HTTP: what the rules would say to an operation now, on the live data, and why. They quote rules
 * and data, so they are for admins, and for everyone under `--dev`.
 *
 *   POST /.settings/explain.json?ns=chat
 *   {"op": "set", "path": "/rooms/r1/name", "value": "x", "auth": {"uid": "ada"}}
 */
import { clip, PATH_DEPTH_MAX, type Path, parsePath } from '../../protocol/index.ts'
import {
  type ExplainLimits,
  explainQuestion,
  formatExplanation,
  parseRuleQuery,
  type Question,
} from '../../rules/index.ts'
import type { Database } from '../database.ts'
import { overlayView } from '../overlay-view.ts'
import type { Entry } from '../store/store.ts'
import { locationOf, resolveEntries, setEntries, updateEntries } from '../write-entries.ts'
import type { HttpRequest } from './http.ts'
import { depthOf } from './http-auth.ts'
import { badRequest, HttpError } from './http-error.ts'
import { parseObjectBody, parseUpdate } from './rest-request.ts'

/** An explanation holds the loop for longer than the operation would: a tenth of a second for a value of this size. */
const BODY_BYTES_MAX = 256 * 1024

/** An answer has at most about a megabyte, whatever the rules, the data and the value are. */
const LIMITS: ExplainLimits = {
  locationsMax: 200,
  stepsMax: 200,
  readMax: 200,
  textLengthMax: 256 * 1024,
  valueLengthMax: 1024,
}

const MEMBERS = ['op', 'path', 'value', 'values', 'auth', 'query', 'now']

/** @returns The explanation as JSON, and as text for people in `text`. @throws {HttpError} {RequestError} {BodyError} */
export async function explainRequest(
  request: HttpRequest,
  database: Database,
  nowMs: number,
): Promise<unknown> {
  if (request.method !== 'POST') {
    throw new HttpError('405 Method Not Allowed', 'explanations are asked for with POST', [['Allow', 'POST']])
  }
  const body = await request.body(BODY_BYTES_MAX)
  const asked = parseObjectBody(body)
  for (const name of Object.keys(asked)) {
    if (!MEMBERS.includes(name))
      throw badRequest(`unknown member \`${clip(name)}\`; known are ${MEMBERS.join(', ')}`)
  }
  // A group that is being published is readable again in the next turn.
  while (!database.isReadable) await new Promise((resolve) => setImmediate(resolve))
  const question = questionOf(asked, body, database, timeOf(asked['now'], nowMs))
  const explanation = explainQuestion(database.ruleset, question, LIMITS)
  return { ...explanation, text: formatExplanation(explanation) }
}

/** @throws {HttpError} {RequestError} */
function questionOf(
  asked: Record<string, unknown>,
  body: Buffer,
  database: Database,
  nowMs: number,
): Question {
  const { op, path: text } = asked
  if (typeof text !== 'string') throw badRequest('`path` is not a text like "/rooms/r1"')
  const path = parsePath(text)
  const auth = authOf(asked['auth'])
  const data = database.view
  if (op === 'get') {
    const query = asked['query'] == null ? null : parseRuleQuery(asked['query'])
    return { verb: 'read', request: { path, auth, nowMs, data, query } }
  }
  const sent = entriesOf(asked, body, path)
  const entries = resolveEntries(sent, data, nowMs)
  const isEmpty = entries.length === 0
  const locations = isEmpty ? [path] : entries.map(locationOf)
  const newData = isEmpty ? data : overlayView(data, entries)
  return { verb: 'write', request: { locations, isEmpty, auth, nowMs, data, newData } }
}

function entriesOf(asked: Record<string, unknown>, body: Buffer, path: Path): Entry[] {
  switch (asked['op']) {
    case 'set':
      if (!Object.hasOwn(asked, 'value')) throw badRequest('`set` takes a `value`')
      return setEntries(path, asked['value'])
    case 'update': {
      const { values } = asked
      if (typeof values !== 'object' || values === null || Array.isArray(values)) {
        throw badRequest('`update` takes `values`: an object from paths to values')
      }
      return updateEntries(path, parseUpdate(values as Record<string, unknown>, body))
    }
    case 'remove':
      return [{ path, value: null }]
    default:
      throw badRequest(`\`op\` is none of get, set, update, remove`)
  }
}

function authOf(raw: unknown): Record<string, unknown> | null {
  if (raw === undefined || raw === null) return null
  if (typeof raw !== 'object' || Array.isArray(raw)) throw badRequest('`auth` is neither an object nor null')
  // Claims are walked by recursion.
  if (depthOf(raw) > PATH_DEPTH_MAX) throw badRequest('`auth` is nested too deep')
  return raw as Record<string, unknown>
}

function timeOf(raw: unknown, nowMs: number): number {
  if (raw === undefined) return nowMs
  if (typeof raw !== 'number' || !Number.isFinite(raw))
    throw badRequest('`now` is not a number of milliseconds')
  return raw
}

/** @throws {HttpError} */
export function assertMayExplain(isAdmin: boolean): void {
  if (isAdmin) return
  throw new HttpError(
    '401 Unauthorized',
    'Permission denied: explanations are for admins, or for all under --dev',
  )
}
