/**
 * Scope: the names an expression may use, which depends on the kind of its rule and on where the rule stands.
 */
import type { RuleKind, RuleNode } from './rules-file.ts'
import type { Type } from './types.ts'

export interface Scope {
  kind: RuleKind
  /** Keys between the root and the rule's node. */
  depth: number
  /** The key pattern at each level: literal keys and `$names`. */
  pattern: readonly string[]
  /** Capture name -> index of its key in the path. */
  captures: ReadonlyMap<string, number>
  /** Whether the file has a `functions` section, which turns Hearth's extensions on. */
  hasExtensions: boolean
  /** Named functions and constants of that section; their calls are gone before anything is checked. */
  functions: readonly string[]
}

/** One scope for each kind of rule a node may have. */
export type Scopes = Readonly<Record<RuleKind, Scope>>

/**
 * @param above Those of the parent, whose captures hold below it too; null at the root.
 * @param extensions Names in the `functions` section; null where the file has none.
 */
export function scopesOf(node: RuleNode, above: Scopes | null, extensions: readonly string[] | null): Scopes {
  const pattern = above === null ? [] : [...above.read.pattern, node.key]
  let captures: ReadonlyMap<string, number> = above === null ? new Map() : above.read.captures
  if (node.key.startsWith('$')) captures = new Map([...captures, [node.key, pattern.length - 1]])
  const hasExtensions = extensions !== null
  const functions = extensions ?? NO_NAMES
  const depth = pattern.length
  // Field by field: spreading takes ten times as long, for each node of a file.
  return {
    read: { kind: 'read', depth, pattern, captures, hasExtensions, functions },
    write: { kind: 'write', depth, pattern, captures, hasExtensions, functions },
    validate: { kind: 'validate', depth, pattern, captures, hasExtensions, functions },
  }
}

const NO_NAMES: readonly string[] = []

const VARIABLES: ReadonlyMap<string, Type> = new Map<string, Type>([
  ['auth', 'Auth'],
  ['now', 'Number'],
  ['root', 'Snapshot'],
  ['data', 'Snapshot'],
  ['newData', 'Snapshot'],
  ['query', 'Query'],
])

/** Names of Hearth's own, known only where extensions are on. */
const EXTENSIONS: ReadonlyMap<string, Type> = new Map<string, Type>([['newRoot', 'Snapshot']])

export function typeOfVariable(name: string, scope: Scope): Type | null {
  if (scope.captures.has(name)) return 'String'
  const type = VARIABLES.get(name)
  if (type !== undefined) return type
  return scope.hasExtensions ? (EXTENSIONS.get(name) ?? null) : null
}

/** Names that look into the tree after the write and so mean nothing in a read. */
export function isAfterWrite(name: string): boolean {
  return name === 'newData' || name === 'newRoot'
}

export function namesIn(scope: Scope): string[] {
  const names = [...VARIABLES.keys(), ...scope.captures.keys()]
  if (scope.hasExtensions) names.push(...EXTENSIONS.keys())
  return scope.kind === 'read' ? names.filter((name) => !isAfterWrite(name)) : names
}

/** Names no function or parameter may take. */
export function isVariable(name: string): boolean {
  return VARIABLES.has(name) || EXTENSIONS.has(name) || name === 'true' || name === 'false' || name === 'null'
}
