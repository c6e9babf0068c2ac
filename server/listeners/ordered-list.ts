/**
 * Ordered list: the windows on one path in one order. What a commit did to a child is looked up once for all of
 * them, and only those it may concern are told: ten thousand users who each listen to what equals their own id on
 * one list cost a write no more than two of them.
 *
 * What the group under way has touched is looked up in the head and kept here; anything else is in the flushed state
 * as it was before the group.
 */
import type { Bound, Order, Path, Query, Value } from '../../protocol/index.ts'
import { type OrderedStore, orderedAt } from '../query-read.ts'

/** What a commit did at or below one child. */
export interface Change {
  key: string
  /** Relative to the list's path: `key`, `key/deep` or `key/.priority`. */
  path: string
  value: Value
}

/** A touched child: what it is ordered by before and after a commit; undefined while it is absent. */
export interface Moved {
  key: string
  before: Value | undefined
  after: Value | undefined
}

/** What children the group under way has touched are now ordered by; undefined for absent ones. */
export type TouchedChildren = Map<string, Value | undefined>

export class OrderedList<Window> {
  readonly path: Path
  readonly orderBy: Order
  readonly touched: TouchedChildren = new Map()
  readonly #store: OrderedStore
  /** Windows on one value each, by that value. */
  readonly #onValue = new Map<string, Set<Window>>()
  readonly #others = new Set<Window>()

  constructor(store: OrderedStore, path: Path, orderBy: Order) {
    this.#store = store
    this.path = path
    this.orderBy = orderBy
  }

  get isEmpty(): boolean {
    return this.#onValue.size === 0 && this.#others.size === 0
  }

  *windows(): Iterable<Window> {
    yield* this.#others
    for (const windows of this.#onValue.values()) yield* windows
  }

  add(window: Window, query: Query): void {
    const value = valueOf(query)
    if (value === undefined) this.#others.add(window)
    else {
      const windows = this.#onValue.get(idOf(value))
      if (windows === undefined) this.#onValue.set(idOf(value), new Set([window]))
      else windows.add(window)
    }
  }

  remove(window: Window, query: Query): void {
    const value = valueOf(query)
    if (value === undefined) {
      this.#others.delete(window)
      return
    }
    const windows = this.#onValue.get(idOf(value))
    if (windows?.delete(window) && windows.size === 0) this.#onValue.delete(idOf(value))
  }

  /** Follows a commit that has just been staged. @returns The children it touched, each once. */
  follow(changes: readonly Change[]): Moved[] {
    const { flushed, head } = this.#store
    const moved: Moved[] = []
    for (const { key } of changes) {
      if (moved.length > 0 && moved.some((other) => other.key === key)) continue
      const before = this.touched.has(key)
        ? this.touched.get(key)
        : orderedAt(flushed, this.path, key, this.orderBy)
      const after = orderedAt(head, this.path, key, this.orderBy)
      this.touched.set(key, after)
      moved.push({ key, before, after })
    }
    return moved
  }

  /** The windows that what moved may concern. */
  concerned(moved: readonly Moved[]): Iterable<Window> {
    if (this.#onValue.size === 0) return this.#others
    const windows = new Set(this.#others)
    for (const { before, after } of moved) {
      for (const value of [before, after]) {
        if (value === undefined) continue
        for (const window of this.#onValue.get(idOf(value)) ?? []) windows.add(window)
      }
    }
    return windows
  }
}

/** The one value a query is about; undefined for any other range. */
function valueOf({ orderBy, start, end }: Query): Bound['value'] | undefined {
  if (orderBy === 'key' || start === undefined || end === undefined) return undefined
  return start.value === end.value ? start.value : undefined
}

/** Equal for values that are equal in an order. */
function idOf(value: Value): string {
  return typeof value === 'object' && value !== null ? 'object' : `${typeof value} ${value}`
}
