/**
 * Checker: gives every node of an expression its static type and reports every use of an unknown name, a wrong
 * type or a wrong argument, in Firebase's words. What passes here can still fail at run time where a type is
 * dynamic; what fails here never runs.
 */
import type { ArrayLiteral, Binary, Call, Expression, Logical, Member, Name, RegexLiteral } from './ast.ts'
import { isStringLike, type Method, methodOf, queryFields } from './builtins.ts'
import type { RulesErrorCode } from './errors.ts'
import type { Growth } from './expand.ts'
import { booleanHint, calleeHint, comparisonHint, memberHint, nameHint } from './hints.ts'
import { compileRegex, isRegexProblem } from './regexp.ts'
import { isAfterWrite, type Scope, typeOfVariable } from './scope.ts'
import type { Span } from './source.ts'
import {
  isBoolean,
  isComparable,
  isDynamic,
  isNumeric,
  isOrdered,
  isStringArgument,
  type Type,
  typeOfChoice,
  typeOfSum,
} from './types.ts'

export type Report = (code: RulesErrorCode, span: Span, message: string, hint: string | null) => void

/** Checks one rule; its expression must be boolean. */
export function checkRule(expression: Expression, scope: Scope, report: Report, growth: Growth): void {
  const checker = new Checker(scope, report, growth)
  const type = checker.check(expression)
  if (!isBoolean(type)) {
    report('type', expression, 'Expression must evaluate to a boolean.', booleanHint(expression, type))
  }
}

class Checker {
  private readonly scope: Scope
  private readonly report: Report
  private readonly growth: Growth

  constructor(scope: Scope, report: Report, growth: Growth) {
    this.scope = scope
    this.report = report
    this.growth = growth
  }

  check(expression: Expression): Type {
    const type = this.typeOf(expression)
    expression.type = type
    return type
  }

  private typeOf(expression: Expression): Type {
    switch (expression.kind) {
      case 'literal':
        return typeOfLiteral(expression.value)
      case 'regex':
        return this.regex(expression)
      case 'array':
        return this.fail(expression, 'Unexpected array literal.', 'lists are for hasChildren([...]) only')
      case 'name':
        return this.variable(expression)
      case 'member':
        return this.member(expression)
      case 'index':
        return this.index(expression)
      case 'call':
        return this.call(expression)
      case 'unary':
        return expression.operator === '!' ? this.not(expression.operand) : this.negative(expression.operand)
      case 'binary':
        return this.binary(expression)
      case 'logical':
        return this.logical(expression)
      case 'conditional': {
        const test = this.check(expression.test)
        if (!isBoolean(test)) {
          this.fail(expression.test, 'condition of ? must be boolean.', booleanHint(expression.test, test))
        }
        return typeOfChoice(this.check(expression.whenTrue), this.check(expression.whenFalse))
      }
    }
  }

  private regex(expression: RegexLiteral): Type {
    const result = compileRegex(expression.pattern, expression.flags, this.growth)
    if (!isRegexProblem(result)) {
      expression.matcher = result
      return 'Regex'
    }
    const start = Math.min(expression.start + 1 + result.at, expression.end - 1)
    this.report('regexp', { start, end: start + 1 }, result.message, result.hint)
    return 'Regex'
  }

  private variable(expression: Name): Type {
    const { name } = expression
    const type = typeOfVariable(name, this.scope)
    if (type === null) return this.fail(expression, `Unknown variable '${name}'.`, nameHint(name, this.scope))
    if (isAfterWrite(name) && this.scope.kind === 'read') {
      return this.fail(
        expression,
        `${name} is invalid in .read expressions.`,
        'a read changes nothing; use `data`',
      )
    }
    return type
  }

