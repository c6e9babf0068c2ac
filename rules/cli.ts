/**
 * Command line: `hearth rules check|test|explain|compile`. Parses arguments, reads files, prints; all the work
 * is done by the parts it imports. Exit codes: 0 fine, 1 findings, 2 a call that cannot be carried out.
 */
import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { parseValue, RequestError } from '../protocol/index.ts'
import { coverageHtml, formatCoverage } from './coverage.ts'
import { type CheckReport, checkFile, formatReport, reportJson } from './diagnostics.ts'
import { formatError } from './errors.ts'
import { explain, formatExplanation } from './explain.ts'
import { loadRuleset } from './load.ts'
import { formatMutation } from './mutate.ts'
import type { OperationKind } from './operation.ts'
import { compileToPlain } from './plain.ts'
import type { RuleQuery } from './query.ts'
import { InputError, readInput } from './read-input.ts'
import type { Ruleset } from './ruleset.ts'
import { DEFAULT_NOW_MS } from './table.ts'
import { runTestFiles, type TestReport } from './test-files.ts'

/** Where output goes and exit codes are set; tests put their own in. */
export interface CommandLine {
  out(text: string): void
  fail(text: string): void
  exit(code: number): void
}

const processLine: CommandLine = {
  out: (text) => process.stdout.write(`${text}\n`),
  fail: (text) => process.stderr.write(`${text}\n`),
  exit: (code) => {
    process.exitCode = code
  },
}

export function addRulesCommands(program: Command, line: CommandLine = processLine): void {
  const rules = program.command('rules').description('check, test, explain and compile security rules')
  rules
    .command('check')
    .description('report every error in rules files, and warn about likely mistakes')
    .argument('<files...>')
    .option('--json', 'print findings as JSON')
    .option('--strict', 'exit with 1 on warnings too')
    .action((files: string[], options: CheckOptions) => guarded(line, () => check(files, options, line)))
  rules
    .command('test')
    .description('run table tests (*.rules.test.json, or modules that export tables)')
    .argument('<files...>')
    .option('--rules <file>', 'rules for tables that name none')
    .option('--coverage', 'show conditions that no test saw true or false')
    .option('--coverage-json <file>', 'write coverage as JSON')
    .option('--coverage-html <file>', 'write coverage as a page')
    .option('--mutate', 'show conditions that no test would miss')
    .action((files: string[], options: TestFlags) => guarded(line, () => test(files, options, line)))
  rules
    .command('explain')
    .description('decide one operation and show how')
    .argument('<file>', 'rules file')
    .argument('<operation>', 'get, set, update or remove')
    .argument('<path>')
    .argument('[value]', 'JSON to write')
    .option('--data <file>', 'JSON file with the stored tree')
    .option('--auth <json>', 'what rules see as auth; leave out for signed out')
    .option('--query <json>', 'query parameters of a get')
    .option('--now <milliseconds>', 'server time')
    .option('--json', 'print the trace as JSON')
    .action(
      (file: string, operation: string, path: string, value: string | undefined, options: ExplainFlags) =>
        guarded(line, () => explainOperation(file, operation, path, value, options, line)),
    )
  rules
    .command('compile')
    .description("print the plain Firebase file for one that uses Hearth's extensions")
    .argument('<file>')
    .action((file: string) => guarded(line, () => compile(file, line)))
}

interface CheckOptions {
  json?: boolean
  strict?: boolean
}

interface TestFlags {
  rules?: string
  coverage?: boolean
  coverageJson?: string
  coverageHtml?: string
  mutate?: boolean
}

interface ExplainFlags {
  data?: string
  auth?: string
  query?: string
  now?: string
  json?: boolean
}

/** A mistake in the call itself: one line, exit code 2. */
class UsageError extends Error {}

async function guarded(line: CommandLine, action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (error) {
    const isCallers = [UsageError, InputError, RequestError].some((kind) => error instanceof kind)
    if (!isCallers) throw error
    line.fail(`hearth: ${(error as Error).message}`)
    line.exit(2)
  }
}

async function check(files: readonly string[], options: CheckOptions, line: CommandLine): Promise<void> {
  const reports: CheckReport[] = []
  for (const file of files) reports.push(checkFile(file, await readInput(file)))
  if (options.json === true) line.out(JSON.stringify(reports.map(reportJson), null, 2))
  else line.out(reports.map(formatReport).join('\n\n'))
  const hasErrors = reports.some(({ errors }) => errors.length > 0)
  const hasWarnings = reports.some(({ warnings }) => warnings.length > 0)
  if (hasErrors || (options.strict === true && hasWarnings)) line.exit(1)
}

