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
const PUNCTUATORS = [
  ['>>>='],
  ['===', '!==', '**=', '<<=', '>>=', '>>>', '&&=', '||=', '??=', '...'],
  [
    '==',
    '!=',
    '<=',
    '>=',
    '&&',
    '||',
    '**',
    '=>',
    '++',
    '--',
    '+=',
    '-=',
    '*=',
    '/=',
    '%=',
    '&=',
    '|=',
    '^=',
    '<<',
    '>>',
    '?.',
    '??',
  ],
  [
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    '.',
    ',',
    ';',
    '?',
    ':',
    '!',
    '<',
    '>',
    '=',
    '+',
    '-',
    '*',
    '/',
    '%',
    '&',
    '|',
    '^',
    '~',
    '@',
    '#',
    '`',
  ],
].map((texts) => new Set(texts))

/** Punctuators that no longer one starts with. */
const BRACKETS = new Set(['(', ')', '[', ']', '{', '}', ',', ':', ';'])
const NAME = /[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy
const NUMBER = /0[xX][0-9a-fA-F]+|0[oO][0-7]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y
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
    const first = text[start]!
    if (first === '"' || first === "'") return this.string(first)
    if ((first >= '0' && first <= '9') || (first === '.' && isDigit(text[start + 1]))) return this.number()
    const nameEnd = this.nameEnd(start)
    if (nameEnd > start) {
      this.at = nameEnd
      return { kind: 'name', text: text.slice(start, nameEnd), start, end: nameEnd }
    }
    if (BRACKETS.has(first)) {
      this.at = start + 1
      return { kind: 'punctuator', text: first, start, end: this.at }
    }
    for (let i = 0, length = 4; i < PUNCTUATORS.length; i++, length--) {
      const candidate = text.slice(start, start + length)
      if (!PUNCTUATORS[i]!.has(candidate)) continue
      this.at = start + length
      return { kind: 'punctuator', text: candidate, start, end: this.at }
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
        NAME.lastIndex = at + 1
        const flags = NAME.exec(text)?.[0] ?? ''
        this.at = at + 1 + flags.length
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
    let at = start
    for (; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      const isLetter = (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90) || unit === 36 || unit === 95
      if (isLetter || (unit >= 48 && unit <= 57 && at > start)) continue
      if (unit < 128) return at
      NAME.lastIndex = start
      return NAME.test(text) ? NAME.lastIndex : start
    }
    return at
  }

  private number(): Token {
    const { text, at: start } = this
    NUMBER.lastIndex = start
    const digits = NUMBER.exec(text)![0]
    this.at = NUMBER.lastIndex
    NAME.lastIndex = this.at
    if (NAME.test(text) || (digits.length > 1 && digits[0] === '0' && isDigit(digits[1]))) {
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
      const character = text[this.at]!
      if (BLANK.test(character)) this.at += 1
      else if (character === '/' && text[this.at + 1] === '/') {
        const end = text.indexOf('\n', this.at)
        this.at = end < 0 ? text.length : end
      } else if (character === '/' && text[this.at + 1] === '*') {
        const end = text.indexOf('*/', this.at + 2)
        if (end < 0) throw new SyntaxProblem({ start: this.at, end: this.at + 2 }, 'unterminated comment')
        this.at = end + 2
      } else return
    }
  }
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= '0' && character <= '9'
}
