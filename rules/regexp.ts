/**
 * Regular expressions: checks a pattern against Firebase's dialect and hands it to a linear-time matcher, so
 * that no pattern and no string can make matching explode. The only importer of re2js.
 *
 * The dialect: literals . * + ? {n} {n,} {n,m} ( ) | [..] [^..] ranges \s \w \d \S \W \D, a backslash before
 * anything else makes it literal, ^ only first and $ only last in the pattern, flag i.
 */
import { RE2JS } from 're2js'

export interface Matcher {
  /** Whether the pattern is found anywhere in the text. */
  matches(text: string): boolean
  /** What looking at one character costs of a check's budget. */
  readonly stepsPerCharacter: number
}

export interface RegexProblem {
  message: string
  hint: string | null
  /** Offset in the pattern. */
  at: number
}

/** re2's own ceiling for one repetition. */
const REPEAT_MAX = 1000

/**
 * Patterns of about as many parts at most compile in a few milliseconds, so that may wait until a rule is asked; re2js
 * takes all of them. Larger ones compile when they are loaded, or are refused there.
 */
const LAZY_PARTS_MAX = 10_000
const SMALL_PROGRAM_SIZE = 250

export function compileRegex(pattern: string, flags: string): Matcher | RegexProblem {
  if (flags !== '' && flags !== 'i') {
    return {
      message: 'regular expressions do not support flags other than i',
      hint: flags.includes('g') ? 'matches() already looks anywhere in the text' : null,
      at: pattern.length + 1,
    }
  }
  const translator = new Translator(pattern)
  try {
    const translated = translator.translate()
    const matcher = new LazyMatcher(translated, flags === 'i' ? RE2JS.CASE_INSENSITIVE : 0)
    if (translator.mayBeTooLarge) matcher.compile()
    return matcher
  } catch (error) {
    if (error instanceof DialectProblem) return { message: error.message, hint: error.hint, at: error.at }
    // What the dialect allows and re2js refuses is a pattern whose repetitions multiply past its ceiling.
    return {
      message: 'regular expression is too large',
      hint: 'nested repetitions like (a{100}){100} multiply',
      at: 0,
    }
  }
}

/** Compiles when first asked: that takes re2js half a millisecond, and most patterns of a large file are not met. */
class LazyMatcher implements Matcher {
  private readonly pattern: string
  private readonly flags: number
  private compiled: RE2JS | null = null

  constructor(pattern: string, flags: number) {
    this.pattern = pattern
    this.flags = flags
  }

  compile(): RE2JS {
    this.compiled ??= RE2JS.compile(this.pattern, this.flags)
    return this.compiled
  }

  matches(text: string): boolean {
    return this.compile().test(text)
  }

  /** Small programs run in a table of states; large ones may be walked as a whole for each character. */
  get stepsPerCharacter(): number {
    const size = this.compile().programSize()
    return size <= SMALL_PROGRAM_SIZE ? 4 : size * 2
  }
}

export function isRegexProblem(result: Matcher | RegexProblem): result is RegexProblem {
  return 'message' in result
}

class DialectProblem extends Error {
  readonly hint: string | null
  readonly at: number

  constructor(message: string, hint: string | null, at: number) {
    super(message)
    this.hint = hint
    this.at = at
  }
}

const CLASS_ESCAPES: ReadonlySet<string> = new Set(['s', 'w', 'd', 'S', 'W', 'D'])
const QUANTIFIER = /[*+?]|\{(\d+)(,(\d*))?\}/y
const GROUP_DEPTH_MAX = 50

/** Walks the pattern once, writing the same pattern in re2's syntax with everything literal escaped. */
class Translator {
  private readonly pattern: string
  private at = 0
  private out = ''
  /** Counts like `{3,5}` so far, and what they add up to. */
  private counts = 0
  private countSum = 0
  private hasNestedCounts = false

  constructor(pattern: string) {
    this.pattern = pattern
  }

  /** Whether re2js may refuse the pattern, or take long to compile it. */
  get mayBeTooLarge(): boolean {
    return this.hasNestedCounts || this.pattern.length * (1 + this.countSum) > LAZY_PARTS_MAX
  }

  translate(): string {
    if (this.pattern[0] === '^') {
      this.out += '^'
      this.at = 1
    }
    this.alternatives(0)
    if (this.at < this.pattern.length) this.fail('unmatched ) in regular expression')
    return this.out
  }

  private alternatives(depth: number): void {
    if (depth > GROUP_DEPTH_MAX) this.fail('regular expression is nested too deep')
    while (true) {
      const before = this.at
      this.sequence(depth)
      const character = this.pattern[this.at]
      // A pattern of an anchor alone, or none at all, is not an alternative that was forgotten.
      const isWhole = depth === 0 && character === undefined && !this.out.includes('|')
      if (this.at === before && !isWhole) {
        this.fail('empty alternative in regular expression', 'make the group optional instead: (a|b)?')
      }
      if (character !== '|') return
      this.out += '|'
      this.at += 1
    }
  }

