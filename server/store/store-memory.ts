/**
 * The store contract in memory: for tests, and as the benchmark's floor. The same tree as on disk, over rows in
 * maps. Nothing survives `close`.
 */
import { compareKeys } from '../../protocol/index.ts'
import type { Range, RowBatch, Rows } from './rows.ts'
import type { Store } from './store.ts'
import { TreeStore, type TreeStoreOptions } from './tree-store.ts'

export type MemoryStoreOptions = Partial<TreeStoreOptions>

export async function openMemoryStore(options: MemoryStoreOptions = {}): Promise<Store> {
  return new TreeStore(new MemoryRows(), options)
}

/** The rows of one node id. */
interface Table {
  bytes: Map<string, Uint8Array>
  /** In key order. */
  keys: string[]
}

export class MemoryRows implements Rows {
  readonly isFull = false
  readonly #tables = new Map<number, Table>()
  #committed: RowBatch | null = null

  /** Rows of all tables, so that tests can tell when some are left behind. */
  get count(): number {
    let count = 0
    for (const table of this.#tables.values()) count += table.keys.length
    return count
  }

  get(id: number, key: string): Uint8Array | null {
    return this.#tables.get(id)?.bytes.get(key) ?? null
  }

  keys(id: number, range: Range): string[] {
    const table = this.#tables.get(id)
    if (table === undefined) return []
    const { from, to, after, reverse = false, limit = Number.POSITIVE_INFINITY } = range
    const { keys } = table
    let start = from === undefined ? 0 : lowerBound(keys, from)
    let end = to === undefined ? keys.length : upperBound(keys, to)
    if (after !== undefined && reverse) end = Math.min(end, lowerBound(keys, after))
    if (after !== undefined && !reverse) start = Math.max(start, upperBound(keys, after))
    if (start >= end) return []
    if (reverse) return keys.slice(Math.max(start, end - limit), end).reverse()
    return keys.slice(start, Math.min(end, start + limit))
  }

  scan(id: number, range: Range, visit: (key: string, bytes: Uint8Array) => void): void {
    const bytes = this.#tables.get(id)?.bytes
    for (const key of this.keys(id, range)) visit(key, bytes!.get(key)!)
  }

  async commit(batch: RowBatch): Promise<void> {
    this.#committed = batch
  }

  advance(): void {
    const batch = this.#committed
    if (batch === null) return
    this.#committed = null
    for (let i = 0; i < batch.size; i++) {
      const key = batch.keys[i]!
      const start = batch.starts[i]!
      if (start < 0) this.#remove(batch.ids[i]!, key)
      else this.#put(batch.ids[i]!, key, batch.encoder.bytes.slice(start, batch.ends[i]!))
    }
  }

  #put(id: number, key: string, bytes: Uint8Array): void {
    let table = this.#tables.get(id)
    if (table === undefined) {
      table = { bytes: new Map(), keys: [] }
      this.#tables.set(id, table)
    }
    if (!table.bytes.has(key)) table.keys.splice(lowerBound(table.keys, key), 0, key)
    table.bytes.set(key, bytes)
  }

  #remove(id: number, key: string): void {
    const table = this.#tables.get(id)
    if (!table?.bytes.delete(key)) return
    table.keys.splice(lowerBound(table.keys, key), 1)
    if (table.keys.length === 0) this.#tables.delete(id)
  }

  async close(): Promise<void> {
    this.#tables.clear()
  }
}

/** The first index whose key is not before `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  // Push keys only ever grow: look at the end first.
  if (high > 0 && compareKeys(keys[high - 1]!, key) < 0) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareKeys(keys[middle]!, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}

function upperBound(keys: readonly string[], key: string): number {
  const at = lowerBound(keys, key)
  return keys[at] === key ? at + 1 : at
}
