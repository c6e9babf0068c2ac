/**
 * Limits: what a rules text may cost to load and a rule may cost to evaluate, so that no file and no data can
 * stall the server. Every number is a default that `loadRuleset` lets its caller change.
 */

export interface RulesLimits {
  /** Characters of the whole text. Firebase documents 256 KB and was seen to accept more. */
  textLengthMax: number
  /** Characters of one expression. The longest of 3,089 expressions in real files has 1,200. */
  expressionLengthMax: number
  /** Brackets, operators and branches inside one another in one expression. */
  expressionDepthMax: number
  /** Nodes of one expression after functions are put in place; bounds what nested functions can grow to. */
  expressionNodesMax: number
  /** The same for all of a file together, with the parts of regular expressions that counts multiply. */
  expandedNodesMax: number
  /** Rule nodes inside one another. Paths end at 32 keys, so deeper rules could never apply. */
  treeDepthMax: number
  /**
   * Steps one read or write may cost: one per node of each evaluated expression, one per 64 characters that a
   * string method looks at, four per character that a plain regular expression looks at. Ten million steps take
   * roughly a tenth of a second, and a few times that where they go into long texts.
   */
  stepsMax: number
}

export const defaultLimits: RulesLimits = {
  textLengthMax: 4 * 1024 * 1024,
  expressionLengthMax: 64 * 1024,
  expressionDepthMax: 400,
  expressionNodesMax: 50_000,
  expandedNodesMax: 2_000_000,
  treeDepthMax: 128,
  stepsMax: 10_000_000,
}
