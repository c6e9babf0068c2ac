/**
 * Lint: warnings about rules that load and do what they say, which is probably not what was meant. Every
 * warning has a stable id, one reason and one way to fix it; docs/rules.md lists them.
 */
import { clip } from '../protocol/index.ts'
import { type Expression, partsOf } from './ast.ts'
import type { Place, Snippet } from './errors.ts'
import type { Analysis } from './load.ts'
import { printExpression } from './printer.ts'
import type { Rule } from './rule.ts'
import type { FunctionSource, RuleNode } from './rules-file.ts'
import { FINDINGS_MAX, type Span } from './source.ts'

export type WarningId =
  | 'public-write'
  | 'public-read'
  | 'dead-rule'
  | 'delete-bypasses-validate'
  | 'unlisted-keys'
  | 'signed-out-passes'
  | 'error-before-or'
  | 'query-without-index'
  | 'unused-function'

export interface Warning extends Snippet, Place {
  id: WarningId
  message: string
  fix: string
}

/** @returns Warnings in the order of the text, a hundred at most; none for a text with errors, which come first. */
export function lintRules(analysis: Analysis): Warning[] {
  if (analysis.file === null || analysis.errors.length > 0) return []
  const linter = new Linter(analysis)
  linter.node(analysis.file.root, '/', { read: [], write: [] })
  linter.functions(analysis.file.functions ?? [])
  return linter.warnings.sort((a, b) => a.line - b.line || a.column - b.column)
}

/** The rules above, for each kind that cascades: any of them may have granted already. */
interface Above {
  read: readonly Rule[]
  write: readonly Rule[]
}

class Linter {
  readonly warnings: Warning[] = []
  private readonly analysis: Analysis
  private readonly ruleAt: ReadonlyMap<unknown, Rule>

  constructor(analysis: Analysis) {
    this.analysis = analysis
    this.ruleAt = new Map(analysis.rules.map((rule) => [rule.source, rule]))
  }

  node(node: RuleNode, pattern: string, above: Above): void {
    const read = this.ruleAt.get(node.read) ?? null
    const write = this.ruleAt.get(node.write) ?? null
    const validate = this.ruleAt.get(node.validate) ?? null
    this.cascade(read, above.read)
    this.cascade(write, above.write)
    for (const rule of [read, write, validate]) if (rule !== null) this.expression(rule)
    if (read !== null) this.queryGate(read, node)
    if (validate !== null) this.deletion(node, pattern, validate)
    this.unlisted(node, validate)
    const below = {
      read: read === null ? above.read : [...above.read, read],
      write: write === null ? above.write : [...above.write, write],
    }
    const prefix = pattern === '/' ? '' : pattern
    for (const child of node.children.values()) this.node(child, `${prefix}/${child.key}`, below)
    if (node.capture !== null) this.node(node.capture, `${prefix}/${node.capture.key}`, below)
  }

  functions(functions: readonly FunctionSource[]): void {
    for (const { name, nameSpan } of functions) {
      if (!this.analysis.uncalled.has(name)) continue
      this.warn(
        'unused-function',
        nameSpan,
        `no rule calls \`${clip(name)}\`, so its body was not checked`,
        'call it, or remove it',
      )
    }
  }

  private cascade(rule: Rule | null, rulesAbove: readonly Rule[]): void {
    if (rule === null) return
    const { kind } = rule.place
    const above = rulesAbove.find((candidate) => makesDead(candidate, rule))
    if (above !== undefined) {
      const { pattern, line, column } = above.place
      this.warn(
        'dead-rule',
        rule.source,
        `this \`.${kind}\` decides nothing: ${pattern} already grants whoever passes it, and everything below ${pattern}`,
        `narrow or remove the \`.${kind}\` of ${pattern} (${line}:${column}), or remove this one`,
      )
    } else if (rule.constant === true) {
      this.warn(
        kind === 'read' ? 'public-read' : 'public-write',
        rule.source,
        `anyone, signed in or not, may ${kind} ${rule.place.pattern} and everything below it`,
        `ask for a user at least: ".${kind}": "auth != null"`,
      )
    }
  }

