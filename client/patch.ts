/**
 * Patches: a live value as RFC 6902 operations, for state libraries that hold a document of their own.
 *
 * INVARIANT: whoever applies all operations told, in order, to any document holds what `DataSnapshot.val()` of the
 * same query gives.
 */
import { childKeys, childOf, leafOf, type Value } from '../protocol/value.ts'
import { type CancelCallback, listen, type Unsubscribe } from './read.ts'
import type { Query } from './ref.ts'
import { arrayLengthOf, plain } from './snapshot.ts'

/** One operation of a JSON Patch. `path` is a JSON Pointer from the query's own place. */
export type PatchOperation =
  | { op: 'add' | 'replace'; path: string; value: unknown }
  | { op: 'remove'; path: string }

/**
 * Follows a value by what changes in it. The first call replaces the whole document, `null` where there is nothing;
 * each later one says what one change, of this client or of others, does to it. A write that the server refuses is
 * taken back by a call of its own. Objects whose keys are mostly 0, 1, 2, ... are arrays, as in `val()`; priorities
 * are left out.
 * @param cancel Called once if the server ends or refuses the listener; nothing follows it.
 */
export function onPatch(
  query: Query,
  callback: (patch: PatchOperation[]) => unknown,
  cancel?: CancelCallback,
): Unsubscribe {
  let before: Value | undefined
  return listen(query, 'value', callback, cancel, undefined, ({ value }) => {
    const patch: PatchOperation[] = []
    if (before === undefined) patch.push({ op: 'replace', path: '', value: plain(value) })
    else compare(before, value, '', patch)
    before = value
    if (patch.length > 0) callback(patch)
  })
}

/** Parts that are the same object were not changed, so that of a long list only its keys are looked at. */
function compare(before: Value, after: Value, at: string, patch: PatchOperation[]): void {
  if (before === after) return
  const [was, is] = [arrayLengthOf(before), arrayLengthOf(after)]
  const keys = childKeys(after)
  if (was !== null && is !== null) compareArrays(before, was, after, is, at, patch)
  else if (was === null && is === null && keys.length > 0 && childKeys(before).length > 0) {
    for (const key of childKeys(before)) {
      if (childOf(after, key) === null) patch.push({ op: 'remove', path: below(at, key) })
    }
    for (const key of keys) {
      const old = childOf(before, key)
      const child = childOf(after, key)
      if (old !== null) compare(old, child, below(at, key), patch)
      else patch.push({ op: 'add', path: below(at, key), value: plain(child) })
    }
  } else if (keys.length > 0 || childKeys(before).length > 0 || leafOf(before) !== leafOf(after)) {
    patch.push({ op: 'replace', path: at, value: plain(after) })
  }
}

function compareArrays(
  before: Value,
  was: number,
  after: Value,
  is: number,
  at: string,
  patch: PatchOperation[],
): void {
  const itemOf = (value: Value, index: number): Value => childOf(value, String(index))
  for (let i = 0; i < Math.min(was, is); i++)
    compare(itemOf(before, i), itemOf(after, i), below(at, String(i)), patch)
  // From the end, and onto the end: no other item gets another index on the way.
  for (let i = was - 1; i >= is; i--) patch.push({ op: 'remove', path: below(at, String(i)) })
  for (let i = was; i < is; i++)
    patch.push({ op: 'add', path: below(at, String(i)), value: plain(itemOf(after, i)) })
}

/** A key holds no slash, so that only tildes are to be escaped. */
function below(at: string, key: string): string {
  return `${at}/${key.replaceAll('~', '~0')}`
}
