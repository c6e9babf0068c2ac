/**
 * Room: how much may still be written, from the database's own bound and from the disk's free space.
 *
 * A B-tree that copies pages needs free pages even to delete, so the last of both is kept back for groups that only
 * delete: a full store can always be emptied.
 */
import { statfs } from 'node:fs/promises'

/** Enough for the pages that thousands of deletions copy. */
const RESERVE_BYTES = 4 * 1024 * 1024
const DISK_CHECK_MS = 250

export class Room {
  /** A row's key, its entry in a page, and its share of the pages that are copied above it. */
  static readonly ROW_BYTES = 64

  readonly #folder: string
  readonly #bytesMax: number
  readonly #reserveBytes: number
  #bytesInUse = 0
  #diskBytesFree = Number.POSITIVE_INFINITY
  #checkedMs = 0
  #isChecking = false
  #hasFailed = false

  constructor(folder: string, bytesMax: number) {
    this.#folder = folder
    this.#bytesMax = bytesMax
    this.#reserveBytes = Math.min(RESERVE_BYTES, bytesMax / 8)
    this.#checkDisk()
  }

  get isFull(): boolean {
    this.#checkDisk()
    return this.#hasFailed || this.#left() <= 0
  }

  get wantsPagesInUse(): boolean {
    return Number.isFinite(this.#bytesMax)
  }

  admits(bytes: number, isDeletesOnly: boolean): boolean {
    if (isDeletesOnly) return true
    this.#checkDisk()
    return !this.#hasFailed && this.#left() >= bytes
  }

  #left(): number {
    return Math.min(this.#bytesMax - this.#bytesInUse, this.#diskBytesFree) - this.#reserveBytes
  }

  notePagesInUse(bytes: number): void {
    this.#bytesInUse = bytes
  }

  noteWritten(bytes: number): void {
    this.#diskBytesFree -= bytes
    this.#checkDisk()
  }

  /** Nothing but deletions is tried until the disk has been asked again. */
  noteFailure(): void {
    this.#hasFailed = true
    this.#checkedMs = performance.now()
  }

  /** Asks the disk now and then, never on the way of a write. */
  #checkDisk(): void {
    const now = performance.now()
    if (this.#isChecking || (this.#checkedMs !== 0 && now - this.#checkedMs < DISK_CHECK_MS)) return
    this.#isChecking = true
    void statfs(this.#folder)
      .then(
        (disk) => {
          this.#diskBytesFree = disk.bavail * disk.bsize
        },
        // A folder that cannot be asked is written to until that fails.
        () => {},
      )
      .finally(() => {
        this.#checkedMs = performance.now()
        this.#isChecking = false
        this.#hasFailed = false
      })
  }
}
