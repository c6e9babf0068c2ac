/**
 * Current step: from the places that changed to one step that brings whoever missed the changes to what is there now.
 *
 * A place that is gone is told of as high up as nothing is left. What a listener holds there may be older than the
 * changes: below a leaf of its own, a deletion further down would change nothing.
 */
import { isObject, type Path, type Step, type Value } from '../../protocol/index.ts'
import type { TreeView } from '../store/store.ts'
import type { Changed } from './conflation.ts'

/**
 * For a query that shows all below its path.
 * @param leavesMax Of one place.
 * @returns Null when the whole value has to be told; an empty step when nothing has.
 * @throws {TooLargeError}
 */
export function currentStep(at: Path, changed: Changed, view: TreeView, leavesMax: number): Step | null {
  const step: (string | Value)[] = []
  const told = new Set<string>()
  const priorities = new Set<string>()
  for (const path of changed.paths) {
    if (path === '') return null
    const keys = path.split('/')
    if (keys[keys.length - 1] === '.priority') {
      priorities.add(path)
      continue
    }
    const value = view.read([...at, ...keys], leavesMax)
    if (value === null) {
      let { length } = keys
      while (length > 0 && view.valueAt([...at, ...keys.slice(0, length - 1)]) === null) length -= 1
      if (length === 0) return null
      keys.length = length
    }
    const place = keys.join('/')
    if (!told.has(place)) step.push(place, value)
    told.add(place)
  }
  for (const path of changed.emptied) priorities.add(path === '' ? '.priority' : `${path}/.priority`)
  // After the values: they may make the places that have them.
  for (const path of priorities) {
    const node = [...at, ...path.split('/').slice(0, -1)]
    if (view.valueAt(node) !== null) step.push(path, view.priorityAt(node))
  }
  return step
}

/**
 * For a query that shows some children: those that changed are told whole.
 * @param shown What it shows now.
 * @returns Null when the whole value has to be told.
 */
export function currentChildren(shown: Value, changed: Changed): Step | null {
  if (!isObject(shown)) return null
  const step: (string | Value)[] = []
  const told = new Set<string>()
  for (const path of changed.paths) {
    if (path === '') return null
    const end = path.indexOf('/')
    const key = end < 0 ? path : path.slice(0, end)
    if (!told.has(key)) step.push(key, Object.hasOwn(shown, key) ? shown[key]! : null)
    told.add(key)
  }
  return step
}
