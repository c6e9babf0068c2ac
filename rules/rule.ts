/**
 * Rule: one checked `.read`, `.write` or `.validate` with what is known about it before it runs. Its syntax tree
 * is made again when somebody asks for it, and compiled when it is first evaluated: a file of thousands of rules
 * costs neither the memory nor the time for rules nobody meets.
 */
import { type Expression, type Member, partsOf } from './ast.ts'
import { compileRule, type RuleFunction } from './compiler.ts'
import type { Decision, RulePlace } from './decision.ts'
import { interpret } from './interpreter.ts'
import type { RuleSource } from './rules-file.ts'
import type { Scope } from './scope.ts'
import type { Source } from './source.ts'

/** What an expression mentions and may therefore depend on. */
export interface Uses {
  data: boolean
  now: boolean
  auth: boolean
  query: boolean
  /** Members of `auth` with dots between their names, like `token.email`; empty text for `auth` itself. */
  authFields: readonly string[]
}

export function noUses(): Uses & { authFields: string[] } {
  return { data: false, now: false, auth: false, query: false, authFields: [] }
}

/** What is known of a rule without its syntax tree. */
export interface RuleFacts {
  /** A literal true or false is answered without evaluating anything. */
  readonly constant: boolean | null
  /** Steps one evaluation costs, apart from what string methods add. */
  readonly steps: number
  readonly uses: Readonly<Uses>
  /** Whether calls of named functions were put in place, so that the syntax tree is not what was written. */
  readonly isExpanded: boolean
}

/** Facts of a JSON `true` or `false`, or of an expression that has passed the checker. */
export function factsOf(value: boolean | Expression, isExpanded: boolean): RuleFacts {
  const uses = noUses()
  const steps = typeof value === 'boolean' ? 1 : survey(value, uses)
  return { constant: constantOf(value), steps, uses, isExpanded }
}

export class Rule {
  readonly source: RuleSource
  readonly scope: Scope
  readonly constant: boolean | null
  readonly steps: number
  readonly uses: Readonly<Uses>
  readonly isExpanded: boolean
  run: RuleFunction
  private readonly text: Source
  private readonly parse: (rule: RuleSource, scope: Scope) => Expression
  private knownPlace: RulePlace | null = null
  private knownExpression: Expression | null = null
  private knownGrant: Decision | null = null

  /** @param parse Makes the checked syntax tree of an expression that is known to be sound. */
  constructor(
    source: RuleSource,
    scope: Scope,
    facts: RuleFacts,
    text: Source,
    parse: (rule: RuleSource, scope: Scope) => Expression,
  ) {
    this.source = source
    this.scope = scope
    this.constant = facts.constant
    this.steps = facts.steps
    this.uses = facts.uses
    this.isExpanded = facts.isExpanded
    this.text = text
    this.parse = parse
    this.run = (...args) => {
      this.run = this.compile()
      return this.run(...args)
    }
  }

  get place(): RulePlace {
    if (this.knownPlace === null) {
      const { source, scope } = this
      const pattern = `/${scope.pattern.join('/')}`
      const place = this.text.placeAt(source.start)
      this.knownPlace = { kind: scope.kind, pattern, text: String(source.value), ...place }
    }
    return this.knownPlace
  }

  /** null exactly where the file has a JSON boolean instead of an expression; the same object each time. */
  get expression(): Expression | null {
    if (typeof this.source.value === 'boolean') return null
    this.knownExpression ??= this.parse(this.source, this.scope)
    return this.knownExpression
  }

  /** One object for all decisions this rule grants. */
  get granted(): Decision {
    this.knownGrant ??= Object.freeze({ allowed: true, reason: 'granted', rule: this.place, path: null })
    return this.knownGrant
  }

  private compile(): RuleFunction {
    const { scope, constant } = this
    if (typeof this.source.value === 'boolean') return () => constant === true
    // What was generated needs the syntax tree no more, so unless somebody else has asked for it, it goes.
    const expression = this.knownExpression ?? this.parse(this.source, scope)
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
function survey(expression: Expression, uses: ReturnType<typeof noUses>): number {
  if (expression.kind === 'name') {
    const { name } = expression
    if (name === 'now' || name === 'query') uses[name] = true
    else if (name === 'auth') noteAuth(uses, '')
    else if (name === 'data' || name === 'root' || name === 'newData' || name === 'newRoot') uses.data = true
    return 1
  }
  if (expression.kind === 'member' && expression.type === 'Auth') return surveyAuth(expression, uses)
  let count = 1
  for (const part of partsOf(expression)) count += survey(part, uses)
  return count
}

/** `auth.token.email` is one field, and not `auth.token` and `auth` beside it. */
function surveyAuth(member: Member, uses: ReturnType<typeof noUses>): number {
  let field = ''
  let count = 0
  let at: Expression = member
  for (; at.kind === 'member'; at = at.object) {
    count += 1
    // The length of a text is not a part of it.
    if (at.name !== 'length' || field !== '') field = field === '' ? at.name : `${at.name}.${field}`
  }
  // Anything else below is an index: what it picks is known when it runs, so all of what it picks from counts.
  if (at.kind !== 'name') return count + survey(at, uses)
  noteAuth(uses, field)
  return count + 1
}

function noteAuth(uses: ReturnType<typeof noUses>, field: string): void {
  uses.auth = true
  if (!uses.authFields.includes(field)) uses.authFields.push(field)
}
