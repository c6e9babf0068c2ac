/**
 * Load: rules text -> ruleset, or every error in it. Never throws on a bad text, whoever wrote it.
 */
import type { Expression } from './ast.ts'
import { checkRule, type Report } from './checker.ts'
import type { RulesError, RulesErrorCode } from './errors.ts'
import { type Expanded, ExpandProblem, expand, type Growth, type NamedFunction } from './expand.ts'
import { parseJsonDialect } from './json-dialect.ts'
import { defaultLimits, type RulesLimits } from './limits.ts'
import { parseExpression } from './parser.ts'
import { factsOf, Rule, type RuleFacts } from './rule.ts'
import { parseRulesFile, type RuleNode, type RuleSource, type RulesFile } from './rules-file.ts'
import { CompiledRuleset, type Ruleset, type RulesetNode } from './ruleset.ts'
import { isVariable, type Scope, type Scopes, scopesOf } from './scope.ts'
import { Source, type Span } from './source.ts'

export interface LoadOptions {
  limits?: Partial<RulesLimits>
}

export type LoadResult = { ok: true; ruleset: Ruleset } | { ok: false; errors: readonly RulesError[] }

/** Everything that is known about a text after it was read and checked; what the tools work from. */
export interface Analysis {
  source: Source
  /** null when the text is no tree of rules at all. */
  file: RulesFile | null
  root: RulesetNode | null
  /** Rules that are sound, parents before children. */
  rules: readonly Rule[]
  /** Named functions and constants that no rule calls. */
  uncalled: ReadonlySet<string>
  /** In the order of the text. */
  errors: readonly RulesError[]
}

/** @param text The file's text, or its bytes, which must be UTF-8. */
export function loadRuleset(text: string | Uint8Array, options: LoadOptions = {}): LoadResult {
  const { source, root, rules, errors } = analyzeRules(text, options)
  if (root === null || errors.length > 0) return { ok: false, errors }
  return {
    ok: true,
    ruleset: new CompiledRuleset(source.text, root, rules, { ...defaultLimits, ...options.limits }),
  }
}

export function analyzeRules(text: string | Uint8Array, options: LoadOptions = {}): Analysis {
  const limits = { ...defaultLimits, ...options.limits }
  const source = openSource(text, limits)
  let file: RulesFile | null = null
  let root: RulesetNode | null = null
  let rules: readonly Rule[] = []
  let uncalled: ReadonlySet<string> = new Set()
  if (source.errors.length === 0) {
    const json = parseJsonDialect(source, limits.treeDepthMax + 1)
    file = json === null ? null : parseRulesFile(source, json)
    if (file !== null) {
      const loader = new Loader(source, limits, file)
      root = loader.node(file.root, null)
      rules = loader.rules
      uncalled = loader.uncalled
    }
  }
  const errors = [...source.errors].sort((a, b) => a.line - b.line || a.column - b.column)
  return { source, file, root, rules, uncalled, errors }
}

