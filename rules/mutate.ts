/**
 * Mutate: takes one condition at a time out of the rules and runs the tests again. What no test notices is
 * either not tested or not needed.
 *
 *   a && b   ->   true && b        a && true            a || b   ->   false || b      a || false
 */
import { type Expression, partsOf } from './ast.ts'
import type { RulePlace } from './decision.ts'
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

/** @param passes Whether all tests pass with a ruleset; it did with the rules as they are. */
export function mutate(ruleset: Ruleset, passes: (mutated: Ruleset) => boolean): MutationReport {
  const survivors: Mutant[] = []
  const mutants = ruleset.rules.flatMap(mutantsOf)
  for (const mutant of mutants) {
    const { span, replacement } = mutant
    const text = ruleset.source.slice(0, span.start) + replacement + ruleset.source.slice(span.end)
    const mutated = loadRuleset(text)
    if (mutated.ok && passes(mutated.ruleset)) survivors.push(mutant)
  }
  return { mutants: mutants.length, survivors }
}

function mutantsOf(rule: Rule): Mutant[] {
  if (rule.expression === null || rule.constant !== null) return []
  const mutants: Mutant[] = []
  const known = new Set<number>()
  const add = (expression: Expression, replacement: 'true' | 'false') => {
    const start = rule.source.offsetAt(expression.start)
    const end = rule.source.offsetAt(expression.end)
    // Conditions of a function's body all stand where its call stands: one mutant for the call is enough.
    if (known.has(start) || expression.kind === 'literal') return
    known.add(start)
    mutants.push({ rule: rule.place, text: printExpression(expression), replacement, span: { start, end } })
  }
  const visit = (expression: Expression) => {
    if (expression.kind === 'logical') {
      for (const operand of expression.operands) add(operand, expression.operator === '&&' ? 'true' : 'false')
    }
    for (const part of partsOf(expression)) visit(part)
  }
  if (rule.expression.kind !== 'logical') add(rule.expression, 'true')
  visit(rule.expression)
  return mutants
}

export function formatMutation({ mutants, survivors }: MutationReport): string {
  const lines = survivors.map(
    ({ rule, text, replacement }) =>
      `${rule.line}:${rule.column}  .${rule.kind} of ${rule.pattern}\n    no test fails when this is ${replacement}: ${text}`,
  )
  lines.push(`${mutants - survivors.length} of ${mutants} changed conditions were noticed by a test`)
  return lines.join('\n')
}
