import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addRulesCommands } from './cli.ts'

let folder: string
let output: string
let exitCode: number

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hearth-rules-'))
  output = ''
  exitCode = 0
})
afterEach(() => rm(folder, { recursive: true }))

async function file(name: string, content: unknown): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

async function run(...args: string[]): Promise<void> {
  const program = new Command()
  const write = (text: string) => {
    output += `${text.replaceAll(`${folder}/`, '')}\n`
  }
  addRulesCommands(program, {
    out: write,
    fail: write,
    exit: (code) => {
      exitCode = code
    },
  })
  await program.parseAsync(['rules', ...args], { from: 'user' })
}

const good = { rules: { a: { '.read': 'auth != null', '.write': 'auth != null && newData.isNumber()' } } }

test('check passes a sound file', async () => {
  await run('check', await file('rules.json', good))

  expect(output).toBe('rules.json: 2 rules, 0 errors, 0 warnings\n')
  expect(exitCode).toBe(0)
})

test('check fails on errors, and on warnings when strict', async () => {
  await run('check', await file('bad.json', { rules: { '.read': 'auht != null' } }))
  expect(exitCode).toBe(1)
  expect(output).toContain('did you mean `auth`?')

  exitCode = 0
  const open = await file('open.json', { rules: { '.read': true } })
  await run('check', open)
  expect(exitCode).toBe(0)
  await run('check', '--strict', open)
  expect(exitCode).toBe(1)
})

test('check prints findings as JSON', async () => {
  await run('check', '--json', await file('open.json', { rules: { '.read': true, '.write': 1 } }))

  expect(JSON.parse(output)).toMatchObject([
    { file: 'open.json', errors: [{ code: 'structure', line: 1, column: 33 }], warnings: [] },
  ])
})

test('a file that is not there is a mistake in the call', async () => {
  await run('check', join(folder, 'none.json'))

  expect(output).toContain('does not exist')
  expect(exitCode).toBe(2)
})

test('check reports on every file, also where one of them is not there', async () => {
  const sound = await file('rules.json', good)
  const bad = await file('bad.json', { rules: { '.read': 'auht != null' } })

  await run('check', sound, join(folder, 'none.json'), bad)

  expect(output).toContain('rules.json: 2 rules, 0 errors, 0 warnings')
  expect(output).toContain('bad.json: 0 rules, 1 error, 0 warnings')
  expect(output).toContain('hearth: none.json: does not exist')
  expect(exitCode).toBe(2)
})

test('test refuses what holds no tests', async () => {
  await run('test', await file('a.rules.test.json', { rules: good, tests: [] }))
  expect(output).toBe('hearth: a.rules.test.json: `tests` is empty; a table has at least one test\n')
  expect(exitCode).toBe(2)

  output = ''
  exitCode = 0
  await run('test', await file('b.rules.test.mjs', 'export default []'))
  expect(output).toBe('hearth: b.rules.test.mjs: a list of tables is empty\n')
  expect(exitCode).toBe(2)
})

test('test runs tables against the rules beside them', async () => {
  await file('rules.json', good)
  const users = { kim: { uid: 'kim' } }
  const table = await file('a.rules.test.json', {
    rules: 'rules.json',
    users,
    tests: [
      { as: 'kim', get: '/a', expect: 'allow' },
      { name: 'text', as: 'kim', set: '/a', value: 'x', expect: 'allow' },
    ],
  })

  await run('test', table)

  expect(output).toContain('a.rules.test.json: 1 passed, 1 failed')
  expect(output).toContain('failed: text')
  expect(output).toContain('expected allow, got: denied at /a: `.write` of /a (1:48) is false')
  expect(output).toContain('newData.isNumber()                false')
  expect(exitCode).toBe(1)
})

test('test writes coverage and reports what no test would miss', async () => {
  await file('rules.json', good)
  const table = await file('a.rules.test.json', {
    rules: 'rules.json',
    tests: [{ get: '/a', expect: 'deny' }],
  })
  const [json, html] = [join(folder, 'coverage.json'), join(folder, 'coverage.html')]

  await run('test', table, '--coverage', '--coverage-json', json, '--coverage-html', html, '--mutate')

  expect(output).toContain('never true     auth != null')
  expect(output).toContain('.write of /a  never asked')
  expect(output).toContain('no test fails when this is true: newData.isNumber()')
  expect(JSON.parse(await readFile(json, 'utf8'))).toMatchObject([{ covered: 0, total: 4 }])
  expect(await readFile(html, 'utf8')).toContain('<!doctype html>')
})

test('test refuses a table without rules', async () => {
  await run('test', await file('a.rules.test.json', { tests: [{ get: '/', expect: 'deny' }] }))

  expect(output).toContain('no rules')
  expect(exitCode).toBe(2)
})

test('test takes tables from a module', async () => {
  const module = `export default {rules: {'.read': true}, tests: [{get: '/', expect: 'allow'}]}`
  await run('test', await file('a.rules.test.mjs', module))

  expect(output).toContain('1 passed, 0 failed')
})

test('explain shows the trace', async () => {
  const rules = await file('rules.json', good)
  const data = await file('data.json', { a: 1 })

  await run('explain', rules, 'get', '/a', '--data', data, '--auth', '{"uid": "kim"}')
  expect(output).toContain('allowed by `.read` of /a (1:24)')
  expect(exitCode).toBe(0)

  await run('explain', rules, 'set', '/a', '"x"', '--json')
  expect(exitCode).toBe(1)
})

test.each([
  [['explain', 'r', 'list', '/a']],
  [['explain', 'r', 'set', '/a']],
  [['explain', 'r', 'get', '/a', '1']],
])('explain refuses %j', async (args) => {
  await run(...args)

  expect(exitCode).toBe(2)
})

test('compile prints the plain file', async () => {
  const rules = await file('rules.json', { functions: { in: 'auth != null' }, rules: { '.read': 'in' } })
  await run('compile', rules)
  expect(exitCode).toBe(1)

  output = ''
  exitCode = 0
  await run(
    'compile',
    await file('rules.json', { functions: { known: 'auth != null' }, rules: { '.read': 'known' } }),
  )
  expect(JSON.parse(output)).toEqual({ rules: { '.read': 'auth != null' } })
  expect(exitCode).toBe(0)
})

test('what cannot be written or asked is a mistake in the call', async () => {
  const table = await file('a.rules.test.json', { rules: good, tests: [{ get: '/', expect: 'deny' }] })
  await run('test', table, '--coverage-json', join(folder, 'nowhere', 'c.json'))
  expect(output).toContain('nowhere/c.json: does not exist')
  expect(exitCode).toBe(2)

  await run('explain', 'http://', 'get', '/')
  expect(output).toContain('http:// is not a URL')
})