  private expression(rule: Rule): void {
    if (rule.expression === null) return
    for (const part of walk(rule.expression)) {
      const isUnequal = part.kind === 'binary' && part.operator === '!='
      if (isUnequal && isAuthMember(part.left, part.right) && !isGuarded(rule.expression, part)) {
        this.warnIn(
          rule,
          part,
          'signed-out-passes',
          'true for everyone who is signed out: a missing member of `auth` is null, and null is unequal to this',
          'ask `auth != null &&` first',
        )
      }
      if (part.kind !== 'logical' || part.operator !== '||') continue
      for (const operand of part.operands.slice(0, -1)) {
        const risk = riskIn(operand)
        if (risk === null) continue
        this.warnIn(
          rule,
          risk,
          'error-before-or',
          'fails the whole rule where this is no string: what follows `||` is then never asked',
          'put a type check in front (`isString() && ...`), or the safer alternative first',
        )
      }
    }
  }

  private queryGate(rule: Rule, node: RuleNode): void {
    if (rule.expression === null) return
    for (const part of walk(rule.expression)) {
      if (part.kind !== 'binary' || part.operator !== '==') continue
      const [field, value] = part.left.kind === 'literal' ? [part.right, part.left] : [part.left, part.right]
      if (field.kind !== 'member' || field.object.type !== 'Query' || value.kind !== 'literal') continue
      const needed =
        field.name === 'orderByChild'
          ? value.value
          : field.name === 'orderByValue' && value.value === true
            ? '.value'
            : null
      if (typeof needed !== 'string' || node.indexOn.includes(needed)) continue
      this.warnIn(
        rule,
        part,
        'query-without-index',
        `the only queries allowed here order by \`${needed}\`, which has no index`,
        `add ".indexOn": [${[...node.indexOn, needed].map((name) => JSON.stringify(name)).join(', ')}] beside it`,
      )
    }
  }

  /** A rule that demands children does not hold when the whole node is deleted: validation skips what is gone. */
  private deletion(node: RuleNode, pattern: string, validate: Rule): void {
    if (validate.expression === null) return
    const writer = this.writerOf(node)
    if (writer === null || mentionsNewData(writer)) return
    // Only what must hold: `!newData.exists() || ...` lets deletions through on purpose.
    for (const part of operandsOf(validate.expression)) {
      const refusesChange = part.kind === 'unary' && part.operator === '!' && isExists(part.operand, 'data')
      if (!isExists(part, 'newData') && !refusesChange) continue
      this.warnIn(
        validate,
        part,
        'delete-bypasses-validate',
        `does not keep ${pattern} from being deleted: \`.validate\` is not asked about what is gone`,
        `put it into the \`.write\` that grants here (${writer.place.line}:${writer.place.column})`,
      )
    }
  }

  /** The nearest `.write` at or above a node. */
  private writerOf(node: RuleNode): Rule | null {
    for (let at: RuleNode | null = node; at !== null; at = at.parent) {
      const rule = this.ruleAt.get(at.write)
      if (rule !== undefined && rule.constant !== false) return rule
    }
    return null
  }

  private unlisted(node: RuleNode, validate: Rule | null): void {
    if (validate === null || validate.constant !== null || node.capture !== null || node.children.size === 0)
      return
    const areValidated = [...node.children.values()].every((child) => child.validate !== null)
    if (!areValidated) return
    this.warn(
      'unlisted-keys',
      node.keySpan,
      `every listed child is validated, but any other key may be written here with any value`,
      'add "$other": {".validate": false}',
    )
  }

  private warnIn(rule: Rule, part: Span, id: WarningId, message: string, fix: string): void {
    const { source } = rule
    // Several nodes of one function body stand where its call stands.
    this.warn(id, { start: source.offsetAt(part.start), end: source.offsetAt(part.end) }, message, fix)
  }

  private warn(id: WarningId, span: Span, message: string, fix: string): void {
    if (this.warnings.length >= FINDINGS_MAX) return
    const snippet = this.analysis.source.snippet(span)
    const isKnown = this.warnings.some(
      (warning) => warning.id === id && warning.line === snippet.line && warning.column === snippet.column,
    )
    if (!isKnown) this.warnings.push({ id, message, fix, ...snippet })
  }
}

/**
 * Whether everyone a rule lets through was let through above it already: the upper one is always true, or each
 * of its conditions is among those of the lower one. `data` means another place at each level, so conditions
 * that look at it are never the same.
 */
