/**
 * Rules file: JSON tree -> tree of rule nodes, each rule still as text with its place.
 *
 *   {"rules": {                                  RuleNode ''
 *     "rooms": {                                   RuleNode 'rooms'
 *       "$room": {".read": "auth != null"} } } }     RuleNode '$room', read = RuleSource
 *
 * Reports everything that is wrong with the structure, not only the first mistake.
 */
import { clip } from '../protocol/index.ts'
import { nearest } from './did-you-mean.ts'
import { type Json, type JsonMember, type JsonObject, offsetsInText } from './json-dialect.ts'
import type { Source, Span } from './source.ts'

export type RuleKind = 'read' | 'write' | 'validate'

export interface RuleSource extends Span {
  kind: RuleKind
  /** A JSON `true` or `false`, or the text of an expression. */
  value: boolean | string
  /** Where an offset of the expression stands in the file. */
  offsetAt(expressionOffset: number): number
}

export interface RuleNode {
  /** Literal key or `$name`; empty at the root. */
  key: string
  keySpan: Span
  parent: RuleNode | null
  depth: number
  children: Map<string, RuleNode>
  capture: RuleNode | null
  read: RuleSource | null
  write: RuleSource | null
  validate: RuleSource | null
  indexOn: readonly string[]
  indexOnSpan: Span | null
}

/** A named function or constant of the `functions` section, still as text. */
export interface FunctionSource {
  name: string
  parameters: readonly string[]
  nameSpan: Span
  body: RuleSource
}

export interface RulesFile {
  root: RuleNode
  /** null when the file has no such section and is therefore a plain Firebase file. */
  functions: readonly FunctionSource[] | null
}

