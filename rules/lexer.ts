/**
 * Lexer: expression text -> tokens, on demand, because whether `/` divides or opens a regular expression is
 * known to the parser only. Comments are skipped.
 */
import type { Span } from './source.ts'

export type Token =
  | ({ kind: 'number'; value: number } & Span)
  | ({ kind: 'string'; value: string } & Span)
  | ({ kind: 'name'; text: string } & Span)
  | ({ kind: 'punctuator'; text: string } & Span)
  | ({ kind: 'regex'; pattern: string; flags: string } & Span)
  | ({ kind: 'end' } & Span)

/** The first mistake ends an expression; the parser catches it and reports it with its place. */
export class SyntaxProblem {
  readonly span: Span
  readonly message: string
  readonly hint: string | null
  readonly isLimit: boolean

  constructor(span: Span, message: string, hint: string | null = null, isLimit = false) {
    this.span = span
    this.message = message
    this.hint = hint
    this.isLimit = isLimit
  }
}

/** Longest first. Operators that the language refuses are here too, so that they are named in the error. */
const PUNCTUATOR =
  />>>=|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|\.\.\.|[=!<>+\-*/%&|^]=|&&|\|\||\*\*|=>|\+\+|--|<<|>>|\?[.?]|[()[\]{}.,;?:!<>=+\-*/%&|^~@#`]/y

// A sticky regular expression runs as machine code from its first use, where a loop over characters is
// interpreted until it is hot, which for most files is never.
const ASCII_NAME = /[A-Za-z$_][\w$]*/y
/** Letters of all scripts; compiling it takes milliseconds, so it is used where such a letter is met. */
const NAME = /[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy
const NUMBER = /0[xX][0-9a-fA-F]+|0[oO][0-7]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y
const PLAIN_STRING = /"[^"\\\n]*"|'[^'\\\n]*'/y
/** Most punctuators by far, none of them the beginning of another but for the dot of `...`. */
const SINGLE: readonly (string | undefined)[] = Array.from({ length: 128 }, (_, unit) => {
  const text = String.fromCharCode(unit)
  return '.()[],:'.includes(text) ? text : undefined
})
const BLANK = /[\s\ufeff]/
const SIMPLE_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['t', '\t'],
  ['b', '\b'],
  ['f', '\f'],
  ['v', '\v'],
  ['r', '\r'],
  ['\n', ''],
])

export class Lexer {
  private readonly text: string
  private at = 0

  constructor(text: string) {
    this.text = text
  }

  next(): Token {
    this.skipBlanks()
    const { text, at: start } = this
    if (start >= text.length) return { kind: 'end', start, end: start }
    const first = text.charCodeAt(start)
    if (first === 34 || first === 39) return this.string(text[start]!)
    if (isDigitUnit(first) || (first === 46 && isDigitUnit(text.charCodeAt(start + 1)))) return this.number()
    const single = SINGLE[first]
    if (single !== undefined && (first !== 46 || text.charCodeAt(start + 1) !== 46)) {
      this.at = start + 1
      return { kind: 'punctuator', text: single, start, end: start + 1 }
    }
    PUNCTUATOR.lastIndex = start
    if (PUNCTUATOR.test(text)) {
      this.at = PUNCTUATOR.lastIndex
      return { kind: 'punctuator', text: text.slice(start, this.at), start, end: this.at }
    }
    const nameEnd = this.nameEnd(start)
    if (nameEnd > start) {
      this.at = nameEnd
      return { kind: 'name', text: text.slice(start, nameEnd), start, end: nameEnd }
    }
    const character = String.fromCodePoint(text.codePointAt(start)!)
    throw new SyntaxProblem({ start, end: start + character.length }, `Illegal character '${character}'.`)
  }

  /** Reads on from a `/` or `/=` token that turned out to open a regular expression. */
  regexFrom(slash: Span): Token {
    const { text } = this
    let inClass = false
    for (let at = slash.start + 1; at < text.length; at++) {
      const character = text[at]
      if (character === '\n' || character === '\r') break
      if (character === '\\') at += 1
      else if (character === '[') inClass = true
      else if (character === ']') inClass = false
      else if (character === '/' && !inClass) {
        this.at = this.nameEnd(at + 1)
        const flags = text.slice(at + 1, this.at)
        const pattern = text.slice(slash.start + 1, at)
        return { kind: 'regex', pattern, flags, start: slash.start, end: this.at }
      }
    }
    throw new SyntaxProblem(
      { start: slash.start, end: slash.start + 1 },
      'unterminated regular expression literal',
      inClass ? 'the class opened by `[` is never closed' : null,
    )
  }