function makesDead(above: Rule, rule: Rule): boolean {
  if (above.constant === true) return true
  if (above.expression === null || rule.expression === null || above.constant === false) return false
  if ([...walk(above.expression)].some(isOwnPlace)) return false
  const conditions = new Set(conjuncts(rule.expression))
  return conjuncts(above.expression).every((condition) => conditions.has(condition))
}

/** Conditions that must all hold, as text. `===` and `==` are the same operator, written by different people. */
function conjuncts(expression: Expression): string[] {
  return operandsOf(expression).map((operand) =>
    printExpression(operand).replaceAll('===', '==').replaceAll('!==', '!='),
  )
}

function operandsOf(expression: Expression): Expression[] {
  if (expression.kind !== 'logical' || expression.operator !== '&&') return [expression]
  return expression.operands.flatMap(operandsOf)
}

function isOwnPlace(expression: Expression): boolean {
  return expression.kind === 'name' && (expression.name === 'data' || expression.name === 'newData')
}

function* walk(expression: Expression): Generator<Expression> {
  yield expression
  for (const part of partsOf(expression)) yield* walk(part)
}

/** `auth.uid != 'x'`, but not `auth.uid != null`, which is the guard itself. */
function isAuthMember(left: Expression, right: Expression): boolean {
  const isNull = (side: Expression) => side.kind === 'literal' && side.value === null
  const isMember = (side: Expression) => side.type === 'Auth' && side.kind !== 'name'
  if (isNull(left) || isNull(right)) return false
  return isMember(left) || isMember(right)
}

/** Whether somewhere in front of a part, in the same chain of `&&`, the user is known to be signed in. */
function isGuarded(whole: Expression, part: Expression): boolean {
  if (whole.kind === 'logical' && whole.operator === '&&') {
    for (const operand of whole.operands) {
      if (contains(operand, part)) return isGuarded(operand, part)
      if (impliesSignedIn(operand)) return true
    }
  }
  if (whole.kind === 'conditional' && impliesSignedIn(whole.test) && contains(whole.whenTrue, part))
    return true
  return partsOf(whole).some((inner) => contains(inner, part) && inner !== part && isGuarded(inner, part))
}

function contains(whole: Expression, part: Expression): boolean {
  return whole === part || partsOf(whole).some((inner) => contains(inner, part))
}

/** An inequality with null, or an equality with something that cannot be null, on `auth` or a member of it. */
function impliesSignedIn(expression: Expression): boolean {
  if (expression.kind === 'logical' && expression.operator === '&&')
    return expression.operands.some(impliesSignedIn)
  if (expression.kind !== 'binary') return false
  const [auth, other] =
    expression.left.type === 'Auth'
      ? [expression.left, expression.right]
      : [expression.right, expression.left]
  if (auth.type !== 'Auth') return false
  const isNull = other.kind === 'literal' && other.value === null
  if (expression.operator === '!=') return isNull
  return (
    expression.operator === '==' &&
    !isNull &&
    (other.type === 'String' || other.type === 'Boolean' || other.type === 'Number')
  )
}

/** The part of an alternative that can fail at run time, where nothing in front of it keeps it from failing. */
function riskIn(expression: Expression): Expression | null {
  if (expression.kind === 'logical') {
    // Behind a first test of the same chain, the author has thought of it.
    return riskIn(expression.operands[0]!)
  }
  for (const part of walk(expression)) {
    if (part.kind === 'logical' || part.kind === 'conditional') return null
    const member = part.kind === 'call' ? part.callee : part
    if (member.kind !== 'member') continue
    const { object, name } = member
    if (object.type === 'Value' && object.kind === 'call' && (part.kind === 'call' || name === 'length'))
      return part
  }
  return null
}

function isExists(expression: Expression, of: 'data' | 'newData'): boolean {
  if (expression.kind !== 'call' || expression.callee.kind !== 'member') return false
  const { object, name } = expression.callee
  return name === 'exists' && object.kind === 'name' && object.name === of
}

function mentionsNewData({ expression }: Rule): boolean {
  return (
    expression !== null &&
    [...walk(expression)].some((part) => part.kind === 'name' && part.name === 'newData')
  )
}
