/**
 * Automaton: a small regular expression as a table of states, so that looking at a character is looking up two numbers.
 * It is made whole, when a pattern is first asked, or not at all: patterns that would take many states are left to re2js,
 * which gives the same answers.
 *
 *   ^[0-9]{2}$      place 0 [0-9]  place 1 [0-9]      state = places that the last character may have been at
 *
 *        START -[0-9]-> {0} -[0-9]-> {1} -any-> DEAD       at the end of the text: {1} is a match
 */
import type { CharacterSet } from './character-set.ts'

/** A part of a pattern. */
export type Piece =
  /** null for a set that is not known here. */
  | { kind: 'set'; set: CharacterSet | null }
  | { kind: 'sequence'; pieces: readonly Piece[] }
  | { kind: 'choice'; pieces: readonly Piece[] }
  | { kind: 'repeat'; piece: Piece; least: number; most: number }

export interface Pattern {
  /** At least one. */
  alternatives: readonly Piece[]
  /** Whether the first alternative matches at the start of the text only. */
  hasStart: boolean
  /** Whether the last alternative matches at the end of the text only. */
  hasEnd: boolean
}

/** Places in a pattern, with what counts repeat. */
const PLACES_MAX = 128
/** Parts of a pattern, likewise; those that hold no places, like `(a{0}){9}`, multiply too. */
const PARTS_MAX = 1_024
/** Ranges of characters that no set of the pattern tells apart. */
const INTERVALS_MAX = 200
const TABLE_SIZE_MAX = 8_192
/** Places looked at while the table is made: a few milliseconds at most, of which an e-mail address takes a twentieth. */
const WORK_MAX = 5_000

/** States with a number of their own, so that the loop has one comparison for both. */
const DEAD = 0
const FOUND = 1
const START = 2

export class Automaton {
  /** Next state for each state and each class of characters. */
  private readonly table: Int16Array
  private readonly width: number
  /** Whether a text that ends in a state matches. */
  private readonly isMatchAtEnd: Uint8Array
  private readonly classOfAscii: Uint8Array
  private readonly intervals: Intervals

  constructor(table: Int16Array, width: number, isMatchAtEnd: Uint8Array, intervals: Intervals) {
    this.table = table
    this.width = width
    this.isMatchAtEnd = isMatchAtEnd
    this.intervals = intervals
    this.classOfAscii = Uint8Array.from({ length: 128 }, (_, code) => intervals.classOf(code))
  }

  /** Whether the pattern is found anywhere in the text. */
  matches(text: string): boolean {
    const { table, width, classOfAscii } = this
    let state = START
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      let ofCharacter: number
      if (unit < 128) ofCharacter = classOfAscii[unit]!
      else {
        const code = text.codePointAt(i)!
        if (code > 0xffff) i += 1
        ofCharacter = this.intervals.classOf(code)
      }
      state = table[state * width + ofCharacter]!
      if (state < START) return state === FOUND
    }
    return this.isMatchAtEnd[state] === 1
  }
}

/** @returns null where the pattern has too many places or states, or a set that is not known. */
export function automatonOf({ alternatives, hasStart, hasEnd }: Pattern): Automaton | null {
  const places = new Places()
  const fragments: Fragment[] = []
  for (const piece of alternatives) {
    const fragment = places.add(piece)
    if (fragment === null) return null
    fragments.push(fragment)
  }
  const isAnchored = (i: number) => ({
    start: hasStart && i === 0,
    end: hasEnd && i === fragments.length - 1,
  })
  const intervals = intervalsOf(places.sets)
  if (intervals === null) return null
  const table = new TableMaker(places, intervals)
  for (const [i, { first, last, isNullable }] of fragments.entries()) {
    const { start, end } = isAnchored(i)
    // Nothing at all is found at the start or the end of every text.
    if (isNullable && !(start && end)) table.isAlwaysFound = true
    if (isNullable) table.isEmptyMatch = true
    table.first.push(...first)
    if (!start) table.again.push(...first)
    for (const place of last) (end ? table.lastAtEnd : table.lastAnywhere).add(place)
  }
  return table.make()
}

