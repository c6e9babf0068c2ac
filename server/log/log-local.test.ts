import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openLmdbStore } from '../store/store-lmdb.ts'
import { emptyWrite, type WriteOrigin } from './log.ts'
import { LocalLog } from './log-local.ts'

test('a bug in what one origin is told holds up nobody else', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  const store = await openLmdbStore({ folder })
  t.onTestFinished(async () => {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const bugs: unknown[] = []
  const log = new LocalLog({
    ...{ store, decide: () => null, publish() {}, discarded() {}, nowMs: Date.now, queueMax: 10 },
    onBug: (error) => bugs.push(error),
  })
  const bug = new Error('a bug')
  const broken: WriteOrigin = {
    ...{ written() {}, refused() {} },
    groupSettled: () => {
      throw bug
    },
  }
  const settled: number[] = []
  const other: WriteOrigin = {
    ...{ refused() {}, groupSettled() {} },
    written: ({ id }) => settled.push(id),
  }

  log.submit(emptyWrite(broken, 1))
  log.submit(emptyWrite(other, 2))
  await log.idle()
  log.submit(emptyWrite(other, 3))
  await log.idle()

  expect([settled, bugs]).toEqual([[2, 3], [bug]])
})
