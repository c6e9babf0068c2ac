/**
 * Verdicts recorded from real Firebase, and rules files of public repositories. They are other people's data
 * and are read from beside the project; where they are absent, these tests are skipped and say so.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  type Path,
  parsePath,
  parseValue,
  resolveServerValues,
  type Value,
  valueAt,
} from '../protocol/index.ts'
import { formatCoverage } from './coverage.ts'
import { afterWrites, jsonView } from './data-view-json.ts'
import { firebaseMessage } from './errors.ts'
import { loadRuleset } from './load.ts'
import { noQuery, type RuleQuery } from './query.ts'
import type { Ruleset } from './ruleset.ts'
import { runTestFiles } from './test-files.ts'

const shared = fileURLToPath(new URL('../../shared/', import.meta.url))
const isThere = existsSync(`${shared}rules-cases`)
if (!isThere) console.log(`recorded cases are not at ${shared}: skipped`)

function readShared<T>(name: string): T {
  return JSON.parse(readFileSync(`${shared}${name}`, 'utf8')) as T
}

function load(rules: unknown): Ruleset {
  const result = loadRuleset(JSON.stringify({ rules }))
  if (!result.ok) throw new Error(result.errors.map(firebaseMessage).join('\n'))
  return result.ruleset
}

interface Verdict {
  description: string
  op: 'read' | 'write' | 'update'
  path: string
  value?: unknown
  auth: unknown
  data: unknown
  query?: Partial<RuleQuery>
  now: number
  expect: 'ALLOW' | 'DENY'
}

function isAllowed(ruleset: Ruleset, verdict: Verdict): boolean {
  const { auth, now: nowMs } = verdict
  const path = parsePath(verdict.path)
  const stored = parseValue(verdict.data)
  const data = jsonView(stored)
  if (verdict.op === 'read') {
    const query = verdict.query === undefined ? null : { ...noQuery, ...verdict.query }
    return ruleset.checkRead({ path, auth, nowMs, data, query }).allowed
  }
  const writes: [Path, Value][] = []
  const body = verdict.op === 'write' ? { '': verdict.value } : (verdict.value as Record<string, unknown>)
  for (const [key, raw] of Object.entries(body)) {
    const at = [...path, ...parsePath(key)]
    writes.push([at, resolveServerValues(parseValue(raw), valueAt(stored, at), nowMs)])
  }
  const locations = writes.map(([at]) => at)
  return ruleset.checkWrite({ locations, auth, nowMs, data, newData: jsonView(afterWrites(stored, writes)) })
    .allowed
}

describe.skipIf(!isThere)('verdicts recorded from production', () => {
  const rulesets = isThere
    ? readShared<{ id: string; rules: unknown; cases: Verdict[] }[]>('rules-cases/production-verdicts.json')
    : []
  for (const { id, rules, cases } of rulesets) {
    describe(id, () => {
      for (const verdict of cases) {
        test(`${verdict.expect.toLowerCase()}: ${verdict.description}`, () => {
          expect(isAllowed(load(rules), verdict)).toBe(verdict.expect === 'ALLOW')
        })
      }
    })
  }
})

describe.skipIf(!isThere)('deploy verdicts recorded from production', () => {
  interface Compile {
    expressions: { kind: string; expression: string; accepted: boolean; message?: string }[]
    structures: { rules: unknown; accepted: boolean; message?: string }[]
    texts: { name: string; text: string; accepted: boolean; message?: string }[]
  }
  const none: Compile = { expressions: [], structures: [], texts: [] }
  const recorded = isThere ? readShared<Compile>('rules-cases/production-compile.json') : none
  const loads = [
    ...recorded.expressions.map((entry) => ({
      ...entry,
      name: `${entry.kind} ${entry.expression}`,
      text: JSON.stringify({ rules: { items: { $id: { [entry.kind]: entry.expression } } } }),
    })),
    ...recorded.structures.map((entry) => ({
      ...entry,
      name: JSON.stringify(entry.rules),
      text: JSON.stringify({ rules: entry.rules }),
    })),
    ...recorded.texts,
  ]
  for (const { name, text, accepted, message } of loads) {
    test(`${accepted ? 'accepted' : `refused (${message})`}: ${name}`, () => {
      const result = loadRuleset(text)

      expect(result.ok ? null : result.errors[0]!.message).toBe(accepted ? null : message)
    })
  }
})

describe.skipIf(!isThere)('expressions recorded against a live database', () => {
  interface Fixtures {
    users: Record<string, unknown>
    tests: {
      rule: string
      user: string
      data?: unknown
      query?: Partial<RuleQuery>
      wildchildren?: Record<string, string>
      isValid: boolean
      failAtRuntime?: boolean
      evaluateTo?: boolean
    }[]
  }
  const fixtures = isThere
    ? readShared<Fixtures>('rules-cases/expression-fixtures.json')
    : { users: {}, tests: [] }
  for (const [i, fixture] of fixtures.tests.entries()) {
    const expected = !fixture.isValid
      ? 'refused'
      : fixture.failAtRuntime
        ? 'fails'
        : String(fixture.evaluateTo)
    test(`${i}: ${fixture.rule} as ${fixture.user}: ${expected}`, () => {
      const captures = Object.entries(fixture.wildchildren ?? {})
      let rules: unknown = { '.read': fixture.rule }
      for (const [name] of captures) rules = { [name]: rules }
      const result = loadRuleset(JSON.stringify({ rules }))
      if (!result.ok) {
        expect('refused').toBe(expected)
        return
      }
      const decision = result.ruleset.checkRead({
        path: captures.map(([, key]) => key),
        auth: fixtures.users[fixture.user],
        nowMs: 1,
        data: jsonView(parseValue(fixture.data ?? null)),
        // Recorded over REST, where a read without an order is ordered by key.
        query: { ...noQuery, orderByKey: fixture.query === undefined, ...fixture.query },
      })

      expect(decision.allowed ? 'true' : decision.reason === 'error' ? 'fails' : decision.reason).toBe(
        expected,
      )
    })
  }
})

describe.skipIf(!isThere)('rules files of public repositories', () => {
  const folder = `${shared}rules-corpus/`
  const rows = isThere
    ? readFileSync(`${folder}index.tsv`, 'utf8')
        .split('\n')
        .map((line) => line.split('\t'))
    : [['id']]
  const columns = rows[0]!
  const verdicts = new Map(rows.slice(1).map((row) => [row[0], row[columns.indexOf('targaryen_ruleset')]]))
  const files = isThere ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []
  for (const file of files) {
    // 007 has the same key twice in one node. What Firebase does with that is not known; Hearth refuses it.
    const verdict = file === '007.json' ? 'no' : verdicts.get(file.replace('.json', ''))
    test(`${file} is ${verdict === 'yes' ? 'accepted' : 'refused'}`, () => {
      const result = loadRuleset(readFileSync(`${folder}${file}`))

      expect(result.ok ? [] : result.errors.map(firebaseMessage)).toEqual(
        verdict === 'yes' ? [] : expect.arrayContaining([expect.any(String)]),
      )
    })
  }
})

/** rules/corpus holds tables of our own for some of these files. */
describe.skipIf(!isThere)('tables of tests for public rules files', () => {
  const folder = fileURLToPath(new URL('./corpus/', import.meta.url))
  test.each(readdirSync(folder))('%s passes, and sees each condition true and false', async (name) => {
    const options = { coverage: true, mutate: false, rules: null }

    const { runs, coverage } = await runTestFiles([`${folder}${name}`], options)

    expect(runs.flatMap(({ failures }) => failures)).toEqual([])
    expect(coverage.map(({ report }) => formatCoverage(report))).toEqual([
      expect.stringMatching(/^(\d+) of \1 conditions seen both true and false \(100 %\)$/),
    ])
  })
})
