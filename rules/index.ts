export * from './data-view.ts'
export { afterWrites, jsonView } from './data-view-json.ts'
export { type Decision, describeDecision, type Reason, type RulePlace } from './decision.ts'
export { type Aspect, Dependencies, type Sight } from './dependencies.ts'
export { type CheckReport, checkFile, formatReport, reportJson } from './diagnostics.ts'
export { firebaseMessage, formatError, type RulesError } from './errors.ts'
export type { Tracer } from './evaluation.ts'
export {
  type ExplainLimits,
  type Explanation,
  explain,
  explainQuestion,
  formatExplanation,
} from './explain.ts'
export { type IndexPattern, matchesPattern } from './index-patterns.ts'
export { defaultLimits, type RulesLimits } from './limits.ts'
export type { Warning, WarningId } from './lint.ts'
export { LiveCoverage, type LiveCoverageReport } from './live-coverage.ts'
export { allowAll, denyAll, type LoadOptions, type LoadResult, loadRuleset } from './load.ts'
export { decide, type Operation, type OperationKind, type Question } from './operation.ts'
export { compileToPlain, type PlainResult } from './plain.ts'
export { noQuery, parseRuleQuery, type RuleQuery } from './query.ts'
export type { Uses } from './rule.ts'
export type { ReadRequest, Ruleset, WriteRequest } from './ruleset.ts'
export { Budget } from './runtime.ts'
