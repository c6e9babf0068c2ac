import { describe } from 'vitest'
import { storeContract } from './store.contract.ts'
import { storeModel } from './store.model.ts'
import { openMemoryStore } from './store-memory.ts'

describe('the memory store', () => {
  storeContract({ open: openMemoryStore })
  storeModel({ open: openMemoryStore })
})
