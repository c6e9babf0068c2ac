/**
 * From msgpack to values. Checks all it reads, since a client may send anything.
 */
import { MsgpackError, NESTING_MAX, NUMBERED_TEXTS_MAX } from './msgpack.ts'

/** Longer arrays grow as their items come: a claimed length alone allocates nothing to speak of. */
const PREALLOCATED_ITEMS_MAX = 64

const hasNodeBuffer = typeof globalThis.Buffer === 'function'
// Without ignoreBOM a leading U+FEFF would vanish from the text.
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Utf8Slice = (this: Uint8Array, start: number, end: number) => string
const utf8Slice: Utf8Slice | null = hasNodeBuffer
  ? (globalThis.Buffer.prototype as unknown as { utf8Slice: Utf8Slice }).utf8Slice
  : null

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
