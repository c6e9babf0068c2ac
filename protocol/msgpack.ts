/**
 * The subset of msgpack that the wire needs: nil, booleans, numbers, strings, arrays, maps with string keys.
 * Binary, extension types and anything truncated, oversized or nested too deep is refused.
 *
 * Own code, because both general decoders fall short here: they turn extension types and `__proto__` keys into
 * something else instead of refusing them, and either alone is larger than the browser client's codec may be.
 */

/** Arrays and maps within each other: the data model's 32 keys plus the message's own levels. */
export const NESTING_MAX = 40

/**
 * Values one frame from a client may hold, keys counted too. Without a bound, 32 MB of two-byte arrays hold the
 * server for 18 seconds and take 3.4 GB of heap, and a set of 900,000 leaves held it for 10 (measured, busy machine).
 * What is larger is imported, or sent in parts.
 */
export const FRAME_VALUES_MAX = 200_000

/** Texts of one message that may be named by a number when they come again: those that repeat come early. */
export const NUMBERED_TEXTS_MAX = 128
/** Longer keys are ids more often than names: to look for each of a long list would double the cost of its encoding. */
const NUMBERED_KEY_UNITS_MAX = 16
/** Neither a key nor a path. */
const NO_TEXT = '\0'

/** Longer arrays grow as their items come: a claimed length alone allocates nothing to speak of. */
const PREALLOCATED_ITEMS_MAX = 64

export class MsgpackError extends Error {}

const hasNodeBuffer = typeof globalThis.Buffer === 'function'
const textEncoder = new TextEncoder()
// Without ignoreBOM a leading U+FEFF would vanish from the text.
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Utf8Slice = (this: Uint8Array, start: number, end: number) => string
const utf8Slice: Utf8Slice | null = hasNodeBuffer
  ? (globalThis.Buffer.prototype as unknown as { utf8Slice: Utf8Slice }).utf8Slice
  : null

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

/**
 * Keys met before, by a hash of their bytes. Object keys repeat all day, and a string seen before is ready to be
 * a key, where a new one has to be made and looked up first.
 */
const knownKeys = new Array<string>(1024).fill('')
const KNOWN_KEY_BYTES_MAX = 16

/** Reads msgpack values one after another. The bytes are only read during the call; strings are copied. */
export class Decoder {
  #bytes: Uint8Array
  /** Made when a number needs it: most frames need none. */
  #lazyView: DataView | null = null
  /** Values that may still come. */
  #left: number
  /** Keys written out so far, where later ones may be their numbers. */
  #keys: string[] | null = null
  position = 0

  /** @param valuesMax Values, keys included, before the bytes are refused. */
  constructor(bytes: Uint8Array, valuesMax = 0x3fffffff) {
    this.#bytes = bytes
    this.#left = valuesMax
  }

  /** From here on a map key may be the number of one written out since. */
  startNumbering(): void {
    this.#keys = []
  }

  get isAtEnd(): boolean {
    return this.position >= this.#bytes.length
  }

  /** @throws {MsgpackError} */
  array(): number {
    const type = this.#byte()
    if (type >= 0x90 && type <= 0x9f) return type & 0x0f
    if (type === 0xdc) return this.#uint(2)
    if (type === 0xdd) return this.#uint(4)
    throw new MsgpackError(`byte ${this.position - 1}: expected an array, found 0x${type.toString(16)}`)
  }

  /** @throws {MsgpackError} */
  value(depth = 0): unknown {
    if (--this.#left < 0) throw new MsgpackError(`byte ${this.position}: too many values in one frame`)
    const type = this.#byte()
    if (type < 0x80) return type
    if (type >= 0xe0) return type - 0x100
    if (type < 0x90) return this.#map(type & 0x0f, depth)
    if (type < 0xa0) return this.#array(type & 0x0f, depth)
    if (type < 0xc0) return this.#string(type & 0x1f)
    switch (type) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xca: {
        const at = this.#advance(4)
        return this.#view.getFloat32(at)
      }
      case 0xcb: {
        const at = this.#advance(8)
        return this.#view.getFloat64(at)
      }
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#uint(2)
      case 0xce:
        return this.#uint(4)
      case 0xcf: {
        const at = this.#advance(8)
        return this.#safe(this.#view.getBigUint64(at))
      }
      case 0xd0: {
        const at = this.#advance(1)
        return this.#view.getInt8(at)
      }
      case 0xd1: {
        const at = this.#advance(2)
        return this.#view.getInt16(at)
      }
      case 0xd2: {
        const at = this.#advance(4)
        return this.#view.getInt32(at)
      }
      case 0xd3: {
        const at = this.#advance(8)
        return this.#safe(this.#view.getBigInt64(at))
      }
      case 0xd9:
        return this.#string(this.#byte())
      case 0xda:
        return this.#string(this.#uint(2))
      case 0xdb:
        return this.#string(this.#uint(4))
      case 0xdc:
        return this.#array(this.#uint(2), depth)
      case 0xdd:
        return this.#array(this.#uint(4), depth)
      case 0xde:
        return this.#map(this.#uint(2), depth)
      case 0xdf:
        return this.#map(this.#uint(4), depth)
      default:
        throw new MsgpackError(
          `byte ${this.position - 1}: type 0x${type.toString(16)} is not accepted; binary and extension types have no place in JSON`,
        )
    }
  }

