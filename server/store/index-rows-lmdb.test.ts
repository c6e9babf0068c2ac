/**
 * Indexes on disk: right after a kill, and gone without a trace once nothing declares them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { open as openLmdb } from 'lmdb'
import { expect, test } from 'vitest'
import { selectKeys, type Value, withPriority } from '../../protocol/index.ts'
import { listOf, write } from './store.contract.ts'
import type { Store } from './store.ts'
import { openLmdbStore } from './store-lmdb.ts'

function newFolder(t: { onTestFinished(call: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-index-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function bundleChild(outfile: string): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, 'test-child.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['lmdb'],
    outfile,
  })
}

/** As `test-child.ts` declares it. */
const BUILT_IN_CHILD = [{ steps: ['old'], indexOn: 'n' }]

async function settle(store: Store): Promise<void> {
  while (store.hasIndexWork || store.hasGarbage) {
    store.workOnIndexes(100)
    store.collectGarbage(100)
    await store.flush()
  }
}

function sorted(list: Value, child: string): string[] {
  return selectKeys(list, { orderBy: { child: [child] } })
}

test('an index is right after the process was killed among writes and slices of building', async (t) => {
  const folder = newFolder(t)
  const outfile = join(folder, 'child.cjs')
  await bundleChild(outfile)
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, [outfile, join(folder, 'data')], {
      env: { ...process.env, NODE_PATH: resolve('node_modules') },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    for await (const line of createInterface({ input: child.stdout })) {
      if (Number(line.split(' ')[1]) >= 500 * (round + 1)) break
    }
    child.kill('SIGKILL')
    await once(child, 'exit')

    const store = await openLmdbStore({ folder: join(folder, 'data') })
    store.declareIndexes([
      { steps: ['list'], indexOn: 'n' },
      { steps: ['churn'], indexOn: 'a' },
      // One that every other round finds half built or dropped.
      ...(round % 2 === 0 ? [{ steps: ['list'], indexOn: 'text' }] : []),
    ])
    for (let i = 0; i < 3; i++) {
      store.workOnIndexes(50)
      await store.flush()
    }
    expect([...store.indexed(['list'], 'n', {})!]).toEqual(sorted(store.flushed.read(['list']), 'n'))
    expect([...store.indexed(['churn'], 'a', {})!]).toEqual(sorted(store.flushed.read(['churn']), 'a'))
    await store.close()
  }
})

test('a build that a kill cut off goes on among writes, and the index is right once it is whole', async (t) => {
  const folder = newFolder(t)
  const outfile = join(folder, 'child.cjs')
  await bundleChild(outfile)
  let cutOff = 0
  for (let round = 0; round < 4; round++) {
    const child = spawn(process.execPath, [outfile, join(folder, 'data'), 'building'], {
      env: { ...process.env, NODE_PATH: resolve('node_modules') },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith('built to') && Number(line.split(' ')[2]) >= 300) break
    }
    child.kill('SIGKILL')
    await once(child, 'exit')

    const store = await openLmdbStore({ folder: join(folder, 'data') })
    store.declareIndexes(BUILT_IN_CHILD)
    if (store.indexed(['old'], 'n', {}) === null) cutOff += 1
    for (let i = 0; store.hasIndexWork; i++) {
      // Children before and behind the place it is built up to, old and new ones.
      store.stage([
        {
          path: ['old', `k${String((i * 37) % 3000).padStart(7, '0')}`],
          value: i % 4 === 0 ? null : { n: -i },
        },
      ])
      store.stage([{ path: ['old', `m${round}x${i}`], value: withPriority({ n: i }, i % 3) }])
      store.workOnIndexes(200)
      await store.flush()
    }
    for (const [order, name] of [
      [{ child: ['n'] }, 'n'],
      ['priority', '.priority'],
    ] as const) {
      const keys = selectKeys(store.flushed.read(['old']), { orderBy: order })
      expect([...store.indexed(['old'], name, {})!], name).toEqual(keys)
    }
    // The next round builds anew.
    store.declareIndexes([])
    await settle(store)
    await store.close()
  }
  expect(cutOff).toBeGreaterThan(0)
}, 60_000)

test('indexes that are dropped, and those of lists that are deleted, leave no rows', async (t) => {
  const folder = newFolder(t)
  const store = await openLmdbStore({ folder })
  const ranked = (i: number): Value => withPriority({ n: i, text: 'x'.repeat(30) }, i % 9)
  store.declareIndexes([
    { steps: ['a'], indexOn: 'n' },
    { steps: ['b', { except: [] }], indexOn: 'text' },
    { steps: ['b'], indexOn: 'k0000000/n' },
  ])
  await write(store, '/', { a: listOf(500, ranked), b: { c: listOf(300, ranked), d: listOf(300) }, e: 1 })
  await settle(store)
  expect([...store.indexed(['b', 'c'], '.priority', {})!]).toHaveLength(300)

  store.declareIndexes([{ steps: ['b', { except: [] }], indexOn: 'text' }])
  await settle(store)
  await write(store, '/a', null)
  await write(store, '/b', null)
  await settle(store)
  store.declareIndexes([])
  await settle(store)
  await store.close()

  const db = openLmdb({ path: folder, noSubdir: false, keyEncoding: 'binary', encoding: 'binary' })
  t.onTestFinished(() => void db.close())
  // The root and its last child, the revision, and that there are no indexes.
  expect([...db.getKeys()]).toHaveLength(4)
})

test('a list built in slices can be read by its index once it is whole, not before', async (t) => {
  const store = await openLmdbStore({ folder: newFolder(t) })
  await write(
    store,
    '/list',
    listOf(2000, (i) => ({ n: -i })),
  )
  store.declareIndexes([{ steps: ['list'], indexOn: 'n' }])

  const seen: (number | null)[] = []
  while (store.hasIndexWork) {
    store.workOnIndexes(500)
    await store.flush()
    const keys = store.indexed(['list'], 'n', {})
    seen.push(keys === null ? null : [...keys].length)
  }

  expect(seen.filter((count) => count === null)).toHaveLength(4)
  expect(seen[seen.length - 1]).toBe(2000)
  expect(store.indexProgress).toEqual({ building: 0, childrenIndexed: 2000, refused: 0 })
  await store.close()
})

test('more indexes than a store holds are refused, and said to be', async (t) => {
  const store = await openLmdbStore({ folder: newFolder(t) })
  await write(store, '/list', listOf(100))

  store.declareIndexes(Array.from({ length: 600 }, (_, i) => ({ steps: ['list'], indexOn: `k${i}` })))
  await settle(store)

  expect(store.indexProgress).toMatchObject({ building: 0, refused: 90 })
  expect(store.indexed(['list'], 'k509', {})).not.toBeNull()
  expect(store.indexed(['list'], 'k510', {})).toBeNull()
  await store.close()
})