  private member(expression: Member): Type {
    const { object, name, nameSpan } = expression
    const type = this.check(object)
    if (type === 'Error') return 'Error'
    if (methodOf(type, name, this.scope.hasExtensions) !== null) return 'Method'
    if (type === 'Auth') return 'Auth'
    if (type === 'Query') {
      const field = queryFields.get(name)
      if (field !== undefined) return field
    } else if (isStringLike(type)) {
      if (name === 'length') return 'Number'
    } else if (type !== 'Snapshot') {
      return this.fail(nameSpan, 'Invalid property access: target is not an object.')
    }
    return this.fail(nameSpan, `No such method/property '${name}'.`, memberHint(expression, type))
  }

  private index(expression: Expression & { kind: 'index' }): Type {
    const type = this.check(expression.object)
    const index = this.check(expression.index)
    if (type === 'Error' || index === 'Error') return 'Error'
    if (type === 'Auth' && (index === 'String' || index === 'Number' || isDynamic(index))) return 'Auth'
    return this.fail(
      expression.index,
      'Invalid property access.',
      type === 'Snapshot' ? 'a child with a computed key is `.child(key)`' : null,
    )
  }

  private call(expression: Call): Type {
    const { callee } = expression
    if (callee.kind !== 'member') {
      const type = this.check(callee)
      for (const argument of expression.arguments) this.check(argument)
      return type === 'Error' ? 'Error' : this.notAFunction(callee)
    }
    const type = this.check(callee)
    if (type === 'Error') {
      for (const argument of expression.arguments) if (argument.kind !== 'array') this.check(argument)
      return 'Error'
    }
    if (type !== 'Method') return this.notAFunction(callee)
    const method = methodOf(callee.object.type, callee.name, this.scope.hasExtensions)!
    this.arguments(expression, callee.name, method)
    return method.result
  }

  private notAFunction(callee: Expression): Type {
    const span = callee.kind === 'member' ? callee.nameSpan : callee
    const hint = callee.kind === 'member' ? calleeHint(callee.name) : null
    return this.fail(span, 'Type error: Function call on target that is not a function.', hint)
  }

  private arguments(call: Call, name: string, method: Method): void {
    const args = call.arguments
    switch (method.parameters) {
      case 'none':
        for (const argument of args) this.check(argument)
        if (args.length > 0) this.fail(args[0]!, `${name}() expects no arguments.`)
        return
      case 'string':
        if (args.length !== 1) return this.count(call, `${name}() expects 1 argument.`)
        if (!isStringArgument(this.check(args[0]!)))
          this.fail(args[0]!, `${name}() expects a string argument.`)
        return
      case 'two strings':
        if (args.length !== 2) return this.count(call, `${name}() expects two arguments.`)
        for (const [i, argument] of args.entries()) {
          if (isStringArgument(this.check(argument))) continue
          this.fail(argument, `Argument ${i + 1} of ${name}() must be a string.`)
        }
        return
      case 'regex':
        if (args.length !== 1)
          return this.count(call, `${name}() expects 1 regular expression literal argument.`)
        this.check(args[0]!)
        if (args[0]!.kind !== 'regex') {
          this.fail(
            args[0]!,
            `${name}() expects a regular expression literal argument.`,
            'write /.../ without quotes',
          )
        }
        return
      case 'children':
        return this.children(call, name)
    }
  }

  private children(call: Call, name: string): void {
    const args = call.arguments
    if (args.length === 0) return
    if (args.length > 1) {
      return this.count(
        call,
        `${name}() expects only a single argument (containing an array of child names).`,
      )
    }
    const list = args[0]!
    if (list.kind !== 'array') {
      this.check(list)
      this.fail(list, `${name}() expects an array of child names.`)
      return
    }
    list.type = 'Array'
    for (const element of list.elements) {
      if (!isStringArgument(this.check(element))) this.fail(element, `${name}() expects an array of strings.`)
    }
  }

  private count(call: Call, message: string): void {
    for (const argument of call.arguments) if (argument.kind !== 'array') this.check(argument)
    const name = (call.callee as Member).nameSpan
    this.fail({ start: name.start, end: call.end }, message)
  }

