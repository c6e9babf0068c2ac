/**
 * Explain: one operation decided once more with everything written down: every rule asked, each of its
 * subexpressions with the value it had, what was read, and the rule that decided.
 */
import type { Path, Value } from '../protocol/index.ts'
import type { Expression } from './ast.ts'
import { OBJECT } from './data-view.ts'
import { type Decision, describeDecision, type RulePlace } from './decision.ts'
import type { Outcome, Tracer } from './evaluation.ts'
import { type Observer, Place, type RuleFailure } from './interpreter.ts'
import { decide, type Operation } from './operation.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { Ruleset } from './ruleset.ts'

export interface Explanation {
  decision: Decision
  /** Every rule that was asked, in order. */
  steps: ExplainedRule[]
}

export interface ExplainedRule {
  rule: RulePlace
  /** The place the rule was asked about. */
  path: Path
  /** Keys that captures stand for here. */
  captures: Record<string, string>
  outcome: Outcome
  /** Why the rule failed at run time, and in which part. */
  failure: { text: string; message: string } | null
  /** Parts with their values, wholes before parts; literals are left out. */
  values: ExplainedValue[]
}

export interface ExplainedValue {
  text: string
  /** How deep this part stands in the rule's expression. */
  depth: number
  value: unknown
}

export function explain(ruleset: Ruleset, stored: Value, operation: Operation): Explanation {
  const recorder = new Recorder()
  const { decision } = decide(ruleset, stored, operation, recorder)
  return { decision, steps: recorder.steps }
}

/** Writes down all that a check does; also usable beside a live server's views. */
export class Recorder implements Tracer {
  readonly steps: ExplainedRule[] = []
  private values = new Map<Expression, unknown>()

  started(): Observer {
    this.values = new Map()
    return { evaluated: (expression, value) => this.values.set(expression, value) }
  }

  ended(rule: Rule, path: Path, outcome: Outcome, failure: RuleFailure | null): void {
    const at = path.slice(0, rule.scope.depth)
    const captures: Record<string, string> = {}
    for (const [name, index] of rule.scope.captures) captures[name] = path[index]!
    const values: ExplainedValue[] = []
    if (rule.expression !== null) this.collect(rule.expression, 0, values)
    this.steps.push({
      rule: rule.place,
      path: at,
      captures,
      outcome,
      failure:
        failure === null ? null : { text: printExpression(failure.expression), message: failure.message },
      values,
    })
  }

  private collect(expression: Expression, depth: number, into: ExplainedValue[]): void {
    const isTold = this.values.has(expression) && isWorthTelling(expression)
    if (isTold) {
      into.push({ text: printExpression(expression), depth, value: plain(this.values.get(expression)) })
    }
    for (const part of partsToTell(expression)) this.collect(part, isTold ? depth + 1 : depth, into)
  }
}

function isWorthTelling(expression: Expression): boolean {
  if (expression.type === 'Method' || expression.type === 'Query') return false
  return expression.kind !== 'literal' && expression.kind !== 'regex' && expression.kind !== 'array'
}

/** `data.child('a').val()` is told as one; its steps are told where something other than a place is in them. */
function partsToTell(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case 'call':
      return expression.callee.kind === 'member'
        ? [...placeParts(expression.callee.object), ...expression.arguments]
        : []
    case 'member':
      return expression.object.type === 'Auth' ? [] : placeParts(expression.object)
    case 'index':
      return [expression.index]
    case 'unary':
      return [expression.operand]
    case 'binary':
      return [expression.left, expression.right]
    case 'logical':
      return expression.operands
    case 'conditional':
      return [expression.test, expression.whenTrue, expression.whenFalse]
    case 'array':
      return expression.elements
    default:
      return []
  }
}

function placeParts(object: Expression): readonly Expression[] {
  return object.type === 'Snapshot' && object.kind !== 'conditional' ? partsToTell(object) : [object]
}

/** A value as JSON may carry it. */
function plain(value: unknown): unknown {
  if (value === OBJECT) return '{…}'
  if (value instanceof Place) return `${value.name} at /${value.path.join('/')}`
  return value
}

export function formatExplanation({ decision, steps }: Explanation): string {
  const lines: string[] = []
  for (const step of steps) {
    const { rule } = step
    const captures = Object.entries(step.captures).map(([name, key]) => `${name} = ${JSON.stringify(key)}`)
    const where = `.${rule.kind} of ${rule.pattern}  (${rule.line}:${rule.column})`
    lines.push(`${step.outcome.padEnd(6)} ${where}${captures.length > 0 ? `  ${captures.join(', ')}` : ''}`)
    if (step.values.length === 0) lines.push(`         ${rule.text}`)
    const width = Math.min(70, Math.max(0, ...step.values.map(({ text, depth }) => text.length + depth * 2)))
    for (const { text, depth, value } of step.values) {
      lines.push(`         ${`${'  '.repeat(depth)}${text}`.padEnd(width)}  ${JSON.stringify(value)}`)
    }
    if (step.failure !== null) lines.push(`         failed: ${step.failure.message}, in ${step.failure.text}`)
  }
  lines.push(describeDecision(decision))
  return lines.join('\n')
}
