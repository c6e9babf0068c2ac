import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { open as openLmdb } from 'lmdb'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { Encoder } from '../../protocol/index.ts'
import { collectAll, listOf, set, storeContract, write } from './store.contract.ts'
import { storeModel } from './store.model.ts'
import { type Store, StoreLockedError, StoreUnavailableError } from './store.ts'
import { type LmdbStoreOptions, openLmdbStore } from './store-lmdb.ts'
import { STORE_FORMAT } from './tree-store.ts'

type Options = Omit<LmdbStoreOptions, 'folder'>

const root = mkdtempSync(join(tmpdir(), 'hearth-store-'))
const opened = new Map<Store, string>()
const children = new Set<ChildProcess>()
let folders = 0

// A dot in the name: lmdb would take such a folder for a file.
const newFolder = () => join(root, `data.${folders++}`)

async function openIn(folder: string, options: Options = {}): Promise<Store> {
  const store = await openLmdbStore({ folder, ...options })
  opened.set(store, folder)
  return store
}

const open = (options?: Options) => openIn(newFolder(), options)

async function reopen(store: Store, options: Options): Promise<Store> {
  const folder = opened.get(store)!
  await store.close()
  return openIn(folder, options)
}

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  for (const store of opened.keys()) await store.close()
  opened.clear()
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('the LMDB store', () => {
  storeContract({ open })
  storeModel({ open, reopen }, 15)
})

describe('the LMDB store with durability `committed`', () => {
  storeModel({ open: (options) => open({ ...options, durability: 'committed' }), reopen }, 5)

  test('what was acked is there after closing', async () => {
    let store = await open({ durability: 'committed' })
    for (let i = 0; i < 50; i++) await write(store, `/list/k${i}`, i)

    store = await reopen(store, {})

    expect([...store.flushed.keys(['list'])]).toHaveLength(50)
    expect(store.flushedRevision).toBe(50)
  })
})

describe('data that outlives the process', () => {
  test('is the same after closing: values, priorities, records, revision and epoch', async () => {
    let store = await open()
    const value = { list: { ...listOf(300), '.priority': 4 }, leaf: { '.value': 1, '.priority': 'p' } }
    await write(store, '/', value)
    store.records.stage('r', { a: 1 })
    await store.flush()
    const { epoch } = store

    store = await reopen(store, {})

    expect(store.flushed.read([])).toEqual(value)
    expect(store.records.get('r')).toEqual({ a: 1 })
    expect([store.epoch, store.flushedRevision]).toEqual([epoch, 1])
    await write(store, '/more', listOf(300))
    expect(store.flushed.read(['list'])).toEqual(value.list)
  })

  test('garbage that was not collected before closing is collected after opening', async () => {
    let store = await open({ packedBytesMax: 64 })
    await write(
      store,
      '/big',
      listOf(400, () => ({ inner: listOf(3) })),
    )
    await write(store, '/big', null)
    store.collectGarbage(150)
    await store.flush()

    store = await reopen(store, { packedBytesMax: 64 })

    expect(store.hasGarbage).toBe(true)
    await collectAll(store)
    const folder = opened.get(store)!
    await store.close()
    opened.delete(store)
    const raw = openLmdb({ path: folder, noSubdir: false, keyEncoding: 'binary', encoding: 'binary' })
    // What is left is the one row that says the revision.
    expect(raw.getCount()).toBe(1)
    await raw.close()
  })

  test('holds every acked write after the process was killed', async () => {
    const folder = newFolder()
    const { child, lines } = await start(folder)
    let acked = 0
    for await (const line of lines) {
      acked = Number(line.split(' ')[1])
      if (acked >= 2000) break
    }
    child.kill('SIGKILL')
    await once(child, 'exit')

    const store = await openIn(folder)

    expect([...store.flushed.keys(['list'])].length).toBeGreaterThanOrEqual(acked)
    for (let n = 0; n < acked; n++) {
      expect(store.flushed.read(['list', `k${n}`])).toEqual({ n, text: `text of ${n}` })
    }
    await write(store, '/list', null)
    await collectAll(store)
    expect([...store.flushed.keys([])]).toEqual(['churn'])
  })
})