  private not(operand: Expression): Type {
    const type = this.check(operand)
    if (!isBoolean(type)) this.fail(operand, '! only operates on booleans.', booleanHint(operand, type))
    return 'Boolean'
  }

  private negative(operand: Expression): Type {
    if (!isNumeric(this.check(operand))) this.fail(operand, '- only operates on numbers.')
    return 'Number'
  }

  private logical(expression: Logical): Type {
    for (const [i, operand] of expression.operands.entries()) {
      const type = this.check(operand)
      if (isBoolean(type)) continue
      const side = i === 0 ? 'Left' : 'Right'
      this.fail(
        operand,
        `${side} operand of ${expression.operator} must be boolean.`,
        booleanHint(operand, type),
      )
    }
    return 'Boolean'
  }

  private binary(expression: Binary): Type {
    const { operator, left, right } = expression
    if (operator === 'in') return this.membership(left, right)
    const leftType = this.check(left)
    const rightType = this.check(right)
    switch (operator) {
      case '==':
      case '!=': {
        const hint = comparisonHint(expression)
        // Firebase's own message for the left of == lacks the "or".
        const or = operator === '==' ? '' : 'or '
        if (!isComparable(leftType)) {
          this.operand(operator, 'left', left, `is not a number, boolean, string, ${or}null.`, hint)
        } else if (!isComparable(rightType)) {
          this.operand(operator, 'right', right, 'is not a number, boolean, string, or null.', hint)
        }
        return 'Boolean'
      }
      case '+':
        if (!isOrdered(leftType)) this.operand(operator, 'left', left, 'is not a number or string.')
        else if (!isOrdered(rightType)) this.operand(operator, 'right', right, 'is not a number or string.')
        return isOrdered(leftType) && isOrdered(rightType) ? typeOfSum(leftType, rightType) : 'Error'
      case '-':
      case '*':
      case '/':
      case '%':
        if (!isNumeric(leftType)) this.operand(operator, 'left', left, 'is not a number.')
        else if (!isNumeric(rightType)) this.operand(operator, 'right', right, 'is not a number.')
        return 'Number'
      default:
        if (!isOrdered(leftType)) this.operand(operator, 'left', left, 'must be a number or string.')
        else if (!isOrdered(rightType)) this.operand(operator, 'right', right, 'must be a number or string.')
        return 'Boolean'
    }
  }

  /** `x in ['a', 'b']` and `x in auth.token.roles`: an extension. */
  private membership(left: Expression, right: Expression): Type {
    if (!isComparable(this.check(left))) {
      this.operand('in', 'left', left, 'is not a number, boolean, string, or null.')
    }
    if (right.kind === 'array') {
      this.list(right)
      return 'Boolean'
    }
    const type = this.check(right)
    if (type !== 'Auth' && type !== 'Error') {
      const hint = type === 'Snapshot' ? 'ask a snapshot with `hasChild(key)`' : null
      this.operand('in', 'right', right, 'is not a list or a claim.', hint)
    }
    return 'Boolean'
  }

  private list(list: ArrayLiteral): void {
    list.type = 'Array'
    for (const element of list.elements) {
      if (isComparable(this.check(element))) continue
      this.fail(element, 'Lists hold numbers, booleans, strings and null only.')
    }
  }

  private operand(
    operator: string,
    side: string,
    span: Span,
    problem: string,
    hint: string | null = null,
  ): void {
    this.fail(span, `Invalid ${operator} expression: ${side} operand ${problem}`, hint)
  }

  private fail(span: Span, message: string, hint: string | null = null): 'Error' {
    this.report('type', span, message, hint)
    return 'Error'
  }
}

function typeOfLiteral(value: string | number | boolean | null): Type {
  switch (typeof value) {
    case 'string':
      return 'String'
    case 'number':
      return 'Number'
    case 'boolean':
      return 'Boolean'
    default:
      return 'Null'
  }
}
