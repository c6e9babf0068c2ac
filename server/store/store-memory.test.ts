import { describe, expect, test } from 'vitest'
import { storeContract } from './store.contract.ts'
import { storeModel } from './store.model.ts'
import type { Store } from './store.ts'
import { MemoryRows, openMemoryStore } from './store-memory.ts'
import { TreeStore, type TreeStoreOptions } from './tree-store.ts'

const rowsOf = new WeakMap<Store, MemoryRows>()

async function open(options: Partial<TreeStoreOptions> = {}): Promise<Store> {
  const rows = new MemoryRows()
  const store = new TreeStore(rows, options)
  rowsOf.set(store, rows)
  return store
}

describe('the memory store', () => {
  storeContract({ open: openMemoryStore })
  storeModel({ open, countRows: (store) => rowsOf.get(store)!.count })

  test('what is written to an indexed list takes no more memory than the cache may', async () => {
    class CountedRows extends MemoryRows {
      gets = 0
      override get(id: number, key: string): Uint8Array | null {
        this.gets += 1
        return super.get(id, key)
      }
    }
    const rows = new CountedRows()
    const store = new TreeStore(rows, { cacheBytes: 100_000 })
    store.declareIndexes([{ steps: ['list'], indexOn: 'at' }])
    const keys = Array.from({ length: 500 }, (_, i) => `k${1000 + i}`)
    for (const key of keys) {
      store.stage([{ path: ['list', key], value: { at: 1, text: 'x'.repeat(900) } }])
      await store.flush()
    }

    const before = rows.gets
    for (const key of keys) expect(store.flushed.valueAt(['list', key, 'at'])).toBe(1)

    // A message takes 1 KB and more, so a hundred of them are what is at hand at most.
    expect(rows.gets - before).toBeGreaterThan(400)
  })
})
