/**
 * Table: tests of a rules file as data.
 *
 *   {
 *     "rules": "database.rules.json",            a file beside the table, or the rules themselves
 *     "now": 1760000000000,
 *     "data": {"rooms": {"r1": {"members": {"ada": true}}}},
 *     "users": {"ada": {"uid": "ada"}},          names for `as`; anyone else is signed out
 *     "tests": [
 *       {"name": "a member reads", "as": "ada", "get": "/rooms/r1", "expect": "allow"},
 *       {"as": null, "set": "/rooms/r2", "value": {"open": true}, "expect": "deny"}
 *     ]
 *   }
 *
 * Each test starts from `data`, its own or the table's. `expect` is `allow`, `deny`, or the reason of a denial.
 */
import { clip, parseValue, type Value } from '../protocol/index.ts'
import type { Decision } from './decision.ts'
import { nearest } from './did-you-mean.ts'
import type { Tracer } from './evaluation.ts'
import { decide, type Operation, type OperationKind } from './operation.ts'
import { parseRuleQuery, type RuleQuery } from './query.ts'
import type { Ruleset } from './ruleset.ts'

export interface Table {
  /** What the table is about; shown with its tests. */
  about?: string
  rules?: string | Record<string, unknown>
  now?: number
  data?: unknown
  users?: Record<string, unknown>
  tests: TableTest[]
}

export interface TableTest {
  name?: string
  /** A name from `users`, an auth object, or null for signed out. */
  as?: string | Record<string, unknown> | null
  get?: string
  set?: string
  update?: string
  remove?: string
  value?: unknown
  query?: Partial<RuleQuery>
  data?: unknown
  now?: number
  expect: Expected
}

export type Expected = 'allow' | 'deny' | 'no_rule' | 'false' | 'error' | 'validate' | 'budget'

export interface TableResult {
  name: string
  test: TableTest
  passed: boolean
  decision: Decision | null
  /** Why there is no decision: a path or value that no database would take. */
  problem: string | null
}

const TABLE_MEMBERS = ['about', 'rules', 'now', 'data', 'users', 'tests']
const TEST_MEMBERS = [
  'name',
  'as',
  'get',
  'set',
  'update',
  'remove',
  'value',
  'query',
  'data',
  'now',
  'expect',
]
const KINDS: readonly OperationKind[] = ['get', 'set', 'update', 'remove']
const EXPECTED: readonly Expected[] = ['allow', 'deny', 'no_rule', 'false', 'error', 'validate', 'budget']

/** 2025-10-09T08:53:20Z: tests without a clock of their own all have the same one. */
export const DEFAULT_NOW_MS = 1_760_000_000_000

/** What is wrong with the shape of a table, one line each; empty when it can run. */
export function tableProblems(table: unknown): string[] {
  if (typeof table !== 'object' || table === null) return ['a table is an object with `tests`']
  const { tests, users, now } = table as { tests?: unknown; users?: unknown; now?: unknown }
  if (!Array.isArray(tests)) return ['a table has `tests`, a list']
  const problems = unknownMembers(table, TABLE_MEMBERS, 'a table')
  // Nothing would be tested, and all of it pass.
  if (tests.length === 0) problems.push('`tests` is empty; a table has at least one test')
  if (users !== undefined && !isObject(users)) problems.push('`users` is an object from names to auth')
  if (now !== undefined && typeof now !== 'number') problems.push('`now` is a number of milliseconds')
  for (const [i, test] of (tests as unknown[]).entries()) {
    const at = `tests[${i}]`
    if (!isObject(test)) {
      problems.push(`${at} is not an object`)
      continue
    }
    problems.push(...unknownMembers(test, TEST_MEMBERS, at))
    const kinds = KINDS.filter((kind) => test[kind] !== undefined)
    if (kinds.length !== 1)
      problems.push(`${at} has ${kinds.length} of ${KINDS.join(', ')}; it has exactly one`)
    if (!EXPECTED.includes(test['expect'] as Expected))
      problems.push(`${at}.expect is one of ${EXPECTED.join(', ')}`)
    else if (kinds.length === 1) problems.push(...operationProblems(test, kinds[0]!, at))
    const { as, now } = test
    if (typeof as === 'string') {
      if (!isObject(users) || !Object.hasOwn(users, as))
        problems.push(`${at}.as is \`${as}\`, which is not in \`users\``)
    } else if (as !== undefined && as !== null && !isObject(as)) {
      problems.push(`${at}.as is a name from \`users\`, an auth object or null`)
    }
    if (now !== undefined && typeof now !== 'number') problems.push(`${at}.now is a number of milliseconds`)
  }
  return problems
}

