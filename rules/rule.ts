/**
 * Rule: one checked `.read`, `.write` or `.validate` with what is known about it before it runs. Compiled when
 * it is first asked, so that loading costs nothing for rules nobody meets.
 */
import { type Expression, partsOf } from './ast.ts'
import { compileRule, type RuleFunction } from './compiler.ts'
import type { Decision, RulePlace } from './decision.ts'
import { interpret } from './interpreter.ts'
import type { RuleSource } from './rules-file.ts'
import type { Scope } from './scope.ts'

/** What an expression mentions and may therefore depend on. */
export interface Uses {
  data: boolean
  now: boolean
  auth: boolean
  query: boolean
}

export class Rule {
  readonly source: RuleSource
  readonly scope: Scope
  readonly place: RulePlace
  /** A literal true or false is answered without evaluating anything. */
  readonly constant: boolean | null
  /** null exactly where the file has a JSON boolean instead of an expression. */
  readonly expression: Expression | null
  /** Whether calls of named functions were put in place, so that `expression` is not what was written. */
  readonly isExpanded: boolean
  /** Steps one evaluation costs, apart from what string methods add. */
  readonly steps: number
  readonly uses: Readonly<Uses>
  /** One object for all decisions this rule grants. */
  readonly granted: Decision
  run: RuleFunction

  constructor(
    source: RuleSource,
    scope: Scope,
    place: RulePlace,
    value: boolean | Expression,
    isExpanded: boolean,
  ) {
    this.source = source
    this.scope = scope
    this.place = place
    this.isExpanded = isExpanded
    this.expression = typeof value === 'boolean' ? null : value
    this.constant = constantOf(value)
    const uses = { data: false, now: false, auth: false, query: false }
    this.steps = this.expression === null ? 1 : survey(this.expression, uses)
    this.uses = uses
    this.granted = Object.freeze({ allowed: true, reason: 'granted', rule: place, path: null })
    this.run = (...args) => {
      this.run = this.compile()
      return this.run(...args)
    }
  }

  private compile(): RuleFunction {
    const { expression, scope, constant } = this
    if (expression === null) return () => constant === true
    try {
      return compileRule(expression, scope)
    } catch (error) {
      // Node was started with --disallow-code-generation-from-strings: slower, but the same answers.
      if (!(error instanceof EvalError)) throw error
      return (path, auth, now, data, newData, query, budget) =>
        interpret(expression, { scope, path, auth, now, data, newData, query, budget }, null)
    }
  }
}

function constantOf(value: boolean | Expression): boolean | null {
  if (typeof value === 'boolean') return value
  return value.kind === 'literal' ? value.value === true : null
}

/** Counts the nodes of an expression and notes the variables among them. */
function survey(expression: Expression, uses: Uses): number {
  if (expression.kind === 'name') {
    const { name } = expression
    if (name === 'auth' || name === 'now' || name === 'query') uses[name] = true
    else if (name === 'data' || name === 'root' || name === 'newData' || name === 'newRoot') uses.data = true
  }
  let count = 1
  for (const part of partsOf(expression)) count += survey(part, uses)
  return count
}
