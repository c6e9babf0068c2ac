/**
 * Command line: `hearth rules check|test|explain|compile`. Parses arguments, reads files, prints; all the work
 * is done by the parts it imports. Exit codes: 0 fine, 1 findings, 2 a call that cannot be carried out.
 */
import type { Command } from 'commander'
import { parseValue, RequestError } from '../protocol/index.ts'
import { coverageHtml, formatCoverage } from './coverage.ts'
import { type CheckReport, checkFile, formatReport, reportJson } from './diagnostics.ts'
import { formatError } from './errors.ts'
import { type Explanation, explain, formatExplanation } from './explain.ts'
import { loadRuleset } from './load.ts'
import { formatMutation } from './mutate.ts'
import type { Operation, OperationKind } from './operation.ts'
import { compileToPlain } from './plain.ts'
import { parseRuleQuery } from './query.ts'
import { InputError, readInput, writeOutput } from './read-input.ts'
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
  const rules = program.command('rules').description('Check, test, explain and compile security rules.')
  rules
    .command('check')
    .description('Report every error in rules files, and warn about likely mistakes.')
    .argument('<files...>', 'rules files')
    .option('--json', 'print findings as JSON')
    .option('--strict', 'exit with 1 on warnings too')
    .addHelpText(
      'after',
      '\nExits with 0 when no file has errors, with 1 when one has, with 2 when one cannot be read.',
    )
    .action((files: string[], options: CheckOptions) => guarded(line, () => check(files, options, line)))
  rules
    .command('test')
    .description('Run tables of tests.')
    .argument('<files...>', 'tables: *.rules.test.json, or modules (.ts, .mts, .js, .mjs) that export them')
    .option('--rules <file>', 'rules for tables that name none')
    .option('--coverage', 'show conditions that no test saw both true and false')
    .option('--coverage-json <file>', 'write coverage as JSON')
    .option('--coverage-html <file>', 'write coverage as a page')
    .option('--mutate', 'show conditions that could go without a test failing')
    .addHelpText('after', '\nExits with 1 when a test fails, or with --mutate when a change goes unnoticed.')
    .action((files: string[], options: TestFlags) => guarded(line, () => test(files, options, line)))
  rules
    .command('explain')
    .description('Decide one operation and show how.')
    .argument('<rules>', 'rules file, or the URL of a running server, such as http://127.0.0.1:9000')
    .argument('<operation>', 'get, set, update or remove')
    .argument('<path>', 'such as /rooms/r1')
    .argument('[value]', 'JSON to write; for update an object from paths to values')
    .option('--data <file>', 'with a rules file: JSON file with the stored tree (default: nothing stored)')
    .option('--auth <json>', 'what rules see as auth (default: signed out)')
    .option('--query <json>', 'parameters of a get, such as {"limitToFirst":10}')
    .option(
      '--now <milliseconds>',
      `server time, Unix milliseconds (default: ${DEFAULT_NOW_MS} with a file, the time of a server)`,
    )
    .option('--database <name>', 'with a server: which of its databases', 'default')
    .option(
      '--admin-key-file <path>',
      'with a server that is not --dev: file with the admin key [HEARTH_ADMIN_KEY_FILE, HEARTH_ADMIN_KEY]',
    )
    .option('--json', 'print the explanation as JSON')
    .addHelpText('after', '\nExits with 0 when the operation is allowed, with 1 when it is denied.')
    .action(
      (rulesAt: string, operation: string, path: string, value: string | undefined, flags: ExplainFlags) =>
        guarded(line, () => explainOperation({ rulesAt, operation, path, value, flags }, line)),
    )
  rules
    .command('compile')
    .description("Print the plain Firebase file for one that uses Hearth's extensions.")
    .argument('<file>', 'rules file')
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

interface ExplainCall {
  rulesAt: string
  operation: string
  path: string
  value: string | undefined
  flags: ExplainFlags
}

