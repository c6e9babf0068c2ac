/**
 * Interpreter: evaluates a checked expression by walking its tree, one operation at a time, and tells an
 * observer every value on the way. Slow and plain on purpose: it is what explain and coverage run, what the
 * property tests hold the compiler against, and what evaluates where node refuses generated code.
 */
import type { Path } from '../protocol/index.ts'
import type { Binary, Call, Expression, Member } from './ast.ts'
import { type DataView, OBJECT } from './data-view.ts'
import type { RuleQuery } from './query.ts'
import type { Matcher } from './regexp.ts'
import { type Budget, splitKeys } from './runtime.ts'
import type { Scope } from './scope.ts'
import { isQuickSearch, occurrences, splitAt } from './text-search.ts'
import { isComparable } from './types.ts'

export interface Environment {
  scope: Scope
  path: Path
  auth: unknown
  now: number
  data: DataView
  newData: DataView
  query: RuleQuery
  budget: Budget
}

/** A snapshot is a place, not yet a value. */
export class Place {
  readonly view: DataView
  readonly path: Path
  /** How messages and traces name it. */
  readonly name: 'data' | 'newData'

  constructor(view: DataView, path: Path, name: 'data' | 'newData') {
    this.view = view
    this.path = path
    this.name = name
  }
}

/** Why a rule failed at run time. */
export class RuleFailure {
  readonly expression: Expression
  readonly message: string

  constructor(expression: Expression, message: string) {
    this.expression = expression
    this.message = message
  }
}

export interface Observer {
  /** Called after each subexpression that gave a value, parts before wholes. */
  evaluated(expression: Expression, value: unknown): void
}

/**
 * @throws {RuleFailure} at the subexpression that failed.
 * @throws OVER_BUDGET from `environment.budget`.
 */
export function interpret(
  expression: Expression,
  environment: Environment,
  observer: Observer | null,
): boolean {
  return new Interpreter(environment, observer).evaluate(expression) === true
}

class Interpreter {
  private readonly environment: Environment
  private readonly observer: Observer | null

  constructor(environment: Environment, observer: Observer | null) {
    this.environment = environment
    this.observer = observer
  }

  evaluate(expression: Expression): unknown {
    const value = this.valueOf(expression)
    this.observer?.evaluated(expression, value)
    return value
  }

  private valueOf(expression: Expression): unknown {
    switch (expression.kind) {
      case 'literal':
        return expression.value
      case 'regex':
        return expression.matcher
      case 'array':
        return expression.elements.map((element) => this.evaluate(element))
      case 'name':
        return this.variable(expression)
      case 'member':
        return this.member(expression)
      case 'index': {
        const object = this.evaluate(expression.object)
        const index = this.evaluate(expression.index)
        if (typeof index !== 'string' && typeof index !== 'number') {
          return this.fail(expression.index, `index is ${nameOf(index)}, not a string or number`)
        }
        return ownMember(object, String(index))
      }
      case 'call':
        return this.call(expression)
      case 'unary':
        if (expression.operator === '!') return !this.evaluate(expression.operand)
        return -this.number(expression.operand)
      case 'binary':
        return this.binary(expression)
      case 'logical': {
        // The operand that decides is the last one evaluated.
        const deciding = expression.operator === '||'
        for (const operand of expression.operands) if (this.evaluate(operand) === deciding) return deciding
        return !deciding
      }
      case 'conditional': {
        const branch = this.evaluate(expression.test) === true ? expression.whenTrue : expression.whenFalse
        const isValue = branch.type === expression.type || isComparable(branch.type)
        return isValue
          ? this.evaluate(branch)
          : this.fail(branch, `a ${branch.type.toLowerCase()} is not a value`)
      }
    }
  }

  private variable(expression: Expression & { kind: 'name' }): unknown {
    const { scope, path, auth, now, data, newData, query } = this.environment
    const capture = scope.captures.get(expression.name)
    if (capture !== undefined) return path[capture]
    switch (expression.name) {
      case 'auth':
        return auth
      case 'now':
        return now
      case 'root':
        return new Place(data, [], 'data')
      case 'data':
        return new Place(data, path.slice(0, scope.depth), 'data')
      case 'newRoot':
        return new Place(newData, [], 'newData')
      case 'newData':
        return new Place(newData, path.slice(0, scope.depth), 'newData')
      default:
        return query
    }
  }

