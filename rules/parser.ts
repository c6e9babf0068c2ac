/**
 * Parser: tokens -> AST of one expression, by precedence climbing.
 *
 *   ? :   ||   &&   == != === !==   < <= > >= in   + -   * / %   ! -   . [] ()      loosest to tightest
 *
 * Depth is counted wherever the parser or the AST grows deeper, so that no text overflows the stack here or in
 * any later pass over the AST.
 */
import type { BinaryOperator, Expression } from './ast.ts'
import { Lexer, SyntaxProblem, type Token } from './lexer.ts'
import type { RulesLimits } from './limits.ts'
import type { Span } from './source.ts'

export type ExpressionResult = { expression: Expression } | { problem: SyntaxProblem }

export interface ParseOptions {
  limits: Pick<RulesLimits, 'expressionLengthMax' | 'expressionDepthMax'>
  /** Whether `in` is an operator: the file has a `functions` section. */
  hasExtensions: boolean
}

export function parseExpression(text: string, options: ParseOptions): ExpressionResult {
  try {
    if (text.length > options.limits.expressionLengthMax) {
      const end = options.limits.expressionLengthMax
      throw new SyntaxProblem(
        { start: end, end: end + 1 },
        `Expression is longer than ${end} characters.`,
        null,
        true,
      )
    }
    return { expression: new Parser(text, options).parse() }
  } catch (problem) {
    if (problem instanceof SyntaxProblem) return { problem }
    throw problem
  }
}

const PRECEDENCE: ReadonlyMap<string, number> = new Map([
  ['||', 1],
  ['&&', 2],
  ['==', 3],
  ['!=', 3],
  ['===', 3],
  ['!==', 3],
  ['<', 4],
  ['<=', 4],
  ['>', 4],
  ['>=', 4],
  ['in', 4],
  ['+', 5],
  ['-', 5],
  ['*', 6],
  ['/', 6],
  ['%', 6],
])

const ASSIGNMENTS = new Set([
  '=',
  '+=',
  '-=',
  '*=',
  '/=',
  '%=',
  '&=',
  '|=',
  '^=',
  '**=',
  '<<=',
  '>>=',
  '>>>=',
  '&&=',
  '||=',
  '??=',
])
const REFUSED_WORDS = new Set([
  'var',
  'let',
  'const',
  'new',
  'typeof',
  'instanceof',
  'delete',
  'void',
  'function',
  'return',
  'if',
  'else',
  'for',
  'while',
  'await',
  'yield',
  'class',
  'in',
])

class Parser {
  private readonly lexer: Lexer
  private readonly options: ParseOptions
  private token: Token
  private depth = 0

  constructor(text: string, options: ParseOptions) {
    this.lexer = new Lexer(text)
    this.options = options
    this.token = this.lexer.next()
  }

  parse(): Expression {
    const expression = this.conditional()
    // One trailing semicolon is what people leave behind who think in JavaScript.
    if (this.isPunctuator(';')) {
      const semicolon = this.advance()
      if (this.token.kind !== 'end') {
        throw new SyntaxProblem(semicolon, 'Rule expressions may contain only one expression.')
      }
    }
    if (this.token.kind !== 'end') this.unexpected()
    return expression
  }

  private conditional(): Expression {
    this.descend()
    const test = this.binary(1)
    let expression = test
    if (this.isPunctuator('?')) {
      this.advance()
      const whenTrue = this.conditional()
      this.expect(':')
      const whenFalse = this.conditional()
      expression = this.madeOf(
        {
          kind: 'conditional',
          test,
          whenTrue,
          whenFalse,
          type: 'Unchecked',
          height: 0,
          start: test.start,
          end: whenFalse.end,
        },
        [test, whenTrue, whenFalse],
      )
    }
    this.depth -= 1
    return expression
  }

  private binary(lowest: number): Expression {
    let left = this.unary()
    while (true) {
      const spelling = this.operator()
      const precedence = spelling === null ? 0 : PRECEDENCE.get(spelling)!
      if (spelling === null || precedence < lowest) return left
      this.advance()
      const right = this.binary(precedence + 1)
      left = this.joined(spelling, left, right)
    }
  }