  /** 64-bit integers become doubles, as all numbers of the data model are. */
  #safe(value: bigint): number {
    return Number(value)
  }

  #array(count: number, depth: number): unknown[] {
    if (depth >= NESTING_MAX) throw new MsgpackError(`byte ${this.position}: nested too deep`)
    this.#assertRoom(count)
    if (count > PREALLOCATED_ITEMS_MAX) {
      const items: unknown[] = []
      for (let i = 0; i < count; i++) items.push(this.value(depth + 1))
      return items
    }
    const items = new Array<unknown>(count)
    for (let i = 0; i < count; i++) items[i] = this.value(depth + 1)
    return items
  }

  #map(count: number, depth: number): Record<string, unknown> {
    if (depth >= NESTING_MAX) throw new MsgpackError(`byte ${this.position}: nested too deep`)
    this.#assertRoom(count * 2)
    const map: Record<string, unknown> = {}
    for (let i = 0; i < count; i++) {
      const key = this.#key()
      if (key === '__proto__') throw new MsgpackError(`byte ${this.position}: key \`__proto__\` is reserved`)
      map[key] = this.value(depth + 1)
    }
    return map
  }

  /** A count of four bytes may claim a billion items: each takes at least a byte that must be there. */
  #assertRoom(count: number): void {
    if (count > this.#bytes.length - this.position) throw new MsgpackError(`byte ${this.position}: truncated`)
    if (count > this.#left) throw new MsgpackError(`byte ${this.position}: too many values in one frame`)
  }

  #key(): string {
    if (--this.#left < 0) throw new MsgpackError(`byte ${this.position}: too many values in one frame`)
    const type = this.#byte()
    const keys = this.#keys
    if (keys === null) return this.#writtenKey(type)
    if (type < NUMBERED_TEXTS_MAX) {
      const key = keys[type]
      if (key === undefined)
        throw new MsgpackError(`byte ${this.position - 1}: no key has the number ${type}`)
      return key
    }
    const key = this.#writtenKey(type)
    if (keys.length < NUMBERED_TEXTS_MAX) keys.push(key)
    return key
  }

  #writtenKey(type: number): string {
    if (type >= 0xa0 && type <= 0xa0 + KNOWN_KEY_BYTES_MAX) return this.#shortKey(type & 0x1f)
    if (type >= 0xa0 && type < 0xc0) return this.#string(type & 0x1f)
    if (type === 0xd9) return this.#string(this.#byte())
    if (type === 0xda) return this.#string(this.#uint(2))
    if (type === 0xdb) return this.#string(this.#uint(4))
    throw new MsgpackError(`byte ${this.position - 1}: a map key is not a string`)
  }

  #shortKey(length: number): string {
    const start = this.#advance(length)
    const bytes = this.#bytes
    let hash = length
    for (let i = 0; i < length; i++) hash = (hash * 31 + bytes[start + i]!) | 0
    const slot = (hash ^ (hash >>> 10)) & 1023
    const known = knownKeys[slot]!
    if (known.length === length) {
      let i = 0
      // Known keys are ASCII, so no other bytes equal their characters.
      while (i < length && known.charCodeAt(i) === bytes[start + i]) i++
      if (i === length) return known
    }
    const key = this.#text(start, length)
    if (key.length === length) knownKeys[slot] = key
    return key
  }

  #string(length: number): string {
    return this.#text(this.#advance(length), length)
  }

  #text(start: number, length: number): string {
    const end = start + length
    // Measured: up to here four characters at a time beat a call out of JavaScript.
    if (length > 12) return this.#utf8(start, end)
    const bytes = this.#bytes
    let text = ''
    let i = start
    for (; i + 4 <= end; i += 4) {
      const a = bytes[i]!
      const b = bytes[i + 1]!
      const c = bytes[i + 2]!
      const d = bytes[i + 3]!
      if ((a | b | c | d) >= 0x80) return this.#utf8(start, end)
      text += String.fromCharCode(a, b, c, d)
    }
    for (; i < end; i++) {
      const byte = bytes[i]!
      if (byte >= 0x80) return this.#utf8(start, end)
      text += String.fromCharCode(byte)
    }
    return text
  }

  #utf8(start: number, end: number): string {
    if (utf8Slice !== null) {
      const text = utf8Slice.call(this.#bytes, start, end)
      // Node replaces what is not UTF-8 instead of saying so; only then is the strict decoder asked.
      if (!text.includes('\ufffd')) return text
    }
    try {
      return textDecoder.decode(this.#bytes.subarray(start, end))
    } catch {
      throw new MsgpackError(`byte ${start}: a string is not valid UTF-8`)
    }
  }

  get #view(): DataView {
    if (this.#lazyView === null) {
      const { buffer, byteOffset, byteLength } = this.#bytes
      this.#lazyView = new DataView(buffer, byteOffset, byteLength)
    }
    return this.#lazyView
  }

  #byte(): number {
    if (this.position >= this.#bytes.length) throw new MsgpackError(`byte ${this.position}: truncated`)
    return this.#bytes[this.position++]!
  }

  #uint(size: 2 | 4): number {
    const at = this.#advance(size)
    const bytes = this.#bytes
    const high = (bytes[at]! << 8) | bytes[at + 1]!
    return size === 2 ? high : high * 0x10000 + ((bytes[at + 2]! << 8) | bytes[at + 3]!)
  }

  #advance(count: number): number {
    const at = this.position
    if (at + count > this.#bytes.length) throw new MsgpackError(`byte ${at}: truncated`)
    this.position = at + count
    return at
  }
}
