/**
 * Time bound: the first moment at which a rule that reads the clock may answer differently on the same data.
 * Nearly every such rule compares `now`, plus or minus something, with a value; then the moment is exact.
 */
import { type Expression, partsOf } from './ast.ts'
import { type Environment, interpret, RuleFailure } from './interpreter.ts'
import { OVER_BUDGET } from './runtime.ts'

/**
 * @returns Unix milliseconds after `environment.now`, or Infinity where the clock alone changes nothing. A use
 * of `now` that is no plain comparison gives the very next millisecond.
 */
export function nextChangeMs(expression: Expression, environment: Environment): number {
  const values = new Map<Expression, unknown>()
  try {
    interpret(expression, environment, { evaluated: (part, value) => values.set(part, value) })
  } catch (error) {
    if (error === OVER_BUDGET) return environment.now + 1
    // A rule that failed got as far as its values tell; what it did not reach cannot change its answer first.
    if (!(error instanceof RuleFailure)) throw error
  }
  return nextChange(expression, values, environment.now)
}

function nextChange(expression: Expression, values: ReadonlyMap<Expression, unknown>, now: number): number {
  if (!mentionsNow(expression)) return Number.POSITIVE_INFINITY
  if (expression.kind === 'name') return values.has(expression) ? now + 1 : Number.POSITIVE_INFINITY
  if (expression.kind === 'binary' && isComparison(expression.operator)) {
    const [clock, other] = mentionsNow(expression.left)
      ? [expression.left, expression.right]
      : [expression.right, expression.left]
    if (isShiftedNow(clock) && !mentionsNow(other)) {
      const [at, limit] = [values.get(clock), values.get(other)]
      // One of them was not reached, or the comparison is of two types and stays what it is.
      if (typeof at !== 'number' || typeof limit !== 'number') return Number.POSITIVE_INFINITY
      return firstAfter(now, limit - (at - now))
    }
  }
  return Math.min(...partsOf(expression).map((part) => nextChange(part, values, now)))
}

/** A comparison with `limit` may change when the clock reaches it and when it passes it. */
function firstAfter(now: number, limit: number): number {
  for (const moment of [Math.ceil(limit), Math.floor(limit) + 1]) if (moment > now) return moment
  return Number.POSITIVE_INFINITY
}

function isComparison(operator: string): boolean {
  return ['==', '!=', '<', '<=', '>', '>='].includes(operator)
}

/** `now`, `now + x`, `x + now`, `now - x`: runs as fast as the clock itself. */
function isShiftedNow(expression: Expression): boolean {
  if (expression.kind === 'name') return expression.name === 'now'
  if (expression.kind !== 'binary') return false
  const { operator, left, right } = expression
  if (operator === '+' && expression.type !== 'String') {
    return (isShiftedNow(left) && !mentionsNow(right)) || (isShiftedNow(right) && !mentionsNow(left))
  }
  return operator === '-' && isShiftedNow(left) && !mentionsNow(right)
}

function mentionsNow(expression: Expression): boolean {
  return expression.kind === 'name' ? expression.name === 'now' : partsOf(expression).some(mentionsNow)
}
