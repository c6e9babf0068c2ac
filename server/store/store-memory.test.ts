import { describe } from 'vitest'
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
})
