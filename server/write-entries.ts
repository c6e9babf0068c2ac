/**
 * From what a client sent to the entries of a write: values parsed, paths joined, overlaps refused. Shared by all wires.
 */
import {
  assertApart,
  childKeys,
  childOf,
  formatPath,
  isAtOrAbove,
  type Leaf,
  leafOf,
  PATH_DEPTH_MAX,
  type Path,
  parseValue,
  priorityOf,
  RequestError,
  resolveServerValuesAt,
  type UpdateEntries,
  utf8Length,
  type Value,
  withPriority,
  withValueAt,
} from '../protocol/index.ts'
import type { DataView } from '../rules/index.ts'
import type { Entry, TreeView } from './store/store.ts'

/** The last key of a path that names a node's priority instead of a node; no key of data may contain a dot. */
export const PRIORITY_KEY = '.priority'

export function isPriorityPath(path: Path): boolean {
  return path.length > 0 && path[path.length - 1] === PRIORITY_KEY
}

export function isPriority({ path }: Entry): boolean {
  return isPriorityPath(path)
}

export function isDeletion({ path, value }: Entry): boolean {
  return value === null && !isPriorityPath(path)
}

/** @throws {RequestError} `invalid_value`, `too_large` */
export function setEntries(path: Path, value: unknown): Entry[] {
  return [entryAt(path, value)]
}

/** A message goes to every listener at once, and may come many times a second. */
const MESSAGE_BYTES_MAX = 65_536

/** @throws {RequestError} `invalid_value`, `too_large` */
export function messageEntries(path: Path, value: unknown): Entry[] {
  const entries = setEntries(path, value)
  if (entries[0]!.value === null)
    throw new RequestError('invalidValue', 'a message has a value; null is none')
  if (bytesAbout(value, MESSAGE_BYTES_MAX) > MESSAGE_BYTES_MAX) {
    throw new RequestError(
      'tooLarge',
      `a message has at most ${MESSAGE_BYTES_MAX} bytes; store what is larger`,
    )
  }
  return entries
}

/** Bytes of a value on the wire, never too few; counts no further than a little past `max`. */
export function bytesAbout(value: unknown, max: number): number {
  if (typeof value === 'string') return 5 + utf8Length(value)
  if (typeof value !== 'object' || value === null) return 9
  let bytes = 5
  for (const [key, child] of Object.entries(value)) {
    bytes += 5 + utf8Length(key) + bytesAbout(child, max - bytes)
    if (bytes > max) break
  }
  return bytes
}

function entryAt(path: Path, value: unknown): Entry {
  if (!isPriorityPath(path)) return { path, value: parseValue(value, path.length) }
  // Checked as the priority of some leaf: null and what is no priority at all come out as they should.
  return { path, value: childOf(parseValue({ '.value': true, '.priority': value }), PRIORITY_KEY) }
}

/** Each entry costs a walk for rules, store and listeners; a client with more to write sends several updates. */
const UPDATE_ENTRIES_MAX = 10_000

/** @throws {RequestError} `invalid_path` for overlapping or too deep locations; `invalid_value`, `too_large` */
export function updateEntries(base: Path, children: UpdateEntries): Entry[] {
  assertFew(children.length)
  const entries = children.map(([child, value]): Entry => {
    const path = [...base, ...child]
    if (path.length - (isPriorityPath(path) ? 1 : 0) > PATH_DEPTH_MAX) {
      throw new RequestError(
        'invalidPath',
        `path \`${formatPath(path)}\` has more than ${PATH_DEPTH_MAX} keys`,
      )
    }
    return entryAt(path, value)
  })
  if (entries.length > 1) assertApart(entries.map(({ path }) => path))
  return entries
}

/** @throws {RequestError} `too_large` for more locations than one write may have. */
export function assertFew(paths: number): void {
  if (paths > UPDATE_ENTRIES_MAX) {
    throw new RequestError(
      'tooLarge',
      `the update has ${paths} paths; an update may have at most ${UPDATE_ENTRIES_MAX}`,
    )
  }
}