  private joined(spelling: string, left: Expression, right: Expression): Expression {
    // Written out field by field, here and in `primary`: spreading costs a quarter of the parse.
    const type = 'Unchecked'
    const { start } = left
    const { end } = right
    if (spelling === '&&' || spelling === '||') {
      // A chain grows in place. A bracketed `(a && b) && c` starts before its first operand and stays apart.
      if (left.kind === 'logical' && left.operator === spelling && left.start === left.operands[0]!.start) {
        left.operands.push(right)
        left.end = right.end
        return this.made(left, right)
      }
      return this.made(
        { kind: 'logical', operator: spelling, operands: [left, right], type, height: 0, start, end },
        left,
        right,
      )
    }
    const operator = (spelling === '===' ? '==' : spelling === '!==' ? '!=' : spelling) as BinaryOperator
    return this.made(
      { kind: 'binary', operator, spelling, left, right, type, height: 0, start, end },
      left,
      right,
    )
  }

  private unary(): Expression {
    const { token } = this
    if (token.kind !== 'punctuator' || (token.text !== '!' && token.text !== '-')) return this.postfix()
    this.descend()
    this.advance()
    const operand = this.unary()
    this.depth -= 1
    return this.made(
      {
        kind: 'unary',
        operator: token.text,
        operand,
        type: 'Unchecked',
        height: 0,
        start: token.start,
        end: operand.end,
      },
      operand,
    )
  }

  private postfix(): Expression {
    let object = this.primary()
    while (this.token.kind === 'punctuator') {
      if (this.token.text === '.') {
        this.advance()
        const name = this.nameAfterDot()
        const nameSpan = { start: name.start, end: name.end }
        object = this.made(
          {
            kind: 'member',
            object,
            name: name.text,
            nameSpan,
            type: 'Unchecked',
            height: 0,
            start: object.start,
            end: name.end,
          },
          object,
        )
      } else if (this.token.text === '[') object = this.indexed(object)
      else if (this.token.text === '(') object = this.called(object)
      else break
    }
    return object
  }

  private nameAfterDot(): Token & { kind: 'name' } {
    const { token } = this
    if (token.kind !== 'name') return this.unexpected('a name follows `.`')
    this.advance()
    return token
  }

  private indexed(object: Expression): Expression {
    this.advance()
    const index = this.conditional()
    const { end } = this.expect(']')
    const span = { start: object.start, end, type: 'Unchecked' as const, height: 0 }
    if (index.kind === 'literal' && typeof index.value === 'string') {
      const nameSpan = { start: index.start, end: index.end }
      return this.made({ kind: 'member', object, name: index.value, nameSpan, ...span }, object)
    }
    return this.made({ kind: 'index', object, index, ...span }, object, index)
  }

  private called(callee: Expression): Expression {
    this.advance()
    const args = this.list(')')
    const { end } = this.expect(')')
    const { start } = callee
    const call = this.made(
      { kind: 'call', callee, arguments: args, type: 'Unchecked', height: 0, start, end },
      callee,
    )
    return this.madeOf(call, args)
  }

  private list(closing: string): Expression[] {
    const elements: Expression[] = []
    while (!this.isPunctuator(closing)) {
      elements.push(this.conditional())
      if (!this.isPunctuator(',')) break
      this.advance()
    }
    return elements
  }

  private primary(): Expression {
    const { token } = this
    const type = 'Unchecked'
    const { start, end } = token
    switch (token.kind) {
      case 'number':
      case 'string':
        this.advance()
        return { kind: 'literal', value: token.value, type, height: 0, start, end }
      case 'name':
        if (REFUSED_WORDS.has(token.text)) this.unexpected()
        this.advance()
        if (token.text === 'true' || token.text === 'false') {
          return { kind: 'literal', value: token.text === 'true', type, height: 0, start, end }
        }
        if (token.text === 'null') return { kind: 'literal', value: null, type, height: 0, start, end }
        return { kind: 'name', name: token.text, type, height: 0, start, end }
      case 'punctuator':
        return this.opened(token)
      default:
        return this.unexpected()
    }
  }

