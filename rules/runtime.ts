/**
 * Runtime: what compiled rules call. Every function either answers or throws one of two constants, which costs
 * no stack trace: FAILED ends the rule with an error, OVER_BUDGET ends the whole check.
 */
import { KEY_BYTES_MAX, type Leaf, PATH_DEPTH_MAX, type Path } from '../protocol/index.ts'
import { type DataView, OBJECT } from './data-view.ts'
import type { Matcher } from './regexp.ts'
import { isQuickSearch, occurrences, splitAt } from './text-search.ts'

/** Thrown where an operation meets a value of the wrong type: the rule as a whole does not grant. */
export const FAILED = Symbol('rule failed')
/** Thrown where a check has cost more than its limit. */
export const OVER_BUDGET = Symbol('rule over budget')

/** Longer strings than the database may hold cannot equal anything in it. */
const TEXT_LENGTH_MAX = 16 * 1024 * 1024
/** Looking at a text of up to this many characters costs no more than any other step. */
const SHORT_LENGTH = 1024
/** No path that exists is longer than this. */
const PATH_TEXT_MAX = PATH_DEPTH_MAX * (KEY_BYTES_MAX + 1)

/** Steps left for one read or write. */
export class Budget {
  steps = 0

  spend(steps: number): void {
    this.steps -= steps
    if (this.steps < 0) throw OVER_BUDGET
  }
}

export function fail(): never {
  throw FAILED
}

export function num(value: unknown): number {
  if (typeof value !== 'number') throw FAILED
  return value
}

export function str(value: unknown): string {
  if (typeof value !== 'string') throw FAILED
  return value
}

export function len(value: unknown): number {
  if (typeof value !== 'string') throw FAILED
  return value.length
}

/** One part of a concatenation. */
export function part(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number') return String(value)
  throw FAILED
}

export function glue(a: string, b: string, budget: Budget): string {
  const text = a + b
  if (text.length > TEXT_LENGTH_MAX) throw FAILED
  // Nothing is copied yet, but whoever looks into the text has it copied.
  if (text.length > SHORT_LENGTH) budget.spend(text.length >> 4)
  return text
}

export function add(a: unknown, b: unknown, budget: Budget): number | string {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  if (typeof a === 'string' || typeof b === 'string') return glue(part(a), part(b), budget)
  throw FAILED
}

/** Division by zero is not a number here, whichever sign JavaScript would give its infinity. */
export function divide(a: number, b: number): number {
  return b === 0 ? Number.NaN : a / b
}

/** Objects, stored or claimed, equal nothing, themselves included. */
export function same(a: unknown, b: unknown, budget: Budget): boolean {
  if (typeof a === 'string') {
    if (typeof b === 'string') compared(a, b, budget)
    return a === b
  }
  return a === b && typeof a !== 'symbol' && (typeof a !== 'object' || a === null)
}

/** Comparing goes through texts up to where they differ. */
function compared(a: string, b: string, budget: Budget): void {
  const length = Math.min(a.length, b.length)
  if (length > SHORT_LENGTH) budget.spend(length >> 6)
}

export function below(a: unknown, b: unknown, budget: Budget): boolean {
  if (typeof a === 'string' && typeof b === 'string') compared(a, b, budget)
  else if (typeof a !== 'number' || typeof b !== 'number') throw FAILED
  return (a as number) < (b as number)
}

export function atMost(a: unknown, b: unknown, budget: Budget): boolean {
  if (typeof a === 'string' && typeof b === 'string') compared(a, b, budget)
  else if (typeof a !== 'number' || typeof b !== 'number') throw FAILED
  return (a as number) <= (b as number)
}

/** A member of `auth` or of what hangs off it; absence at any depth is null. Own properties only. */
export function get(object: unknown, name: string): unknown {
  if (typeof object !== 'object' || object === null || !Object.hasOwn(object, name)) return null
  return (object as Record<string, unknown>)[name] ?? null
}

export function getIndex(object: unknown, index: unknown): unknown {
  if (typeof index === 'string') return get(object, index)
  if (typeof index === 'number') return get(object, String(index))
  throw FAILED
}

export function isIn(value: unknown, claim: unknown, budget: Budget): boolean {
  if (claim === null) return false
  if (Array.isArray(claim)) {
    budget.spend(claim.length)
    return claim.some((element) => same(element, value, budget))
  }
  if (typeof claim === 'object') return typeof value === 'string' && Object.hasOwn(claim, value)
  throw FAILED
}

export function isOneOf(value: unknown, list: readonly unknown[], budget: Budget): boolean {
  for (const element of list) if (same(element, value, budget)) return true
  return false
}

export function isAnyOf(value: unknown, list: readonly (() => unknown)[], budget: Budget): boolean {
  for (const element of list) if (same(element(), value, budget)) return true
  return false
}

export function contains(text: unknown, part: unknown, budget: Budget): boolean {
  if (typeof text !== 'string' || typeof part !== 'string') throw FAILED
  budget.spend(text.length >> 6)
  return isQuickSearch(text, part) ? text.includes(part) : searched(text, part, budget).next().done !== true
}

export function beginsWith(text: unknown, start: unknown, budget: Budget): boolean {
  if (typeof text !== 'string' || typeof start !== 'string') throw FAILED
  budget.spend(start.length >> 6)
  return text.startsWith(start)
}

