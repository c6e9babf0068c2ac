/**
 * Room: how much may still be written, from the database's own bound and from the disk's free space.
 *
 * - A B-tree that copies pages needs free pages even to delete, so the last of the room is kept back for groups
 *   that only delete: a full store can always be emptied.
 * - LMDB must not be the one to find the disk full. lmdb 3.5.6 formats its message about a failed page write into
 *   too small a buffer; seen here: the process aborts in malloc some groups later. So a group is refused while there
 *   is still space, by a count that is known a moment ago rather than now.
 */
import { statfs } from 'node:fs/promises'

export interface Disk {
  bytesFree: number
  bytesTotal: number
}

export interface RoomOptions {
  /** Bytes the pages in use may take. */
  databaseBytesMax: number
  /** Asks the disk. */
  disk(): Promise<Disk>
}

export interface Pages {
  /** The file, as far as it was ever used. */
  fileBytes: number
  /** Pages that hold data; the others are used again before the file grows. */
  bytesInUse: number
}

/** For a disk in use by others too, this is what they write in the time between two looks. */
const RESERVE_BYTES_MAX = 64 * 1024 * 1024
/** Of a small disk or a small database not even that can be kept back. */
const RESERVE_SHARE = 1 / 16
const DISK_CHECK_MS = 250
/** Counting pages takes 15 us: too long for every group while there is plenty of room. */
const PAGES_CHECK_MS = 50
const NEARLY_FULL_BYTES = 256 * 1024 * 1024
/** A row's share of the pages that are copied for it, where rows lie far apart. */
const ROW_BYTES = 1024

export class Room {
  readonly #options: RoomOptions
  #pages: Pages = { fileBytes: 0, bytesInUse: 0 }
  #disk: Disk = { bytesFree: Number.POSITIVE_INFINITY, bytesTotal: Number.POSITIVE_INFINITY }
  #bytesSincePages = 0
  #pagesMs = Number.NEGATIVE_INFINITY
  #diskMs = Number.NEGATIVE_INFINITY
  #isAsking = false
  #hasFailed = false

  constructor(options: RoomOptions) {
    this.#options = options
    this.#askDisk()
  }

  /** What a group may take at most. */
  static bytesOf(rows: number, bytes: number): number {
    return bytes + rows * ROW_BYTES
  }

  /** Whether groups that do more than delete are refused. */
  get isFull(): boolean {
    this.#askDisk()
    return this.#hasFailed || this.#left() <= 0
  }

  admits(bytes: number, isDeletesOnly: boolean): boolean {
    this.#askDisk()
    if (this.#hasFailed) return false
    // What is in use shrinks by deleting; only the pages copied on the way have to find a place.
    return (isDeletesOnly ? this.#leftOnDisk() : this.#left()) >= bytes
  }

  #left(): number {
    const ofDatabase = this.#options.databaseBytesMax - this.#pages.bytesInUse - this.#bytesSincePages
    return Math.min(ofDatabase, this.#leftOnDisk()) - this.#reserveBytes()
  }

  #leftOnDisk(): number {
    const { bytesInUse, fileBytes } = this.#pages
    return this.#disk.bytesFree + fileBytes - bytesInUse - this.#bytesSincePages
  }

  #reserveBytes(): number {
    const whole = Math.min(this.#options.databaseBytesMax, this.#disk.bytesTotal)
    return Math.min(RESERVE_BYTES_MAX, whole * RESERVE_SHARE)
  }

  noteWritten(bytes: number): void {
    this.#bytesSincePages += bytes
  }

  get wantsPages(): boolean {
    return performance.now() - this.#pagesMs > PAGES_CHECK_MS || this.#left() < NEARLY_FULL_BYTES
  }

  notePages(pages: Pages): void {
    // What the file grew by is no longer free on the disk, whenever that was asked last.
    if (this.#pages.fileBytes > 0) this.#disk.bytesFree -= pages.fileBytes - this.#pages.fileBytes
    this.#pages = pages
    this.#bytesSincePages = 0
    this.#pagesMs = performance.now()
  }

  /** Nothing is tried until the disk has been asked again. */
  noteFailure(): void {
    this.#hasFailed = true
    this.#diskMs = performance.now()
  }

  /** Asks the disk now and then, never on the way of a write. */
  #askDisk(): void {
    if (this.#isAsking || performance.now() - this.#diskMs < DISK_CHECK_MS) return
    this.#isAsking = true
    void this.#options
      .disk()
      .then(
        (disk) => {
          this.#disk = disk
        },
        // A disk that cannot be asked is written to until that fails.
        () => {},
      )
      .finally(() => {
        this.#diskMs = performance.now()
        this.#isAsking = false
        this.#hasFailed = false
      })
  }
}

export async function diskOf(folder: string): Promise<Disk> {
  const { bavail, blocks, bsize } = await statfs(folder)
  return { bytesFree: bavail * bsize, bytesTotal: blocks * bsize }
}