  private member(expression: Member): unknown {
    const object = this.evaluate(expression.object)
    if (expression.object.type === 'Query') return (object as Record<string, unknown>)[expression.name]
    if (expression.type === 'Method') return null
    if (expression.name !== 'length') return ownMember(object, expression.name)
    if (typeof object !== 'string')
      return this.fail(expression, `length of ${nameOf(object)}, which is not a string`)
    return object.length
  }

  private call(expression: Call): unknown {
    const callee = expression.callee as Member
    const object = this.evaluate(callee.object)
    const args = expression.arguments.map((argument) => this.evaluate(argument))
    if (object instanceof Place) return this.snapshotCall(expression, callee.name, object, args)
    if (typeof object !== 'string') {
      return this.fail(expression, `${callee.name}() on ${nameOf(object)}, which is not a string`)
    }
    return this.stringCall(expression, callee.name, object, args)
  }

  private snapshotCall(call: Call, name: string, place: Place, args: unknown[]): unknown {
    const { view, path } = place
    switch (name) {
      case 'val':
        return view.valueAt(path)
      case 'exists':
        return view.valueAt(path) !== null
      case 'isString':
      case 'isNumber':
      case 'isBoolean':
        // The method's own name is the type it asks for.
        return typeof view.valueAt(path) === name.slice(2).toLowerCase()
      case 'getPriority':
        return view.priorityAt(path)
      case 'parent':
        if (path.length === 0) return this.fail(call, 'parent() of the root')
        return new Place(view, path.slice(0, -1), place.name)
      case 'child':
        return this.child(call, place, args[0])
      case 'hasChild':
        return view.valueAt(this.child(call, place, args[0]).path) !== null
      case 'hasChildren': {
        if (args.length === 0) return view.valueAt(path) === OBJECT
        const children = (args[0] as unknown[]).map((key) => this.child(call, place, key))
        return children.every((child) => view.valueAt(child.path) !== null)
      }
      default: {
        let count = 0
        if (view.valueAt(path) === OBJECT) {
          for (const _ of view.childKeysAt(path)) {
            this.environment.budget.spend(1)
            count += 1
          }
        }
        return count
      }
    }
  }

  private child(call: Call, { view, path, name }: Place, key: unknown): Place {
    if (typeof key !== 'string') {
      return this.fail(call, `${(call.callee as Member).name}() with ${nameOf(key)}, which is not a string`)
    }
    return new Place(view, [...path, ...splitKeys(key)], name)
  }

  private stringCall(call: Call, name: string, text: string, args: unknown[]): unknown {
    const { budget } = this.environment
    if (name === 'matches') {
      const matcher = args[0] as Matcher
      budget.spend(text.length * matcher.stepsPerCharacter)
      return matcher.matches(text)
    }
    for (const argument of args) {
      if (typeof argument !== 'string') {
        return this.fail(call, `${name}() with ${nameOf(argument)}, which is not a string`)
      }
    }
    const [first, second] = args as [string, string]
    budget.spend(text.length >> 4)
    switch (name) {
      case 'contains':
        if (isQuickSearch(text, first)) return text.includes(first)
        budget.spend((text.length + first.length) >> 2)
        return occurrences(text, first).next().done !== true
      case 'beginsWith':
        return text.startsWith(first)
      case 'endsWith':
        return text.endsWith(first)
      case 'toLowerCase':
        return text.toLowerCase()
      case 'toUpperCase':
        return text.toUpperCase()
      default: {
        const pieces = this.split(text, first)
        const length = text.length + (pieces.length - 1) * (second.length - first.length)
        if (length > TEXT_LENGTH_MAX) return this.fail(call, 'text grows too long')
        // An empty text also stands at both ends, where `split` does not see it.
        return first === '' ? second + pieces.join(second) + (text === '' ? '' : second) : pieces.join(second)
      }
    }
  }

