/**
 * Live coverage: how often a serving ruleset asked each rule, and which values each part of its expressions had.
 * What a developer's server shows at `/.inspect/coverage`; rules run in the interpreter while it listens.
 *
 * INVARIANT: memory is bounded by the rules' own length, whatever data and tokens are seen.
 */
import { clip } from '../protocol/index.ts'
import { type Expression, partsOf } from './ast.ts'
import { describe, type Mark, markedPage } from './coverage.ts'
import { OBJECT } from './data-view.ts'
import type { RulePlace } from './decision.ts'
import type { Outcome, Tracer } from './evaluation.ts'
import { type Observer, Place, type RuleFailure } from './interpreter.ts'
import type { Rule } from './rule.ts'
import type { Ruleset } from './ruleset.ts'

export interface LiveCoverageReport {
  /** Unix milliseconds since which it counts: the rules have been in force since then. */
  sinceMs: number
  rules: LiveRule[]
  /** Conditions seen both true and false, of all conditions. */
  covered: number
  total: number
}

export interface LiveRule {
  rule: RulePlace
  /** How often the rule was evaluated, by outcome. */
  outcomes: Record<Outcome, number>
  /** Its parts, wholes before parts; literals are left out. */
  expressions: LiveExpression[]
}

export interface LiveExpression {
  /** As it stands in the rules, cut short. */
  text: string
  /** Offsets in the rules, UTF-16 units, the end exclusive. */
  start: number
  end: number
  isCondition: boolean
  /** How often it was evaluated, failures included. */
  count: number
  /** The first values it had, as JSON cut short, with how often. Snapshots are told by place, objects not apart. */
  values: { value: string; count: number }[]
  /** How often it had yet another value. */
  otherCount: number
}

interface Seen {
  count: number
  values: Map<string, number>
  otherCount: number
}

/** Values kept of each expression. */
const VALUES_MAX = 8
/** Characters kept of each value. */
const VALUE_LENGTH_MAX = 60
/** Expressions a report tells of: it is made in one turn, and finding their places in a hostile text takes long. */
const EXPRESSIONS_MAX = 20_000

/** Collects while checks run with it as their tracer; one for each time that rules come into force. */
export class LiveCoverage implements Tracer {
  readonly #ruleset: Ruleset
  readonly #sinceMs: number
  readonly #outcomes = new Map<Rule, Record<Outcome, number>>()
  readonly #seen = new Map<Expression, Seen>()
  readonly #observer: Observer = {
    evaluated: (expression, value) => {
      if (isWorthTelling(expression)) this.#count(expression, textOf(value))
    },
  }

  constructor(ruleset: Ruleset, sinceMs: number) {
    this.#ruleset = ruleset
    this.#sinceMs = sinceMs
  }

  started(): Observer {
    return this.#observer
  }

  ended(rule: Rule, _path: unknown, outcome: Outcome, failure: RuleFailure | null): void {
    let outcomes = this.#outcomes.get(rule)
    if (outcomes === undefined) {
      outcomes = noOutcomes()
      this.#outcomes.set(rule, outcomes)
    }
    outcomes[outcome] += 1
    if (failure !== null)
      this.#count(failure.expression, clip(`failed: ${failure.message}`, VALUE_LENGTH_MAX))
  }

  report(): LiveCoverageReport {
    let room = EXPRESSIONS_MAX
    const rules = this.#ruleset.rules.map((rule): LiveRule => {
      const expressions = rule.expression === null ? [] : this.#told(rule, rule.expression, room)
      room -= expressions.length
      const outcomes = { ...(this.#outcomes.get(rule) ?? noOutcomes()) }
      return { rule: rule.place, outcomes, expressions }
    })
    const conditions = rules
      .flatMap(({ expressions }) => expressions)
      .filter(({ isCondition }) => isCondition)
    const covered = conditions.filter(
      (condition) => wasSeen(condition, 'true') && wasSeen(condition, 'false'),
    )
    return { sinceMs: this.#sinceMs, rules, covered: covered.length, total: conditions.length }
  }

  /** The rules as a page, every expression with its counts to point at. */
  page(title: string): string {
    const report = this.report()
    const marks = report.rules.flatMap(({ expressions }) => expressions.map(markOf))
    const since = new Date(report.sinceMs).toISOString()
    const intro =
      `${report.covered} of ${report.total} conditions seen both true and false since ${since}. ` +
      'Point at an expression to see the values it had.'
    return markedPage({ title, intro, text: this.#ruleset.source, marks })
  }

  #count(expression: Expression, value: string): void {
    let seen = this.#seen.get(expression)
    if (seen === undefined) {
      seen = { count: 0, values: new Map(), otherCount: 0 }
      this.#seen.set(expression, seen)
    }
    seen.count += 1
    const count = seen.values.get(value)
    if (count !== undefined || seen.values.size < VALUES_MAX) seen.values.set(value, (count ?? 0) + 1)
    else seen.otherCount += 1
  }

  #told(rule: Rule, whole: Expression, room: number): LiveExpression[] {
    const found: LiveExpression[] = []
    const text = String(rule.source.value)
    const visit = (expression: Expression): void => {
      if (found.length >= room) return
      if (isWorthTelling(expression)) {
        const seen = this.#seen.get(expression)
        found.push({
          text: clip(text.slice(expression.start, expression.end), VALUE_LENGTH_MAX),
          start: rule.source.offsetAt(expression.start),
          end: rule.source.offsetAt(expression.end),
          isCondition: expression.type === 'Boolean',
          count: seen?.count ?? 0,
          values: [...(seen?.values ?? [])].map(([value, count]) => ({ value, count })),
          otherCount: seen?.otherCount ?? 0,
        })
      }
      for (const part of partsOf(expression)) visit(part)
    }
    visit(whole)
    return found
  }
}

function noOutcomes(): Record<Outcome, number> {
  return { true: 0, false: 0, error: 0, budget: 0 }
}

function isWorthTelling({ kind, type }: Expression): boolean {
  return kind !== 'literal' && kind !== 'regex' && kind !== 'array' && type !== 'Method' && type !== 'Query'
}

function wasSeen({ values }: LiveExpression, value: string): boolean {
  return values.some((seen) => seen.value === value)
}

function markOf(expression: LiveExpression): Mark {
  const { start, end, isCondition, count, values, otherCount } = expression
  const seen = describe(wasSeen(expression, 'true'), wasSeen(expression, 'false'))
  const counts = values.map(({ value, count }) => `${value}: ${count}`)
  if (otherCount > 0) counts.push(`other values: ${otherCount}`)
  return {
    start,
    end,
    className: isCondition ? seen.replaceAll(' ', '-') : 'value',
    title: [...(isCondition ? [seen] : []), `evaluated ${count} times`, ...counts].join('\n'),
  }
}

/** A value in few characters, however large it is. */
function textOf(value: unknown): string {
  if (typeof value === 'string')
    return clip(JSON.stringify(value.slice(0, VALUE_LENGTH_MAX)), VALUE_LENGTH_MAX)
  if (value instanceof Place) return clip(`${value.name} at /${value.path.join('/')}`, VALUE_LENGTH_MAX)
  if (value === OBJECT || (typeof value === 'object' && value !== null)) return '{…}'
  return String(value)
}
