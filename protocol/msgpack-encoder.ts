/**
 * From values to msgpack. What repeats within a message to a client is written once, see `Numbering`.
 */
import { MsgpackError, NUMBERED_TEXTS_MAX } from './msgpack.ts'

/** Longer keys are ids more often than names: to look for each of a long list would double the cost of its encoding. */
const NUMBERED_KEY_UNITS_MAX = 16
/** Neither a key nor a path. */
const NO_TEXT = '\0'

const textEncoder = new TextEncoder()

/**
 * The texts written out in one message, by number. Forgets one where another needs its slot, which is then written out
 * again: a Map finds all, and made encoding a chat room's snapshot twice as dear.
 */
class Numbering {
  readonly #texts = new Array<string>(64).fill(NO_TEXT)
  readonly #numbers = new Uint8Array(64)
  #count = 0

  reset(): void {
    if (this.#count > 0) this.#texts.fill(NO_TEXT)
    this.#count = 0
  }

  /** A text that is not looked for is counted all the same. */
  pass(): void {
    this.#count += 1
  }

  /** @returns The text's number, or -1 where it has to be written out. */
  of(text: string): number {
    const last = text.length - 1
    // The empty text has no characters: NaN & 63 is slot 0.
    const slot = (last * 7 + text.charCodeAt(0) * 3 + text.charCodeAt(last)) & 63
    if (this.#texts[slot] === text) return this.#numbers[slot]!
    if (this.#count < NUMBERED_TEXTS_MAX) {
      this.#texts[slot] = text
      this.#numbers[slot] = this.#count
    }
    this.#count += 1
    return -1
  }
}

/** Appends msgpack to a growing buffer. Reused: `take` hands out a copy, `view` the live bytes. */
export class Encoder {
  bytes: Uint8Array
  #view: DataView
  length = 0
  readonly #keys = new Numbering()
  readonly #paths = new Numbering()
  #numbersKeys = false

  constructor(capacity = 8192) {
    this.bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.bytes.buffer)
  }

  reset(): void {
    this.length = 0
    // One huge message must not pin its buffer for the life of the process.
    if (this.bytes.length > 4 * 1024 * 1024) {
      this.bytes = new Uint8Array(8192)
      this.#view = new DataView(this.bytes.buffer)
    }
  }

  /** Until `endNumbering`, map keys and paths that come again are written as their numbers. */
  startNumbering(): void {
    this.#keys.reset()
    this.#paths.reset()
    this.#numbersKeys = true
  }

  endNumbering(): void {
    this.#numbersKeys = false
  }

  /** A path, numbered apart from keys. */
  path(path: string): void {
    const number = this.#paths.of(path)
    if (number < 0) this.string(path)
    else this.number(number)
  }

  #key(key: string): void {
    let number = -1
    if (this.#numbersKeys) {
      if (key.length > NUMBERED_KEY_UNITS_MAX) this.#keys.pass()
      else number = this.#keys.of(key)
    }
    if (number < 0) this.string(key)
    else this.number(number)
  }

  take(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  #reserve(count: number): void {
    const needed = this.length + count
    if (needed <= this.bytes.length) return
    const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    bytes.set(this.bytes.subarray(0, this.length))
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer)
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  array(count: number): void {
    this.#header(count, 0x90, 15, 0xdc)
  }

  map(count: number): void {
    this.#header(count, 0x80, 15, 0xde)
  }

  #header(count: number, fix: number, fixMax: number, wide: number): void {
    this.#reserve(5)
    if (count <= fixMax) this.bytes[this.length++] = fix | count
    else if (count <= 0xffff) {
      this.bytes[this.length++] = wide
      this.#view.setUint16(this.length, count)
      this.length += 2
    } else {
      this.bytes[this.length++] = wide + 1
      this.#view.setUint32(this.length, count)
      this.length += 4
    }
  }

  nil(): void {
    this.#reserve(1)
    this.bytes[this.length++] = 0xc0
  }

  boolean(value: boolean): void {
    this.#reserve(1)
    this.bytes[this.length++] = value ? 0xc3 : 0xc2
  }

  number(value: number): void {
    this.#reserve(9)
    if (value >>> 0 === value && !Object.is(value, -0)) {
      if (value < 0x80) this.bytes[this.length++] = value
      else if (value <= 0xff) {
        this.bytes[this.length++] = 0xcc
        this.bytes[this.length++] = value
      } else if (value <= 0xffff) {
        this.bytes[this.length++] = 0xcd
        this.#view.setUint16(this.length, value)
        this.length += 2
      } else {
        this.bytes[this.length++] = 0xce
        this.#view.setUint32(this.length, value)
        this.length += 4
      }
    } else if ((value | 0) === value && value < 0) {
      if (value >= -32) this.bytes[this.length++] = value & 0xff
      else if (value >= -128) {
        this.bytes[this.length++] = 0xd0
        this.bytes[this.length++] = value & 0xff
      } else if (value >= -32768) {
        this.bytes[this.length++] = 0xd1
        this.#view.setInt16(this.length, value)
        this.length += 2
      } else {
        this.bytes[this.length++] = 0xd2
        this.#view.setInt32(this.length, value)
        this.length += 4
      }
    } else {
      this.bytes[this.length++] = 0xcb
      this.#view.setFloat64(this.length, value)
      this.length += 8
    }
  }

  string(value: string): void {
    const units = value.length
    if (units < 64) {
      // Most keys and paths are short ASCII; a loop beats any call out of JavaScript.
      this.#reserve(units * 3 + 5)
      const bytes = this.bytes
      const start = this.length + (units < 32 ? 1 : 2)
      let i = 0
      for (; i < units; i++) {
        const unit = value.charCodeAt(i)
        if (unit >= 0x80) break
        bytes[start + i] = unit
      }
      if (i === units) {
        if (units < 32) bytes[this.length] = 0xa0 | units
        else {
          bytes[this.length] = 0xd9
          bytes[this.length + 1] = units
        }
        this.length = start + units
        return
      }
    }
    this.#reserve(units * 3 + 5)
    // Written behind the largest header it may need, then moved up against the real one.
    const written = textEncoder.encodeInto(value, this.bytes.subarray(this.length + 5)).written
    const from = this.length + 5
    if (written < 32) this.bytes[this.length++] = 0xa0 | written
    else if (written <= 0xff) {
      this.bytes[this.length++] = 0xd9
      this.bytes[this.length++] = written
    } else if (written <= 0xffff) {
      this.bytes[this.length++] = 0xda
      this.#view.setUint16(this.length, written)
      this.length += 2
    } else {
      this.bytes[this.length++] = 0xdb
      this.#view.setUint32(this.length, written)
      this.length += 4
    }
    this.bytes.copyWithin(this.length, from, from + written)
    this.length += written
  }

  /** Any JSON value. */
  value(value: unknown): void {
    switch (typeof value) {
      case 'string':
        return this.string(value)
      case 'number':
        return this.number(value)
      case 'boolean':
        return this.boolean(value)
      case 'object': {
        if (value === null) return this.nil()
        if (Array.isArray(value)) {
          this.array(value.length)
          for (const item of value) this.value(item)
          return
        }
        const keys = Object.keys(value)
        this.map(keys.length)
        for (const key of keys) {
          this.#key(key)
          this.value((value as Record<string, unknown>)[key])
        }
        return
      }
      default:
        throw new MsgpackError(`cannot encode a ${typeof value}`)
    }
  }
}
