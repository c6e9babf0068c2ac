/**
 * The JSON dialect of rules files: JSON plus comments, a comma before a closing bracket, and raw line breaks
 * and tabs inside strings. Gives a tree in which every value keeps its place; stops at the first error.
 */
import { clip } from '../protocol/index.ts'
import type { Source, Span } from './source.ts'

export type Json = JsonObject | JsonArray | JsonString | JsonOther

export interface JsonObject extends Span {
  kind: 'object'
  members: JsonMember[]
}
export interface JsonMember {
  key: JsonString
  value: Json
}
export interface JsonArray extends Span {
  kind: 'array'
  elements: Json[]
}
/** The span includes the quotes. */
export interface JsonString extends Span {
  kind: 'string'
  value: string
  /** Whether offsets in `value` differ from offsets in the text. */
  hasEscapes: boolean
}
export interface JsonOther extends Span {
  kind: 'other'
  value: number | boolean | null
}

/** @returns null when the text is not in the dialect; the error is then in `source.errors`. */
export function parseJsonDialect(source: Source, depthMax: number): Json | null {
  try {
    return new JsonParser(source, depthMax).parse()
  } catch (error) {
    if (error !== STOP) throw error
    return null
  }
}

/** Asked more often than this, a string's offsets are all noted down: coverage asks for each part of a rule. */
const SCANS_MAX = 8

/**
 * Where the characters of a string's value stand in the text. Scanned anew on the first calls: mostly only errors and
 * diagnostics ask, and keeping a map for every string would cost each load.
 */
export function offsetsInText(text: string, string: JsonString): (valueOffset: number) => number {
  const start = string.start + 1
  if (!string.hasEscapes) return (valueOffset) => start + valueOffset
  const after = (at: number): number => {
    if (text.charCodeAt(at) !== BACKSLASH) return at + 1
    return at + (text.charCodeAt(at + 1) === 117 ? 6 : 2)
  }
  let scans = 0
  let known: Uint32Array | null = null
  return (valueOffset) => {
    if (known === null && scans++ >= SCANS_MAX) {
      known = new Uint32Array(string.value.length + 1)
      for (let i = 0, at = start; i < known.length; i++, at = after(at))
        known[i] = Math.min(at, string.end - 1)
    }
    if (known !== null) return known[Math.min(valueOffset, known.length - 1)]!
    let at = start
    for (let i = 0; i < valueOffset && at < string.end - 1; i++) at = after(at)
    return at
  }
}

const STOP = Symbol('the first error ends the parse')
const BACKSLASH = 92
const QUOTE = 34
const COMMA = 44
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /[A-Za-z_$][\w$]*/y
/** What nearly every string is; a sticky expression runs as machine code before a loop over characters would. */
const PLAIN_STRING = /"[^"\\\u0000-\u0008\u000b\u000c\u000e-\u001f]*"/y
const ESCAPES: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

class JsonParser {
  private readonly text: string
  private at = 0
  private readonly source: Source
  private readonly depthMax: number

  constructor(source: Source, depthMax: number) {
    this.source = source
    this.text = source.text
    this.depthMax = depthMax
  }

  parse(): Json {
    this.skipBlanks()
    const json = this.value(0)
    this.skipBlanks()
    if (this.at < this.text.length) this.fail('Expected end of file.')
    return json
  }

  private value(depth: number): Json {
    const start = this.at
    switch (this.text[start]) {
      case '{':
        return this.object(depth)
      case '[':
        return this.array(depth)
      case '"':
        return this.string()
      case undefined:
        return this.fail('Unexpected end of file.')
      case "'":
        return this.fail(`Unexpected '''.`, 'strings are written in double quotes')
    }
    NUMBER.lastIndex = start
    const number = NUMBER.exec(this.text)
    if (number !== null) {
      this.at = NUMBER.lastIndex
      return { kind: 'other', value: Number(number[0]), start, end: this.at }
    }
    WORD.lastIndex = start
    const word = WORD.exec(this.text)?.[0]
    if (word === 'true' || word === 'false' || word === 'null') {
      this.at += word.length
      return { kind: 'other', value: word === 'null' ? null : word === 'true', start, end: this.at }
    }
    const isFirestore = word === 'rules_version' || word === 'service'
    return this.fail(
      `Unexpected '${clip(word ?? this.text[start]!)}'.`,
      isFirestore ? 'this is a Firestore or Storage rules file; here rules are JSON: {"rules": {...}}' : null,
      word?.length ?? 1,
    )
  }