  /** Where a name that starts here ends; `start` itself where none does. Names are nearly always ASCII. */
  private nameEnd(start: number): number {
    const { text } = this
    ASCII_NAME.lastIndex = start
    const end = ASCII_NAME.test(text) ? ASCII_NAME.lastIndex : start
    if (end === text.length || text.charCodeAt(end) < 128) return end
    NAME.lastIndex = start
    return NAME.test(text) ? NAME.lastIndex : end
  }

  private number(): Token {
    const { text, at: start } = this
    NUMBER.lastIndex = start
    const digits = NUMBER.exec(text)![0]
    this.at = NUMBER.lastIndex
    if (this.nameEnd(this.at) > this.at || (digits.length > 1 && digits[0] === '0' && isDigit(digits[1]))) {
      throw new SyntaxProblem(
        { start, end: this.at + 1 },
        `Illegal number '${text.slice(start, this.at + 1)}'.`,
      )
    }
    const value = Number(digits)
    if (!Number.isFinite(value)) {
      throw new SyntaxProblem({ start, end: this.at }, `Number '${digits.slice(0, 32)}' is too large.`)
    }
    return { kind: 'number', value, start, end: this.at }
  }

  private string(quote: string): Token {
    const { text, at: start } = this
    PLAIN_STRING.lastIndex = start
    if (PLAIN_STRING.test(text)) {
      this.at = PLAIN_STRING.lastIndex
      return { kind: 'string', value: text.slice(start + 1, this.at - 1), start, end: this.at }
    }
    let value = ''
    let from = start + 1
    let at = from
    while (true) {
      const character = text[at]
      if (character === quote) break
      if (character === undefined || character === '\n') {
        throw new SyntaxProblem({ start, end: start + 1 }, 'unterminated string literal')
      }
      if (character === '\\') {
        const [escaped, length] = this.escape(at)
        value += text.slice(from, at) + escaped
        at += length
        from = at
      } else at += 1
    }
    value += text.slice(from, at)
    this.at = at + 1
    return { kind: 'string', value, start, end: this.at }
  }

  /** What the escape at a backslash stands for, and how long it is. */
  private escape(at: number): [string, number] {
    const { text } = this
    const letter = text[at + 1]
    if (letter === undefined)
      throw new SyntaxProblem({ start: at, end: at + 1 }, 'unterminated string literal')
    const simple = SIMPLE_ESCAPES.get(letter)
    if (simple !== undefined) return [simple, 2]
    if (letter === '0' && !isDigit(text[at + 2])) return ['\0', 2]
    const digits = letter === 'x' ? /^[0-9a-fA-F]{2}/ : letter === 'u' ? /^[0-9a-fA-F]{4}/ : null
    if (digits !== null) {
      const code = digits.exec(text.slice(at + 2, at + 6))
      if (code !== null) return [String.fromCharCode(Number.parseInt(code[0], 16)), 2 + code[0].length]
    } else if (!isDigit(letter)) return [letter, 2]
    throw new SyntaxProblem({ start: at, end: at + 2 }, `Invalid escape '\\${letter}' in string literal.`)
  }

  private skipBlanks(): void {
    const { text } = this
    while (this.at < text.length) {
      const unit = text.charCodeAt(this.at)
      if (unit === 32 || unit === 10) this.at += 1
      else if (unit === 47 && text.charCodeAt(this.at + 1) === 47) {
        const end = text.indexOf('\n', this.at)
        this.at = end < 0 ? text.length : end
      } else if (unit === 47 && text.charCodeAt(this.at + 1) === 42) {
        const end = text.indexOf('*/', this.at + 2)
        if (end < 0) throw new SyntaxProblem({ start: this.at, end: this.at + 2 }, 'unterminated comment')
        this.at = end + 2
      } else if ((unit < 32 || unit > 127) && BLANK.test(text[this.at]!)) this.at += 1
      else return
    }
  }
}

function isDigitUnit(unit: number): boolean {
  return unit >= 48 && unit <= 57
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= '0' && character <= '9'
}