async function test(files: readonly string[], flags: TestFlags, line: CommandLine): Promise<void> {
  const wantsCoverage = [flags.coverage, flags.coverageJson, flags.coverageHtml].some(Boolean)
  const options = { coverage: wantsCoverage, mutate: flags.mutate === true, rules: flags.rules ?? null }
  const start = performance.now()
  const report = await runTestFiles(files, options)
  const elapsedMs = performance.now() - start
  printRuns(report, elapsedMs, line)
  for (const { fileName, report: coverage } of report.coverage) {
    if (flags.coverage === true) line.out(`\n${fileName}\n${formatCoverage(coverage)}`)
  }
  if (flags.coverageJson !== undefined) {
    const json = report.coverage.map(({ fileName, report: coverage }) => ({ file: fileName, ...coverage }))
    await writeFile(flags.coverageJson, `${JSON.stringify(json, null, 2)}\n`)
  }
  if (flags.coverageHtml !== undefined) {
    const pages = report.coverage.map(({ fileName, text, report: coverage }) =>
      coverageHtml(coverage, text, fileName),
    )
    await writeFile(flags.coverageHtml, pages.join('\n'))
  }
  for (const { fileName, report: mutation } of report.mutation)
    line.out(`\n${fileName}\n${formatMutation(mutation)}`)
  const hasFailures = report.runs.some(({ failures }) => failures.length > 0)
  const hasSurvivors = report.mutation.some(({ report: { survivors } }) => survivors.length > 0)
  if (hasFailures || hasSurvivors) line.exit(1)
}

function printRuns({ runs }: TestReport, elapsedMs: number, line: CommandLine): void {
  for (const { file, passed, failures } of runs) {
    line.out(`${file}: ${passed} passed${failures.length > 0 ? `, ${failures.length} failed` : ''}`)
    for (const failure of failures) line.out(`\n  failed: ${failure}\n`)
  }
  const passed = runs.reduce((sum, run) => sum + run.passed, 0)
  const failed = runs.reduce((sum, run) => sum + run.failures.length, 0)
  line.out(`${passed} passed, ${failed} failed in ${elapsedMs.toFixed(0)} ms`)
}

async function explainOperation(
  file: string,
  operation: string,
  path: string,
  value: string | undefined,
  flags: ExplainFlags,
  line: CommandLine,
): Promise<void> {
  if (!['get', 'set', 'update', 'remove'].includes(operation)) {
    throw new UsageError(`operation \`${operation}\` is none of get, set, update, remove`)
  }
  const kind = operation as OperationKind
  if ((kind === 'set' || kind === 'update') !== (value !== undefined)) {
    throw new UsageError(`\`${kind}\` takes ${value === undefined ? 'a value as JSON' : 'no value'}`)
  }
  const ruleset = await readRuleset(file)
  const stored =
    flags.data === undefined
      ? null
      : parseJson(new TextDecoder().decode(await readInput(flags.data)), flags.data)
  const explanation = explain(ruleset, parseValue(stored), {
    kind,
    path,
    value: value === undefined ? undefined : parseJson(value, 'value'),
    auth: flags.auth === undefined ? null : parseJson(flags.auth, '--auth'),
    nowMs: flags.now === undefined ? DEFAULT_NOW_MS : Number(flags.now),
    query: flags.query === undefined ? null : (parseJson(flags.query, '--query') as Partial<RuleQuery>),
  })
  line.out(flags.json === true ? JSON.stringify(explanation, null, 2) : formatExplanation(explanation))
  if (!explanation.decision.allowed) line.exit(1)
}

async function compile(file: string, line: CommandLine): Promise<void> {
  const result = compileToPlain(await readInput(file))
  if (result.ok) {
    line.out(result.text.trimEnd())
    return
  }
  line.fail(result.errors.map((error) => formatError(error, file)).join('\n\n'))
  line.exit(1)
}

async function readRuleset(file: string): Promise<Ruleset> {
  const result = loadRuleset(await readInput(file))
  if (!result.ok) throw new UsageError(result.errors.map((error) => formatError(error, file)).join('\n\n'))
  return result.ruleset
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${what} is not JSON: ${(error as Error).message}`)
  }
}
