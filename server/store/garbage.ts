/**
 * Garbage: rows of branches that were deleted or replaced. Unlinking a branch is one row, whatever lies below it;
 * the rows themselves are removed here, in slices that ride along with later groups.
 *
 * INVARIANT: a branch's garbage row goes only once none of its rows is left, so a crash at any point leaves work,
 * never loss.
 */
import { decodeBranchMarker, isBranchMarker } from './row-codec.ts'
import { GARBAGE_ID, type RowBatch, type Rows } from './rows.ts'

export class GarbageCollector {
  readonly #rows: Rows
  readonly #unlinkTables: (batch: RowBatch, branchId: number) => void
  #removes: { id: number; key: string }[] = []
  /** Branches found below the ones being removed. */
  #found: number[] = []
  #isLeft: boolean
  #isLeftAfter = false

  /** @param unlinkTables Notes the index tables of a branch as garbage, too. */
  constructor(rows: Rows, unlinkTables: (batch: RowBatch, branchId: number) => void) {
    this.#rows = rows
    this.#unlinkTables = unlinkTables
    this.#isLeft = rows.keys(GARBAGE_ID, { limit: 1 }).length > 0
  }

  get isLeft(): boolean {
    return this.#isLeft
  }

  get hasStaged(): boolean {
    return this.#removes.length > 0
  }

  /** Stages the removal of at most `rowsMax` rows. @returns Whether more will be left. */
  stage(rowsMax: number): boolean {
    // The next slice is read from the flushed state, so there is one for each group.
    if (this.hasStaged || !this.#isLeft) return this.#isLeft
    const branches = this.#rows.keys(GARBAGE_ID, { limit: rowsMax })
    let left = rowsMax
    let emptied = 0
    for (const text of branches) {
      if (left <= 0) break
      const id = Number(text)
      const limit = left
      this.#rows.scan(id, { limit }, (key, bytes) => {
        this.#removes.push({ id, key })
        if (isBranchMarker(bytes)) this.#found.push(decodeBranchMarker(bytes).id)
        left -= 1
      })
      if (left === 0) break
      this.#removes.push({ id: GARBAGE_ID, key: text })
      left -= 1
      emptied += 1
    }
    this.#isLeftAfter = emptied < branches.length || branches.length === rowsMax || this.#found.length > 0
    return this.#isLeftAfter
  }

  writeBatch(batch: RowBatch): void {
    for (const { id, key } of this.#removes) batch.remove(id, key)
    for (const id of this.#found) {
      putGarbage(batch, id)
      this.#unlinkTables(batch, id)
    }
  }

  /** @param hasMore Whether the group unlinked branches of its own. */
  settle(hasMore: boolean): void {
    if (this.hasStaged) this.#isLeft = this.#isLeftAfter
    if (hasMore) this.#isLeft = true
    this.discard()
  }

  discard(): void {
    this.#removes = []
    this.#found = []
  }
}

/** Notes a branch whose rows are to be removed. */
export function putGarbage(batch: RowBatch, id: number): void {
  const start = batch.encoder.length
  batch.encoder.nil()
  batch.put(GARBAGE_ID, String(id), start, batch.encoder.length)
}