interface ExplainFlags {
  data?: string
  database: string
  adminKeyFile?: string
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
  const unread: string[] = []
  for (const file of files) {
    try {
      reports.push(checkFile(file, await readInput(file)))
    } catch (error) {
      // One file that is not there says nothing of the others.
      if (!(error instanceof InputError)) throw error
      unread.push(error.message)
    }
  }
  if (options.json === true) line.out(JSON.stringify(reports.map(reportJson), null, 2))
  else if (reports.length > 0) line.out(reports.map(formatReport).join('\n\n'))
  for (const problem of unread) line.fail(`hearth: ${problem}`)
  const hasErrors = reports.some(({ errors }) => errors.length > 0)
  const hasWarnings = reports.some(({ warnings }) => warnings.length > 0)
  if (unread.length > 0) line.exit(2)
  else if (hasErrors || (options.strict === true && hasWarnings)) line.exit(1)
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
    await writeOutput(flags.coverageJson, `${JSON.stringify(json, null, 2)}\n`)
  }
  if (flags.coverageHtml !== undefined) {
    const pages = report.coverage.map(({ fileName, text, report: coverage }) =>
      coverageHtml(coverage, text, fileName),
    )
    await writeOutput(flags.coverageHtml, pages.join('\n'))
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

async function explainOperation(call: ExplainCall, line: CommandLine): Promise<void> {
  const operation = operationOf(call)
  const { rulesAt, flags } = call
  const explanation = /^https?:\/\//.test(rulesAt)
    ? await explainOnServer(rulesAt, operation, flags)
    : await explainOnFile(rulesAt, operation, flags)
  line.out(flags.json === true ? JSON.stringify(explanation, null, 2) : formatExplanation(explanation))
  if (!explanation.decision.allowed) line.exit(1)
}

type AskedOperation = Omit<Operation, 'nowMs'> & { nowMs: number | undefined }

function operationOf({ operation, path, value, flags }: ExplainCall): AskedOperation {
  if (!['get', 'set', 'update', 'remove'].includes(operation)) {
    throw new UsageError(`operation \`${operation}\` is none of get, set, update, remove`)
  }
  const kind = operation as OperationKind
  if ((kind === 'set' || kind === 'update') !== (value !== undefined)) {
    throw new UsageError(`\`${kind}\` takes ${value === undefined ? 'a value as JSON' : 'no value'}`)
  }
  const nowMs = flags.now === undefined ? undefined : Number(flags.now)
  if (Number.isNaN(nowMs)) throw new UsageError(`--now \`${flags.now}\` is not a number of milliseconds`)
  const parsed = value === undefined ? undefined : parseJson(value, 'value')
  if (kind === 'update' && (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))) {
    throw new UsageError('`update` takes an object from paths to values')
  }
  return {
    kind,
    path,
    value: parsed,
    auth: flags.auth === undefined ? null : parseJson(flags.auth, '--auth'),
    nowMs,
    query: flags.query === undefined ? null : parseRuleQuery(parseJson(flags.query, '--query')),
  }
}

async function explainOnFile(
  file: string,
  operation: AskedOperation,
  flags: ExplainFlags,
): Promise<Explanation> {
  if (flags.adminKeyFile !== undefined) throw new UsageError('--admin-key-file is for a server')
  const ruleset = await readRuleset(file)
  const stored =
    flags.data === undefined
      ? null
      : parseJson(new TextDecoder().decode(await readInput(flags.data)), flags.data)
  return explain(ruleset, parseValue(stored), { ...operation, nowMs: operation.nowMs ?? DEFAULT_NOW_MS })
}

/** On the data and the rules of a running server. */
async function explainOnServer(
  url: string,
  { kind, path, value, auth, nowMs, query }: AskedOperation,
  flags: ExplainFlags,
): Promise<Explanation> {
  if (flags.data !== undefined) throw new UsageError('--data is for a rules file; a server has its own')
  const keyFile = flags.adminKeyFile ?? (process.env['HEARTH_ADMIN_KEY_FILE'] || undefined)
  const key =
    keyFile === undefined
      ? process.env['HEARTH_ADMIN_KEY'] || undefined
      : new TextDecoder().decode(await readInput(keyFile)).trim()
  if (!URL.canParse(url)) throw new UsageError(`${url} is not a URL such as http://127.0.0.1:9000`)
  const target = new URL('/.settings/explain.json', url)
  target.searchParams.set('ns', flags.database)
  const question = {
    op: kind,
    path,
    [kind === 'update' ? 'values' : 'value']: value,
    auth,
    query,
    now: nowMs,
  }
  let response: Response
  try {
    response = await fetch(target, {
      method: 'POST',
      headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
      body: JSON.stringify(question),
    })
  } catch (error) {
    const { cause } = error as { cause?: { message?: string } }
    throw new InputError(`${url} cannot be reached: ${cause?.message ?? (error as Error).message}`)
  }
  const answer = (await response.json().catch(() => null)) as (Explanation & { error?: string }) | null
  if (response.ok && answer !== null) return answer
  throw new InputError(`${url} answered ${response.status}: ${answer?.error ?? response.statusText}`)
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
