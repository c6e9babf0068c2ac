/**
 * Decision: whether an operation is allowed, and by which rule. Denial is an expected answer, not an exception.
 */
import type { Path } from '../protocol/index.ts'
import type { Place } from './errors.ts'
import type { RuleKind } from './rules-file.ts'

export type Reason =
  /** `rule` granted. */
  | 'granted'
  /** No rule of the asked kind applies to the path. */
  | 'no_rule'
  /** Every rule on the way said false; `rule` is the last of them. */
  | 'false'
  /** As `false`, but the last rule failed at run time, which does not grant either. */
  | 'error'
  /** Writing is granted, but `rule`, a `.validate`, is false or failed for the value. */
  | 'validate'
  /** The check cost more than `RulesLimits.stepsMax`, in `rule`. */
  | 'budget'

/** A rule as decisions, traces and coverage name it. */
export interface RulePlace extends Place {
  kind: RuleKind
  /** Where the rule stands in the tree, like `/rooms/$room`. */
  pattern: string
  /** The expression as written, or `true` and `false`. */
  text: string
}

export interface Decision {
  readonly allowed: boolean
  readonly reason: Reason
  readonly rule: RulePlace | null
  /** For a denial, the place the deciding rule was asked about; null when allowed. */
  readonly path: Path | null
}

export function denied(reason: Reason, rule: RulePlace | null, path: Path): Decision {
  return { allowed: false, reason, rule, path }
}

/** One line for logs and error messages. */
export function describeDecision({ allowed, reason, rule, path }: Decision): string {
  const at = rule === null ? '' : `\`.${rule.kind}\` of ${rule.pattern} (${rule.line}:${rule.column})`
  if (allowed) return rule === null ? 'allowed' : `allowed by ${at}`
  const where = path === null ? '' : ` at /${path.join('/')}`
  switch (reason) {
    case 'no_rule':
      return `denied${where}: no rule applies`
    case 'false':
      return `denied${where}: ${at} is false`
    case 'error':
      return `denied${where}: ${at} failed at run time`
    case 'validate':
      return `denied${where}: ${at} does not hold`
    default:
      return `denied${where}: the check ran over its budget in ${at}`
  }
}
