/**
 * DataView over a plain JSON value in export form: what tests, tables and command-line tools lend to rules.
 */
import {
  childKeys,
  childOf,
  leafOf,
  type Path,
  priorityOf,
  type Value,
  withValueAt,
} from '../protocol/index.ts'
import { type DataView, OBJECT } from './data-view.ts'

export function jsonView(value: Value): DataView {
  return {
    valueAt(path) {
      const at = valueAt(value, path)
      if (at === null) return null
      return leafOf(at) ?? OBJECT
    },
    priorityAt: (path) => priorityOf(valueAt(value, path)),
    childKeysAt: (path) => childKeys(valueAt(value, path)),
  }
}

/** The tree after all of an operation's locations are written at once, deletions as null. */
export function afterWrites(value: Value, writes: Iterable<readonly [Path, Value]>): Value {
  let after = value
  for (const [path, written] of writes) after = withValueAt(after, path, written)
  return after
}

/** Keys with a dot are the export form's own (`.value`, `.priority`) and never children. */
function valueAt(value: Value, path: Path): Value {
  let at = value
  for (const key of path) {
    if (at === null || key.charCodeAt(0) === 46) return null
    at = childOf(at, key)
  }
  return at
}
