/**
 * Explain: one operation decided once more with everything written down: every location, every rule asked, each of
 * its subexpressions with the value it had, what was read, and the rule that decided. Bounded, whatever the rules and
 * the data are.
 */
import type { Path, Value } from '../protocol/index.ts'
import type { Expression } from './ast.ts'
import { OBJECT } from './data-view.ts'
import { type Decision, describeDecision, type RulePlace } from './decision.ts'
import { type Aspect, Dependencies } from './dependencies.ts'
import type { Outcome, Tracer } from './evaluation.ts'
import { type Observer, Place, type RuleFailure } from './interpreter.ts'
import { ask, type Operation, type Question, questionOf } from './operation.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { Ruleset } from './ruleset.ts'

export interface Explanation {
  decision: Decision
  /** What the operation reads or writes. */
  locations: Path[]
  /** The rules that were asked, in order; the last is the one that decided. */
  steps: ExplainedRule[]
  /** What the rules looked at, in order, each once. */
  read: ExplainedRead[]
  /** What is not told, since there is too much of it. */
  omitted: { locations: number; steps: number; read: number; values: number }
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

export interface ExplainedRead {
  /** Before the operation, or as it would be after it. */
  view: 'data' | 'newData'
  path: Path
  aspect: Aspect
  /** What was there; the number of children for the aspect `children`. */
  value: unknown
}

export interface ExplainLimits {
  locationsMax: number
  stepsMax: number
  readMax: number
  /** Characters of the printed parts and their values, of all rules together. */
  textLengthMax: number
  /** Characters of one value as JSON. */
  valueLengthMax: number
}

/** For a person at a terminal, who wants to see it all. */
const GENEROUS: ExplainLimits = {
  locationsMax: 10_000,
  stepsMax: 10_000,
  readMax: 10_000,
  textLengthMax: 16 * 1024 * 1024,
  valueLengthMax: 64 * 1024,
}

/** @throws {RequestError} for a path or a value that the database itself would refuse. */
export function explain(ruleset: Ruleset, stored: Value, operation: Operation): Explanation {
  return explainQuestion(ruleset, questionOf(stored, operation), GENEROUS)
}

/** @param limits What is past them is left out and counted. */
export function explainQuestion(ruleset: Ruleset, question: Question, limits: ExplainLimits): Explanation {
  const recorder = new Recorder(limits)
  const before = new Dependencies(limits.readMax)
  const after = new Dependencies(limits.readMax)
  const decision = ask(ruleset, recording(question, before, after), recorder)
  const locations = question.verb === 'read' ? [question.request.path] : question.request.locations
  const reads = [...readsOf('data', before, limits), ...readsOf('newData', after, limits)]
  return {
    decision,
    locations: locations.slice(0, limits.locationsMax),
    steps: recorder.steps(),
    read: reads.slice(0, limits.readMax),
    omitted: {
      locations: Math.max(0, locations.length - limits.locationsMax),
      steps: recorder.omittedSteps,
      read: Math.max(0, reads.length - limits.readMax) + before.omitted + after.omitted,
      values: recorder.omittedValues,
    },
  }
}

/** The same question, with all that is read through its views written down. */
function recording(question: Question, before: Dependencies, after: Dependencies): Question {
  const { verb, request } = question
  if (verb === 'read') return { verb, request: { ...request, data: before.recording(request.data) } }
  const [data, newData] = [before.recording(request.data), after.recording(request.newData)]
  return { verb, request: { ...request, data, newData } }
}

function readsOf(
  view: ExplainedRead['view'],
  { sights }: Dependencies,
  limits: ExplainLimits,
): ExplainedRead[] {
  return sights.map(({ path, aspect, value }) => ({ view, path, aspect, value: told(value, limits).value }))
}

/** One rule as it was asked, before its parts are printed. */
interface Asked {
  rule: Rule
  path: Path
  outcome: Outcome
  failure: RuleFailure | null
  values: ReadonlyMap<Expression, unknown>
}

class Recorder implements Tracer {
  omittedSteps = 0
  omittedValues = 0
  private readonly limits: ExplainLimits
  private readonly asked: Asked[] = []
  private values = new Map<Expression, unknown>()
  private textLength = 0
  /** `auth` and claims are the same objects in every rule; some are large. */
  private readonly objects = new Map<unknown, Told>()

  constructor(limits: ExplainLimits) {
    this.limits = limits
  }

  started(): Observer {
    this.values = new Map()
    return { evaluated: (expression, value) => this.values.set(expression, value) }
  }

  ended(rule: Rule, path: Path, outcome: Outcome, failure: RuleFailure | null): void {
    // The last rule decides, so it takes the place of the one before it where there are too many.
    if (this.asked.length >= this.limits.stepsMax) {
      this.asked.pop()
      this.omittedSteps += 1
    }
    this.asked.push({ rule, path, outcome, failure, values: this.values })
  }

