/**
 * Test files: reads tables and their rules from disk, runs them, and says how it went. What
 * `hearth rules test` does between its arguments and its exit code.
 */
import { register } from 'node:module'
import { dirname, extname, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Coverage, type CoverageReport } from './coverage.ts'
import { describeDecision } from './decision.ts'
import { formatError } from './errors.ts'
import { explain, formatExplanation } from './explain.ts'
import { loadRuleset } from './load.ts'
import { ErrorCounter, type MutationReport, mutate, type Trial } from './mutate.ts'
import { InputError, readInput } from './read-input.ts'
import type { Ruleset } from './ruleset.ts'
import { operationOf, runTable, storedOf, type Table, type TableResult, tableProblems } from './table.ts'

export interface TestRun {
  file: string
  passed: number
  failures: string[]
}

/** Tables that share one rules file, so that coverage and mutation see all tests of it together. */
interface Suite {
  rulesName: string
  ruleset: Ruleset
  tables: { file: string; table: Table }[]
}

export interface TestReport {
  runs: TestRun[]
  coverage: { fileName: string; text: string; report: CoverageReport }[]
  mutation: { fileName: string; report: MutationReport }[]
}

export interface TestOptions {
  coverage: boolean
  mutate: boolean
  /** Rules for tables that name none. */
  rules: string | null
}

/** @throws {TestFileError} for a file that cannot be read as tests at all. */
export async function runTestFiles(files: readonly string[], options: TestOptions): Promise<TestReport> {
  const suites = new Map<string, Suite>()
  for (const file of files) {
    for (const table of await readTables(file)) await addTable(suites, file, table, options)
  }
  const report: TestReport = { runs: [], coverage: [], mutation: [] }
  for (const suite of suites.values()) runSuite(suite, options, report)
  return report
}

export class TestFileError extends InputError {}

function runSuite(suite: Suite, options: TestOptions, report: TestReport): void {
  const { ruleset, tables, rulesName } = suite
  const coverage = options.coverage ? new Coverage() : null
  let isGreen = true
  for (const { file, table } of tables) {
    const results = runTable(ruleset, table, coverage)
    const failures = results
      .filter((result) => !result.passed)
      .map((result) => describeFailure(ruleset, table, result))
    if (failures.length > 0) isGreen = false
    report.runs.push({ file, passed: results.length - failures.length, failures })
  }
  if (coverage !== null) {
    report.coverage.push({ fileName: rulesName, text: ruleset.source, report: coverage.report(ruleset) })
  }
  // Against failing tests every change would look noticed.
  if (!options.mutate || !isGreen) return
  const run = (mutated: Ruleset): Trial => {
    const counter = new ErrorCounter()
    const passed = tables.every(({ table }) =>
      runTable(mutated, table, counter).every((result) => result.passed),
    )
    return { passed, errors: counter.errors }
  }
  report.mutation.push({ fileName: rulesName, report: mutate(ruleset, run) })
}

function describeFailure(
  ruleset: Ruleset,
  table: Table,
  { name, test, decision, problem }: TableResult,
): string {
  if (decision === null) return `${name}\n    ${problem}`
  const trace = formatExplanation(explain(ruleset, storedOf(table, test), operationOf(table, test)))
  const indented = trace.replaceAll(/^/gm, '    ')
  return `${name}\n    expected ${test.expect}, got: ${describeDecision(decision)}\n${indented}`
}

async function addTable(
  suites: Map<string, Suite>,
  file: string,
  table: Table,
  options: TestOptions,
): Promise<void> {
  const rules = table.rules ?? options.rules
  if (rules === null) {
    throw new TestFileError(`${file}: no rules; give the table a "rules" property, or say --rules FILE`)
  }
  const isFile = typeof rules === 'string'
  const rulesName = !isFile
    ? file
    : table.rules === undefined
      ? resolve(rules)
      : resolve(dirname(file), rules)
  const shownName = shortestName(rulesName)
  let suite = suites.get(rulesName)
  if (suite === undefined) {
    const text = isFile ? await readInput(rulesName) : inlineRules(rules)
    const result = loadRuleset(text)
    if (!result.ok) {
      throw new TestFileError(result.errors.map((error) => formatError(error, shownName)).join('\n\n'))
    }
    suite = { rulesName: shownName, ruleset: result.ruleset, tables: [] }
    suites.set(rulesName, suite)
  }
  suite.tables.push({ file, table })
}

/** As one would type it here. */
function shortestName(file: string): string {
  const fromHere = relative(process.cwd(), file)
  return fromHere.length < file.length ? fromHere : file
}

/** A whole rules file written into the table, or only what stands under its `rules`. */
function inlineRules(rules: Record<string, unknown>): string {
  return JSON.stringify(Object.hasOwn(rules, 'rules') ? rules : { rules }, null, 2)
}

async function readTables(file: string): Promise<Table[]> {
  const content = file.endsWith('.json') ? await readJson(file) : await importTables(file)
  const tables = Array.isArray(content) ? content : [content]
  const problems = tables.length === 0 ? ['a list of tables is empty'] : tables.flatMap(tableProblems)
  if (problems.length > 0)
    throw new TestFileError(problems.map((problem) => `${file}: ${problem}`).join('\n'))
  return tables as Table[]
}

async function readJson(file: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readInput(file))
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new TestFileError(`${file}: not JSON: ${(error as Error).message}`)
  }
}

/** A module exports a table, or a list of them, as its default. */
async function importTables(file: string): Promise<unknown> {
  await readInput(file)
  if (/\.m?ts$/.test(file)) allowTypeScript()
  try {
    const module = (await import(pathToFileURL(resolve(file)).href)) as { default?: unknown }
    return module.default
  } catch (error) {
    // Whatever the module is or does wrong: it is the caller's file.
    throw new TestFileError(`${file}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

let isTypeScriptAllowed = false

function allowTypeScript(): void {
  const isBuilt = !import.meta.url.endsWith('.ts')
  // Where this file itself is run as TypeScript, tables are too.
  if (isTypeScriptAllowed || !isBuilt) return
  const hooks = new URL('./typescript-hooks.ts', import.meta.url).href
  register(hooks.replace(/\.ts$/, extname(import.meta.url)))
  isTypeScriptAllowed = true
}
