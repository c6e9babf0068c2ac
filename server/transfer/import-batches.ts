/**
 * Import batches: cuts a JSON text of any size into writes of a bounded size, as it is read.
 *
 *   root ─ rooms ─ r7 ─ messages ─ ...        open: what the reader is within
 *             └ r1 .. r6                       complete, not sent: waits until the batch is full
 *
 * What is complete when a batch is full is sent, each piece at its own path, and its parents stay open. A parent of
 * which a part was sent is never sent whole, since that would replace the part.
 * INVARIANT: locations of one batch do not contain each other.
 */
import { hasOwn, keyProblem, PATH_DEPTH_MAX, type Path } from '../../protocol/index.ts'
import { type JsonEvents, JsonReadError } from './json-reader.ts'

/** Locations below the import's path, and what becomes of each. */
export type Batch = readonly (readonly [path: Path, value: unknown])[]

/** A container the reader is within. */
interface Frame {
  /** Its own key in its parent; empty for the outermost. */
  key: string
  isArray: boolean
  /** Children that are complete and not sent. */
  children: Record<string, unknown>
  hasChildren: boolean
  /** Of an array: the next element's key. */
  nextIndex: number
  /** `.priority`, `.value` and `.sv`, which are parts of the node itself. */
  own: Record<string, unknown> | null
  /** A part of it was sent. */
  isSentInPart: boolean
}

/** A batch is one write: large enough to be worth its flush, small enough that others are not held up. */
const BATCH_BYTES = 512 * 1024
const BATCH_VALUES = 5000
const OWN_KEYS = ['.priority', '.value', '.sv']

export class ImportBatches implements JsonEvents {
  /** Batches that are ready, oldest first, and leaves read up to there; whoever writes takes them away. */
  readonly ready: { batch: Batch; valueCount: number }[] = []
  /** Leaves read so far. */
  valueCount = 0
  readonly #frames: Frame[] = []
  /** Complete, with a parent that is sent in part. */
  #loose: [Path, unknown][] = []
  readonly #isMerge: boolean
  #key = ''
  #bytes = 0
  #values = 0

  /** @param isMerge Sends no container whole, so that what the text does not name stays. */
  constructor(isMerge: boolean) {
    this.#isMerge = isMerge
  }

  beginObject(): void {
    this.#begin(false)
  }

  beginArray(): void {
    this.#begin(true)
  }

  key(key: string): void {
    if (!OWN_KEYS.includes(key)) {
      const problem = keyProblem(key)
      if (problem !== null) throw new JsonReadError(problem)
    }
    this.#key = key
  }

  value(value: string | number | boolean | null, bytes: number): void {
    this.valueCount += 1
    this.#bytes += bytes
    this.#values += 1
    this.#complete(this.#enter(), value)
    if (this.#bytes >= BATCH_BYTES || this.#values >= BATCH_VALUES) this.#cut()
  }

  end(): void {
    const frame = this.#frames.pop()!
    const { key, own } = frame
    // `.value` makes a leaf of it, whatever else is there; a placeholder stands alone.
    if (own !== null && (hasOwn(own, '.value') || hasOwn(own, '.sv'))) {
      if (frame.isSentInPart) this.#loose.push([this.#pathOf(frame), own])
      else this.#complete(key, own)
    } else if (frame.isSentInPart) {
      const path = this.#pathOf(frame)
      for (const [name, child] of Object.entries(frame.children)) this.#loose.push([[...path, name], child])
      if (own !== null) this.#loose.push([[...path, '.priority'], own['.priority']])
    } else this.#complete(key, frame.hasChildren ? { ...frame.children, ...own } : null)
  }

  /** The text is complete: what is left is the last batch. */
  finish(): void {
    this.#cut()
  }

  #begin(isArray: boolean): void {
    const key = this.#enter()
    if (this.#frames.length > PATH_DEPTH_MAX) {
      throw new JsonReadError(`nested deeper than ${PATH_DEPTH_MAX} keys`)
    }
    this.#frames.push({
      key,
      isArray,
      children: {},
      hasChildren: false,
      nextIndex: 0,
      own: null,
      isSentInPart: this.#isMerge,
    })
  }

  /** The key of the value that begins here. */
  #enter(): string {
    const parent = this.#frames.at(-1)
    return parent?.isArray === true ? String(parent.nextIndex++) : this.#key
  }

  #complete(key: string, value: unknown): void {
    const parent = this.#frames.at(-1)
    if (parent === undefined) {
      this.#loose.push([[], value])
    } else if (!parent.isArray && OWN_KEYS.includes(key)) {
      parent.own ??= {}
      parent.own[key] = value
    } else if (value !== null) {
      parent.children[key] = value
      parent.hasChildren = true
    }
  }

  #cut(): void {
    const batch = this.#loose
    this.#loose = []
    const path: string[] = []
    this.#frames.forEach((frame, depth) => {
      if (depth > 0) path.push(frame.key)
      for (const [key, child] of Object.entries(frame.children)) batch.push([[...path, key], child])
      frame.children = {}
      frame.hasChildren = false
      frame.isSentInPart = true
    })
    this.#bytes = 0
    this.#values = 0
    if (batch.length > 0) this.ready.push({ batch, valueCount: this.valueCount })
  }

  #pathOf(frame: Frame): Path {
    const above = this.#frames.slice(1).map(({ key }) => key)
    return this.#frames.length === 0 ? [] : [...above, frame.key]
  }
}
