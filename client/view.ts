/**
 * View: one query as the app sees it, and the callbacks that follow it. Given what was and what is it works out which
 * events lead there; nobody is called before all views have moved.
 *
 * INVARIANT: whoever replays the child events of a view holds the children of its last value event, in order.
 */

import { formatPath, type Path } from '../protocol/path.ts'
import type { Query } from '../protocol/query.ts'
import { childKeys, childOf, sameValue, type Value } from '../protocol/value.ts'
import type { Call } from './calls.ts'
import type { HearthError } from './errors.ts'
import type { Known } from './pending-writes.ts'
import { comparePlaced, orderedChildren, type Placed, place } from './window.ts'

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
  /** How often it wants to hear; see `hzOf`. */
  hz: number
}

/** A child before and after. */
export interface ChildChange {
  key: string
  before: Value
  after: Value
}

/** Past so many changes it is cheaper to sort all than to insert each. */
const INSERTS_MAX = 16

export class View {
  readonly path: Path
  readonly query: Query
  registrations: Registration[] = []
  /** The most any of them has asked for. */
  hz = 0
  /**
   * What was told last, where it cannot be worked out anew: of a window, and of a place the server has not told of.
   * Null for a whole value that a listen vouches for.
   */
  kept: Known | null = null
  /** Children in order, kept only while someone hears child events. */
  #order: Placed[] | null = null

  constructor(path: Path, query: Query) {
    this.path = path
    this.query = query
  }

  /** @returns The calls that tell a new registration what is already known. */
  add(registration: Registration, { value, isWhole }: Known): Call[] {
    this.registrations.push(registration)
    if (registration.type === 'value') return isWhole ? this.#calls(valueEvent(value), [registration]) : []
    const { orderBy } = this.query
    this.#order ??= orderedChildren(value, orderBy)
    if (registration.type !== 'child_added') return []
    return this.#order.flatMap(({ key }, index) =>
      this.#calls(
        {
          type: 'child_added',
          key,
          value: childOf(value, key),
          previousKey: this.#order![index - 1]?.key ?? null,
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
    if (!this.registrations.some(({ type }) => type !== 'value')) this.#order = null
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

  /** @returns The calls that lead from one value to another. */
  update(before: Known, after: Known): Call[] {
    const isSame = sameValue(before.value, after.value)
    if (isSame && before.isWhole === after.isWhole) return []
    const calls: Call[] = []
    if (!isSame && this.#order !== null) {
      const keys = new Set([...childKeys(before.value), ...childKeys(after.value)])
      this.#tellChildren(
        [...keys].map((key) => ({
          key,
          before: childOf(before.value, key),
          after: childOf(after.value, key),
        })),
        calls,
      )
    }
    if (after.isWhole) calls.push(...this.#calls(valueEvent(after.value), this.registrations))
    return calls
  }

  /**
   * The same where it is known in which children the change was: the others cost nothing.
   * @param whole Gives the new value; asked for only if someone hears it.
   */
  updateChildren(changes: readonly ChildChange[], whole: () => Value): Call[] {
    const real = changes.filter(({ before, after }) => !sameValue(before, after))
    const calls: Call[] = []
    if (real.length === 0) return calls
    if (this.#order !== null) this.#tellChildren(real, calls)
    if (this.registrations.some(({ type }) => type === 'value')) {
      calls.push(...this.#calls(valueEvent(whole()), this.registrations))
    }
    return calls
  }

  #tellChildren(changes: readonly ChildChange[], calls: Call[]): void {
    const { orderBy } = this.query
    const real = changes
      .filter(({ before, after }) => !sameValue(before, after))
      .map((change) => {
        const { key, before, after } = change
        const was = place(orderBy, key, before)
        const is = place(orderBy, key, after)
        return { ...change, was, is, isPlaced: before === null || !sameValue(was.by, is.by) }
      })
    const there = real.filter(({ after }) => after !== null)
    const placed = there.filter(({ isPlaced }) => isPlaced)
    const gone = real.filter(({ before, after, isPlaced }) => before !== null && (after === null || isPlaced))
    this.#reorder(
      gone.map(({ was }) => was),
      placed.map(({ is }) => is),
    )

    const tell = (list: typeof real, side: 'was' | 'is', typeOf: (before: Value) => EventType): void => {
      for (const { key, before, after, [side]: at } of list.sort((a, b) => comparePlaced(a[side], b[side]))) {
        const [value, previousKey] =
          side === 'was' ? [before, null] : [after, this.#order![this.#indexOf(at) - 1]?.key ?? null]
        calls.push(...this.#calls({ type: typeOf(before), key, value, previousKey }, this.registrations))
      }
    }
    tell(
      gone.filter(({ after }) => after === null),
      'was',
      () => 'child_removed',
    )
    // Firebase tells all additions before all moves; then a child may come after one that is yet to move away. In
    // order of place, each comes after one that is where it will stay.
    tell(placed, 'is', (before) => (before === null ? 'child_added' : 'child_moved'))
    tell(
      there.filter(({ before }) => before !== null),
      'is',
      () => 'child_changed',
    )
  }

  #reorder(gone: readonly Placed[], come: readonly Placed[]): void {
    if (gone.length + come.length > INSERTS_MAX) {
      const keys = new Set(gone.map(({ key }) => key))
      const rest = this.#order!.filter(({ key }) => !keys.has(key))
      this.#order = rest.concat(come).sort(comparePlaced)
      return
    }
    for (const placed of gone) this.#order!.splice(this.#indexOf(placed), 1)
    for (const placed of come) this.#order!.splice(this.#indexOf(placed), 0, placed)
  }

  /** Where a child is, or belongs: the number of children before it. */
  #indexOf(placed: Placed): number {
    const order = this.#order!
    let low = 0
    let high = order.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (comparePlaced(order[middle]!, placed) < 0) low = middle + 1
      else high = middle
    }
    return low
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
