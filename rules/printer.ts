/** Printer: AST -> text of the language, with the fewest brackets that keep its meaning. */
import type { Expression } from './ast.ts'

/** How tightly each form binds; a part is bracketed where it binds looser than its place asks for. */
const TERNARY = 0
const OR = 1
const AND = 2
const EQUALITY = 3
const ORDER = 4
const SUM = 5
const PRODUCT = 6
const UNARY = 7
const POSTFIX = 8

const BINARY: ReadonlyMap<string, number> = new Map([
  ['==', EQUALITY],
  ['!=', EQUALITY],
  ['<', ORDER],
  ['<=', ORDER],
  ['>', ORDER],
  ['>=', ORDER],
  ['in', ORDER],
  ['+', SUM],
  ['-', SUM],
  ['*', PRODUCT],
  ['/', PRODUCT],
  ['%', PRODUCT],
])

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

export function printExpression(expression: Expression): string {
  return print(expression, TERNARY)
}

function print(expression: Expression, place: number): string {
  const [text, strength] = form(expression)
  return strength < place ? `(${text})` : text
}

function form(expression: Expression): [string, number] {
  switch (expression.kind) {
    case 'literal':
      return [printLiteral(expression.value), POSTFIX]
    case 'regex':
      return [`/${expression.pattern}/${expression.flags}`, POSTFIX]
    case 'array':
      return [`[${expression.elements.map((element) => print(element, TERNARY)).join(', ')}]`, POSTFIX]
    case 'name':
      return [expression.name, POSTFIX]
    case 'member': {
      const object = print(expression.object, POSTFIX)
      const { name } = expression
      return [IDENTIFIER.test(name) ? `${object}.${name}` : `${object}[${printLiteral(name)}]`, POSTFIX]
    }
    case 'index':
      return [`${print(expression.object, POSTFIX)}[${print(expression.index, TERNARY)}]`, POSTFIX]
    case 'call': {
      const args = expression.arguments.map((argument) => print(argument, TERNARY))
      return [`${print(expression.callee, POSTFIX)}(${args.join(', ')})`, POSTFIX]
    }
    case 'unary': {
      const operand = print(expression.operand, UNARY)
      // `--x` would read as one operator elsewhere, and is hard to read here.
      return [`${expression.operator}${operand.startsWith('-') ? ` ${operand}` : operand}`, UNARY]
    }
    case 'binary': {
      const strength = BINARY.get(expression.operator)!
      const right = print(expression.right, strength + 1)
      return [`${print(expression.left, strength)} ${expression.spelling} ${right}`, strength]
    }
    case 'logical': {
      const strength = expression.operator === '&&' ? AND : OR
      const operands = expression.operands.map((operand) => print(operand, strength + 1))
      return [operands.join(` ${expression.operator} `), strength]
    }
    case 'conditional': {
      const { test, whenTrue, whenFalse } = expression
      return [`${print(test, OR)} ? ${print(whenTrue, TERNARY)} : ${print(whenFalse, TERNARY)}`, TERNARY]
    }
  }
}

export function printLiteral(value: string | number | boolean | null): string {
  if (typeof value !== 'string') return String(value)
  return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
}
