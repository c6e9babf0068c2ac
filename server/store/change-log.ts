/**
 * Change log: what recent commits did, as rows beside the tree in the transaction of their group, for listeners that
 * come back after a while.
 *
 *   ':' revision after the group  ->  [from, to, timestampMs, startsAt]  then for each commit
 *                                     [revision - from, path, value, path, value ...]
 *                                     [from - revision, path, path ...]      an outline: the values were too many bytes
 *
 * One row for each group, since a row for each commit would cost a put for each. `startsAt` counts bytes over the
 * life of the log, so that two rows tell how much lies between them.
 *
 * INVARIANT: a row goes on where the one before it ended, or the log begins there: `from` says so.
 */
import { Decoder, type Encoder, type Path } from '../../protocol/index.ts'
import { CHANGE_LOG_ID, type RowBatch, type Rows } from './rows.ts'
import type { Runs } from './runs.ts'
import type { ChangeLog, Commit, Entry, LoggedGroup } from './store.ts'

export interface ChangeLogOptions {
  /** Bytes of rows that are kept, about. 0 keeps no log. */
  changeLogBytes: number
  /** How long a row is kept. 0 keeps no log. */
  changeLogMs: number
}

/** A commit of more, and what follows in its group once that is larger, is logged without its values. */
const COMMIT_BYTES_MAX = 64 * 1024
const GROUP_BYTES_MAX = 1024 * 1024
/** A group of more paths than this is not logged: the log begins anew behind it. */
const GROUP_ROW_BYTES_MAX = 4 * 1024 * 1024
/** Rows removed with one group; each adds at most one. */
const TRIMMED_ROWS_MAX = 8
/** What a row takes beside its bytes. */
const ROW_BYTES = 32
/**
 * Groups kept decoded once somebody asked for them, since others will; they take about five times the bytes of their
 * rows. To keep every group as it is written cost 2 us a write, most of it garbage collection; a tenth of what it costs
 * to have it acknowledged.
 */
const DECODED_BYTES_MAX = 1024 * 1024

interface Header {
  from: number
  to: number
  timestampMs: number
  startsAt: number
}

export class RowChangeLog implements ChangeLog {
  readonly runs: Runs
  readonly #rows: Rows
  readonly #options: ChangeLogOptions
  #staged: Commit[] = []
  /** By the revision they begin after. */
  readonly #decoded = new Map<number, LoggedGroup>()
  #decodedBytes = 0
  /** Of the row to be trimmed next, if that is known. */
  #oldest: Header | null = null
  #oldestAfter: Header | null = null
  /** Where the next row begins in the life of the log. */
  #endsAt: number
  #endsAtAfter: number

  constructor(rows: Rows, runs: Runs, options: ChangeLogOptions) {
    this.#rows = rows
    this.runs = runs
    this.#options = options
    let endsAt = 0
    rows.scan(CHANGE_LOG_ID, { reverse: true, limit: 1 }, (_key, bytes) => {
      endsAt = headerOf(new Decoder(bytes)).startsAt + bytes.length + ROW_BYTES
    })
    this.#endsAt = endsAt
    this.#endsAtAfter = endsAt
  }

  get epoch(): string {
    return this.runs.epoch
  }

  knows(epoch: string, revision: number): boolean {
    return this.runs.knows(epoch, revision)
  }

