/**
 * Index order: an index by its name, and what it orders a slot of the tree by.
 */
import {
  isObject,
  leafOf,
  type Order,
  parsePath,
  priorityOf,
  RequestError,
  type Value,
  type ValueObject,
  valueAt,
} from '../../protocol/index.ts'
import { Branch, type Slot } from './branch.ts'
import type { Tree } from './tree.ts'

/** Stands for any object: all are equal in every order. */
export const SOME_OBJECT: ValueObject = {}

/** The order an index of this name gives; null for a text that names none. Rules may say anything in `.indexOn`. */
export function orderOfIndex(name: string): Order | null {
  if (name === '.value') return 'value'
  if (name === '.priority') return 'priority'
  try {
    const child = parsePath(name)
    return child.length === 0 ? null : { child }
  } catch (error) {
    if (error instanceof RequestError) return null
    throw error
  }
}

/** What an order looks at in a child; undefined for one that is absent. */
export function orderedSlot(tree: Tree, slot: Slot, order: Order, isHead: boolean): Value | undefined {
  if (slot === null) return undefined
  if (order === 'key') return null
  if (order === 'priority') {
    if (slot instanceof Branch) return isHead ? slot.headPriority() : slot.priority
    return priorityOf(slot)
  }
  if (order === 'value') return plain(slot)
  let at: Slot = slot
  for (let i = 0; i < order.child.length; i++) {
    if (!(at instanceof Branch)) return plain(valueAt(at, order.child, i))
    at = isHead ? tree.headSlot(at, order.child[i]!) : tree.flushedSlot(at, order.child[i]!)
  }
  return plain(at)
}

/** As it counts in an order: without its priority, and one object like another. */
function plain(slot: Slot): Value {
  return slot instanceof Branch || isObject(slot) ? SOME_OBJECT : leafOf(slot)
}