  private opened(token: Token & { kind: 'punctuator' }): Expression {
    if (token.text === '(') {
      this.advance()
      const expression = this.conditional()
      const { end } = this.expect(')')
      // The span takes the brackets in, so that carets and coverage show the text as it stands.
      expression.start = token.start
      expression.end = end
      return expression
    }
    if (token.text === '[') {
      this.advance()
      const elements = this.list(']')
      const { end } = this.expect(']')
      const { start } = token
      return this.madeOf({ kind: 'array', elements, type: 'Unchecked', height: 0, start, end }, elements)
    }
    if (token.text === '/' || token.text === '/=') {
      const regex = this.lexer.regexFrom(token)
      if (regex.kind !== 'regex') return this.unexpected()
      this.token = regex
      this.advance()
      const { pattern, flags, start, end } = regex
      return { kind: 'regex', pattern, flags, matcher: null, type: 'Unchecked', height: 0, start, end }
    }
    return this.unexpected()
  }

  private operator(): string | null {
    const { token } = this
    if (token.kind === 'punctuator') return PRECEDENCE.has(token.text) ? token.text : null
    return token.kind === 'name' && token.text === 'in' && this.options.hasExtensions ? 'in' : null
  }

  private isPunctuator(text: string): boolean {
    return this.token.kind === 'punctuator' && this.token.text === text
  }

  private advance(): Token {
    const { token } = this
    this.token = this.lexer.next()
    return token
  }

  private expect(text: string): Span {
    if (!this.isPunctuator(text)) this.unexpected(`expected \`${text}\``)
    return this.advance()
  }

  private descend(): void {
    this.depth += 1
    if (this.depth > this.options.limits.expressionDepthMax) this.tooDeep(this.token)
  }

  private made(expression: Expression, left: Expression | null, right: Expression | null = null): Expression {
    if (left !== null && left.height >= expression.height) expression.height = left.height + 1
    if (right !== null && right.height >= expression.height) expression.height = right.height + 1
    if (expression.height > this.options.limits.expressionDepthMax) this.tooDeep(expression)
    return expression
  }

  private madeOf(expression: Expression, parts: readonly Expression[]): Expression {
    for (const part of parts) this.made(expression, part)
    return expression
  }

  private tooDeep(span: Span): never {
    throw new SyntaxProblem(
      { start: span.start, end: span.start + 1 },
      `Expression is nested deeper than ${this.options.limits.expressionDepthMax} levels.`,
      null,
      true,
    )
  }

  private unexpected(hint: string | null = null): never {
    const { token } = this
    if (token.kind === 'end') throw new SyntaxProblem(token, 'Unexpected end of expression.', hint)
    if (token.kind === 'punctuator') {
      if (ASSIGNMENTS.has(token.text)) {
        throw new SyntaxProblem(
          token,
          'Rule expressions may not contain assignments.',
          token.text === '=' ? 'compare with `==`' : null,
        )
      }
      throw new SyntaxProblem(token, `Unexpected '${token.text}'.`, hint ?? hintFor(token.text))
    }
    if (token.kind === 'name' && REFUSED_WORDS.has(token.text)) {
      throw new SyntaxProblem(token, `Unexpected '${token.text}'.`, hint ?? hintFor(token.text))
    }
    // The live compiler's own words for an operand that follows an operand.
    throw new SyntaxProblem(token, 'missing ; before statement', hint ?? 'an operator is missing before this')
  }
}

function hintFor(text: string): string | null {
  switch (text) {
    case '&':
    case '|':
      return `the logical operator is \`${text}${text}\``
    case '`':
      return 'strings are written in single or double quotes'
    case '**':
      return 'there is no power operator'
    case '=>':
    case 'function':
      return 'rules have no functions of their own; Hearth reads them from a "functions" section'
    case 'in':
      return '`in` is an extension of Hearth; a top-level "functions": {} turns extensions on'
    case 'var':
    case 'let':
    case 'const':
      return 'a rule is one expression; Hearth reads named constants from a "functions" section'
    case ';':
      return 'a rule is one expression'
    default:
      return null
  }
}
