/**
 * Mutate: takes one condition at a time out of the rules and runs the tests again. What no test notices is
 * either not tested or not needed.
 *
 *   a && b       ->   true && b       a && true         a || b   ->   false || b      a || false
 *   a ? b : c    ->   true ? b : c    false ? b : c     a ? true : c     a ? b : true
 */
import { type Expression, partsOf } from './ast.ts'
import type { RulePlace } from './decision.ts'
import type { Outcome, Tracer } from './evaluation.ts'
import type { Observer } from './interpreter.ts'
import { loadRuleset } from './load.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { Ruleset } from './ruleset.ts'
import type { Span } from './source.ts'

export interface Mutant {
  rule: RulePlace
  /** The condition taken out. */
  text: string
  replacement: 'true' | 'false'
  /** Offsets in the file. */
  span: Span
}

export interface MutationReport {
  mutants: number
  /** Those that no test noticed. */
  survivors: Mutant[]
}

/** How the tests of a ruleset went. */
export interface Trial {
  passed: boolean
  /** Rules that failed at run time. */
  errors: number
}

/**
 * @param run Runs all tests with a ruleset; with the rules as they are they pass. A change that makes a rule fail at
 *   run time counts as noticed: what it took out is a guard, like `isString()` in front of `length`.
 */
export function mutate(ruleset: Ruleset, run: (mutated: Ruleset) => Trial): MutationReport {
  const survivors: Mutant[] = []
  const mutants = ruleset.rules.flatMap((rule) => mutantsOf(rule, ruleset.source))
  const errorsBefore = mutants.length === 0 ? 0 : run(ruleset).errors
  for (const mutant of mutants) {
    const { span, replacement } = mutant
    const text = ruleset.source.slice(0, span.start) + replacement + ruleset.source.slice(span.end)
    const mutated = loadRuleset(text)
    if (!mutated.ok) continue
    const { passed, errors } = run(mutated.ruleset)
    if (passed && errors <= errorsBefore) survivors.push(mutant)
  }
  return { mutants: mutants.length, survivors }
}

/** Counts rules that fail at run time. */
export class ErrorCounter implements Tracer {
  errors = 0

  started(): Observer {
    return { evaluated() {} }
  }

  ended(_rule: Rule, _path: unknown, outcome: Outcome): void {
    if (outcome === 'error') this.errors += 1
  }
}

function mutantsOf(rule: Rule, source: string): Mutant[] {
  if (rule.expression === null || rule.constant !== null) return []
  const mutants: Mutant[] = []
  const add = (expression: Expression, replacement: 'true' | 'false') => {
    if (expression.kind === 'literal') return
    const start = rule.source.offsetAt(expression.start)
    const end = rule.source.offsetAt(expression.end)
    // Where functions were put in place the file has a call, and that is what is taken out.
    const text = rule.isExpanded ? source.slice(start, end) : printExpression(expression)
    mutants.push({ rule: rule.place, text, replacement, span: { start, end } })
  }
  const visit = (expression: Expression) => {
    if (isWritten(expression)) {
      if (expression.kind === 'logical') {
        for (const operand of expression.operands)
          add(operand, expression.operator === '&&' ? 'true' : 'false')
      } else if (expression.kind === 'conditional') {
        add(expression.test, 'true')
        add(expression.test, 'false')
        for (const branch of [expression.whenTrue, expression.whenFalse]) {
          if (branch.type === 'Boolean') add(branch, 'true')
        }
      }
    }
    for (const part of partsOf(expression)) visit(part)
  }
  if (rule.expression.kind !== 'logical' || !isWritten(rule.expression)) add(rule.expression, 'true')
  visit(rule.expression)
  return mutants
}

/** Whether the file has this expression: parts of a function's body all stand where its call stands. */
function isWritten(expression: Expression): boolean {
  const { start, end } = expression
  return partsOf(expression).every((part) => part.start !== start || part.end !== end)
}

export function formatMutation({ mutants, survivors }: MutationReport): string {
  const lines: string[] = []
  let last: RulePlace | null = null
  for (const { rule, text, replacement } of survivors) {
    if (rule !== last) lines.push(`${rule.line}:${rule.column}  .${rule.kind} of ${rule.pattern}`)
    lines.push(`    no test fails when this is ${replacement}: ${text}`)
    last = rule
  }
  lines.push(`${mutants - survivors.length} of ${mutants} changed conditions were noticed by a test`)
  return lines.join('\n')
}
