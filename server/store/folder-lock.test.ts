import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockFolder } from './folder-lock.ts'
import { StoreLockedError } from './store.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-lock-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const lockFile = () => join(folder, 'hearth.lock')
const owner = () => JSON.parse(readFileSync(lockFile(), 'utf8')) as Record<string, unknown>

test('a second opener is refused, by the folder and the process that has it', () => {
  lockFolder(folder)

  expect(() => lockFolder(folder)).toThrow(StoreLockedError)
  expect(() => lockFolder(folder)).toThrow(`data folder \`${folder}\` is in use by process ${process.pid}`)
})

test('a released folder can be locked again, and nothing is left behind', () => {
  const unlock = lockFolder(folder)
  unlock()
  expect(readdirSync(folder)).toEqual([])

  lockFolder(folder)()
})

test('the lock of a process that is gone is taken over', () => {
  lockFolder(folder)
  const gone = { ...owner(), pid: 4_190_000 }
  writeFileSync(lockFile(), JSON.stringify(gone))

  lockFolder(folder)

  expect(owner()['pid']).toBe(process.pid)
  expect(readdirSync(folder)).toEqual(['hearth.lock'])
})

test('a process id that belongs to another process by now does not hold the lock', () => {
  lockFolder(folder)
  writeFileSync(lockFile(), JSON.stringify({ ...owner(), startedAt: '1' }))

  lockFolder(folder)

  expect(owner()['startedAt']).not.toBe('1')
})

test('a lock from before the machine restarted does not hold', () => {
  lockFolder(folder)
  writeFileSync(lockFile(), JSON.stringify({ ...owner(), boot: 'another' }))

  lockFolder(folder)

  expect(owner()['boot']).not.toBe('another')
})

test('a lock file that says nothing does not hold', () => {
  writeFileSync(lockFile(), '')

  lockFolder(folder)

  expect(owner()['pid']).toBe(process.pid)
})

test('releasing leaves a lock alone that someone else has taken over', () => {
  const unlock = lockFolder(folder)
  writeFileSync(lockFile(), JSON.stringify({ ...owner(), token: 'other' }))

  unlock()

  expect(existsSync(lockFile())).toBe(true)
})
