/**
 * The store contract as tests, run against every store.
 */
import { describe, expect, test } from 'vitest'
import type { Value, ValueObject } from '../../protocol/index.ts'
import { OBJECT } from '../../rules/data-view.ts'
import { type Store, StoreUnavailableError, TooLargeError } from './store.ts'
import type { TreeStoreOptions } from './tree-store.ts'

export interface StoreHarness {
  /** Opens a store over no data; it is closed when the test ends. */
  open(options?: Partial<TreeStoreOptions>): Promise<Store>
}

export function set(store: Store, path: string, value: Value): number {
  return store.stage([{ path: path.split('/').filter((key) => key !== ''), value }])
}

export async function write(store: Store, path: string, value: Value): Promise<void> {
  set(store, path, value)
  await store.flush()
}

export function listOf(
  count: number,
  value: (i: number) => Value = (i) => ({ n: i, text: `item ${i}` }),
): ValueObject {
  const list: ValueObject = {}
  for (let i = 0; i < count; i++) list[`k${String(i).padStart(7, '0')}`] = value(i)
  return list
}

export async function collectAll(store: Store, rowsMax = 1000): Promise<void> {
  while (store.hasGarbage) {
    store.collectGarbage(rowsMax)
    await store.flush()
  }
}

export function storeContract(harness: StoreHarness): void {
  describe('values', () => {
    test('what is set is read back, leaves and objects and priorities', async () => {
      const store = await harness.open()
      const value = {
        text: 'é 😀',
        yes: true,
        no: false,
        numbers: { a: 0, b: -1.5, c: 1e300, d: -2147483649, e: 4294967296 },
        ranked: { '.value': 'x', '.priority': 3 },
        '.priority': 'p',
      }

      await write(store, '/', value)

      expect(store.flushed.read([])).toEqual(value)
      expect(store.flushed.valueAt(['text'])).toBe('é 😀')
      expect(store.flushed.valueAt(['numbers'])).toBe(OBJECT)
      expect(store.flushed.valueAt(['ranked'])).toBe('x')
      expect(store.flushed.priorityAt(['ranked'])).toBe(3)
      expect(store.flushed.priorityAt([])).toBe('p')
      expect(store.flushed.priorityAt(['text'])).toBeNull()
    })

    test('absence is null at any depth, and names every object inherits are absent', async () => {
      const store = await harness.open()
      await write(store, '/', { a: { b: 1 }, list: listOf(200) })

      for (const path of [
        ['x'],
        ['a', 'x'],
        ['a', 'b', 'c'],
        ['constructor'],
        ['a', '__proto__'],
        ['a', '.value'],
      ]) {
        expect(store.flushed.valueAt(path)).toBeNull()
        expect(store.flushed.read(path)).toBeNull()
        expect([...store.flushed.keys(path)]).toEqual([])
      }
      expect(store.flushed.valueAt(['list', 'x'.repeat(5000)])).toBeNull()
      expect(store.flushed.valueAt(['list', 'toString'])).toBeNull()
    })

    test('writing below a leaf makes it an object that keeps the priority; deleting below one leaves it', async () => {
      const store = await harness.open()
      await write(store, '/a', { '.value': 1, '.priority': 7 })

      await write(store, '/a/b/c', null)
      expect(store.flushed.read(['a'])).toEqual({ '.value': 1, '.priority': 7 })

      await write(store, '/a/b/c', 2)
      expect(store.flushed.read(['a'])).toEqual({ b: { c: 2 }, '.priority': 7 })
    })

    test('an object whose last child goes vanishes, and so do those above it', async () => {
      const store = await harness.open({ packedBytesMax: 0 })
      await write(store, '/', { a: { b: { c: 1 }, '.priority': 1 }, z: 1 })

      await write(store, '/a/b/c', null)

      expect(store.flushed.read([])).toEqual({ z: 1 })
      expect(store.flushed.priorityAt(['a'])).toBeNull()
    })

    test('a string of 10 MB is one leaf', async () => {
      const store = await harness.open()
      const text = 'é'.repeat(5 * 1024 * 1024)

      await write(store, '/deep/er/long', text)
      await write(store, '/deep/er/short', 'x')

      expect(store.flushed.valueAt(['deep', 'er', 'long'])).toBe(text)
      expect(store.flushed.read(['deep', 'er', 'short'])).toBe('x')
    })

    test('a priority is set and cleared on leaves, objects and lists, never on what is absent', async () => {
      const store = await harness.open()
      await write(store, '/', { leaf: 1, small: { a: 1 }, list: listOf(500) })

      for (const key of ['leaf', 'small', 'list', 'absent']) store.stagePriority([key], 5)
      store.stagePriority(['small', 'a'], 'deep')
      await store.flush()
      expect(['leaf', 'small', 'list', 'absent'].map((key) => store.flushed.priorityAt([key]))).toEqual([
        5,
        5,
        5,
        null,
      ])
      expect(store.flushed.priorityAt(['small', 'a'])).toBe('deep')
      expect(store.flushed.valueAt(['absent'])).toBeNull()

      store.stagePriority(['list'], null)
      await store.flush()
      expect(store.flushed.priorityAt(['list'])).toBeNull()
      expect([...store.flushed.keys(['list'])]).toHaveLength(500)
    })

    test('a read stops at the number of leaves it may take', async () => {
      const store = await harness.open()
      await write(store, '/list', listOf(300))

      expect(() => store.flushed.read([], 599)).toThrow(TooLargeError)
      expect(store.flushed.read([], 600)).toEqual({ list: listOf(300) })
      expect(() => store.flushed.read(['list', 'k0000001'], 1)).toThrow(TooLargeError)
    })
  })

  describe('keys', () => {
    const ordered = ['-1', '0', '-0', '1', '01', '9', '10', '1a', '2147483648', 'A', 'a', 'é', '😀', '\uffee']

    for (const packedBytesMax of [0, 4096]) {
      test(`come in Firebase's order, with bounds, limit and direction (packed to ${packedBytesMax} bytes)`, async () => {
        const store = await harness.open({ packedBytesMax })
        await write(store, '/list', Object.fromEntries([...ordered].reverse().map((key) => [key, 1])))
        const keys = (options?: object) => [...store.flushed.keys(['list'], options)]

        expect(keys()).toEqual(ordered)
        expect(keys({ reverse: true })).toEqual([...ordered].reverse())
        expect(keys({ limit: 3 })).toEqual(['-1', '0', '-0'])
        expect(keys({ reverse: true, limit: 2 })).toEqual(['\uffee', '😀'])
        expect(keys({ from: '01', to: '1a' })).toEqual(['01', '9', '10', '1a'])
        expect(keys({ from: '01', to: '1a', reverse: true, limit: 2 })).toEqual(['1a', '10'])
        expect(keys({ from: '02', to: '8' })).toEqual([])
        expect(keys({ from: 'b' })).toEqual(['é', '😀', '\uffee'])
        expect(keys({ to: '5' })).toEqual(['-1', '0', '-0', '1', '01'])
        expect(keys({ from: 'z', to: 'b' })).toEqual([])
        expect(keys({ limit: 0 })).toEqual([])
        expect(keys({ from: 'z'.repeat(9000) })).toEqual(['é', '😀', '\uffee'])
        expect(new Set(store.flushed.childKeysAt(['list']))).toEqual(new Set(ordered))
      })
    }

    test('of the head are the flushed ones with the group laid over them', async () => {
      const store = await harness.open({ packedBytesMax: 0 })
      await write(store, '/list', { a: 1, c: 1, e: 1, g: 1 })

      set(store, '/list/b', 1)
      set(store, '/list/c', null)
      set(store, '/list/e', 2)
      set(store, '/list/z', 1)

      expect([...store.head.keys(['list'])]).toEqual(['a', 'b', 'e', 'g', 'z'])
      expect([...store.head.keys(['list'], { reverse: true, limit: 4 })]).toEqual(['z', 'g', 'e', 'b'])
      expect([...store.head.keys(['list'], { from: 'b', to: 'e' })]).toEqual(['b', 'e'])
      expect([...store.flushed.keys(['list'])]).toEqual(['a', 'c', 'e', 'g'])
    })

    test('a long list is walked to its end in both directions', async () => {
      const store = await harness.open()
      const list = listOf(5000)
      await write(store, '/list', list)

      expect([...store.flushed.keys(['list'])]).toEqual(Object.keys(list))
      expect([...store.flushed.keys(['list'], { reverse: true })]).toEqual(Object.keys(list).reverse())
      expect(store.flushed.read(['list'])).toEqual(list)
    })
  })

  describe('groups', () => {
    test('a revision counts each staged write; several entries are one', async () => {
      const store = await harness.open()

      expect(set(store, '/a', 1)).toBe(1)
      const second = store.stage([
        { path: ['b'], value: 1 },
        { path: ['c', 'd'], value: 2 },
      ])
      expect(second).toBe(2)
      expect([store.headRevision, store.flushedRevision]).toEqual([2, 0])

      await store.flush()
      expect([store.headRevision, store.flushedRevision]).toEqual([2, 2])
      expect(store.flushed.read([])).toEqual({ a: 1, b: 1, c: { d: 2 } })
    })

    test('the head shows a group at once, the flushed state only when its flush resolves', async () => {
      let isHeld = false
      let release = () => {}
      const committed = defer()
      const beforeFlushed = () => {
        if (!isHeld) return Promise.resolve()
        committed.resolve()
        return new Promise<void>((resolve) => (release = resolve))
      }
      const store = await harness.open({ beforeFlushed })
      await write(store, '/', { old: listOf(200), gone: { a: 1 } })

      set(store, '/gone', null)
      set(store, '/old/k0000001/n', 'changed')
      set(store, '/new', listOf(300))
      isHeld = true
      const flushed = store.flush()
      await committed.promise

      expect(store.flushedRevision).toBe(1)
      expect(store.head.read(['new'])).toEqual(listOf(300))
      expect(store.head.valueAt(['old', 'k0000001', 'n'])).toBe('changed')
      expect([...store.head.keys([])]).toEqual(['new', 'old'])
      expect([...store.flushed.keys([])]).toEqual(['gone', 'old'])
      expect(store.flushed.valueAt(['gone', 'a'])).toBe(1)
      expect(store.flushed.valueAt(['old', 'k0000001', 'n'])).toBe(1)
      expect(store.flushed.valueAt(['new', 'k0000001', 'n'])).toBeNull()
      expect(store.flushed.valueAt(['old', 'k0000150', 'n'])).toBe(150)
      expect(() => set(store, '/x', 1)).toThrow()

      release()
      await flushed
      expect([...store.flushed.keys([])]).toEqual(['new', 'old'])
      expect(store.flushed.read(['new'])).toEqual(listOf(300))
      expect(store.flushed.valueAt(['old', 'k0000001', 'n'])).toBe('changed')
    })

    test('a discarded group leaves nothing behind', async () => {
      const store = await harness.open()
      const before = { a: { b: 1 }, list: { ...listOf(200), '.priority': 1 } }
      await write(store, '/', before)

      set(store, '/list', null)
      set(store, '/a/b', { c: 2 })
      set(store, '/list/new', 1)
      store.stagePriority(['a'], 9)
      store.records.stage('r', 1)
      store.discard()

      expect(store.hasStaged).toBe(false)
      expect(store.head.read([])).toEqual(before)
      expect(store.headRevision).toBe(store.flushedRevision)
      expect(store.records.get('r')).toBeNull()
      await write(store, '/list/k0000000', null)
      expect([...store.flushed.keys(['list'])]).toHaveLength(199)
      expect(store.flushed.priorityAt(['list'])).toBe(1)
    })

    test('later writes of a group see the earlier ones, also in objects that grow large within it', async () => {
      const store = await harness.open()

      for (let i = 0; i < 3000; i++) {
        set(store, `/list/k${i}`, { n: i })
        expect(store.head.valueAt(['list', `k${i}`, 'n'])).toBe(i)
      }
      for (let i = 0; i < 3000; i += 2) set(store, `/list/k${i}`, null)
      await store.flush()

      expect([...store.flushed.keys(['list'])]).toHaveLength(1500)
      expect(store.flushed.valueAt(['list', 'k7', 'n'])).toBe(7)
    })

    test('what a group changes in a list and then deletes with it stays deleted', async () => {
      const store = await harness.open()
      await write(store, '/', { list: listOf(200, () => ({ inner: listOf(200) })), other: 1 })

      set(store, '/other', 2)
      store.stagePriority(['list'], 1)
      store.stagePriority(['list', 'k0000001', 'inner'], 1)
      set(store, '/list/k0000001/inner/k0000001/n', 2)
      set(store, '/list', null)
      await store.flush()

      expect(store.flushed.read([])).toEqual({ other: 2 })
      expect(store.head.read([])).toEqual({ other: 2 })
    })

    test('a list emptied child by child in one group vanishes, in time that grows with the list only', async () => {
      const store = await harness.open()
      await write(store, '/', { list: listOf(20_000), other: 1 })

      const startMs = performance.now()
      for (const key of Object.keys(listOf(20_000))) set(store, `/list/${key}`, null)
      await store.flush()

      // Quadratic work would take minutes.
      expect(performance.now() - startMs).toBeLessThan(5000)
      expect(store.flushed.read([])).toEqual({ other: 1 })
    })

    test('a flush of nothing resolves and changes nothing', async () => {
      const store = await harness.open()

      await store.flush()

      expect(store.hasStaged).toBe(false)
      expect(store.flushedRevision).toBe(0)
    })

    test('a write that changes nothing still counts', async () => {
      const store = await harness.open()

      await write(store, '/absent/below', null)

      expect(store.flushedRevision).toBe(1)
      expect(store.flushed.read([])).toBeNull()
    })
  })

  describe('garbage', () => {
    test('of a deleted list is collected in slices, nested lists too, while the store is used', async () => {
      const store = await harness.open({ packedBytesMax: 64 })
      await write(store, '/', { big: listOf(500, () => ({ inner: listOf(5) })), keep: listOf(100) })

      await write(store, '/big', null)
      expect(store.hasGarbage).toBe(true)
      let slices = 0
      while (store.hasGarbage) {
        store.collectGarbage(100)
        set(store, `/during/k${slices++}`, slices)
        await store.flush()
      }

      expect(slices).toBeGreaterThan(20)
      expect(store.flushed.read(['keep'])).toEqual(listOf(100))
      expect([...store.flushed.keys(['during'])]).toHaveLength(slices)
    })

    test('of a replaced list does not touch what replaced it', async () => {
      const store = await harness.open({ packedBytesMax: 64 })
      await write(store, '/list', listOf(300))
      await write(
        store,
        '/list',
        listOf(50, () => 'new'),
      )

      await collectAll(store, 7)

      expect(store.flushed.read(['list'])).toEqual(listOf(50, () => 'new'))
    })
  })

  describe('records', () => {
    test('are staged, flushed, listed by prefix in order, and removed', async () => {
      const store = await harness.open()
      for (const key of ['s2/b', 's1/b', 's1/a', '10', 's1']) store.records.stage(key, { key })
      expect(store.records.get('s1/a')).toEqual({ key: 's1/a' })
      expect(store.hasStaged).toBe(true)
      await store.flush()

      store.records.stage('s1/a', null)
      store.records.stage('s1/c', ['array', 1, null])

      expect([...store.records.entries('s1/')]).toEqual([
        ['s1/b', { key: 's1/b' }],
        ['s1/c', ['array', 1, null]],
      ])
      await store.flush()
      expect(store.records.get('s1/a')).toBeNull()
      expect([...store.records.entries('')].map(([key]) => key)).toEqual(['10', 's1', 's1/b', 's1/c', 's2/b'])
      expect(store.flushed.read([])).toBeNull()
    })
  })

  test('what is read from a small cache is what was written', async () => {
    const store = await harness.open({ cacheBytes: 10_000, packedBytesMax: 128 })
    await write(store, '/', { a: listOf(1000), b: { c: listOf(1000) } })

    for (let i = 0; i < 1000; i++) {
      const key = `k${String((i * 37) % 1000).padStart(7, '0')}`
      expect(store.flushed.valueAt(['b', 'c', key, 'n'])).toBe((i * 37) % 1000)
      set(store, `/a/${key}/n`, -i)
      if (i % 10 === 0) await store.flush()
    }
    await store.flush()

    expect(store.flushed.valueAt(['a', 'k0000037', 'n'])).toBe(-1)
    expect([...store.flushed.keys(['b', 'c'])]).toHaveLength(1000)
  })

  test('a full store is a request error that says to try again', () => {
    expect(new StoreUnavailableError('full')).toMatchObject({ kind: 'unavailable', retryAfterMs: 1000 })
  })
}

function defer(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
