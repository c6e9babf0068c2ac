/**
 * Records: small values keyed by text, kept beside the tree and flushed with it.
 */
import { Decoder } from '../../protocol/index.ts'
import { RECORDS_ID, type RowBatch, type Rows } from './rows.ts'
import type { RecordTable } from './store.ts'

/** Before every record's key, so that none orders as an integer and a prefix is one range. */
const MARK = ':'
/** A UTF-16 unit takes at most 3 bytes of a row key. */
const RECORD_KEY_UNITS_MAX = 600

export class Records implements RecordTable {
  readonly #rows: Rows
  readonly #assertMayStage: () => void
  readonly #staged = new Map<string, unknown>()

  constructor(rows: Rows, assertMayStage: () => void) {
    this.#rows = rows
    this.#assertMayStage = assertMayStage
  }

  get hasStaged(): boolean {
    return this.#staged.size > 0
  }

  get(key: string): unknown {
    if (this.#staged.has(key)) return this.#staged.get(key)
    const bytes = this.#rows.get(RECORDS_ID, MARK + checked(key))
    return bytes === null ? null : new Decoder(bytes).value()
  }

  *entries(prefix: string): Iterable<[key: string, value: unknown]> {
    const entries = new Map<string, unknown>()
    const range = { from: MARK + prefix, to: `${MARK + prefix}\uffff` }
    this.#rows.scan(RECORDS_ID, range, (key, bytes) => {
      entries.set(key.slice(MARK.length), new Decoder(bytes).value())
    })
    for (const [key, value] of this.#staged) {
      if (!key.startsWith(prefix)) continue
      if (value === null) entries.delete(key)
      else entries.set(key, value)
    }
    yield* [...entries].sort(([a], [b]) => (a < b ? -1 : 1))
  }

  stage(key: string, value: unknown): void {
    this.#assertMayStage()
    this.#staged.set(checked(key), value)
  }

  writeBatch(batch: RowBatch): void {
    const { encoder } = batch
    for (const [key, value] of this.#staged) {
      if (value === null) {
        batch.remove(RECORDS_ID, MARK + key)
        continue
      }
      const start = encoder.length
      encoder.value(value)
      batch.put(RECORDS_ID, MARK + key, start, encoder.length)
    }
  }

  settle(): void {
    this.#staged.clear()
  }

  discard(): void {
    this.#staged.clear()
  }
}

function checked(key: string): string {
  if (key.length > RECORD_KEY_UNITS_MAX) {
    throw new RangeError(`a record's key has ${key.length} characters; it may have ${RECORD_KEY_UNITS_MAX}`)
  }
  return key
}
