/**
 * Index patterns: every `.indexOn` of a ruleset with the paths it holds for, so that a store can keep the indexes.
 */
import type { Path } from '../protocol/index.ts'
import type { RulesetNode } from './ruleset.ts'

export interface IndexPattern {
  /** Keys from the root to the node whose children are ordered: one key, or any key that no literal sibling takes. */
  steps: readonly (string | { except: readonly string[] })[]
  /** As written: a child key, a child path or `.value`. */
  indexOn: string
}

export function indexPatterns(root: RulesetNode): IndexPattern[] {
  const patterns: IndexPattern[] = []
  const visit = (node: RulesetNode, steps: IndexPattern['steps']): void => {
    for (const indexOn of new Set(node.indexOn)) patterns.push({ steps, indexOn })
    for (const child of node.children.values()) visit(child, [...steps, child.key])
    if (node.capture !== null) {
      visit(node.capture, [...steps, { except: [...node.children.keys()].sort() }])
    }
  }
  visit(root, [])
  return patterns
}

/** Whether a pattern holds for a path. */
export function matchesPattern({ steps }: Pick<IndexPattern, 'steps'>, path: Path): boolean {
  return (
    steps.length === path.length &&
    steps.every((step, i) => (typeof step === 'string' ? step === path[i] : !step.except.includes(path[i]!)))
  )
}
