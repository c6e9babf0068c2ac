/**
 * Operation: one read or write as tables, explain and the test helper state it, decided on a plain JSON tree
 * exactly as the server decides it on the store: server values resolved first, all locations applied at once.
 */
import {
  assertApart,
  type Path,
  parsePath,
  parseValue,
  resolveServerValues,
  type Value,
  valueAt,
} from '../protocol/index.ts'
import { afterWrites, jsonView } from './data-view-json.ts'
import type { Decision } from './decision.ts'
import type { Tracer } from './evaluation.ts'
import { noQuery, type RuleQuery } from './query.ts'
import type { ReadRequest, Ruleset, WriteRequest } from './ruleset.ts'

export type OperationKind = 'get' | 'set' | 'update' | 'remove'

export interface Operation {
  kind: OperationKind
  path: string
  /** For `set` any JSON; for `update` an object from relative paths to JSON. */
  value?: unknown
  auth: unknown
  nowMs: number
  query?: Partial<RuleQuery> | null | undefined
}

/** What the rules are asked. */
export type Question = { verb: 'read'; request: ReadRequest } | { verb: 'write'; request: WriteRequest }

/** @throws {RequestError} for a path or a value that the database itself would refuse. */
export function decide(
  ruleset: Ruleset,
  stored: Value,
  operation: Operation,
  tracer: Tracer | null = null,
): Decision {
  return ask(ruleset, questionOf(stored, operation), tracer)
}

export function ask(ruleset: Ruleset, { verb, request }: Question, tracer: Tracer | null): Decision {
  return verb === 'read'
    ? ruleset.checkRead({ ...request, tracer })
    : ruleset.checkWrite({ ...request, tracer })
}

/** @throws {RequestError} for a path or a value that the database itself would refuse. */
export function questionOf(stored: Value, operation: Operation): Question {
  const { auth, nowMs } = operation
  const data = jsonView(stored)
  if (operation.kind === 'get') {
    const query = operation.query == null ? null : { ...noQuery, ...operation.query }
    return { verb: 'read', request: { path: parsePath(operation.path), auth, nowMs, data, query } }
  }
  const writes = writesOf(operation, stored)
  const isEmpty = writes.length === 0
  // An update of nothing still says where it would write.
  const locations = isEmpty ? [parsePath(operation.path)] : writes.map(([path]) => path)
  const newData = jsonView(afterWrites(stored, writes))
  return { verb: 'write', request: { locations, isEmpty, auth, nowMs, data, newData } }
}

function writesOf(operation: Operation, stored: Value): [Path, Value][] {
  const base = parsePath(operation.path)
  const body: [string, unknown][] =
    operation.kind === 'update'
      ? Object.entries((operation.value ?? {}) as Record<string, unknown>)
      : [['', operation.kind === 'remove' ? null : operation.value]]
  const paths = body.map(([relative]) => [...base, ...parsePath(relative)])
  if (paths.length > 1) assertApart(paths)
  return body.map(([, raw], i) => {
    const path = paths[i]!
    const value = parseValue(raw ?? null, path.length)
    return [path, resolveServerValues(value, valueAt(stored, path), operation.nowMs)]
  })
}
