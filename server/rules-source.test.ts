import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { allowAll, denyAll } from '../rules/index.ts'
import type { Logger } from './log.ts'
import { RulesFileError, RulesSource } from './rules-source.ts'

const CLOSED = '{"rules": {}}'
const OPEN = '{"rules": {".read": true}}'

interface Opened {
  rules: RulesSource
  folder: string
  file: string
  lines: { level: string; message: string; problem: string }[]
  /** Resolves when the rules have changed, with whose. */
  changed(): Promise<string | null>
  /** Resolves once a line was logged that begins so. */
  logged(start: string): Promise<string>
}

/** @param text Of the rules file; null for none. */
function open(
  text: string | null,
  options: { isDev?: boolean; folder?: string; isWatched?: boolean } = {},
): Opened {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'hearth-'))
  const file = join(folder, 'database.rules.json')
  if (text !== null) writeFileSync(file, text)
  const lines: Opened['lines'] = []
  const waiting: (() => void)[] = []
  const heard: (string | null)[] = []
  const wake = (): void => {
    for (const resolve of waiting.splice(0)) resolve()
  }
  const logAs =
    (level: string) =>
    (fields: { problem?: string }, message: string): void => {
      lines.push({ level, message, problem: fields.problem ?? '' })
      wake()
    }
  const logger = { info: logAs('info'), warn: logAs('warn'), error: logAs('error') } as unknown as Logger
  const dataFolder = join(folder, 'data')
  const rules = new RulesSource({ file, isDev: options.isDev ?? false, dataFolder, logger })
  rules.onChange = (database) => {
    heard.push(database)
    wake()
  }
  if (options.isWatched !== false) rules.watch()
  onTestFinished(() => {
    rules.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const until = async <T>(find: () => T | undefined): Promise<T> => {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }
  return {
    rules,
    folder,
    file,
    lines,
    changed: () => until(() => heard.shift()),
    logged: (start) => until(() => lines.find(({ message }) => message.startsWith(start))?.problem),
  }
}

test('without a file everything is denied, or with --dev open', () => {
  expect(open(null).rules.rulesetOf('default')).toBe(denyAll)
  expect(open(null, { isDev: true }).rules.rulesetOf('default')).toBe(allowAll)
  expect(open(null, { isDev: true }).rules.isOpen).toBe(true)
})

test('a file with errors refuses the start, with the place of the first', () => {
  const start = (): Opened => open('{"rules": {\n".read": "tru", ".write": "fals"}}')

  expect(start).toThrow(RulesFileError)
  expect(start).toThrow(/database\.rules\.json:2:11 {2}Unknown variable 'tru'/)
  expect(start).toThrow(/and 1 more/)
})

test('a file that changes is taken anew', async () => {
  const { rules, file, changed } = open(CLOSED)

  writeFileSync(file, OPEN)

  expect(await changed()).toBe(null)
  expect(rules.rulesetOf('default').source).toBe(OPEN)
})

test('a file that is replaced by another is taken anew, again and again', async () => {
  const { rules, file, changed } = open(CLOSED)

  for (const text of [OPEN, CLOSED, OPEN]) {
    writeFileSync(`${file}.swp`, text)
    renameSync(`${file}.swp`, file)

    expect(await changed()).toBe(null)
    expect(rules.rulesetOf('default').source).toBe(text)
  }
})

test('a link that is turned elsewhere, as mounted configuration is, counts as a change', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  for (const [name, text] of [
    ['v1', CLOSED],
    ['v2', OPEN],
  ] as const) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'database.rules.json'), text)
  }
  symlinkSync('v1', join(folder, 'current'))
  symlinkSync('current/database.rules.json', join(folder, 'database.rules.json'))
  const { rules, changed } = open(null, { folder })

  symlinkSync('v2', join(folder, 'next'))
  renameSync(join(folder, 'next'), join(folder, 'current'))

  expect(await changed()).toBe(null)
  expect(rules.rulesetOf('default').source).toBe(OPEN)
})

test('a change with errors is told about and changes nothing; mended, it counts', async () => {
  const { rules, file, logged, changed } = open(OPEN)

  writeFileSync(file, '{"rules": {".read": "tru"}}')
  const problem = await logged('the rules file has errors')
  expect(problem).toContain(`Unknown variable 'tru'`)
  expect(rules.rulesetOf('default').source).toBe(OPEN)

  writeFileSync(file, CLOSED)
  expect(await changed()).toBe(null)
  expect(rules.rulesetOf('default').source).toBe(CLOSED)
})

test('a file that is no UTF-8 is refused, as everywhere else', async () => {
  const { file, rules, logged } = open(OPEN)
  const before = rules.rulesetOf('a')
  const spoilt = Buffer.from('{"rules": {"caf?": {".read": true}}}')
  spoilt[spoilt.indexOf('?')] = 0xe9
  writeFileSync(file, spoilt)

  expect(await logged('the rules file has errors')).toContain('Invalid UTF-8.')
  expect(rules.rulesetOf('a')).toBe(before)
})

test('a file that changes is taken anew beside one that is written to without a pause', async () => {
  const { file, folder, rules, changed } = open(CLOSED)
  const log = setInterval(() => writeFileSync(join(folder, 'server.log'), 'line\n', { flag: 'a' }), 5)
  onTestFinished(() => clearInterval(log))
  writeFileSync(file, OPEN)

  expect(await changed()).toBe(null)
  expect(rules.rulesetOf('a').source).toBe(OPEN)
})

test('a file that is deleted leaves its rules in force, and counts when it is back', async () => {
  const { rules, file, logged, changed } = open(OPEN)

  rmSync(file)
  await logged('the rules file is gone')
  expect(rules.rulesetOf('default').source).toBe(OPEN)

  writeFileSync(file, CLOSED)
  expect(await changed()).toBe(null)
  expect(rules.rulesetOf('default').source).toBe(CLOSED)
})

test('a file that appears closes what --dev had open without one', async () => {
  const { rules, file, changed } = open(null, { isDev: true })

  writeFileSync(file, CLOSED)

  expect(await changed()).toBe(null)
  expect(rules.isOpen).toBe(false)
})

test('rules of a database win over the file, and are there after a restart', async () => {
  const first = open(CLOSED, { isWatched: false })

  const installed = first.rules.install('one', OPEN)
  const again = open(null, { folder: first.folder, isWatched: false })

  expect(installed.ok).toBe(true)
  expect(await first.changed()).toBe('one')
  for (const { rules } of [first, again]) {
    expect([rules.rulesetOf('one').source, rules.rulesetOf('two').source]).toEqual([OPEN, CLOSED])
    expect([rules.hasOwn('one'), rules.hasOwn('two')]).toEqual([true, false])
  }
})

test('rules with errors are not installed', () => {
  const { rules } = open(CLOSED, { isWatched: false })

  const installed = rules.install('one', '{"rules": 5}')

  expect(installed.ok).toBe(false)
  expect(rules.hasOwn('one')).toBe(false)
})

test('a database whose own rules were spoilt by hand denies all, whatever the file says', () => {
  const first = open(OPEN, { isWatched: false })
  first.rules.install('one', OPEN)
  writeFileSync(join(first.folder, 'data', 'one', 'rules.json'), '{"rules": ')

  const again = open(null, { folder: first.folder, isWatched: false })

  expect(again.rules.rulesetOf('one')).toBe(denyAll)
  expect(again.lines).toMatchObject([{ level: 'error' }])
})