  private split(text: string, separator: string): string[] {
    if (!isQuickSearch(text, separator)) {
      this.environment.budget.spend((text.length + separator.length) >> 2)
    }
    return splitAt(text, separator)
  }

  private binary(expression: Binary): unknown {
    const { operator } = expression
    switch (operator) {
      case '==':
        return this.areSame(expression)
      case '!=':
        return !this.areSame(expression)
      case '+':
        return this.sum(expression)
      case 'in':
        return this.membership(expression)
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.order(expression)
    }
    const left = this.number(expression.left)
    const right = this.number(expression.right)
    if (operator === '-') return left - right
    if (operator === '*') return left * right
    if (operator === '%') return left % right
    return right === 0 ? Number.NaN : left / right
  }

  private areSame({ left, right }: Binary): boolean {
    const [a, b] = [this.evaluate(left), this.evaluate(right)]
    if (typeof a === 'string' && typeof b === 'string') this.compared(a, b)
    return isSame(a, b)
  }

  private compared(a: string, b: string): void {
    this.environment.budget.spend(Math.min(a.length, b.length) >> 6)
  }

  private order(expression: Binary): boolean {
    const left = this.evaluate(expression.left) as string
    const right = this.evaluate(expression.right) as string
    if (typeof left !== typeof right || !['number', 'string'].includes(typeof left)) {
      return this.fail(
        expression,
        `${nameOf(left)} ${expression.operator} ${nameOf(right)} cannot be ordered`,
      )
    }
    if (typeof left === 'string') this.compared(left, right)
    switch (expression.operator) {
      case '<':
        return left < right
      case '<=':
        return left <= right
      case '>':
        return left > right
      default:
        return left >= right
    }
  }

  private sum(expression: Binary): unknown {
    const left = this.evaluate(expression.left)
    const right = this.evaluate(expression.right)
    if (typeof left === 'number' && typeof right === 'number') return left + right
    const areAddable = [left, right].every((side) => typeof side === 'number' || typeof side === 'string')
    if (!areAddable) return this.fail(expression, `${nameOf(left)} + ${nameOf(right)} cannot be added`)
    const text = `${left}${right}`
    this.environment.budget.spend(text.length >> 4)
    return text.length > TEXT_LENGTH_MAX ? this.fail(expression, 'text grows too long') : text
  }

  private membership(expression: Binary): boolean {
    if (expression.right.kind === 'array') return this.isAnyOf(expression.left, expression.right.elements)
    const value = this.evaluate(expression.left)
    const list = this.evaluate(expression.right)
    if (list === null) return false
    if (Array.isArray(list)) return list.some((element) => isSame(element, value))
    if (typeof list === 'object') return typeof value === 'string' && Object.hasOwn(list, value)
    return this.fail(expression, `in ${nameOf(list)}, which is neither a list nor a map`)
  }

  /** As `x == a || x == b` would, that stops at the first; in no elements at all there is nothing to ask. */
  private isAnyOf(left: Expression, elements: readonly Expression[]): boolean {
    if (elements.length === 0) return false
    const value = this.evaluate(left)
    return elements.some((element) => isSame(this.evaluate(element), value))
  }

  private number(expression: Expression): number {
    const value = this.evaluate(expression)
    return typeof value === 'number' ? value : this.fail(expression, `${nameOf(value)} is not a number`)
  }

  private fail(expression: Expression, message: string): never {
    throw new RuleFailure(expression, message)
  }
}

/** As in runtime.ts; the two are written apart, so that tests comparing them mean something. */
const TEXT_LENGTH_MAX = 16 * 1024 * 1024

function ownMember(object: unknown, name: string): unknown {
  if (typeof object !== 'object' || object === null) return null
  return (Object.getOwnPropertyDescriptor(object, name)?.value as unknown) ?? null
}

function isSame(a: unknown, b: unknown): boolean {
  if (a === OBJECT || (typeof a === 'object' && a !== null)) return false
  return a === b
}

/** A value's kind in words, for messages. */
function nameOf(value: unknown): string {
  if (value === null) return 'null'
  if (value === OBJECT || value instanceof Place || typeof value === 'object') return 'an object'
  return `a ${typeof value}`
}
