/**
 * JSON reader: reads JSON as its bytes arrive and tells what it meets, so that a file of gigabytes takes the memory
 * of its longest string. As strict as JSON.parse.
 */
import { isUtf8 } from 'node:buffer'

export interface JsonEvents {
  beginObject(): void
  beginArray(): void
  /** The key of the value that follows. */
  key(key: string): void
  /** A string, number, boolean or null. `bytes` is about what it takes in the text. */
  value(value: string | number | boolean | null, bytes: number): void
  /** Of the innermost object or array. */
  end(): void
}

/** The text is not what it should be; `JsonReader.line` and `column` tell where. */
export class JsonReadError extends Error {}

export interface JsonReaderLimits {
  depthMax: number
  /** Of one string or number in the text. */
  tokenBytesMax: number
}

/** What may come next. */
const enum Expect {
  value,
  /** Right behind `[`. */
  valueOrEnd,
  /** Right behind `{`. */
  keyOrEnd,
  key,
  colon,
  commaOrEnd,
  /** Behind the outermost value. */
  nothing,
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const LINE_FEED = 0x0a
const IS_SPACE = byteSet(' \t\r\n')
/** What numbers and the words true, false and null are made of. */
const IS_WORD = byteSet('+-.0123456789abcdefghijklmnopqrstuvwxyzE')
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

function byteSet(characters: string): Uint8Array {
  const set = new Uint8Array(256)
  for (const character of characters) set[character.charCodeAt(0)] = 1
  return set
}

export class JsonReader {
  readonly #events: JsonEvents
  readonly #limits: JsonReaderLimits
  #expect: Expect = Expect.value
  /** Whether each open bracket is of an object. */
  readonly #open: boolean[] = []
  /** Parts of a string or word that began in an earlier chunk. */
  #token: Buffer[] = []
  #tokenBytes = 0
  #inString = false
  #inWord = false
  /** The last byte was a backslash within a string. */
  #isEscaped = false
  #hasEscapes = false
  #line = 1
  /** Bytes before the chunk at hand, and before its line. */
  #bytesBefore = 0
  #lineStart = 0
  /** Within the chunk at hand: where the latest token, or its latest part, begins. */
  #at = 0
  #isStarted = false

  constructor(events: JsonEvents, limits: JsonReaderLimits) {
    this.#events = events
    this.#limits = limits
  }

  /** How far it is, counted from 1. */
  get line(): number {
    return this.#line
  }

  /** How far it is within its line, in bytes, counted from 1: what an export of one line needs. */
  get column(): number {
    return this.#bytesBefore + this.#at - this.#lineStart + 1
  }

  /** @throws {JsonReadError} */
  write(chunk: Buffer): void {
    let at = this.#isStarted ? 0 : this.#start(chunk)
    while (at < chunk.length) {
      this.#at = at
      if (this.#inString) at = this.#string(chunk, at)
      else if (this.#inWord) at = this.#word(chunk, at)
      else at = this.#next(chunk, at)
    }
    this.#bytesBefore += chunk.length
    this.#at = 0
  }

  /** The text is complete. @throws {JsonReadError} */
  end(): void {
    if (this.#inWord) this.#endWord()
    if (this.#inString || this.#expect !== Expect.nothing) throw this.#error('the text ends too early')
  }

  /** Editors on Windows put a byte-order mark before a text. */
  #start(chunk: Buffer): number {
    this.#isStarted = true
    return chunk.length >= 3 && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? 3 : 0
  }

  #next(chunk: Buffer, at: number): number {
    const byte = chunk[at]!
    if (IS_SPACE[byte] === 1) {
      if (byte === LINE_FEED) {
        this.#line += 1
        this.#lineStart = this.#bytesBefore + at + 1
      }
      return at + 1
    }
    switch (byte) {
      case QUOTE:
        if (this.#mayBegin() || this.#expect === Expect.key || this.#expect === Expect.keyOrEnd) {
          this.#inString = true
          this.#hasEscapes = false
          return at + 1
        }
        break
      case 0x7b: // {
      case 0x5b: // [
        if (this.#mayBegin()) {
          this.#begin(byte === 0x7b)
          return at + 1
        }
        break
      case 0x7d: // }
      case 0x5d: // ]
        if (this.#mayEnd(byte === 0x7d)) {
          this.#open.pop()
          this.#events.end()
          this.#completed()
          return at + 1
        }
        break
      case 0x2c: // ,
        if (this.#expect === Expect.commaOrEnd) {
          this.#expect = this.#open.at(-1) === true ? Expect.key : Expect.value
          return at + 1
        }
        break
      case 0x3a: // :
        if (this.#expect === Expect.colon) {
          this.#expect = Expect.value
          return at + 1
        }
        break
      default:
        if (IS_WORD[byte] === 1 && this.#mayBegin()) {
          this.#inWord = true
          return at
        }
    }
    throw this.#error(`unexpected \`${printable(byte)}\``)
  }

  #mayBegin(): boolean {
    return this.#expect === Expect.value || this.#expect === Expect.valueOrEnd
  }

  #mayEnd(isObject: boolean): boolean {
    if (this.#open.at(-1) !== isObject) return false
    if (this.#expect === Expect.commaOrEnd) return true
    return this.#expect === (isObject ? Expect.keyOrEnd : Expect.valueOrEnd)
  }

  #begin(isObject: boolean): void {
    if (this.#open.length >= this.#limits.depthMax) {
      throw this.#error(`nested deeper than ${this.#limits.depthMax}`)
    }
    this.#open.push(isObject)
    if (isObject) this.#events.beginObject()
    else this.#events.beginArray()
    this.#expect = isObject ? Expect.keyOrEnd : Expect.valueOrEnd
  }

  #completed(): void {
    this.#expect = this.#open.length === 0 ? Expect.nothing : Expect.commaOrEnd
  }

  #string(chunk: Buffer, from: number): number {
    let at = from
    for (; at < chunk.length; at++) {
      const byte = chunk[at]!
      if (this.#isEscaped) this.#isEscaped = false
      else if (byte === BACKSLASH) {
        this.#isEscaped = true
        this.#hasEscapes = true
      } else if (byte === QUOTE) break
      else if (byte < 0x20) throw this.#error('a control character within a string')
    }
    this.#keep(chunk, from, at)
    if (at === chunk.length) return at
    this.#inString = false
    const bytes = this.#tokenBytes
    const text = this.#decode(this.#take())
    if (this.#mayBegin()) {
      this.#events.value(text, bytes + 2)
      this.#completed()
    } else {
      this.#events.key(text)
      this.#expect = Expect.colon
    }
    return at + 1
  }

  #decode(bytes: Buffer): string {
    const text = bytes.toString('utf8')
    // Decoding puts U+FFFD where bytes are no UTF-8; a text may also hold that character on purpose.
    if (text.includes('\ufffd') && !isUtf8(bytes)) throw this.#error('text that is not UTF-8')
    if (!this.#hasEscapes) return text
    try {
      return JSON.parse(`"${text}"`) as string
    } catch {
      throw this.#error('an invalid escape within a string')
    }
  }

  #word(chunk: Buffer, from: number): number {
    let at = from
    while (at < chunk.length && IS_WORD[chunk[at]!] === 1) at += 1
    this.#keep(chunk, from, at)
    // Only what follows tells that a number has ended.
    if (at < chunk.length) this.#endWord()
    return at
  }

  #endWord(): void {
    this.#inWord = false
    const bytes = this.#tokenBytes
    const word = this.#take().toString('latin1')
    this.#events.value(this.#wordValue(word), bytes)
    this.#completed()
  }

  #wordValue(word: string): number | boolean | null {
    if (word === 'true') return true
    if (word === 'false') return false
    if (word === 'null') return null
    if (NUMBER.test(word)) return Number(word)
    throw this.#error(`\`${word.slice(0, 32)}\` is no value`)
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    this.#tokenBytes += to - from
    if (this.#tokenBytes > this.#limits.tokenBytesMax) {
      throw this.#error(`a string of more than ${this.#limits.tokenBytesMax} bytes`)
    }
    if (to > from) this.#token.push(chunk.subarray(from, to))
  }

  #take(): Buffer {
    const token = this.#token.length === 1 ? this.#token[0]! : Buffer.concat(this.#token)
    this.#token = []
    this.#tokenBytes = 0
    return token
  }

  #error(what: string): JsonReadError {
    return new JsonReadError(what)
  }
}

function printable(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`
}
