import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe } from 'vitest'
import { storeContract } from './store.contract.ts'
import { storeModel } from './store.model.ts'
import type { Store } from './store.ts'
import { openLmdbStore } from './store-lmdb.ts'
import type { TreeStoreOptions } from './tree-store.ts'

const root = mkdtempSync(join(tmpdir(), 'hearth-store-'))
const opened = new Map<Store, string>()
let folders = 0

async function openIn(folder: string, options: Partial<TreeStoreOptions> = {}): Promise<Store> {
  const store = await openLmdbStore({ folder, ...options })
  opened.set(store, folder)
  return store
}

const open = (options?: Partial<TreeStoreOptions>) => openIn(join(root, `data.${folders++}`), options)

async function reopen(store: Store, options: Partial<TreeStoreOptions>): Promise<Store> {
  const folder = opened.get(store)!
  await store.close()
  return openIn(folder, options)
}

afterEach(async () => {
  for (const store of opened.keys()) await store.close()
  opened.clear()
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('the LMDB store', () => {
  storeContract({ open })
  storeModel({ open, reopen }, 60)
})