const INVALID_EXPRESSION = "Invalid rule expression.  Expected 'true', 'false', or an expression string."
const INVALID_INDEX = 'Invalid indexOn expression. Must be either a string or an array of strings'
const INVALID_KEY = `String can't contain ".", "#", "$", "/", "[", or "]"`
const FORBIDDEN = /[.#$/[\]]/
const RULE_KEYS = ['.read', '.write', '.validate', '.indexOn']
const RULE_KINDS: ReadonlyMap<string, RuleKind> = new Map([
  ['.read', 'read'],
  ['.write', 'write'],
  ['.validate', 'validate'],
])

/** @returns null when there is no tree to speak of; other errors are in `source.errors`. */
export function parseRulesFile(source: Source, json: Json): RulesFile | null {
  if (json.kind !== 'object') {
    source.report('structure', json, "Expected '{'.")
    return null
  }
  let rules: JsonMember | null = null
  let functions: JsonMember | null = null
  for (const member of json.members) {
    if (member.key.value === 'rules') rules = member
    else if (member.key.value === 'functions') functions = member
    else {
      source.report(
        'structure',
        member.key,
        `Unexpected property '${clip(member.key.value)}'.`,
        'a rules file has the property "rules" and nothing else beside it, or "functions" for Hearth\'s extensions',
      )
    }
  }
  if (rules === null) {
    const after = { start: json.start + 1, end: json.start + 2 }
    source.errors.length = 0
    source.report('structure', after, "Expected 'rules' property.", 'the file\'s shape is {"rules": {...}}')
    return null
  }
  if (rules.value.kind !== 'object') {
    source.report('structure', rules.value, "Expected '{'.")
    return null
  }
  const root = new TreeReader(source).node(rules.value, '', rules.key, null)
  return { root, functions: functions === null ? null : readFunctions(source, functions.value) }
}

class TreeReader {
  private readonly source: Source

  constructor(source: Source) {
    this.source = source
  }

  node(json: JsonObject, key: string, keySpan: Span, parent: RuleNode | null): RuleNode {
    const node: RuleNode = {
      key,
      keySpan,
      parent,
      depth: parent === null ? 0 : parent.depth + 1,
      children: new Map(),
      capture: null,
      read: null,
      write: null,
      validate: null,
      indexOn: [],
      indexOnSpan: null,
    }
    for (const member of json.members) this.member(node, member)
    return node
  }

  private member(node: RuleNode, { key, value }: JsonMember): void {
    const { source } = this
    const kind = RULE_KINDS.get(key.value)
    if (kind !== undefined) {
      node[kind] = this.rule(kind, value)
      return
    }
    if (key.value === '.indexOn') {
      node.indexOn = this.indexOn(value)
      node.indexOnSpan = value
      return
    }
    const isCapture = key.value.startsWith('$')
    if (value.kind !== 'object') {
      source.report('structure', value, "Expected '{'.", hintForValue(key.value))
      return
    }
    if (key.value === '' || FORBIDDEN.test(isCapture ? key.value.slice(1) : key.value)) {
      source.report('structure', key, INVALID_KEY, hintForKey(key.value))
      return
    }
    if (!isCapture) {
      node.children.set(key.value, this.node(value, key.value, key, node))
      return
    }
    if (node.capture !== null) {
      source.report(
        'structure',
        key,
        `Cannot have multiple default rules ('${clip(node.capture.key)}' and '${clip(key.value)}').`,
        'one node has at most one `$` child, because any key would match both',
      )
      return
    }
    for (let above: RuleNode | null = node; above !== null; above = above.parent) {
      if (above.key !== key.value) continue
      source.report(
        'structure',
        key,
        `Capture '${clip(key.value)}' is already in use above.`,
        'the same name twice on one branch would hide the first; give this one another name',
      )
      break
    }
    node.capture = this.node(value, key.value, key, node)
  }

  private rule(kind: RuleKind, value: Json): RuleSource | null {
    const rule = readRule(this.source, kind, value)
    if (rule === null) this.source.report('structure', value, INVALID_EXPRESSION)
    return rule
  }

  private indexOn(value: Json): readonly string[] {
    const elements = value.kind === 'array' ? value.elements : [value]
    const names: string[] = []
    for (const element of elements) {
      if (element.kind === 'string') names.push(element.value)
      else {
        this.source.report('structure', value, INVALID_INDEX)
        return []
      }
    }
    return names
  }
}

function readRule(source: Source, kind: RuleKind, value: Json): RuleSource | null {
  if (value.kind === 'other' && typeof value.value === 'boolean') {
    return { kind, value: value.value, start: value.start, end: value.end, offsetAt: () => value.start }
  }
  if (value.kind !== 'string') return null
  return {
    kind,
    value: value.value,
    start: value.start,
    end: value.end,
    offsetAt: offsetsInText(source.text, value),
  }
}

const SIGNATURE = /^\s*([A-Za-z_]\w*)\s*(?:\(\s*((?:[A-Za-z_]\w*\s*(?:,\s*[A-Za-z_]\w*\s*)*)?)\)\s*)?$/

/** `"isMember(room)": "root.child('members')..."`; a name without brackets is a constant. */
function readFunctions(source: Source, json: Json): FunctionSource[] {
  if (json.kind !== 'object') {
    source.report('structure', json, "Expected '{'.", '"functions" maps signatures to expressions')
    return []
  }
  const functions = new Map<string, FunctionSource>()
  for (const { key, value } of json.members) {
    const signature = SIGNATURE.exec(key.value)
    if (signature === null) {
      source.report(
        'structure',
        key,
        `'${clip(key.value)}' is not a signature.`,
        'write a name, or a name with parameters: "isMember(room)"',
      )
      continue
    }
    const name = signature[1]!
    const parameters = signature[2] === undefined ? [] : signature[2].split(',').map((word) => word.trim())
    const body = readRule(source, 'read', value)
    const twice = parameters.find((parameter, i) => parameter !== '' && parameters.indexOf(parameter) < i)
    if (body === null) {
      source.report('structure', value, INVALID_EXPRESSION)
    } else if (twice !== undefined) {
      source.report('structure', key, `Function '${clip(name)}' has two parameters '${clip(twice)}'.`)
    } else if (functions.has(name)) {
      source.report('structure', key, `Function '${clip(name)}' is already defined.`)
    } else {
      const named = parameters.filter((parameter) => parameter !== '')
      functions.set(name, { name, parameters: named, nameSpan: key, body })
    }
  }
  return [...functions.values()]
}

function hintForValue(key: string): string {
  if (!key.startsWith('.')) return 'a child is an object that holds rules or further children'
  const near = nearest(key, RULE_KEYS)
  return near === null
    ? `\`${clip(key)}\` is not a rule; a node may have ${RULE_KEYS.join(', ')}`
    : `did you mean \`${near}\`?`
}

function hintForKey(key: string): string {
  if (key === '') return 'a key has at least one character'
  if (key.includes('/')) {
    return `one rules key is one path segment: write ${key
      .split('/')
      .filter((part) => part !== '')
      .map((part) => `"${clip(part.replace(/^\{(.*)\}$/, '$$$1'))}": {`)
      .join(' ')} ... }`
  }
  if (key.startsWith('.')) return hintForValue(key)
  return 'keys in the database cannot contain these characters, so this rule could never apply'
}