  steps(): ExplainedRule[] {
    // The deciding rule first, so that it is told whatever the others leave of the room.
    const last = this.asked.at(-1)
    if (last === undefined) return []
    const deciding = this.step(last)
    return [...this.asked.slice(0, -1).map((asked) => this.step(asked)), deciding]
  }

  private step({ rule, path, outcome, failure, values: known }: Asked): ExplainedRule {
    const captures: Record<string, string> = {}
    for (const [name, index] of rule.scope.captures) captures[name] = path[index]!
    const values: ExplainedValue[] = []
    if (rule.expression !== null) this.collect(rule.expression, 0, known, values)
    const place = { ...rule.place, text: this.clipped(rule.place.text) }
    return {
      rule: place,
      path: path.slice(0, rule.scope.depth),
      captures,
      outcome,
      failure:
        failure === null
          ? null
          : { text: this.clipped(printExpression(failure.expression)), message: failure.message },
      values,
    }
  }

  private collect(
    expression: Expression,
    depth: number,
    known: ReadonlyMap<Expression, unknown>,
    into: ExplainedValue[],
  ): void {
    const isTold = known.has(expression) && isWorthTelling(expression)
    if (isTold && this.textLength > this.limits.textLengthMax) this.omittedValues += 1
    else if (isTold) {
      const text = this.clipped(printExpression(expression))
      const { value, length } = this.told(known.get(expression))
      this.textLength += text.length + length
      into.push({ text, depth, value })
    }
    for (const part of partsToTell(expression)) this.collect(part, isTold ? depth + 1 : depth, known, into)
  }

  private told(value: unknown): Told {
    if (typeof value !== 'object' || value === null || value instanceof Place) return told(value, this.limits)
    let known = this.objects.get(value)
    if (known === undefined) {
      known = told(value, this.limits)
      this.objects.set(value, known)
    }
    return known
  }

  private clipped(text: string): string {
    const { valueLengthMax } = this.limits
    return text.length > valueLengthMax ? `${text.slice(0, valueLengthMax)}…` : text
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

interface Told {
  value: unknown
  /** As JSON. */
  length: number
}

/** A value as JSON may carry it, cut off where it is too long. */
function told(value: unknown, { valueLengthMax }: ExplainLimits): Told {
  const plain = plainOf(value)
  const text = typeof plain === 'string' ? plain : JSON.stringify(plain)
  if (text.length <= valueLengthMax) return { value: plain, length: text.length }
  return { value: `${text.slice(0, valueLengthMax)}…`, length: valueLengthMax }
}

function plainOf(value: unknown): unknown {
  if (value === OBJECT) return '{…}'
  if (value instanceof Place) return `${value.name} at /${value.path.join('/')}`
  return value === undefined ? null : value
}

export function formatExplanation(explanation: Explanation): string {
  const { decision, steps, read, omitted } = explanation
  const lines: string[] = []
  for (const [i, step] of steps.entries()) {
    if (omitted.steps > 0 && i === steps.length - 1) lines.push(`       ${omitted.steps} more rules`)
    const { rule } = step
    const captures = Object.entries(step.captures).map(([name, key]) => `${name} = ${JSON.stringify(key)}`)
    const where = `.${rule.kind} of ${rule.pattern}  (${rule.line}:${rule.column})`
    lines.push(`${step.outcome.padEnd(6)} ${where}${captures.length > 0 ? `  ${captures.join(', ')}` : ''}`)
    if (step.values.length === 0) lines.push(`         ${rule.text}`)
    const width = Math.min(70, Math.max(0, ...step.values.map(({ text, depth }) => text.length + depth * 2)))
    for (const { text, depth, value } of step.values) {
      lines.push(`         ${`${'  '.repeat(depth)}${text}`.padEnd(width)}  ${formatValue(value)}`)
    }
    if (step.failure !== null) lines.push(`         failed: ${step.failure.message}, in ${step.failure.text}`)
  }
  if (read.length > 0) lines.push(`read   ${read.map(formatRead).join('\n       ')}`)
  if (omitted.read > 0) lines.push(`       ${omitted.read} more places`)
  lines.push(describeDecision(decision))
  return lines.join('\n')
}

function formatRead({ view, path, aspect, value }: ExplainedRead): string {
  const what = aspect === 'value' ? '' : aspect === 'priority' ? ' priority' : ' children'
  return `${view} /${path.join('/')}${what}  ${formatValue(value)}`
}

function formatValue(value: unknown): string {
  return value === '{…}' ? value : JSON.stringify(value)
}
