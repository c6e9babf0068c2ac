/**
 * Load: rules text -> ruleset, or every error in it. Never throws on a bad text, whoever wrote it.
 */
import { checkRule } from './checker.ts'
import type { RulesError } from './errors.ts'
import { parseJsonDialect } from './json-dialect.ts'
import { defaultLimits, type RulesLimits } from './limits.ts'
import { parseExpression } from './parser.ts'
import { Rule } from './rule.ts'
import { parseRulesFile, type RuleKind, type RuleNode, type RuleSource } from './rules-file.ts'
import { CompiledRuleset, type Ruleset, type RulesetNode } from './ruleset.ts'
import { type Scope, scopeOf } from './scope.ts'
import { Source } from './source.ts'

export interface LoadOptions {
  limits?: Partial<RulesLimits>
}

export type LoadResult = { ok: true; ruleset: Ruleset } | { ok: false; errors: readonly RulesError[] }

/** @param text The file's text, or its bytes, which must be UTF-8. */
export function loadRuleset(text: string | Uint8Array, options: LoadOptions = {}): LoadResult {
  const limits = { ...defaultLimits, ...options.limits }
  const source = openSource(text, limits)
  if (source.errors.length === 0) {
    const json = parseJsonDialect(source, limits.treeDepthMax + 1)
    const file = json === null ? null : parseRulesFile(source, json)
    if (file !== null) {
      const loader = new Loader(source, limits, file.functions !== null)
      const root = loader.node(file.root, '')
      if (source.errors.length === 0) {
        return { ok: true, ruleset: new CompiledRuleset(source.text, root, loader.rules, limits) }
      }
    }
  }
  const errors = [...source.errors].sort((a, b) => a.line - b.line || a.column - b.column)
  return { ok: false, errors }
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

  constructor(source: Source, limits: RulesLimits, hasExtensions: boolean) {
    this.source = source
    this.limits = limits
    this.hasExtensions = hasExtensions
  }

  node(node: RuleNode, pattern: string): RulesetNode {
    const read = this.rule(node, node.read, 'read', pattern)
    const write = this.rule(node, node.write, 'write', pattern)
    const validate = this.rule(node, node.validate, 'validate', pattern)
    const children = new Map<string, RulesetNode>()
    for (const [key, child] of node.children) children.set(key, this.node(child, `${pattern}/${key}`))
    const capture = node.capture === null ? null : this.node(node.capture, `${pattern}/${node.capture.key}`)
    const below = capture === null ? [...children.values()] : [...children.values(), capture]
    const hasValidateBelow = below.some((child) => child.validate !== null || child.hasValidateBelow)
    const { key, indexOn } = node
    return { key, children, capture, read, write, validate, hasValidateBelow, indexOn }
  }

  private rule(node: RuleNode, rule: RuleSource | null, kind: RuleKind, pattern: string): Rule | null {
    if (rule === null) return null
    const scope = scopeOf(node, kind, this.hasExtensions)
    const value = typeof rule.value === 'boolean' ? rule.value : this.expression(rule, rule.value, scope)
    if (value === null) return null
    const place = {
      kind,
      pattern: pattern === '' ? '/' : pattern,
      text: String(rule.value),
      ...this.source.placeAt(rule.start),
    }
    const made = new Rule(rule, scope, place, value)
    this.rules.push(made)
    return made
  }

  private expression(rule: RuleSource, text: string, scope: Scope) {
    const result = parseExpression(text, { limits: this.limits, hasExtensions: this.hasExtensions })
    const spanInFile = (span: { start: number; end: number }) => ({
      start: rule.offsetAt(span.start),
      end: Math.max(rule.offsetAt(span.start) + 1, rule.offsetAt(span.end)),
    })
    if ('problem' in result) {
      const { span, message, hint, isLimit } = result.problem
      this.source.report(isLimit ? 'limit' : 'syntax', spanInFile(span), message, hint)
      return null
    }
    let isSound = true
    checkRule(result.expression, scope, (code, span, message, hint) => {
      isSound = false
      this.source.report(code, spanInFile(span), message, hint)
    })
    return isSound ? result.expression : null
  }
}

function fixedRuleset(text: string): Ruleset {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error('the fixed rules do not load')
  return result.ruleset
}

/** What a database without rules has: nobody but an admin reads or writes. */
export const denyAll: Ruleset = fixedRuleset('{"rules": {}}')
export const allowAll: Ruleset = fixedRuleset('{"rules": {".read": true, ".write": true}}')
