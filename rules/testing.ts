/**
 * Testing: rules in unit tests, in any test runner. Decisions come from the evaluator the server uses, without
 * a server, in microseconds.
 *
 *   const rules = await rulesFromFile('database.rules.json')
 *   const db = rules.withData({rooms: {r1: {members: {ada: true}}}})
 *   assertSucceeds(db.as({uid: 'ada'}).get('/rooms/r1'))
 *   assertFails(db.signedOut().set('/rooms/r1/name', 'x'))
 */
import { readFile } from 'node:fs/promises'
import { parseValue, type Value } from '../protocol/index.ts'
import { formatError } from './errors.ts'
import { type Explanation, explain, formatExplanation } from './explain.ts'
import { loadRuleset } from './load.ts'
import type { OperationKind } from './operation.ts'
import type { RuleQuery } from './query.ts'
import type { Ruleset } from './ruleset.ts'
import { DEFAULT_NOW_MS } from './table.ts'

export type { Expected, Table, TableTest } from './table.ts'

/** One operation, decided. */
export interface Attempt {
  readonly allowed: boolean
  readonly explanation: Explanation
  /** What was tried, for messages. */
  readonly title: string
}

export async function rulesFromFile(path: string): Promise<TestDatabase> {
  return rulesFromText(await readFile(path), path)
}

/** @throws {Error} with every error in the text, when it does not load. */
export function rulesFromText(text: string | Uint8Array, fileName = 'rules.json'): TestDatabase {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error(result.errors.map((error) => formatError(error, fileName)).join('\n\n'))
  return new TestDatabase(result.ruleset, null, DEFAULT_NOW_MS)
}

/** Rules over some data at some time. Never changes; `with...` gives another one. */
export class TestDatabase {
  readonly ruleset: Ruleset
  private readonly stored: Value
  private readonly nowMs: number

  constructor(ruleset: Ruleset, stored: Value, nowMs: number) {
    this.ruleset = ruleset
    this.stored = stored
    this.nowMs = nowMs
  }

  withData(data: unknown): TestDatabase {
    return new TestDatabase(this.ruleset, parseValue(data), this.nowMs)
  }

  /** @param nowMs Unix milliseconds. */
  withNow(nowMs: number): TestDatabase {
    return new TestDatabase(this.ruleset, this.stored, nowMs)
  }

  as(auth: Record<string, unknown> | null): TestUser {
    return new TestUser((kind, path, value, query) => {
      const operation = { kind, path, value, auth, nowMs: this.nowMs, query }
      const explanation = explain(this.ruleset, this.stored, operation)
      const who = auth === null ? 'signed out' : String(auth['uid'] ?? 'a user')
      return { allowed: explanation.decision.allowed, explanation, title: `${who}: ${kind} ${path}` }
    })
  }

  signedOut(): TestUser {
    return this.as(null)
  }
}

type Try = (kind: OperationKind, path: string, value?: unknown, query?: Partial<RuleQuery> | null) => Attempt

export class TestUser {
  private readonly try: Try

  constructor(attempt: Try) {
    this.try = attempt
  }

  get(path: string, query: Partial<RuleQuery> | null = null): Attempt {
    return this.try('get', path, undefined, query)
  }

  set(path: string, value: unknown): Attempt {
    return this.try('set', path, value)
  }

  /** @param values From paths relative to `path` to values; all are written or none. */
  update(path: string, values: Record<string, unknown>): Attempt {
    return this.try('update', path, values)
  }

  remove(path: string): Attempt {
    return this.try('remove', path)
  }
}

/** @throws {Error} with the trace, when the attempt is denied. */
export function assertSucceeds(attempt: Attempt): void {
  if (!attempt.allowed) throw unexpected(attempt, 'is denied, and should be allowed')
}

/** @throws {Error} with the trace, when the attempt is allowed. */
export function assertFails(attempt: Attempt): void {
  if (attempt.allowed) throw unexpected(attempt, 'is allowed, and should be denied')
}

function unexpected(attempt: Attempt, problem: string): Error {
  return new Error(`${attempt.title} ${problem}\n\n${formatExplanation(attempt.explanation)}`)
}
