/**
 * Regular expressions: checks a pattern against Firebase's dialect and hands it to a linear-time matcher, so
 * that no pattern and no string can make matching explode: to a table of states where a small one does, else to re2js,
 * of which this is the only importer.
 *
 * The dialect: literals . * + ? {n} {n,} {n,m} ( ) | [..] [^..] ranges \s \w \d \S \W \D, a backslash before
 * anything else makes it literal, ^ only first and $ only last in the pattern, flag i.
 */
import { RE2JS } from 're2js'
import { type Automaton, automatonOf, type Pattern, type Piece } from './automaton.ts'
import {
  type CharacterSet,
  complementOf,
  escapedSet,
  foldedSet,
  NOT_NEWLINE,
  setOf,
} from './character-set.ts'
import type { Growth } from './expand.ts'

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
/** re2js gives up on larger patterns before it has made all of them. */
const EAGER_PARTS_MAX = 100_000
/** Compiling a part takes about as long as checking this many nodes of an expression. */
const NODES_PER_PART = 4
/** A table of states has at most about two to the power of this many rows. */
const CHOICES_MAX = 12
const STEPS_IN_TABLE = 4
/** What it costs to make a state anew for each character, where the table outgrows its memory. */
const STEPS_PER_STATE = 400

/** @param growth Takes what is compiled at once into account: so many of these would take long to load. */
export function compileRegex(
  pattern: string,
  flags: string,
  growth: Growth = { nodes: 0 },
): Matcher | RegexProblem {
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
    const reFlags = flags === 'i' ? RE2JS.CASE_INSENSITIVE : 0
    const matcher = new LazyMatcher(pattern, translated.text, reFlags, translator.mayOutgrowTable)
    if (translator.mayBeTooLarge) {
      growth.nodes += Math.min(translator.parts, EAGER_PARTS_MAX) * NODES_PER_PART
      matcher.compile()
    }
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
  private readonly translated: string
  private readonly flags: number
  private readonly mayOutgrowTable: boolean
  /** undefined until one was tried to be made. */
  private table: Automaton | null | undefined
  private compiled: RE2JS | null = null

  constructor(pattern: string, translated: string, flags: number, mayOutgrowTable: boolean) {
    this.pattern = pattern
    this.translated = translated
    this.flags = flags
    this.mayOutgrowTable = mayOutgrowTable
  }

  compile(): RE2JS {
    this.compiled ??= RE2JS.compile(this.translated, this.flags)
    return this.compiled
  }

  matches(text: string): boolean {
    const { automaton } = this
    return automaton === null ? this.compile().test(text) : automaton.matches(text)
  }

  /** Tables cost the same for all; of re2js' programs small ones run in a table, large ones may be walked as a whole. */
  get stepsPerCharacter(): number {
    if (this.automaton !== null) return STEPS_IN_TABLE
    const size = this.compile().programSize()
    if (size > SMALL_PROGRAM_SIZE) return size * 2
    return this.mayOutgrowTable ? STEPS_PER_STATE + size * 2 : STEPS_IN_TABLE
  }

  private get automaton(): Automaton | null {
    if (this.table === undefined) {
      const isFolded = this.flags !== 0
      this.table = automatonOf(new Translator(this.pattern, { isFolded }).translate())
    }
    return this.table
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

const UNKNOWN: Piece = { kind: 'set', set: null }

function pieceOf(set: CharacterSet | null): Piece {
  return set === null ? UNKNOWN : { kind: 'set', set }
}

/** One character of a pattern, escaped or not, or a class such as `\d`. */
interface EscapedCharacter {
  out: string
  code: number
  isClass: boolean
  /** null where it is not known. */
  set: CharacterSet | null
}

/** A pattern in re2's syntax, and in pieces. */
export interface Translated extends Pattern {
  text: string
}

/** Walks the pattern once, writing the same pattern in re2's syntax with everything literal escaped. */
export class Translator {
  private readonly pattern: string
  private at = 0
  private out = ''
  /** Counts like `{3,5}` so far, and what they add up to. */
  private counts = 0
  private countSum = 0
  private hasNestedCounts = false
  /** Characters, classes and groups so far, each as often as counts repeat it. */
  parts = 0
  /** Places so far at which more than one character, or nothing, goes on to the next place; counts multiply them. */
  private choices = 0
  /** Those that a match may be at several of at once, since it can have begun at any character or loop before. */
  private openChoices = 0
  private isOpen = true
  private hasEnd = false
  private readonly sets: { isFolded: boolean } | null

  /** @param sets Left out where the pieces are not wanted: making their sets takes most of the time. */
  constructor(pattern: string, sets: { isFolded: boolean } | null = null) {
    this.pattern = pattern
    this.sets = sets
  }

  /**
   * Whether the states that the text can lead to may be too many to keep: after `a.{20}` each of the last 20
   * characters may or may not have been an `a`.
   */
  get mayOutgrowTable(): boolean {
    return this.openChoices > CHOICES_MAX
  }

  /** Whether re2js may refuse the pattern, or take long to compile it. */
  get mayBeTooLarge(): boolean {
    return this.hasNestedCounts || this.pattern.length * (1 + this.countSum) > LAZY_PARTS_MAX
  }

  translate(): Translated {
    const hasStart = this.pattern[0] === '^'
    if (hasStart) {
      this.out += '^'
      this.at = 1
      this.isOpen = false
    }
    const alternatives = this.alternatives(0)
    if (this.at < this.pattern.length) this.fail('unmatched ) in regular expression')
    return { text: this.out, alternatives, hasStart, hasEnd: this.hasEnd }
  }

  private alternatives(depth: number): Piece[] {
    if (depth > GROUP_DEPTH_MAX) this.fail('regular expression is nested too deep')
    const alternatives: Piece[] = []
    while (true) {
      const before = this.at
      alternatives.push(this.sequence(depth))
      const character = this.pattern[this.at]
      // A pattern of an anchor alone, or none at all, is not an alternative that was forgotten.
      const isWhole = depth === 0 && character === undefined && !this.out.includes('|')
      if (this.at === before && !isWhole) {
        this.fail('empty alternative in regular expression', 'make the group optional instead: (a|b)?')
      }
      if (character !== '|') return alternatives
      this.out += '|'
      this.at += 1
      // The `^` in front holds for the first alternative only.
      if (depth === 0) this.isOpen = true
      this.choose()
    }
  }

  private choose(): void {
    this.choices += 1
    if (this.isOpen) this.openChoices += 1
  }

  private sequence(depth: number): Piece {
    const { pattern } = this
    const pieces: Piece[] = []
    while (this.at < pattern.length) {
      const character = pattern[this.at]!
      if (character === '|' || character === ')') break
      if (character === '$') {
        if (this.at !== pattern.length - 1 || depth > 0) {
          this.fail('$ may only be the last character of a regular expression', 'a literal dollar is \\$')
        }
        this.out += '$'
        this.at += 1
        this.hasEnd = true
        break
      }
      const { counts, choices, openChoices, parts } = this
      const piece = this.atom(character, depth)
      this.parts += 1
      pieces.push(
        this.quantifier(piece, this.counts > counts, character === '(', { choices, openChoices, parts }),
      )
    }
    return { kind: 'sequence', pieces }
  }

  private atom(character: string, depth: number): Piece {
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
        this.choose()
        return pieceOf(NOT_NEWLINE)
      case '\\': {
        const { out, set, isClass } = this.escape()
        if (isClass) this.choose()
        this.out += out
        return pieceOf(set)
      }
      default: {
        const whole = this.codePoint()
        this.out += quote(whole)
        return pieceOf(this.setOfOne(whole))
      }
    }
  }

  private group(depth: number): Piece {
    const start = this.at
    this.at += 1
    if (this.pattern[this.at] === '?') {
      this.fail(
        'groups starting with (? are not supported',
        'a plain group ( ) is enough, nothing is captured',
      )
    }
    this.out += '(?:'
    const pieces = this.alternatives(depth + 1)
    if (this.pattern[this.at] !== ')') {
      this.at = start
      this.fail('unterminated group in regular expression')
    }
    this.out += ')'
    this.at += 1
    return { kind: 'choice', pieces }
  }

  /**
   * @param hasCountsInside Whether what is repeated holds counts of its own.
   * @param before What was counted before what is repeated.
   */
  private quantifier(
    piece: Piece,
    hasCountsInside: boolean,
    isGroup: boolean,
    before: { choices: number; openChoices: number; parts: number },
  ): Piece {
    QUANTIFIER.lastIndex = this.at
    const found = QUANTIFIER.exec(this.pattern)
    if (found === null) return piece
    if (found[1] !== undefined) {
      this.counts += 1
      if (hasCountsInside) this.hasNestedCounts = true
    }
    const least = found[1] === undefined ? 0 : Number(found[1])
    const most = found[3] === undefined || found[3] === '' ? least : Number(found[3])
    this.countSum += most
    const isLoop = found[0] === '*' || found[0] === '+' || found[3] === ''
    const times = Math.max(1, most)
    this.parts = before.parts + (this.parts - before.parts) * times
    this.choices = before.choices + (this.choices - before.choices) * times
    this.openChoices = before.openChoices + (this.openChoices - before.openChoices) * times
    for (let i = least; i < (found[1] === undefined ? 1 : most); i++) this.choose()
    // Within a looped group, as behind any loop, several rounds are under way at once.
    if (isLoop && isGroup && !this.isOpen) this.openChoices += this.choices - before.choices
    if (isLoop) this.isOpen = true
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
    if (piece === UNKNOWN) return UNKNOWN
    return {
      kind: 'repeat',
      piece,
      least: found[0] === '+' ? 1 : least,
      most: isLoop ? Number.POSITIVE_INFINITY : found[1] === undefined ? 1 : most,
    }
  }

  private characterClass(): Piece {
    const { pattern } = this
    const start = this.at
    this.at += 1
    let out = '['
    const isNegated = pattern[this.at] === '^'
    const ranges: number[] = []
    let isKnown = true
    if (isNegated) {
      out += '^'
      this.at += 1
    }
    let isEmpty = true
    while (pattern[this.at] !== ']') {
      if (this.at >= pattern.length) {
        this.at = start
        this.fail('unterminated regular expression literal', 'the class opened by `[` is never closed')
      }
      const item = this.classItem()
      out += item.out
      isEmpty = false
      if (item.set === null) isKnown = false
      else ranges.push(...item.set)
    }
    if (isEmpty) this.fail('empty class in regular expression')
    this.at += 1
    this.out += `${out}]`
    this.choose()
    if (!isKnown) return UNKNOWN
    const set = setOf(ranges)
    return pieceOf(isNegated ? complementOf(set) : set)
  }

  /** One character, one class escape or one range inside brackets. */
  private classItem(): { out: string; set: CharacterSet | null } {
    const { pattern } = this
    const from = this.classCharacter()
    const isRange = pattern[this.at] === '-' && this.at + 1 < pattern.length && pattern[this.at + 1] !== ']'
    if (!isRange || from.isClass) return from
    const dash = this.at
    this.at += 1
    const to = this.classCharacter()
    if (to.isClass) {
      // `[a-\d]`: the dash stands for itself.
      const sets = [from.set, this.setOfOne('-'), to.set]
      const isKnown = sets.every((set) => set !== null)
      return { out: `${from.out}\\-${to.out}`, set: isKnown ? setOf(sets.flatMap((set) => set!)) : null }
    }
    if (to.code < from.code) {
      this.at = dash
      this.fail('range out of order in regular expression class')
    }
    return { out: `${from.out}-${to.out}`, set: this.setOfRange(from.code, to.code) }
  }

  private classCharacter(): EscapedCharacter {
    if (this.pattern[this.at] === '\\') return this.escape()
    return this.itself()
  }

  private escape(): EscapedCharacter {
    const next = this.pattern[this.at + 1]
    if (next === undefined) this.fail('regular expression ends in a backslash')
    if (CLASS_ESCAPES.has(next)) {
      this.at += 2
      return { out: `\\${next}`, code: 0, isClass: true, set: this.setOfClass(next) }
    }
    if (/[A-Za-z0-9]/.test(next)) {
      this.fail(
        `\\${next} is not supported in regular expressions`,
        'supported are \\s \\w \\d \\S \\W \\D, and a backslash before a character that is no letter or digit',
      )
    }
    this.at += 1
    return this.itself()
  }

  /** The next character, which stands for itself. */
  private itself(): EscapedCharacter {
    const character = this.codePoint()
    const code = character.codePointAt(0)!
    return { out: quote(character), code, isClass: false, set: this.setOfOne(character) }
  }

  /** The next character, both halves of one that takes two units. */
  private codePoint(): string {
    const code = this.pattern.codePointAt(this.at)!
    const length = code > 0xffff ? 2 : 1
    this.at += length
    return this.pattern.slice(this.at - length, this.at)
  }

  private setOfClass(name: string): CharacterSet | null {
    return this.sets === null ? null : escapedSet(name, this.sets.isFolded)
  }

  private setOfOne(character: string): CharacterSet | null {
    const code = character.codePointAt(0)!
    return this.setOfRange(code, code)
  }

  /** null also where folding their case takes the tables of Unicode. */
  private setOfRange(from: number, to: number): CharacterSet | null {
    if (this.sets === null) return null
    return this.sets.isFolded ? foldedSet([from, to]) : [from, to]
  }

  private fail(message: string, hint: string | null = null): never {
    throw new DialectProblem(message, hint, this.at)
  }
}

/** Any ASCII punctuation may be escaped in re2, and must be where it means something. */
function quote(character: string): string {
  return /^[!-/:-@[-`{-~]$/.test(character) ? `\\${character}` : character
}
