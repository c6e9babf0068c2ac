/**
 * Plain: a file with Hearth's extensions -> the Firebase file that decides the same, or the places where no
 * such file exists.
 *
 *   functions, constants     put in place
 *   newRoot                  newData.parent().parent()...   as many as the rule is deep
 *   x in ['a', 'b']          x == 'a' || x == 'b'
 *   numChildren(), x in auth.token.list                     nothing says this in Firebase's language
 */
import { type Binary, type Expression, partsOf } from './ast.ts'
import type { RulesError } from './errors.ts'
import { mapParts } from './expand.ts'
import { defaultLimits } from './limits.ts'
import { type Analysis, analyzeRules, type LoadOptions } from './load.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { RuleNode, RuleSource } from './rules-file.ts'
import type { Source } from './source.ts'

export type PlainResult = { ok: true; text: string } | { ok: false; errors: readonly RulesError[] }

export function compileToPlain(text: string | Uint8Array, options: LoadOptions = {}): PlainResult {
  const analysis = analyzeRules(text, options)
  if (analysis.file === null || analysis.errors.length > 0) return { ok: false, errors: analysis.errors }
  const writer = new PlainWriter(analysis, { ...defaultLimits, ...options.limits }.expressionNodesMax)
  const plain = `{\n  "rules": ${writer.node(analysis.file.root, '  ')}\n}\n`
  const { errors } = analysis.source
  return errors.length > 0 ? { ok: false, errors } : { ok: true, text: plain }
}

class PlainWriter {
  private readonly source: Source
  private readonly rules: ReadonlyMap<RuleSource, Rule>
  private readonly nodesMax: number

  constructor({ source, rules }: Analysis, nodesMax: number) {
    this.source = source
    this.nodesMax = nodesMax
    this.rules = new Map(rules.map((rule) => [rule.source, rule]))
  }

  node(node: RuleNode, indent: string): string {
    const inner = `${indent}  `
    const lines: string[] = []
    for (const rule of [node.read, node.write, node.validate]) {
      if (rule !== null) lines.push(`".${rule.kind}": ${this.rule(rule)}`)
    }
    if (node.indexOn.length > 0) lines.push(`".indexOn": ${JSON.stringify(node.indexOn)}`)
    const children =
      node.capture === null ? node.children.values() : [...node.children.values(), node.capture]
    for (const child of children) lines.push(`${JSON.stringify(child.key)}: ${this.node(child, inner)}`)
    return lines.length === 0 ? '{}' : `{\n${lines.map((line) => inner + line).join(',\n')}\n${indent}}`
  }

  private rule(source: RuleSource): string {
    if (typeof source.value === 'boolean') return String(source.value)
    const rule = this.rules.get(source)!
    // What is plain already stays as its author wrote it.
    if (!rule.isExpanded && !hasExtension(rule.expression!)) return JSON.stringify(source.value)
    const lowered = this.lower(rule.expression!, rule)
    // `(x in [..]) in [..]` writes its left side out once for each element, and so on inside.
    if (sizeOf(lowered, new Map()) <= this.nodesMax) return JSON.stringify(printExpression(lowered))
    this.problem(
      rule,
      rule.expression!,
      `the plain form has more than ${this.nodesMax} parts`,
      'each element of a list repeats what is looked for in it',
    )
    return 'false'
  }

  private lower(expression: Expression, rule: Rule): Expression {
    const lowered = mapParts(expression, (part) => this.lower(part, rule))
    if (lowered.kind === 'name' && lowered.name === 'newRoot') {
      let at: Expression = { ...lowered, name: 'newData' }
      for (let i = 0; i < rule.scope.depth; i++) at = methodCall(at, 'parent')
      return at
    }
    if (lowered.kind === 'binary' && lowered.operator === 'in') return this.lowerMembership(lowered, rule)
    if (lowered.kind === 'member' && lowered.type === 'Method' && lowered.name === 'numChildren') {
      this.problem(
        rule,
        lowered,
        "`numChildren()` has no form in Firebase's language",
        'keep a count beside the list',
      )
    }
    return lowered
  }

  private lowerMembership(expression: Binary, rule: Rule): Expression {
    const { left, right, start, end } = expression
    const node = { start, end, type: 'Boolean' as const, height: 0 }
    if (right.kind !== 'array') {
      this.problem(
        rule,
        expression,
        "membership in a claim has no form in Firebase's language",
        'make the claim a map: `auth.token.roles.editor == true`',
      )
      return expression
    }
    const tests = right.elements.map(
      (element): Expression => ({
        kind: 'binary',
        operator: '==',
        spelling: '==',
        left,
        right: element,
        ...node,
      }),
    )
    if (tests.length === 0) return { kind: 'literal', value: false, ...node }
    return tests.length === 1 ? tests[0]! : { kind: 'logical', operator: '||', operands: tests, ...node }
  }

  private problem(rule: Rule, expression: Expression, message: string, hint: string): void {
    const start = rule.source.offsetAt(expression.start)
    this.source.report('type', { start, end: rule.source.offsetAt(expression.end) }, message, hint)
  }
}

/** Parts of an expression as it is printed: one object may stand at several places of it. */
function sizeOf(expression: Expression, known: Map<Expression, number>): number {
  let size = known.get(expression)
  if (size === undefined) {
    size = 1
    for (const part of partsOf(expression)) size += sizeOf(part, known)
    known.set(expression, size)
  }
  return size
}

function hasExtension(expression: Expression): boolean {
  if (expression.kind === 'name' && expression.name === 'newRoot') return true
  if (expression.kind === 'binary' && expression.operator === 'in') return true
  if (expression.kind === 'member' && expression.type === 'Method' && expression.name === 'numChildren')
    return true
  return partsOf(expression).some(hasExtension)
}

function methodCall(object: Expression, name: string): Expression {
  const { start, end } = object
  const nameSpan = { start, end }
  return {
    kind: 'call',
    callee: { kind: 'member', object, name, nameSpan, type: 'Method', height: 0, start, end },
    arguments: [],
    type: 'Snapshot',
    height: 0,
    start,
    end,
  }
}
