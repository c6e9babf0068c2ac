/**
 * Operation: one read or write as tables, explain and the test helper state it, decided on a plain JSON tree
 * exactly as the server decides it on the store: server values resolved first, all locations applied at once.
 */
import {
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
import type { Ruleset } from './ruleset.ts'

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

export interface Outcome {
  decision: Decision
  /** The tree if the operation is carried out; the stored tree for a read. */
  after: Value
}

/** @throws {RequestError} for a path or a value that the database itself would refuse. */
export function decide(
  ruleset: Ruleset,
  stored: Value,
  operation: Operation,
  tracer: Tracer | null = null,
): Outcome {
  const { auth, nowMs } = operation
  const data = jsonView(stored)
  if (operation.kind === 'get') {
    const query = operation.query == null ? null : { ...noQuery, ...operation.query }
    const decision = ruleset.checkRead({ path: parsePath(operation.path), auth, nowMs, data, query, tracer })
    return { decision, after: stored }
  }
  const writes = writesOf(operation, stored)
  const after = afterWrites(stored, writes)
  // An update of nothing still says where it would write.
  const isEmpty = writes.length === 0
  const locations = !isEmpty ? writes.map(([path]) => path) : [parsePath(operation.path)]
  const newData = jsonView(after)
  return { decision: ruleset.checkWrite({ locations, isEmpty, auth, nowMs, data, newData, tracer }), after }
}

function writesOf(operation: Operation, stored: Value): [Path, Value][] {
  const base = parsePath(operation.path)
  const body: [string, unknown][] =
    operation.kind === 'update'
      ? Object.entries((operation.value ?? {}) as Record<string, unknown>)
      : [['', operation.kind === 'remove' ? null : operation.value]]
  return body.map(([relative, raw]) => {
    const path = [...base, ...parsePath(relative)]
    const value = parseValue(raw ?? null, path.length)
    return [path, resolveServerValues(value, valueAt(stored, path), operation.nowMs)]
  })
}