  get #isKept(): boolean {
    return this.#options.changeLogBytes > 0 && this.#options.changeLogMs > 0
  }

  stage(commit: Commit): void {
    if (this.#isKept) this.#staged.push(commit)
  }

  after(revision: number, bytesMax: number): readonly LoggedGroup[] | null {
    const groups: LoggedGroup[] = []
    let at = revision
    let bytesRead = 0
    // A row at a time: a scan could not stop after so many bytes.
    while (bytesRead < bytesMax) {
      let next = this.#decoded.get(at) ?? null
      // Decoded already: taken for a row of a commit or two.
      bytesRead += 200
      if (next === null) {
        this.#rows.scan(CHANGE_LOG_ID, { from: keyOf(at + 1), limit: 1 }, (_key, bytes) => {
          bytesRead += bytes.length
          next = this.#decode(bytes)
        })
      }
      if (next === null || next.from > at) break
      groups.push(next)
      at = next.to
    }
    return groups.length > 0 ? groups : null
  }

  #decode(bytes: Uint8Array): LoggedGroup {
    const group = decodeGroup(bytes)
    this.#decodedBytes += bytes.length
    if (this.#decodedBytes > DECODED_BYTES_MAX) {
      this.#decoded.clear()
      this.#decodedBytes = bytes.length
    }
    this.#decoded.set(group.from, group)
    return group
  }

  writeBatch(batch: RowBatch, from: number, to: number): void {
    this.#oldestAfter = this.#oldest
    this.#endsAtAfter = this.#endsAt
    const last = this.#staged.at(-1)
    const timestampMs = last?.timestampMs ?? 0
    // A full disk takes deletions only: what they would add here is left out.
    if (last?.revision === to && !this.#rows.isFull) {
      this.#putGroup(batch, { from, to, timestampMs, startsAt: this.#endsAt })
    }
    this.#trim(batch, timestampMs)
  }

  #putGroup(batch: RowBatch, header: Header): void {
    const { encoder } = batch
    const start = encoder.length
    encoder.value([header.from, header.to, header.timestampMs, header.startsAt])
    for (const commit of this.#staged) {
      const commitStart = encoder.length
      const isLogged =
        commitStart - start < GROUP_BYTES_MAX &&
        putCommit(encoder, commit, header.from, commitStart + COMMIT_BYTES_MAX)
      if (isLogged) continue
      encoder.length = commitStart
      if (putOutline(encoder, commit, header.from, start + GROUP_ROW_BYTES_MAX)) continue
      encoder.length = start
      return
    }
    const bytes = encoder.length - start
    batch.put(CHANGE_LOG_ID, keyOf(header.to), start, encoder.length)
    this.#endsAtAfter += bytes + ROW_BYTES
  }

  #trim(batch: RowBatch, nowMs: number): void {
    const isDue = ({ startsAt, timestampMs }: Header): boolean =>
      !this.#isKept ||
      this.#endsAtAfter - startsAt > this.#options.changeLogBytes ||
      timestampMs < nowMs - this.#options.changeLogMs
    if (this.#oldest !== null && !isDue(this.#oldest)) return
    let oldest: Header | null = null
    this.#rows.scan(CHANGE_LOG_ID, { limit: TRIMMED_ROWS_MAX + 1 }, (key, bytes) => {
      if (oldest !== null) return
      const header = headerOf(new Decoder(bytes))
      if (isDue(header)) batch.remove(CHANGE_LOG_ID, key)
      else oldest = header
    })
    this.#oldestAfter = oldest
  }

  settle(): void {
    this.#oldest = this.#oldestAfter
    this.#endsAt = this.#endsAtAfter
    this.discard()
  }

  discard(): void {
    this.#staged = []
  }
}

/** Fixed length, so that text order is the order of revisions; the mark keeps a key from being taken for a number. */
function keyOf(revision: number): string {
  return `:${revision.toString(36).padStart(11, '0')}`
}

function headerOf(decoder: Decoder): Header {
  const [from, to, timestampMs, startsAt] = decoder.value() as [number, number, number, number]
  return { from, to, timestampMs, startsAt }
}

/** @returns Whether it ends before `endMax`; the rest is not written then. */
function putCommit(encoder: Encoder, { revision, entries }: Commit, from: number, endMax: number): boolean {
  encoder.array(1 + entries.length * 2)
  encoder.number(revision - from)
  for (const { path, value } of entries) {
    encoder.string(path.join('/'))
    encoder.value(value)
    if (encoder.length > endMax) return false
  }
  return true
}

/** @returns The same. */
function putOutline(encoder: Encoder, { revision, entries }: Commit, from: number, endMax: number): boolean {
  encoder.array(1 + entries.length)
  encoder.number(from - revision)
  for (const { path } of entries) {
    encoder.string(path.join('/'))
    if (encoder.length > endMax) return false
  }
  return true
}

function decodeGroup(bytes: Uint8Array): LoggedGroup {
  const decoder = new Decoder(bytes)
  const { from, to, timestampMs } = headerOf(decoder)
  const commits: Commit[] = []
  while (!decoder.isAtEnd) {
    const [delta, ...items] = decoder.value() as [number, ...unknown[]]
    const isOutline = delta < 0
    const entries: Entry[] = []
    for (let i = 0; i < items.length; i += isOutline ? 1 : 2) {
      const value = isOutline ? null : (items[i + 1] as Entry['value'])
      entries.push({ path: pathOf(items[i] as string), value })
    }
    commits.push({ revision: from + Math.abs(delta), timestampMs, entries, isOutline })
  }
  return { from, to, commits }
}

function pathOf(text: string): Path {
  return text === '' ? [] : text.split('/')
}