/** Where a part begins, where it ends, and whether it may be nothing. */
interface Fragment {
  first: readonly number[]
  last: readonly number[]
  isNullable: boolean
}

const NOTHING: Fragment = { first: [], last: [], isNullable: true }

/** The places of a pattern, counts written out, and which may follow which. */
class Places {
  readonly sets: CharacterSet[] = []
  readonly follow: Set<number>[] = []
  private parts = 0

  /** null where there are too many places, or an unknown set. */
  add(piece: Piece): Fragment | null {
    this.parts += 1
    if (this.parts > PARTS_MAX) return null
    switch (piece.kind) {
      case 'set':
        return piece.set === null ? null : this.place(piece.set)
      case 'sequence':
        return this.sequence(piece.pieces)
      case 'choice':
        return this.choice(piece.pieces)
      case 'repeat':
        return this.repeat(piece)
    }
  }

  private place(set: CharacterSet): Fragment | null {
    const place = this.sets.length
    if (place >= PLACES_MAX) return null
    this.sets.push(set)
    this.follow.push(new Set())
    return { first: [place], last: [place], isNullable: false }
  }

  private sequence(pieces: readonly Piece[]): Fragment | null {
    let whole = NOTHING
    for (const piece of pieces) {
      const part = this.add(piece)
      if (part === null) return null
      whole = this.joined(whole, part)
    }
    return whole
  }

  private choice(pieces: readonly Piece[]): Fragment | null {
    const first: number[] = []
    const last: number[] = []
    let isNullable = false
    for (const piece of pieces) {
      const part = this.add(piece)
      if (part === null) return null
      first.push(...part.first)
      last.push(...part.last)
      isNullable ||= part.isNullable
    }
    return { first, last, isNullable }
  }

  private repeat({ piece, least, most }: Piece & { kind: 'repeat' }): Fragment | null {
    const isLoop = most === Number.POSITIVE_INFINITY
    const times = isLoop ? Math.max(1, least) : most
    if (times > PARTS_MAX) return null
    // From the last to the first, `a(a(a)?)?`: so one place follows each, where in `aa?a?` all that are left do.
    let whole = NOTHING
    for (let i = times - 1; i >= 0; i--) {
      const part = this.add(piece)
      if (part === null) return null
      if (isLoop && i === times - 1) this.connect(part.last, part.first)
      whole = this.joined(part, whole)
      if (i >= least) whole = { ...whole, isNullable: true }
    }
    return whole
  }

  private joined(a: Fragment, b: Fragment): Fragment {
    this.connect(a.last, b.first)
    return {
      first: a.isNullable ? [...a.first, ...b.first] : a.first,
      last: b.isNullable ? [...a.last, ...b.last] : b.last,
      isNullable: a.isNullable && b.isNullable,
    }
  }

  private connect(from: readonly number[], to: readonly number[]): void {
    for (const place of from) for (const next of to) this.follow[place]!.add(next)
  }
}

/** Makes the table from all that is known of the places. */
class TableMaker {
  /** Places at which a match may begin at the start of the text, and anywhere. */
  readonly first: number[] = []
  readonly again: number[] = []
  /** Places behind which a match is found, or found if the text ends there. */
  readonly lastAnywhere = new Set<number>()
  readonly lastAtEnd = new Set<number>()
  isAlwaysFound = false
  isEmptyMatch = false
  private readonly places: Places
  private readonly intervals: Intervals
  private readonly states: number[][] = []
  private readonly numbers = new Map<string, number>()
  private work = 0

  constructor(places: Places, intervals: Intervals) {
    this.places = places
    this.intervals = intervals
  }