  private object(depth: number): JsonObject {
    const start = this.open(depth)
    const members: JsonMember[] = []
    const places = new Map<string, JsonString>()
    while (true) {
      this.skipBlanks()
      if (this.text[this.at] === '}') break
      if (this.at >= this.text.length)
        this.fail('Unexpected end of file.', `this \`{\` is never closed`, 1, start)
      if (members.length === 0 && this.text.charCodeAt(this.at) === COMMA) this.fail(`Unexpected ','.`)
      if (this.text.charCodeAt(this.at) !== QUOTE) {
        this.fail(`Expected '"'.`, 'keys are written in double quotes')
      }
      const key = this.string()
      this.skipBlanks()
      if (this.text[this.at] !== ':') this.fail(`Expected ':'.`)
      this.at += 1
      this.skipBlanks()
      const value = this.value(depth + 1)
      const earlier = places.get(key.value)
      // A silent last-wins would hide rules: Firebase's own behaviour is unknown, an error is safe.
      if (earlier !== undefined) {
        const line = this.source.placeAt(earlier.start).line
        this.source.report(
          'json',
          key,
          `Duplicate key '${clip(key.value)}'.`,
          `the same key stands on line ${line}; only one of them could apply`,
        )
      } else {
        places.set(key.value, key)
        members.push({ key, value })
      }
      if (!this.comma('}')) break
    }
    this.at += 1
    return { kind: 'object', members, start, end: this.at }
  }

  private array(depth: number): JsonArray {
    const start = this.open(depth)
    const elements: Json[] = []
    while (true) {
      this.skipBlanks()
      if (this.text[this.at] === ']') break
      elements.push(this.value(depth + 1))
      if (!this.comma(']')) break
    }
    this.at += 1
    return { kind: 'array', elements, start, end: this.at }
  }

  private open(depth: number): number {
    if (depth >= this.depthMax) {
      this.source.report(
        'limit',
        { start: this.at, end: this.at + 1 },
        `Nested deeper than ${this.depthMax} levels.`,
      )
      throw STOP
    }
    this.at += 1
    return this.at - 1
  }

  /** True after a comma, false in front of the closing bracket. */
  private comma(closing: string): boolean {
    this.skipBlanks()
    if (this.text.charCodeAt(this.at) === COMMA) {
      this.at += 1
      return true
    }
    if (this.text[this.at] === closing) return false
    if (this.at >= this.text.length) this.fail('Unexpected end of file.')
    return this.fail(`Expected ',' or '${closing}'.`)
  }

  private string(): JsonString {
    const { text } = this
    const start = this.at
    PLAIN_STRING.lastIndex = start
    if (PLAIN_STRING.test(text)) {
      this.at = PLAIN_STRING.lastIndex
      return {
        kind: 'string',
        value: text.slice(start + 1, this.at - 1),
        hasEscapes: false,
        start,
        end: this.at,
      }
    }
    let at = start + 1
    let value = ''
    let from = at
    let hasEscapes = false
    while (true) {
      const unit = text.charCodeAt(at)
      if (unit === QUOTE) break
      if (at >= text.length) {
        this.fail('Unexpected end of file.', 'this string is never closed', 1, start)
      } else if (unit === BACKSLASH) {
        hasEscapes = true
        value += text.slice(from, at) + this.escape(at)
        at += text[at + 1] === 'u' ? 6 : 2
        from = at
      } else if (unit < 32 && unit !== 9 && unit !== 10 && unit !== 13) {
        this.fail(
          `Invalid control character in string.`,
          `write it as \\u${unit.toString(16).padStart(4, '0')}`,
          1,
          at,
        )
      } else at += 1
    }
    value = hasEscapes ? value + text.slice(from, at) : text.slice(from, at)
    this.at = at + 1
    return { kind: 'string', value, hasEscapes, start, end: this.at }
  }

  private escape(at: number): string {
    const letter = this.text[at + 1] ?? ''
    if (letter === '"' || letter === '\\' || letter === '/') return letter
    if (letter === 'u') {
      const digits = this.text.slice(at + 2, at + 6)
      if (/^[0-9a-fA-F]{4}$/.test(digits)) return String.fromCharCode(Number.parseInt(digits, 16))
      return this.fail(`Invalid escape: '\\u${clip(digits)}'`, '\\u takes four hexadecimal digits', 2, at)
    }
    const plain = ESCAPES[letter]
    if (plain !== undefined) return plain
    const hint = /[sdwSDW.+*?()[\]{}^$|-]/.test(letter)
      ? `a backslash inside a rule is doubled in the file: \\\\${letter}`
      : null
    return this.fail(`Invalid escape: '\\${letter}'`, hint, 2, at)
  }

  private skipBlanks(): void {
    const { text } = this
    while (this.at < text.length) {
      const unit = text.charCodeAt(this.at)
      if (unit === 32 || unit === 10 || unit === 13 || unit === 9) this.at += 1
      else if (unit === 47 && text[this.at + 1] === '/') {
        const end = text.indexOf('\n', this.at)
        this.at = end < 0 ? text.length : end
      } else if (unit === 47 && text[this.at + 1] === '*') {
        const end = text.indexOf('*/', this.at + 2)
        if (end < 0) this.fail('Unexpected end of file.', 'this comment is never closed', 2)
        this.at = end + 2
      } else return
    }
  }

  private fail(message: string, hint: string | null = null, length = 1, at = this.at): never {
    this.source.report('json', { start: at, end: at + length }, message, hint)
    throw STOP
  }
}
