/**
 * Queries: an order, a range and a limit over the children of a ref, put together from constraints.
 */
import { parsePath } from '../protocol/path.ts'
import type { Bound, Order, Query as QuerySpec } from '../protocol/query.ts'
import { isLeaf, type Leaf } from '../protocol/value.ts'
import { HearthError, refusing } from './errors.ts'
import { Query } from './ref.ts'
import { wholeValue } from './window.ts'

type Draft = { -readonly [K in keyof QuerySpec]: QuerySpec[K] } & { hasOrder?: boolean }

/** One step of a query; made by the functions below. */
export interface QueryConstraint {
  readonly type: string
  /** @internal */ apply(draft: Draft): void
}

/** @throws {HearthError} `invalid_query` when constraints contradict each other. */
export function query<T>(base: Query<T>, ...constraints: QueryConstraint[]): Query<T> {
  const draft: Draft = { ...base.spec, hasOrder: base.spec.orderBy !== wholeValue.orderBy }
  for (const constraint of constraints) constraint.apply(draft)
  const { hasOrder: _, ...spec } = draft
  if (spec.orderBy === 'key') {
    for (const bound of [spec.start, spec.end]) {
      if (bound !== undefined && (typeof bound.value !== 'string' || bound.key !== undefined)) {
        refuse('a bound of orderByKey() is one string')
      }
    }
  }
  return new Query(base.db, base.path, spec)
}

export function orderByChild(path: string): QueryConstraint {
  return order('orderByChild', () => {
    const child = refusing('orderByChild', () => parsePath(path))
    return child.length === 0 ? refuse('orderByChild() takes the path of a child') : { child }
  })
}

export function orderByKey(): QueryConstraint {
  return order('orderByKey', () => 'key')
}

export function orderByValue(): QueryConstraint {
  return order('orderByValue', () => 'value')
}

export function orderByPriority(): QueryConstraint {
  return order('orderByPriority', () => 'priority')
}

/** Children ordered at or after a value, and among equal ones at or after a key. */
export function startAt(value: Leaf | null, key?: string): QueryConstraint {
  return bound('startAt', value, key, { start: true }, true)
}

export function startAfter(value: Leaf | null, key?: string): QueryConstraint {
  return bound('startAfter', value, key, { start: true }, false)
}

export function endAt(value: Leaf | null, key?: string): QueryConstraint {
  return bound('endAt', value, key, { end: true }, true)
}

export function endBefore(value: Leaf | null, key?: string): QueryConstraint {
  return bound('endBefore', value, key, { end: true }, false)
}

export function equalTo(value: Leaf | null, key?: string): QueryConstraint {
  return bound('equalTo', value, key, { start: true, end: true }, true)
}

export function limitToFirst(count: number): QueryConstraint {
  return limit('limitToFirst', count, 'first')
}

export function limitToLast(count: number): QueryConstraint {
  return limit('limitToLast', count, 'last')
}

function order(type: string, read: () => Order): QueryConstraint {
  return {
    type,
    apply(draft) {
      if (draft.hasOrder === true) refuseSecond(type)
      draft.orderBy = read()
      draft.hasOrder = true
    },
  }
}

function bound(
  type: string,
  value: Leaf | null,
  key: string | undefined,
  sides: { start?: true; end?: true },
  inclusive: boolean,
): QueryConstraint {
  return {
    type,
    apply(draft) {
      if ((value !== null && !isLeaf(value)) || Number.isNaN(value)) {
        refuse(`${type}() takes a boolean, number, string or null`)
      }
      const at: Bound = key === undefined ? { value, inclusive } : { value, key, inclusive }
      if (sides.start) {
        if (draft.start !== undefined) refuseSecond(type)
        draft.start = at
      }
      if (sides.end) {
        if (draft.end !== undefined) refuseSecond(type)
        draft.end = at
      }
    },
  }
}

function limit(type: string, count: number, from: 'first' | 'last'): QueryConstraint {
  return {
    type,
    apply(draft) {
      if (!Number.isInteger(count) || count < 1) refuse(`${type}() takes a positive integer`)
      if (draft.limit !== undefined) refuseSecond(type)
      draft.limit = { count, from }
    },
  }
}

function refuseSecond(type: string): never {
  refuse(`${type}() contradicts an earlier constraint`)
}

function refuse(what: string): never {
  throw new HearthError('invalid_query', `query failed: ${what}`)
}
