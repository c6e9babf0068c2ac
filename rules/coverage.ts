/**
 * Coverage: which rules a test run asked, and which of their conditions it saw true, false or neither. A
 * condition that was never false might as well not be there, as far as the tests can tell.
 */
import { type Expression, partsOf } from './ast.ts'
import type { RulePlace } from './decision.ts'
import type { Outcome, Tracer } from './evaluation.ts'
import type { Observer } from './interpreter.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { Ruleset } from './ruleset.ts'

export interface RuleCoverage {
  rule: RulePlace
  /** Offsets of the rule in the file. */
  start: number
  end: number
  /** How often the rule was evaluated, by outcome. */
  outcomes: Record<Outcome, number>
  conditions: ConditionCoverage[]
}

export interface ConditionCoverage {
  text: string
  /** Offsets of the condition in the file. */
  start: number
  end: number
  wasTrue: boolean
  wasFalse: boolean
}

export interface CoverageReport {
  rules: RuleCoverage[]
  /** Conditions seen both true and false, of all conditions. */
  covered: number
  total: number
}

interface Seen {
  wasTrue: boolean
  wasFalse: boolean
}

/** Collects while checks run with it as their tracer. */
export class Coverage implements Tracer {
  private readonly outcomes = new Map<Rule, Record<Outcome, number>>()
  private readonly seen = new Map<Expression, Seen>()

  started(): Observer {
    return {
      evaluated: (expression, value) => {
        if (typeof value !== 'boolean') return
        let seen = this.seen.get(expression)
        if (seen === undefined) {
          seen = { wasTrue: false, wasFalse: false }
          this.seen.set(expression, seen)
        }
        if (value) seen.wasTrue = true
        else seen.wasFalse = true
      },
    }
  }

  ended(rule: Rule, _path: unknown, outcome: Outcome): void {
    let outcomes = this.outcomes.get(rule)
    if (outcomes === undefined) {
      outcomes = { true: 0, false: 0, error: 0, budget: 0 }
      this.outcomes.set(rule, outcomes)
    }
    outcomes[outcome] += 1
  }

  report(ruleset: Ruleset): CoverageReport {
    const rules = ruleset.rules.map((rule): RuleCoverage => {
      const conditions = rule.expression === null ? [] : this.conditions(rule, rule.expression)
      const { start, end } = rule.source
      return {
        rule: rule.place,
        start,
        end,
        outcomes: this.outcomes.get(rule) ?? { true: 0, false: 0, error: 0, budget: 0 },
        conditions,
      }
    })
    const all = rules.flatMap(({ conditions }) => conditions)
    const covered = all.filter(({ wasTrue, wasFalse }) => wasTrue && wasFalse).length
    return { rules, covered, total: all.length }
  }

  private conditions(rule: Rule, expression: Expression): ConditionCoverage[] {
    const below = partsOf(expression).flatMap((part) => this.conditions(rule, part))
    if (expression.type !== 'Boolean' || expression.kind === 'literal') return below
    const { wasTrue, wasFalse } = this.seen.get(expression) ?? { wasTrue: false, wasFalse: false }
    const start = rule.source.offsetAt(expression.start)
    const end = rule.source.offsetAt(expression.end)
    return [{ text: printExpression(expression), start, end, wasTrue, wasFalse }, ...below]
  }
}

