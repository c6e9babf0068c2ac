/**
 * `hearth rules` as a process of its own: tables in TypeScript, and Node without generated code. There the server as a
 * whole cannot start, since lmdb generates code, too; the rules engine, which tests use by itself, can.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the tree, so that packages are found. */
let bundleFolder: string

beforeAll(async () => {
  bundleFolder = mkdtempSync(join(ROOT, 'node_modules/.hearth-rules-'))
  const common = {
    outdir: bundleFolder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'error',
  } as const
  await build({
    ...common,
    entryPoints: {
      main: join(ROOT, 'server/main.ts'),
      'typescript-hooks': join(ROOT, 'rules/typescript-hooks.ts'),
    },
  })
  await build({
    ...common,
    stdin: { contents: RULES_ALONE, resolveDir: ROOT, sourcefile: 'rules-alone.ts', loader: 'ts' },
    entryNames: 'rules-alone',
  })
})

const RULES_ALONE = `
import { Command } from "commander"
import { addRulesCommands } from "./rules/cli.ts"
const program = new Command()
addRulesCommands(program)
await program.parseAsync()
`

afterAll(() => rmSync(bundleFolder, { recursive: true }))

interface Ended {
  code: number | null
  out: string
  err: string
}

/** Runs `hearth rules ...` in a folder with these files. */
function rules(
  files: Record<string, string>,
  args: readonly string[],
  nodeFlags: readonly string[] = [],
  program = 'main.mjs',
): Ended {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-rules-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...nodeFlags, join(bundleFolder, program), 'rules', ...args],
    { cwd: folder, encoding: 'utf8', env: { PATH: process.env['PATH'] } },
  )
  return { code: status, out: stdout, err: stderr }
}

const PEOPLE = `
export enum Uid { Ada = 'ada' }
export const ada = { uid: Uid.Ada as string } satisfies { uid: string }
`
// Types with and without the word, values from a file beside the table, and a table of two tests.
const TABLE = `
import { Table, type TableTest } from 'hearthdb/rules/testing'
import type { Expected } from 'hearthdb/rules/testing'
import { ada } from "./people.ts"

const deny: Expected = 'deny'
const tests: TableTest[] = [{ as: 'ada', get: '/a', expect: 'allow' }, { get: '/a', expect: deny }]
export default { rules: { '.read': 'auth != null' }, users: { ada }, tests } satisfies Table
`

test('a table in TypeScript runs with what it imports', () => {
  const { code, out, err } = rules({ 'people.ts': PEOPLE, 'a.rules.test.ts': TABLE }, [
    'test',
    'a.rules.test.ts',
  ])

  expect(err).toBe('')
  expect(out).toContain('a.rules.test.ts: 2 passed')
  expect(code).toBe(0)
})

test.each([
  ['does not parse', 'export default {\n  tests: [ }\n', /Unexpected token \(2:12\)/],
  ['throws', 'throw new Error("no such thing")', /no such thing/],
  ['imports what is not there', 'import x from "./nowhere.ts"\nexport default x', /nowhere\.ts/],
  ['exports nothing', 'export const x: number = 1', /a table is an object with `tests`/],
])('a table in TypeScript that %s is one line and exit code 2', (_, text, problem) => {
  const { code, err } = rules({ 'a.rules.test.ts': text }, ['test', 'a.rules.test.ts'])

  expect(err).toMatch(/^hearth: a\.rules\.test\.ts: [^\n]+\n$/)
  expect(err).toMatch(problem)
  expect(code).toBe(2)
})

test('rules decide alike where Node refuses generated code', () => {
  const table = JSON.stringify({
    rules: {
      a: {
        '.read': "auth.uid == 'ada'",
        $id: {
          '.write': "root.child('members/' + auth.uid).exists() || $id == 'free'",
          '.validate': "newData.isString() && newData.val().matches(/^[a-z]+$/) && newData.val() != 'no'",
        },
      },
      broken: { '.read': 'data.val().length > 1 || true' },
    },
    users: { ada: { uid: 'ada' } },
    data: { members: { ada: true } },
    tests: [
      { as: 'ada', get: '/a', expect: 'allow' },
      { get: '/a', expect: 'false' },
      { as: 'ada', set: '/a/x', value: 'yes', expect: 'allow' },
      { as: 'ada', set: '/a/x', value: 'no', expect: 'validate' },
      { as: 'ada', set: '/a/x', value: 5, expect: 'validate' },
      { set: '/a/x', value: 'yes', expect: 'error' },
      { set: '/a/free', value: 'yes', expect: 'error' },
      { get: '/broken', expect: 'error' },
    ],
  })

  const plain = rules({ 'a.rules.test.json': table }, ['test', 'a.rules.test.json'])
  const refusing = rules(
    { 'a.rules.test.json': table },
    ['test', 'a.rules.test.json'],
    ['--disallow-code-generation-from-strings'],
    'rules-alone.mjs',
  )

  for (const { code, out } of [plain, refusing]) {
    expect(out).toContain('a.rules.test.json: 8 passed')
    expect(code).toBe(0)
  }
})