  private sequence(depth: number): void {
    const { pattern } = this
    while (this.at < pattern.length) {
      const character = pattern[this.at]!
      if (character === '|' || character === ')') return
      if (character === '$') {
        if (this.at !== pattern.length - 1 || depth > 0) {
          this.fail('$ may only be the last character of a regular expression', 'a literal dollar is \\$')
        }
        this.out += '$'
        this.at += 1
        return
      }
      const counts = this.counts
      this.atom(character, depth)
      this.quantifier(this.counts > counts)
    }
  }

  private atom(character: string, depth: number): void {
    switch (character) {
      case '^':
        return this.fail(
          '^ may only be the first character of a regular expression',
          'a literal caret is \\^',
        )
      case '(':
        return this.group(depth)
      case '[':
        return this.characterClass()
      case '*':
      case '+':
      case '?':
        return this.fail('nothing to repeat in regular expression')
      case '{':
        return this.fail('a literal { must be escaped', 'write \\{')
      case '.':
        this.out += '.'
        this.at += 1
        return
      case '\\':
        this.out += this.escape()
        return
      default:
        this.out += quote(character)
        this.at += 1
    }
  }

  private group(depth: number): void {
    const start = this.at
    this.at += 1
    if (this.pattern[this.at] === '?') {
      this.fail(
        'groups starting with (? are not supported',
        'a plain group ( ) is enough, nothing is captured',
      )
    }
    this.out += '(?:'
    this.alternatives(depth + 1)
    if (this.pattern[this.at] !== ')') {
      this.at = start
      this.fail('unterminated group in regular expression')
    }
    this.out += ')'
    this.at += 1
  }

  /** @param hasCountsInside Whether what is repeated holds counts of its own. */
  private quantifier(hasCountsInside: boolean): void {
    QUANTIFIER.lastIndex = this.at
    const found = QUANTIFIER.exec(this.pattern)
    if (found === null) return
    if (found[1] !== undefined) {
      this.counts += 1
      if (hasCountsInside) this.hasNestedCounts = true
    }
    const least = found[1] === undefined ? 0 : Number(found[1])
    const most = found[3] === undefined || found[3] === '' ? least : Number(found[3])
    this.countSum += most
    if (least > REPEAT_MAX || most > REPEAT_MAX) {
      this.fail(`a repetition may count to at most ${REPEAT_MAX}`, 'compare `.length` for longer texts')
    }
    if (most < least) this.fail('numbers out of order in {} quantifier')
    this.out += found[0]
    this.at += found[0].length
    QUANTIFIER.lastIndex = this.at
    if (QUANTIFIER.test(this.pattern)) {
      this.fail(
        'a quantifier cannot follow a quantifier',
        'lazy and possessive forms are not supported; they would not change the answer',
      )
    }
  }

  private characterClass(): void {
    const { pattern } = this
    const start = this.at
    this.at += 1
    let out = '['
    if (pattern[this.at] === '^') {
      out += '^'
      this.at += 1
    }
    let isEmpty = true
    while (pattern[this.at] !== ']') {
      if (this.at >= pattern.length) {
        this.at = start
        this.fail('unterminated regular expression literal', 'the class opened by `[` is never closed')
      }
      out += this.classItem()
      isEmpty = false
    }
    if (isEmpty) this.fail('empty class in regular expression')
    this.at += 1
    this.out += `${out}]`
  }

  /** One character, one class escape or one range inside brackets. */
  private classItem(): string {
    const { pattern } = this
    const from = this.classCharacter()
    const isRange = pattern[this.at] === '-' && this.at + 1 < pattern.length && pattern[this.at + 1] !== ']'
    if (!isRange || from.isClass) return from.out
    const dash = this.at
    this.at += 1
    const to = this.classCharacter()
    if (to.isClass) {
      // `[a-\d]`: the dash stands for itself.
      return `${from.out}\\-${to.out}`
    }
    if (to.code < from.code) {
      this.at = dash
      this.fail('range out of order in regular expression class')
    }
    return `${from.out}-${to.out}`
  }

  private classCharacter(): { out: string; code: number; isClass: boolean } {
    const { pattern } = this
    if (pattern[this.at] === '\\') {
      const next = pattern[this.at + 1] ?? ''
      const out = this.escape()
      return { out, code: next.codePointAt(0) ?? 0, isClass: CLASS_ESCAPES.has(next) }
    }
    const character = String.fromCodePoint(pattern.codePointAt(this.at)!)
    this.at += character.length
    return { out: quote(character), code: character.codePointAt(0)!, isClass: false }
  }

  private escape(): string {
    const next = this.pattern[this.at + 1]
    if (next === undefined) this.fail('regular expression ends in a backslash')
    if (CLASS_ESCAPES.has(next)) {
      this.at += 2
      return `\\${next}`
    }
    if (/[A-Za-z0-9]/.test(next)) {
      this.fail(
        `\\${next} is not supported in regular expressions`,
        'supported are \\s \\w \\d \\S \\W \\D, and a backslash before a character that is no letter or digit',
      )
    }
    this.at += 2
    return quote(next)
  }

  private fail(message: string, hint: string | null = null): never {
    throw new DialectProblem(message, hint, this.at)
  }
}

/** Any ASCII punctuation may be escaped in re2, and must be where it means something. */
function quote(character: string): string {
  return /^[!-/:-@[-`{-~]$/.test(character) ? `\\${character}` : character
}