/** Where the rules look: a priority belongs to the node above it. */
export function locationOf({ path }: Entry): Path {
  return isPriorityPath(path) ? path.slice(0, -1) : path
}

/** Server values become values: of this moment, and of what is there. The same entries where there are none. */
export function resolveEntries(entries: readonly Entry[], head: DataView, nowMs: number): readonly Entry[] {
  let resolved: Entry[] | null = null
  for (let i = 0; i < entries.length; i++) {
    const { path, value } = entries[i]!
    if (typeof value !== 'object' || value === null) continue
    const next = resolveServerValuesAt(value, path, (at) => leafIn(head, at), nowMs)
    if (next === value) continue
    resolved ??= [...entries]
    resolved[i] = { path, value: next }
  }
  return resolved ?? entries
}

/**
 * The same entries, but all at and below some places stays as it is: where something is there, what is around it is
 * written piece by piece. A leaf has no places below it to leave out, so it is written all the same.
 * @param entries Server values resolved.
 * @throws {RequestError} `too_large` where that takes more pieces than a write may have.
 */
export function entriesBeside(
  entries: readonly Entry[],
  untouched: readonly Path[],
  head: TreeView,
): Entry[] {
  const pieces: Entry[] = []
  for (const { path, value } of entries) {
    collectBeside(
      path,
      value,
      untouched.filter((place) => isAtOrAbove(path, place)),
      head,
      pieces,
    )
  }
  return pieces
}

function collectBeside(
  path: Path,
  value: Value,
  untouched: readonly Path[],
  head: TreeView,
  pieces: Entry[],
): void {
  const depth = path.length
  if (untouched.some((place) => place.length === depth)) return
  const around = untouched.reduce((rest, place) => withValueAt(rest, place, null, depth), value)
  const kept = untouched.filter((place) => isThere(place, head))
  const keepsPriority = kept.some((place) => place.length === depth + 1 && isPriorityPath(place))
  const priority = keepsPriority ? head.priorityAt(path) : priorityOf(around)
  const keptChildren = new Set(kept.map((place) => place[depth]!).filter((key) => key !== PRIORITY_KEY))
  if (keptChildren.size === 0 || leafOf(around) !== null) {
    addPiece(pieces, path, withPriority(around, priority))
    return
  }
  for (const key of new Set([...childKeys(around), ...head.keys(path)])) {
    const child = childOf(around, key)
    if (!keptChildren.has(key)) addPiece(pieces, [...path, key], child)
    else {
      const below = kept.filter((place) => place[depth] === key)
      collectBeside([...path, key], child, below, head, pieces)
    }
  }
  if (priority !== head.priorityAt(path)) addPiece(pieces, [...path, PRIORITY_KEY], priority)
}

function addPiece(pieces: Entry[], path: Path, value: Value): void {
  if (pieces.length >= UPDATE_ENTRIES_MAX) {
    throw new RequestError('tooLarge', `leaving parts out takes more than ${UPDATE_ENTRIES_MAX} paths`)
  }
  pieces.push({ path, value })
}

function isThere(place: Path, head: DataView): boolean {
  return isPriorityPath(place) ? head.priorityAt(place.slice(0, -1)) !== null : head.valueAt(place) !== null
}

function leafIn(view: DataView, path: Path): Leaf | null {
  const value = view.valueAt(path)
  return typeof value === 'symbol' ? null : value
}

/** A single leaf that is already there, or a deletion of nothing: common enough to spare the disk and the listeners. */
export function isUnchanged(entries: readonly Entry[], head: TreeView): boolean {
  if (entries.length !== 1)
    return entries.every((entry) => isPriorityPath(entry.path) && isUnchanged([entry], head))
  const { path, value } = entries[0]!
  if (isPriorityPath(path)) {
    const node = path.slice(0, -1)
    return head.valueAt(node) === null || head.priorityAt(node) === value
  }
  if (typeof value === 'object' && value !== null) return false
  return head.valueAt(path) === value && head.priorityAt(path) === null
}
