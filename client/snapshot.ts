/**
 * Snapshot: the value at a path as it was at one moment. Immutable; what it hands out are copies.
 */
import type { Order } from '../protocol/query.ts'
import {
  childKeys,
  childOf,
  isObject,
  leafOf,
  type Priority,
  priorityOf,
  type Value,
  valueAt,
} from '../protocol/value.ts'
import { child, type DatabaseReference, type Untyped } from './ref.ts'
import { orderedChildKeys } from './window.ts'

/** What the children of a `T` are. */
export type ChildOf<T> = T extends readonly (infer Item)[] ? Item : T extends object ? T[keyof T] : Untyped

export class DataSnapshot<T = Untyped> {
  readonly ref: DatabaseReference<T>
  readonly #value: Value
  readonly #order: Order

  constructor(ref: DatabaseReference<T>, value: Value, order: Order = 'priority') {
    this.ref = ref
    this.#value = value
    this.#order = order
  }

  get key(): string | null {
    return this.ref.key
  }

  get priority(): Priority | null {
    return priorityOf(this.#value)
  }

  /** How many children there are. */
  get size(): number {
    return childKeys(this.#value).length
  }

  exists(): boolean {
    return this.#value !== null
  }

  /** Plain JSON without priorities; objects whose keys are mostly 0, 1, 2, ... become arrays. */
  val(): T | null {
    return plain(this.#value) as T | null
  }

  /** Plain JSON with `.priority` and `.value` where there are priorities; arrays stay objects. */
  exportVal(): Untyped {
    return structuredClone(this.#value)
  }

  toJSON(): unknown {
    return this.exportVal()
  }

  child<K extends keyof T & string>(key: K): DataSnapshot<NonNullable<T[K]>>
  child(path: string): DataSnapshot
  child<C>(path: string): DataSnapshot<C>
  child(path: string): DataSnapshot {
    const ref = child(this.ref as DatabaseReference, path)
    return new DataSnapshot(ref, valueAt(this.#value, ref.path, this.ref.path.length))
  }

  hasChild(path: string): boolean {
    return this.child(path).exists()
  }

  hasChildren(): boolean {
    return this.size > 0
  }

  /**
   * Visits the children in the order of the query that was asked, by default by priority, then key.
   * @param visit Returns true to stop.
   * @returns Whether it was stopped.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a visitor that returns nothing goes on, as in Firebase.
  forEach(visit: (child: DataSnapshot<ChildOf<T>> & { key: string }) => boolean | void): boolean {
    return orderedChildKeys(this.#value, this.#order).some(
      (key) => visit(this.child(key) as unknown as DataSnapshot<ChildOf<T>> & { key: string }) === true,
    )
  }
}

const ARRAY_INDEX = /^(0|[1-9]\d*)$/

/** As `val()` gives it: without priorities, and with arrays. */
export function plain(value: Value): unknown {
  if (!isObject(value)) return leafOf(value)
  const length = arrayLengthOf(value)
  if (length !== null) return Array.from({ length }, (_, index) => plain(childOf(value, String(index))))
  const object: Record<string, unknown> = {}
  for (const key of orderedChildKeys(value, 'priority')) object[key] = plain(value[key]!)
  return object
}

/** Firebase's rule: all keys are indexes and at least half of the places are filled. Null for what is no array. */
export function arrayLengthOf(value: Value): number | null {
  const keys = childKeys(value)
  const isArray =
    keys.length > 0 && keys.every((key) => ARRAY_INDEX.test(key) && Number(key) < 2 * keys.length)
  // An object lists its indexes first and in order.
  return isArray ? Number(keys.at(-1)) + 1 : null
}
