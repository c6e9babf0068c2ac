/**
 * Runs rules/cases: tables of operations, expressions, refusals and whole texts. A case is a fact about the
 * language; a change that moves one changes the language.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseValue } from '../protocol/index.ts'
import { jsonView } from './data-view-json.ts'
import { firebaseMessage } from './errors.ts'
import { loadRuleset } from './load.ts'
import { runTable, type Table, tableProblems } from './table.ts'

const folder = new URL('./cases/', import.meta.url)

function readCases<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as T
}

function load(text: string) {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error(result.errors.map(firebaseMessage).join('\n'))
  return result.ruleset
}

const OTHERS = ['expressions.json', 'refused.json', 'files.json']
const tables = readdirSync(folder).filter((name) => !OTHERS.includes(name))

for (const name of tables) {
  const table = readCases<Table & { functions?: unknown }>(name)
  describe(`${name}: ${table.about}`, () => {
    const { functions, ...plain } = table
    expect(tableProblems(plain)).toEqual([])
    const { rules } = plain
    const ruleset = load(JSON.stringify(functions === undefined ? { rules } : { functions, rules }))
    for (const result of runTable(ruleset, table)) {
      test(`${result.test.expect}: ${result.name}`, () => {
        const { decision, problem } = result
        const got = problem ?? (decision!.allowed ? 'allow' : decision!.reason)

        expect(result.passed ? result.test.expect : got).toBe(result.test.expect)
      })
    }
  })
}

describe('expressions', () => {
  interface Expressions {
    auth: unknown
    data: unknown
    groups: { about: string; true?: string[]; false?: string[]; error?: string[] }[]
  }
  const { auth, data, groups } = readCases<Expressions>('expressions.json')
  const view = jsonView(parseValue(data))
  for (const group of groups) {
    for (const expected of ['true', 'false', 'error'] as const) {
      for (const rule of group[expected] ?? []) {
        test(`${group.about}: ${rule} is ${expected}`, () => {
          const ruleset = load(JSON.stringify({ rules: { here: { '.read': rule } } }))

          const decision = ruleset.checkRead({ path: ['here'], auth, nowMs: 1000, data: view })

          expect(decision.allowed ? 'true' : decision.reason).toBe(expected)
        })
      }
    }
  }
})

describe('refused expressions', () => {
  const { refused } = readCases<{ refused: Record<string, string[]> }>('refused.json')
  for (const [message, expressions] of Object.entries(refused)) {
    for (const text of expressions) {
      test(`${text}: ${message}`, () => {
        const [, kind = '.write', expression = text] = /^(\.\w+) (.*)$/.exec(text) ?? []
        const result = loadRuleset(JSON.stringify({ rules: { items: { $id: { [kind]: expression } } } }))

        expect(result.ok ? 'accepted' : result.errors[0]!.message).toBe(message)
      })
    }
  }
})

describe('texts', () => {
  const { files } = readCases<{ files: { name: string; text: string; error: string | null }[] }>('files.json')
  for (const { name, text, error } of files) {
    test(`${name} is ${error === null ? 'accepted' : 'refused'}`, () => {
      const result = loadRuleset(text)

      expect(result.ok ? null : firebaseMessage(result.errors[0]!)).toBe(error)
    })
  }
})
