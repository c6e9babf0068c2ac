/**
 * AST of one rule expression. No behaviour. Spans are offsets into the expression's own text; the rule that
 * holds the expression knows where that text stands in the file.
 */
import type { Matcher } from './regexp.ts'
import type { Span } from './source.ts'
import type { Type } from './types.ts'

export type Expression =
  | Literal
  | RegexLiteral
  | ArrayLiteral
  | Name
  | Member
  | Index
  | Call
  | Unary
  | Binary
  | Logical
  | Conditional

interface Node extends Span {
  /** Set by the checker; everything after the checker may rely on it. */
  type: Type
  /** Levels of nodes below this one; the parser keeps it within its limit. */
  height: number
}

export interface Literal extends Node {
  kind: 'literal'
  value: string | number | boolean | null
}

export interface RegexLiteral extends Node {
  kind: 'regex'
  pattern: string
  flags: string
  /** Set by the checker once the pattern is known to be in the dialect. */
  matcher: Matcher | null
}

export interface ArrayLiteral extends Node {
  kind: 'array'
  elements: Expression[]
}

export interface Name extends Node {
  kind: 'name'
  name: string
}

/** `object.name`, and `object['name']` which means the same. */
export interface Member extends Node {
  kind: 'member'
  object: Expression
  name: string
  nameSpan: Span
}

/** `object[index]` with anything but a string literal inside. */
export interface Index extends Node {
  kind: 'index'
  object: Expression
  index: Expression
}

export interface Call extends Node {
  kind: 'call'
  callee: Expression
  arguments: Expression[]
}

export interface Unary extends Node {
  kind: 'unary'
  operator: '!' | '-'
  operand: Expression
}

export type BinaryOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | '+' | '-' | '*' | '/' | '%' | 'in'

export interface Binary extends Node {
  kind: 'binary'
  /** `===` and `!==` are the same operators as `==` and `!=` and appear as those. */
  operator: BinaryOperator
  /** As written, for printing the expression back. */
  spelling: string
  left: Expression
  right: Expression
}

/** A chain `a && b && c` is one node, so that a list of thousands of terms is not thousands of levels deep. */
export interface Logical extends Node {
  kind: 'logical'
  operator: '&&' | '||'
  /** At least two. */
  operands: Expression[]
}

export interface Conditional extends Node {
  kind: 'conditional'
  test: Expression
  whenTrue: Expression
  whenFalse: Expression
}

const NO_PARTS: readonly Expression[] = []

/** The direct parts of an expression, in evaluation order. */
export function partsOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case 'literal':
    case 'regex':
    case 'name':
      return NO_PARTS
    case 'array':
      return expression.elements
    case 'member':
      return [expression.object]
    case 'index':
      return [expression.object, expression.index]
    case 'call':
      return [expression.callee, ...expression.arguments]
    case 'unary':
      return [expression.operand]
    case 'binary':
      return [expression.left, expression.right]
    case 'logical':
      return expression.operands
    case 'conditional':
      return [expression.test, expression.whenTrue, expression.whenFalse]
  }
}
