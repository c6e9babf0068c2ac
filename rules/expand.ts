/**
 * Expand: puts the named functions and constants of a `functions` section in place of their calls, before
 * anything is checked. A call means what its body would mean if it were written where the call stands, each
 * argument in place of its parameter; so every later pass, and Firebase, sees plain expressions only.
 *
 *   "isMember(room)": "root.child('members').child(room).child(auth.uid).exists()"
 *   ".read": "isMember($room)"   ->   root.child('members').child($room).child(auth.uid).exists()
 */
import type { Expression } from './ast.ts'
import type { RulesLimits } from './limits.ts'
import type { Span } from './source.ts'

export interface NamedFunction {
  name: string
  parameters: readonly string[]
  body: Expression
  /** Whether a call was met. */
  isCalled: boolean
}

export type Functions = ReadonlyMap<string, NamedFunction>

/** What keeps a call from being put in place; reported where the call stands. */
export class ExpandProblem {
  readonly span: Span
  readonly message: string
  readonly hint: string | null

  constructor(span: Span, message: string, hint: string | null = null) {
    this.span = span
    this.message = message
    this.hint = hint
  }
}

export interface Expanded {
  expression: Expression
  /** Whether any call was replaced. */
  hasChanged: boolean
}

type ExpandLimits = Pick<RulesLimits, 'expressionNodesMax' | 'expressionDepthMax'>

/** What a file has grown to so far, that included which was given up. */
export interface Growth {
  nodes: number
}

/** @throws {ExpandProblem} */
export function expand(
  expression: Expression,
  functions: Functions,
  limits: ExpandLimits,
  growth: Growth,
): Expanded {
  const expander = new Expander(functions, limits, growth)
  const expanded = expander.expand(expression, [], 0)
  return { expression: expanded, hasChanged: expander.hasChanged }
}

class Expander {
  hasChanged = false
  private readonly functions: Functions
  private readonly limits: ExpandLimits
  private readonly growth: Growth
  private nodes = 0

  constructor(functions: Functions, limits: ExpandLimits, growth: Growth) {
    this.functions = functions
    this.limits = limits
    this.growth = growth
  }

  /** @param open Names of the functions being expanded, outermost first. */
  expand(expression: Expression, open: readonly string[], depth: number): Expression {
    if (depth > this.limits.expressionDepthMax) {
      throw new ExpandProblem(
        expression,
        `Expression grows deeper than ${this.limits.expressionDepthMax} levels.`,
      )
    }
    if (expression.kind === 'name') return this.call(expression, expression.name, [], open, depth)
    if (expression.kind === 'call' && expression.callee.kind === 'name') {
      const args = expression.arguments.map((argument) => this.expand(argument, open, depth + 1))
      return this.call({ ...expression, arguments: args }, expression.callee.name, args, open, depth)
    }
    return mapParts(expression, (part) => this.expand(part, open, depth + 1))
  }

  private call(
    site: Expression,
    name: string,
    args: readonly Expression[],
    open: readonly string[],
    depth: number,
  ): Expression {
    const called = this.functions.get(name)
    if (called === undefined) return site
    called.isCalled = true
    const { parameters, body } = called
    if (args.length !== parameters.length) {
      const expected = parameters.length === 1 ? '1 argument' : `${parameters.length} arguments`
      throw new ExpandProblem(
        site,
        `${name}() expects ${expected}.`,
        `it is defined as ${name}(${parameters.join(', ')})`,
      )
    }
    if (open.length >= this.limits.expressionDepthMax) {
      throw new ExpandProblem(
        site,
        `Functions call one another more than ${this.limits.expressionDepthMax} deep.`,
      )
    }
    if (open.includes(name)) {
      throw new ExpandProblem(site, `Function '${name}' calls itself.`, [...open, name].join(' -> '))
    }
    this.hasChanged = true
    const inside = [...open, name]
    const placed = new Map(parameters.map((parameter, i) => [parameter, args[i]!]))
    return this.expand(this.substitute(body, placed, site, inside), inside, depth)
  }

  /** A copy of a body at a call: every node stands where the call stands, arguments keep their own place. */
  private substitute(
    body: Expression,
    args: ReadonlyMap<string, Expression>,
    site: Span,
    open: readonly string[],
  ): Expression {
    const argument = body.kind === 'name' ? args.get(body.name) : undefined
    if (argument !== undefined) return this.copy(argument, site, open)
    this.count(site, open)
    const placed = { ...body, start: site.start, end: site.end }
    if (placed.kind === 'member') placed.nameSpan = { start: site.start, end: site.end }
    return mapParts(placed, (part) => this.substitute(part, args, site, open))
  }

  private copy(expression: Expression, site: Span, open: readonly string[]): Expression {
    this.count(site, open)
    return mapParts({ ...expression }, (part) => this.copy(part, site, open))
  }

  /** Counted while they are made: a body that names its parameter often multiplies what it is given. */
  private count(site: Span, open: readonly string[]): void {
    this.nodes += 1
    this.growth.nodes += 1
    if (this.nodes <= this.limits.expressionNodesMax) return
    throw new ExpandProblem(
      site,
      `Expression grows past ${this.limits.expressionNodesMax} parts.`,
      `in ${open.join(' -> ')}`,
    )
  }
}

/** The same node with other parts. */
export function mapParts(expression: Expression, map: (part: Expression) => Expression): Expression {
  switch (expression.kind) {
    case 'literal':
    case 'regex':
    case 'name':
      return expression
    case 'array':
      return { ...expression, elements: expression.elements.map(map) }
    case 'member':
      return { ...expression, object: map(expression.object) }
    case 'index':
      return { ...expression, object: map(expression.object), index: map(expression.index) }
    case 'call':
      return { ...expression, callee: map(expression.callee), arguments: expression.arguments.map(map) }
    case 'unary':
      return { ...expression, operand: map(expression.operand) }
    case 'binary':
      return { ...expression, left: map(expression.left), right: map(expression.right) }
    case 'logical':
      return { ...expression, operands: expression.operands.map(map) }
    case 'conditional':
      return {
        ...expression,
        test: map(expression.test),
        whenTrue: map(expression.whenTrue),
        whenFalse: map(expression.whenFalse),
      }
  }
}