/** A misspelt `as` would sign the user out, and a denial be expected for another reason than the one that is met. */
function unknownMembers(of: object, known: readonly string[], at: string): string[] {
  return Object.keys(of)
    .filter((member) => !known.includes(member))
    .map((member) => {
      const near = nearest(member, known)
      const hint = near === null ? `known are ${known.join(', ')}` : `did you mean \`${near}\`?`
      return `${at} has no \`${clip(member)}\`; ${hint}`
    })
}

function operationProblems(test: Record<string, unknown>, kind: OperationKind, at: string): string[] {
  const { value, query } = test
  const problems: string[] = []
  if (typeof test[kind] !== 'string') problems.push(`${at}.${kind} is a path such as "/rooms/r1"`)
  if (kind === 'update' && !isObject(value)) problems.push(`${at}.value of an update maps paths to values`)
  if (kind === 'set' && value === undefined) problems.push(`${at} has a \`value\` to set; null deletes`)
  if ((kind === 'get' || kind === 'remove') && value !== undefined)
    problems.push(`${at}.value goes with set or update, not with ${kind}`)
  if (query !== undefined && kind !== 'get') problems.push(`${at}.query goes with get, not with ${kind}`)
  else if (query !== undefined) {
    try {
      parseRuleQuery(query)
    } catch (error) {
      problems.push(`${at}.query: ${(error as Error).message}`)
    }
  }
  return problems
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function runTable(ruleset: Ruleset, table: Table, tracer: Tracer | null = null): TableResult[] {
  const stored = parseValue(table.data ?? null)
  return table.tests.map((test) => runTest(ruleset, table, test, stored, tracer))
}

/** The operation of one test, for running it again with a trace. */
export function operationOf(table: Table, test: TableTest): Operation {
  const kind = KINDS.find((candidate) => test[candidate] !== undefined)!
  const auth = typeof test.as === 'string' ? table.users?.[test.as] : (test.as ?? null)
  const { value, query } = test
  return { kind, path: test[kind]!, value, auth, nowMs: test.now ?? table.now ?? DEFAULT_NOW_MS, query }
}

export function storedOf(table: Table, test: TableTest): Value {
  return parseValue((test.data === undefined ? table.data : test.data) ?? null)
}

function runTest(
  ruleset: Ruleset,
  table: Table,
  test: TableTest,
  stored: Value,
  tracer: Tracer | null,
): TableResult {
  const operation = operationOf(table, test)
  const who = typeof test.as === 'string' ? test.as : test.as == null ? 'signed out' : 'custom auth'
  const name = test.name ?? `${who}: ${operation.kind} ${operation.path}`
  try {
    const before = test.data === undefined ? stored : parseValue(test.data)
    const decision = decide(ruleset, before, operation, tracer)
    return { name, test, passed: isExpected(decision, test.expect), decision, problem: null }
  } catch (error) {
    return { name, test, passed: false, decision: null, problem: (error as Error).message }
  }
}

function isExpected(decision: Decision, expected: Expected): boolean {
  if (expected === 'allow') return decision.allowed
  return !decision.allowed && (expected === 'deny' || decision.reason === expected)
}