export function endsWith(text: unknown, end: unknown, budget: Budget): boolean {
  if (typeof text !== 'string' || typeof end !== 'string') throw FAILED
  budget.spend(end.length >> 6)
  return text.endsWith(end)
}

/** Replaces every occurrence, literally. An empty `from` stands between all characters, as in JavaScript. */
export function replace(text: unknown, from: unknown, to: unknown, budget: Budget): string {
  if (typeof text !== 'string' || typeof from !== 'string' || typeof to !== 'string') throw FAILED
  let length = text.length
  if (to.length > from.length) {
    // Counted before it is made: a few chained calls could otherwise ask for more memory than there is.
    const growth = to.length - from.length
    if (from === '') length += growth * (text.length + 1)
    else if (isQuickSearch(text, from))
      for (let at = text.indexOf(from); at >= 0; at = text.indexOf(from, at + from.length)) length += growth
    else for (const _ of searched(text, from, budget)) length += growth
    if (length > TEXT_LENGTH_MAX) throw FAILED
  }
  budget.spend(Math.max(length, text.length) >> 4)
  if (isQuickSearch(text, from)) return text.replaceAll(from, () => to)
  spendSearch(text, from, budget)
  return splitAt(text, from).join(to)
}

function searched(text: string, part: string, budget: Budget): Iterator<number> & Iterable<number> {
  spendSearch(text, part, budget)
  return occurrences(text, part)
}

function spendSearch(text: string, part: string, budget: Budget): void {
  budget.spend((text.length + part.length) >> 2)
}

export function toLowerCase(text: unknown, budget: Budget): string {
  if (typeof text !== 'string') throw FAILED
  budget.spend(text.length >> 4)
  return text.toLowerCase()
}

export function toUpperCase(text: unknown, budget: Budget): string {
  if (typeof text !== 'string') throw FAILED
  budget.spend(text.length >> 4)
  return text.toUpperCase()
}

export function matches(text: unknown, matcher: Matcher, budget: Budget): boolean {
  if (typeof text !== 'string') throw FAILED
  budget.spend(text.length * matcher.stepsPerCharacter)
  return matcher.matches(text)
}

/**
 * The keys of a relative path given as text. One slash at either end is tolerated. An empty key is kept: it
 * is not legal in data, so whatever stands below it is absent.
 */
export function splitKeys(text: string): string[] {
  if (text.length > PATH_TEXT_MAX) return ['']
  const start = text.charCodeAt(0) === 47 ? 1 : 0
  const end = text.length > start && text.charCodeAt(text.length - 1) === 47 ? text.length - 1 : text.length
  return text.slice(start, end).split('/')
}

/**
 * Checks the one key of a path that is known only now; splits it where it holds several.
 * @param start, end The keys that came out of the same text as the one at `at`, and are split anew with it.
 */
export function path1(path: string[], at: number, start: number, end: number): string[] {
  const key = path[at] as unknown
  if (typeof key !== 'string') throw FAILED
  if (key !== '' && key.length < KEY_BYTES_MAX && !key.includes('/')) return path
  return [...path.slice(0, start), ...splitKeys(path.slice(start, end).join('/')), ...path.slice(end)]
}

/**
 * The same for any number of such keys.
 * @param groups Pairs of start and end.
 */
export function pathOf(path: string[], groups: readonly number[]): string[] {
  let isPlain = true
  for (let g = 0; g < groups.length; g += 2) {
    for (let i = groups[g]!; i < groups[g + 1]!; i++) {
      const key = path[i] as unknown
      if (typeof key !== 'string') throw FAILED
      if (key === '' || key.length >= KEY_BYTES_MAX || key.includes('/')) isPlain = false
    }
  }
  if (isPlain) return path
  const keys: string[] = []
  let from = 0
  for (let g = 0; g < groups.length; g += 2) {
    keys.push(...path.slice(from, groups[g]), ...splitKeys(path.slice(groups[g], groups[g + 1]).join('/')))
    from = groups[g + 1]!
  }
  keys.push(...path.slice(from))
  return keys
}

/** A snapshot that cannot be resolved before it runs, like a choice between two. */
export class Snapshot {
  readonly view: DataView
  readonly path: Path

  constructor(view: DataView, path: Path) {
    this.view = view
    this.path = path
  }

  child(key: unknown): Snapshot {
    return new Snapshot(this.view, [...this.path, ...splitKeys(str(key))])
  }

  parent(): Snapshot {
    if (this.path.length === 0) throw FAILED
    return new Snapshot(this.view, this.path.slice(0, -1))
  }

  value(): Leaf | typeof OBJECT | null {
    return this.view.valueAt(this.path)
  }

  priority(): string | number | null {
    return this.view.priorityAt(this.path)
  }
}

/** All names are looked at before the first read: a name that is no string is an error whatever is missing. */
export function hasAll({ view, path }: Snapshot, names: readonly unknown[]): boolean {
  for (const name of names) if (typeof name !== 'string') throw FAILED
  for (const name of names) if (view.valueAt([...path, ...splitKeys(name as string)]) === null) return false
  return true
}

export function countChildren({ view, path }: Snapshot, budget: Budget): number {
  if (view.valueAt(path) !== OBJECT) return 0
  let count = 0
  for (const _ of view.childKeysAt(path)) {
    budget.spend(1)
    count += 1
  }
  return count
}
