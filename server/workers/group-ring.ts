/**
 * Group ring: memory that the writing thread shares with its followers. A group's commits are encoded into it once,
 * whatever the number of followers; each is told where they are, and says how far it has read.
 *
 *   bytes     |......[group 7][group 8][group 9].......|   goes round; no group lies across its end
 *   cursors   for each follower: where it has read up to, and how many bytes it has read
 *
 * A group that finds no room, since it is large or a follower is behind, gets memory of its own.
 *
 * INVARIANT: bytes are written over only once every follower that was told of them, and is attached, has read them.
 */
import { strict as assert } from 'node:assert'

/** Where a group's bytes are. */
export interface GroupPlace {
  memory: SharedArrayBuffer
  offset: number
  length: number
  /** The writer's position behind it; null for memory of its own. */
  end: number | null
}

const RING_BYTES = 8 * 1024 * 1024
/** Cursors of one follower: its position, and all it has read. Both count on beyond 32 bits by going round. */
const CURSORS = 2

export class GroupRing {
  readonly memory: SharedArrayBuffer
  readonly cursors: Int32Array
  readonly #bytes: Uint8Array
  readonly #attached = new Set<number>()
  /** Bytes each was told of, whichever memory they are in; goes round as the cursors do. */
  readonly #bytesTold: Int32Array
  /** The position behind the last group in the ring that each was told of. */
  readonly #toldTo: Int32Array
  #position = 0

  constructor(followers: number, bytes = RING_BYTES) {
    assert(2 ** 32 % bytes === 0, 'positions go round with the ring')
    this.memory = new SharedArrayBuffer(bytes)
    this.#bytes = new Uint8Array(this.memory)
    this.cursors = new Int32Array(new SharedArrayBuffer(followers * CURSORS * 4))
    this.#bytesTold = new Int32Array(followers)
    this.#toldTo = new Int32Array(followers)
  }

  /** From now on this follower reads what it is told of. */
  attach(follower: number): void {
    Atomics.store(this.cursors, follower * CURSORS, this.#position | 0)
    this.#toldTo[follower] = this.#position | 0
    this.#bytesTold[follower] = Atomics.load(this.cursors, follower * CURSORS + 1)
    this.#attached.add(follower)
  }

  detach(follower: number): void {
    this.#attached.delete(follower)
  }

  /** Bytes a follower was told of and has not read. */
  unread(follower: number): number {
    return (this.#bytesTold[follower]! - Atomics.load(this.cursors, follower * CURSORS + 1)) >>> 0
  }

  /** What tells whether a follower goes on reading. */
  readCount(follower: number): number {
    return Atomics.load(this.cursors, follower * CURSORS + 1)
  }

  /** @param followers Who will be told of it. */
  write(bytes: Uint8Array, followers: readonly number[]): GroupPlace {
    const { length } = bytes
    for (const follower of followers) this.#bytesTold[follower] = (this.#bytesTold[follower]! + length) | 0
    const size = this.#bytes.length
    const offset = this.#position % size
    const skipped = offset + length > size ? size - offset : 0
    if (length > size / 4 || this.#free() < skipped + length) {
      const memory = new SharedArrayBuffer(length)
      new Uint8Array(memory).set(bytes)
      return { memory, offset: 0, length, end: null }
    }
    const at = (offset + skipped) % size
    this.#bytes.set(bytes, at)
    this.#position = (this.#position + skipped + length) >>> 0
    for (const follower of followers) this.#toldTo[follower] = this.#position | 0
    return { memory: this.memory, offset: at, length, end: this.#position }
  }

  #free(): number {
    let used = 0
    for (const follower of this.#attached) {
      const read = Atomics.load(this.cursors, follower * CURSORS)
      const hasReadAll = read === this.#toldTo[follower]
      if (!hasReadAll) used = Math.max(used, (this.#position - read) >>> 0)
    }
    return this.#bytes.length - used
  }
}

/** One follower's side. */
export class GroupReader {
  readonly #cursors: Int32Array
  readonly #follower: number

  constructor(cursors: Int32Array, follower: number) {
    this.#cursors = cursors
    this.#follower = follower
  }

  /** @param decode Must not keep the bytes. */
  read<T>({ memory, offset, length, end }: GroupPlace, decode: (bytes: Uint8Array) => T): T {
    const value = decode(new Uint8Array(memory, offset, length))
    if (end !== null) Atomics.store(this.#cursors, this.#follower * CURSORS, end | 0)
    Atomics.add(this.#cursors, this.#follower * CURSORS + 1, length)
    return value
  }
}
