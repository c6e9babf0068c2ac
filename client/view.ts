/**
 * View: one query as the app sees it now, and the callbacks that follow it. Given the next value it works out which
 * events lead there; nobody is called before all views have moved.
 *
 * INVARIANT: whoever replays the child events of a view holds the children of its last value event, in order.
 */
import { formatPath, type Path } from '../protocol/path.ts'
import type { Query } from '../protocol/query.ts'
import { childKeys, childOf, sameValue, type Value } from '../protocol/value.ts'
import type { HearthError } from './errors.ts'
import type { Known } from './pending-writes.ts'
import { compareChildren, orderedBy, orderedChildKeys } from './window.ts'

export type EventType = 'value' | 'child_added' | 'child_changed' | 'child_removed' | 'child_moved'

/** What a callback is told: the value at the view's path or, for child events, at one child. */
export interface EventData {
  type: EventType
  key: string | null
  value: Value
  /** The child before this one in the view's order; null for the first. */
  previousKey: string | null
}

export interface Registration {
  type: EventType
  /** The app's own function, by which `off` knows it. */
  callback: unknown
  hear(data: EventData): void
  /** The listen ended: nothing follows. */
  cancel: ((error: HearthError) => void) | null
  isActive: boolean
}

/** A call owed to the app. */
export type Call = () => void

/** Past so many new children it is cheaper to sort all than to insert each. */
const INSERTS_MAX = 16

export class View {
  readonly path: Path
  readonly query: Query
  registrations: Registration[] = []
  known: Known = { value: null, isWhole: false }
  /** Keys in order, kept only while someone hears child events. */
  #keys: string[] | null = null

  constructor(path: Path, query: Query, known: Known) {
    this.path = path
    this.query = query
    this.known = known
  }

  /** @returns The calls that tell a new registration what is already known. */
  add(registration: Registration): Call[] {
    this.registrations.push(registration)
    if (registration.type === 'value') {
      return this.known.isWhole ? this.#calls(valueEvent(this.known.value), [registration]) : []
    }
    this.#keys ??= orderedChildKeys(this.known.value, this.query.orderBy)
    if (registration.type !== 'child_added') return []
    return this.#keys.flatMap((key, index) =>
      this.#calls(
        {
          type: 'child_added',
          key,
          value: childOf(this.known.value, key),
          previousKey: this.#keys![index - 1] ?? null,
        },
        [registration],
      ),
    )
  }

  /** @returns Whether any registration is left. */
  remove(matches: (registration: Registration) => boolean): boolean {
    this.registrations = this.registrations.filter((registration) => {
      if (!matches(registration)) return true
      registration.isActive = false
      return false
    })
    if (!this.registrations.some(({ type }) => type !== 'value')) this.#keys = null
    return this.registrations.length > 0
  }

  /** Ends every registration with an error. */
  fail(error: HearthError): Call[] {
    return this.registrations.splice(0).map((registration) => () => {
      if (!registration.isActive) return
      registration.isActive = false
      if (registration.cancel !== null) registration.cancel(error)
      // A listener that dies in silence costs hours; one the app itself ended does not.
      else if (error.code !== 'terminated')
        console.warn(`hearth: listener at ${formatPath(this.path)} ended: ${error.message}`)
    })
  }

  /** Moves to what is known next. @returns The calls that lead there, in Firebase's order. */
  update(next: Known): Call[] {
    const before = this.known
    const isSame = before.value === next.value || sameValue(before.value, next.value)
    if (isSame && before.isWhole === next.isWhole) return []
    this.known = next
    const calls = this.#keys === null || isSame ? [] : this.#childCalls(before.value, next.value)
    if (next.isWhole) calls.push(...this.#calls(valueEvent(next.value), this.registrations))
    return calls
  }

  #childCalls(before: Value, after: Value): Call[] {
    const { orderBy } = this.query
    const removed: string[] = []
    const added: string[] = []
    const moved: string[] = []
    const changed: string[] = []
    for (const key of childKeys(before)) if (childOf(after, key) === null) removed.push(key)
    for (const key of childKeys(after)) {
      const old = childOf(before, key)
      const now = childOf(after, key)
      if (old === null) added.push(key)
      else if (old !== now && !sameValue(old, now)) {
        changed.push(key)
        if (!sameValue(orderedBy(orderBy, old), orderedBy(orderBy, now))) moved.push(key)
      }
    }
    this.#reorder(new Set([...removed, ...moved]), [...added, ...moved], after)

    const calls: Call[] = []
    const tell = (keys: string[], value: Value, typeOf: (key: string) => EventType): void => {
      const inOrder = (a: string, b: string): number =>
        compareChildren(orderBy, a, childOf(value, a), b, childOf(value, b))
      for (const key of keys.sort(inOrder)) {
        const type = typeOf(key)
        const previousKey = type === 'child_removed' ? null : this.#previousKey(key)
        calls.push(...this.#calls({ type, key, value: childOf(value, key), previousKey }, this.registrations))
      }
    }
    tell(removed, before, () => 'child_removed')
    // Firebase tells all additions before all moves; then a child may come after one that is yet to move away. In
    // order of place, each comes after one that is where it will stay.
    const isMoved = new Set(moved)
    tell([...added, ...moved], after, (key) => (isMoved.has(key) ? 'child_moved' : 'child_added'))
    tell(changed, after, () => 'child_changed')
    return calls
  }

  #reorder(gone: Set<string>, come: string[], after: Value): void {
    if (come.length > INSERTS_MAX) {
      this.#keys = orderedChildKeys(after, this.query.orderBy)
      return
    }
    if (gone.size > 0) this.#keys = this.#keys!.filter((key) => !gone.has(key))
    for (const key of come) this.#keys!.splice(this.#placeOf(key, after), 0, key)
  }

  /** Where a key belongs among those kept: the number of keys that order before it. */
  #placeOf(key: string, value: Value): number {
    const keys = this.#keys!
    const child = childOf(value, key)
    let low = 0
    let high = keys.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = keys[middle]!
      if (compareChildren(this.query.orderBy, other, childOf(value, other), key, child) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #previousKey(key: string): string | null {
    return this.#keys![this.#placeOf(key, this.known.value) - 1] ?? null
  }

  #calls(data: EventData, registrations: readonly Registration[]): Call[] {
    return registrations
      .filter(({ type }) => type === data.type)
      .map((registration) => () => {
        // Taken off between the change and this call: an unsubscribed listener hears nothing.
        if (registration.isActive) registration.hear(data)
      })
  }
}

function valueEvent(value: Value): EventData {
  return { type: 'value', key: null, value, previousKey: null }
}
