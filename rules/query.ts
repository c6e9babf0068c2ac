/** RuleQuery: the parameters of a read as rules see them in `query`. */
import type { Leaf } from '../protocol/index.ts'

export interface RuleQuery {
  orderByKey: boolean
  orderByValue: boolean
  orderByPriority: boolean
  /** A child path like `address/zip`. */
  orderByChild: string | null
  startAt: Leaf | null
  endAt: Leaf | null
  equalTo: Leaf | null
  limitToFirst: number | null
  limitToLast: number | null
}

/** A plain read, and what a write sees: no order, no bounds, no limits. */
export const noQuery: RuleQuery = Object.freeze({
  orderByKey: false,
  orderByValue: false,
  orderByPriority: false,
  orderByChild: null,
  startAt: null,
  endAt: null,
  equalTo: null,
  limitToFirst: null,
  limitToLast: null,
})