  make(): Automaton | null {
    const { states, intervals } = this
    const width = intervals.classes
    const table: number[] = [...row(width, DEAD), ...row(width, FOUND)]
    states.push([], [], [])
    for (let state = START; state < states.length; state++) {
      const candidates = this.candidatesOf(state)
      for (let c = 0; c < width; c++) {
        this.work += candidates.length
        if (this.work > WORK_MAX || table.length >= TABLE_SIZE_MAX) return null
        table.push(this.isAlwaysFound ? FOUND : this.numberOf(candidates, c))
      }
    }
    const isMatchAtEnd = Uint8Array.from(states, (held, state) =>
      state === FOUND ||
      (state === START ? this.isEmptyMatch : held.some((place) => this.lastAtEnd.has(place)))
        ? 1
        : 0,
    )
    return new Automaton(Int16Array.from(table), width, isMatchAtEnd, intervals)
  }

  /** Places that the next character may be at. */
  private candidatesOf(state: number): number[] {
    if (state === START) return [...new Set(this.first)]
    const candidates = new Set(this.again)
    for (const place of this.states[state]!) {
      this.work += this.places.follow[place]!.size
      for (const next of this.places.follow[place]!) candidates.add(next)
    }
    return [...candidates].sort((a, b) => a - b)
  }

  private numberOf(candidates: readonly number[], c: number): number {
    const isIn = this.intervals.placesIn(c)
    const held: number[] = []
    for (const place of candidates) {
      if (isIn[place] === 0) continue
      if (this.lastAnywhere.has(place)) return FOUND
      held.push(place)
    }
    if (held.length === 0 && this.again.length === 0) return DEAD
    const key = held.join()
    let number = this.numbers.get(key)
    if (number === undefined) {
      number = this.states.length
      this.states.push(held)
      this.numbers.set(key, number)
    }
    return number
  }
}

function row(width: number, state: number): number[] {
  return new Array<number>(width).fill(state)
}

/** Code points in classes, so that a table needs one column for all characters that every set has or has not. */
class Intervals {
  /** First code points of intervals, from 0 up, and the class of each. */
  private readonly starts: readonly number[]
  private readonly classOfInterval: readonly number[]
  /** For each class 1 for each place whose set holds it. */
  private readonly members: readonly Uint8Array[]

  constructor(starts: readonly number[], classOfInterval: readonly number[], members: readonly Uint8Array[]) {
    this.starts = starts
    this.classOfInterval = classOfInterval
    this.members = members
  }

  get classes(): number {
    return this.members.length
  }

  classOf(code: number): number {
    const { starts } = this
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (starts[middle]! <= code) low = middle
      else high = middle - 1
    }
    return this.classOfInterval[low]!
  }

  /** 1 for each place whose set holds a class. */
  placesIn(c: number): Uint8Array {
    return this.members[c]!
  }
}

function intervalsOf(sets: readonly CharacterSet[]): Intervals | null {
  const bounds = new Set([0])
  for (const set of sets) {
    for (let i = 0; i < set.length; i += 2) bounds.add(set[i]!).add(set[i + 1]! + 1)
    if (bounds.size > INTERVALS_MAX) return null
  }
  const starts = [...bounds].sort((a, b) => a - b)
  const placesOf = starts.map(() => new Uint8Array(sets.length))
  for (const [place, set] of sets.entries()) {
    let at = 0
    for (const [i, start] of starts.entries()) {
      while (at < set.length && set[at + 1]! < start) at += 2
      if (at < set.length && set[at]! <= start) placesOf[i]![place] = 1
    }
  }
  const classes = new Map<string, number>()
  const members: Uint8Array[] = []
  const classOfInterval = placesOf.map((places) => {
    const key = places.join('')
    let number = classes.get(key)
    if (number === undefined) {
      number = members.length
      members.push(places)
      classes.set(key, number)
    }
    return number
  })
  return new Intervals(starts, classOfInterval, members)
}