describe('a folder', () => {
  test('is opened by one store at a time, in this process or another', async () => {
    const folder = newFolder()
    const { child, lines } = await start(folder)
    await lines[Symbol.asyncIterator]().next()

    await expect(openLmdbStore({ folder })).rejects.toThrow(StoreLockedError)
    await expect(openLmdbStore({ folder })).rejects.toThrow(`\`${folder}\` is in use by process ${child.pid}`)

    child.kill('SIGKILL')
    await once(child, 'exit')
    await openIn(folder)
    await expect(openLmdbStore({ folder })).rejects.toThrow(StoreLockedError)
  })

  test('is held by its reader table too, should the lock file be gone', async () => {
    const folder = newFolder()
    const { child, lines } = await start(folder)
    await lines[Symbol.asyncIterator]().next()
    rmSync(join(folder, 'hearth.lock'))

    await expect(openLmdbStore({ folder })).rejects.toThrow(`is in use by process ${child.pid}`)
  })

  test('of a newer format is refused by name and left alone', async () => {
    const folder = newFolder()
    const store = await openIn(folder)
    await write(store, '/a', 1)
    await store.close()
    const raw = openLmdb({ path: folder, noSubdir: false, keyEncoding: 'binary', encoding: 'binary' })
    const [meta] = [...raw.getKeys({ limit: 2 })].slice(1) as unknown as Buffer[]
    const encoder = new Encoder()
    encoder.value({ format: STORE_FORMAT + 1, epoch: 'e', revision: 1, nextId: 99 })
    await raw.put(meta as never, Buffer.from(encoder.take()))
    await raw.close()

    await expect(openLmdbStore({ folder })).rejects.toThrow(
      `store format ${STORE_FORMAT + 1}; this version reads formats up to ${STORE_FORMAT}`,
    )
    await expect(openLmdbStore({ folder })).rejects.toThrow('store format')
  })
})

describe('a full store', () => {
  test('refuses writes, keeps what it acked, takes deletions, and serves again', async () => {
    const store = await open({ databaseBytesMax: 4 * 1024 * 1024 })
    const text = 'x'.repeat(3000)
    let acked = 0
    const fillUp = async () => {
      for (;;) {
        for (let i = 0; i < 10; i++) set(store, `/list/k${acked + i}`, text)
        await store.flush()
        acked += 10
      }
    }

    await expect(fillUp()).rejects.toThrow(StoreUnavailableError)
    store.discard()

    expect(acked).toBeGreaterThan(300)
    expect([...store.flushed.keys(['list'])]).toHaveLength(acked)
    expect([store.headRevision, store.hasStaged]).toEqual([acked, false])
    expect(store.head.valueAt(['list', `k${acked}`])).toBeNull()
    await write(store, '/list', null)
    await collectAll(store)
    await write(store, '/again', text)
    expect(store.flushed.valueAt(['again'])).toBe(text)
  })

  test('stops before the disk is full, and serves again once there is room', async () => {
    let bytesFree = 100_000_000
    const bytesTotal = 1_000_000_000
    const store = await open({ disk: async () => ({ bytesFree, bytesTotal }) })
    await write(store, '/list', listOf(1000))

    bytesFree = 10_000_000
    await eventually(() => {
      store.discard()
      expect(() => set(store, '/a', 1)).toThrow(StoreUnavailableError)
    })
    await write(store, '/list/k0000001', null)
    expect([...store.flushed.keys(['list'])]).toHaveLength(999)
    expect(() => store.stagePriority(['list'], 1)).toThrow(StoreUnavailableError)
    store.stagePriority(['list'], null)

    bytesFree = 100_000_000
    await eventually(() => set(store, '/a', 1))
    await store.flush()
    expect(store.flushed.valueAt(['a'])).toBe(1)
  })
})

async function eventually(check: () => void): Promise<void> {
  const deadlineMs = performance.now() + 5000
  for (;;) {
    try {
      return check()
    } catch (error) {
      if (performance.now() > deadlineMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

let bundle: Promise<unknown> | null = null

/** Starts `test-child.ts`, which writes to the folder until it is killed. */
async function start(
  folder: string,
): Promise<{ child: ChildProcess; lines: ReturnType<typeof createInterface> }> {
  const outfile = join(root, 'child.cjs')
  bundle ??= build({
    entryPoints: [join(import.meta.dirname, 'test-child.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['lmdb'],
    outfile,
  })
  await bundle
  const child = spawn(process.execPath, [outfile, folder], {
    env: { ...process.env, NODE_PATH: resolve('node_modules') },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.add(child)
  return { child, lines: createInterface({ input: child.stdout! }) }
}