export function formatCoverage(report: CoverageReport): string {
  const lines: string[] = []
  for (const { rule, outcomes, conditions } of report.rules) {
    const asked = timesAsked(outcomes)
    const missing = conditions.filter(({ wasTrue, wasFalse }) => !wasTrue || !wasFalse)
    if (asked > 0 && missing.length === 0) continue
    lines.push(
      `${rule.line}:${rule.column}  .${rule.kind} of ${rule.pattern}  ${asked === 0 ? 'never asked' : ''}`.trimEnd(),
    )
    if (asked === 0) continue
    for (const { text, wasTrue, wasFalse } of missing) {
      lines.push(`    ${describe(wasTrue, wasFalse).padEnd(15)}${text}`)
    }
  }
  const percent = report.total === 0 ? 100 : Math.floor((100 * report.covered) / report.total)
  // A rule that is `true` or `false` has no condition, so that all may be covered while some rule was not asked.
  const neverAsked = report.rules.filter(({ outcomes }) => timesAsked(outcomes) === 0).length
  const unasked =
    neverAsked === 0
      ? ''
      : `; ${neverAsked} of ${report.rules.length} rules ${neverAsked === 1 ? 'was' : 'were'} never asked`
  lines.push(
    `${report.covered} of ${report.total} conditions seen both true and false (${percent} %)${unasked}`,
  )
  return lines.join('\n')
}

function timesAsked(outcomes: Record<Outcome, number>): number {
  return outcomes.true + outcomes.false + outcomes.error + outcomes.budget
}

/** What was seen of a condition, in words. */
export function describe(wasTrue: boolean, wasFalse: boolean): string {
  if (wasTrue) return wasFalse ? 'both' : 'never false'
  return wasFalse ? 'never true' : 'not evaluated'
}

/** The file as a page of its own, every condition coloured by what was seen of it, and every rule never asked. */
export function coverageHtml(report: CoverageReport, text: string, fileName: string): string {
  const marks = report.rules.flatMap(({ start, end, outcomes, conditions }): Mark[] => {
    // A rule that is `true` or `false` has no condition, but it may have been asked or not.
    if (timesAsked(outcomes) === 0) return [{ start, end, className: 'not-evaluated', title: 'never asked' }]
    return conditions.map((condition) => {
      const seen = describe(condition.wasTrue, condition.wasFalse)
      return { start: condition.start, end: condition.end, className: seen.replaceAll(' ', '-'), title: seen }
    })
  })
  const intro = `${report.covered} of ${report.total} conditions seen both true and false.`
  return markedPage({ title: fileName, intro, text, marks })
}

/** A part of the rules' text that a page tells something of. */
export interface Mark {
  /** Offsets, UTF-16 units, the end exclusive. Marks lie within one another or apart. */
  start: number
  end: number
  /** What was seen of a condition, with hyphens, such as `never-false`; anything else has no colour. */
  className: string
  /** Shown to whoever points at it. */
  title: string
}

export function markedPage(page: { title: string; intro: string; text: string; marks: Mark[] }): string {
  const tags: { at: number; tag: string; isEnd: boolean; length: number }[] = []
  for (const { start, end, className, title } of page.marks) {
    const open = `<span class="${className}" title="${escapeHtml(title)}">`
    tags.push({ at: start, tag: open, isEnd: false, length: end - start })
    tags.push({ at: end, tag: '</span>', isEnd: true, length: end - start })
  }
  // Spans nest: where several start together the longest opens first, and an end comes before a start.
  tags.sort(
    (a, b) =>
      a.at - b.at ||
      Number(b.isEnd) - Number(a.isEnd) ||
      (a.isEnd ? a.length - b.length : b.length - a.length),
  )
  let body = ''
  let from = 0
  for (const { at, tag } of tags) {
    body += escapeHtml(page.text.slice(from, at)) + tag
    from = at
  }
  body += escapeHtml(page.text.slice(from))
  return `<!doctype html>
<meta charset="utf-8">
<title>${escapeHtml(page.title)}: rules coverage</title>
<style>
body { font: 14px/1.5 ui-monospace, monospace; margin: 2rem; color: #222; background: #fff }
.both { background: #d9f2dc } .never-false { background: #fde9b8 } .never-true { background: #fbd5b5 }
.not-evaluated { background: #f7c6c6 }
</style>
<h1>${escapeHtml(page.title)}</h1>
<p>${escapeHtml(page.intro)}
<span class="both">both</span> <span class="never-false">never false</span>
<span class="never-true">never true</span> <span class="not-evaluated">not evaluated</span></p>
<pre>${body}</pre>
`
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