function openSource(text: string | Uint8Array, limits: RulesLimits): Source {
  const decoded = typeof text === 'string' ? text : new TextDecoder('utf-8', { ignoreBOM: true }).decode(text)
  // A byte-order mark says nothing in UTF-8, and editors on Windows leave it behind.
  const source = new Source(decoded.charCodeAt(0) === 0xfeff ? decoded.slice(1) : decoded)
  if (source.text.length > limits.textLengthMax) {
    const end = limits.textLengthMax
    source.report('limit', { start: end, end: end + 1 }, `Rules are longer than ${end} characters.`)
  } else if (typeof text !== 'string') {
    // Decoding put U+FFFD where the bytes are no UTF-8. A file may also hold that character on purpose.
    const invalid = source.text.indexOf('\ufffd')
    if (invalid >= 0 && !isUtf8(text)) {
      source.report('json', { start: invalid, end: invalid + 1 }, 'Invalid UTF-8.', 'save the file as UTF-8')
    }
  }
  return source
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

class Loader {
  readonly rules: Rule[] = []
  private readonly source: Source
  private readonly limits: RulesLimits
  private readonly hasExtensions: boolean
  /** Names in the `functions` section; null where there is none. */
  private readonly extensions: readonly string[] | null
  private readonly functions = new Map<string, NamedFunction>()
  /** Facts of sound expressions. Rules are copied within their file, and a copy need not be checked again. */
  private readonly sound = new Map<string, RuleFacts>()
  private readonly growth: Growth = { nodes: 0 }
  private isOutgrownTold = false

  constructor(source: Source, limits: RulesLimits, file: RulesFile) {
    this.source = source
    this.limits = limits
    this.hasExtensions = file.functions !== null
    for (const named of file.functions ?? []) {
      const taken = [named.name, ...named.parameters].find(isVariable)
      if (taken !== undefined) {
        this.source.report('structure', named.nameSpan, `'${taken}' is the name of a variable.`)
        continue
      }
      const { name, parameters } = named
      const body = this.parse(named.body)
      if (body !== null) this.functions.set(name, { name, parameters, body, isCalled: false })
    }
    this.extensions = this.hasExtensions ? [...this.functions.keys()] : null
  }

  /** Those whose bodies nobody looked at: what a body means depends on the place of its calls. */
  get uncalled(): ReadonlySet<string> {
    return new Set([...this.functions.values()].filter(({ isCalled }) => !isCalled).map(({ name }) => name))
  }

  node(node: RuleNode, above: Scopes | null): RulesetNode {
    const scopes = scopesOf(node, above, this.extensions)
    const read = this.rule(node.read, scopes.read)
    const write = this.rule(node.write, scopes.write)
    const validate = this.rule(node.validate, scopes.validate)
    let children = NO_CHILDREN
    let hasValidateBelow = false
    if (node.children.size > 0) {
      const made = new Map<string, RulesetNode>()
      for (const [key, child] of node.children) {
        const below = this.node(child, scopes)
        hasValidateBelow ||= below.validate !== null || below.hasValidateBelow
        made.set(key, below)
      }
      children = made
    }
    const capture = node.capture === null ? null : this.node(node.capture, scopes)
    if (capture !== null) hasValidateBelow ||= capture.validate !== null || capture.hasValidateBelow
    const { key, indexOn } = node
    return { key, children, capture, read, write, validate, hasValidateBelow, indexOn }
  }

  private rule(rule: RuleSource | null, scope: Scope): Rule | null {
    if (rule === null) return null
    const facts = typeof rule.value === 'boolean' ? factsOf(rule.value, false) : this.facts(rule, scope)
    if (facts === null) return null
    const made = new Rule(rule, scope, facts, this.source, this.parseAgain)
    this.rules.push(made)
    return made
  }

  private facts(rule: RuleSource, scope: Scope): RuleFacts | null {
    // What an expression means to the checker depends on the kind of its rule and the captures it may name.
    const key = `${scope.kind}/${[...scope.captures.keys()].join('/')}/\n${String(rule.value)}`
    let facts = this.sound.get(key) ?? null
    if (facts === null) {
      if (this.isOutgrown(rule)) return null
      const checked = this.checked(rule, scope)
      if (checked === null) return null
      facts = factsOf(checked.expression, checked.hasChanged)
      this.sound.set(key, facts)
    }
    return facts
  }

  /** Whether the file is more than is looked at to its end; told of once. */
  private isOutgrown(rule: RuleSource): boolean {
    // Nobody is told of further errors.
    if (this.source.isFull) return true
    const { expandedNodesMax } = this.limits
    if (this.growth.nodes <= expandedNodesMax) return false
    if (!this.isOutgrownTold) {
      const message = `Functions and counted patterns, written out, make more than ${expandedNodesMax} parts.`
      this.report('limit', rule, { start: 0, end: 1 }, message, 'rules from here on were not checked')
    }
    this.isOutgrownTold = true
    return true
  }

  private checked(rule: RuleSource, scope: Scope): Expanded | null {
    const parsed = this.parse(rule)
    const expanded = parsed === null ? null : this.expanded(parsed, rule)
    if (expanded === null) return null
    let isSound = true
    const report: Report = (code, span, message, hint) => {
      isSound = false
      this.report(code, rule, span, message, hint)
    }
    checkRule(expanded.expression, scope, report, this.growth)
    return isSound ? expanded : null
  }

  private readonly parseAgain = (rule: RuleSource, scope: Scope): Expression =>
    this.checked(rule, scope)!.expression

  private parse(rule: RuleSource): Expression | null {
    const options = { limits: this.limits, hasExtensions: this.hasExtensions }
    const result = parseExpression(String(rule.value), options)
    if ('expression' in result) return result.expression
    const { span, message, hint, isLimit } = result.problem
    this.report(isLimit ? 'limit' : 'syntax', rule, span, message, hint)
    return null
  }

  private expanded(expression: Expression, rule: RuleSource): Expanded | null {
    if (this.functions.size === 0) return { expression, hasChanged: false }
    try {
      return expand(expression, this.functions, this.limits, this.growth)
    } catch (problem) {
      if (!(problem instanceof ExpandProblem)) throw problem
      this.report('type', rule, problem.span, problem.message, problem.hint)
      return null
    }
  }

  private report(
    code: RulesErrorCode,
    rule: RuleSource,
    span: Span,
    message: string,
    hint: string | null,
  ): void {
    const start = rule.offsetAt(span.start)
    this.source.report(code, { start, end: Math.max(start + 1, rule.offsetAt(span.end)) }, message, hint)
  }
}

const NO_CHILDREN: ReadonlyMap<string, RulesetNode> = new Map()

function fixedRuleset(text: string): Ruleset {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error('the fixed rules do not load')
  return result.ruleset
}

/** What a database without rules has: nobody but an admin reads or writes. */
export const denyAll: Ruleset = fixedRuleset('{"rules": {}}')
export const allowAll: Ruleset = fixedRuleset('{"rules": {".read": true, ".write": true}}')
