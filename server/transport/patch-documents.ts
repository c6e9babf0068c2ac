/**
 * Patch documents of other standards than Firebase's: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396), turned
 * into the locations of one write. The only file that knows fast-json-patch.
 */
import fastJsonPatch, { type Operation } from 'fast-json-patch'
import {
  childKeys,
  childOf,
  hasOwn,
  isObject,
  keyProblem,
  leafOf,
  PATH_DEPTH_MAX,
  type Path,
  parseValue,
  RequestError,
  type Value,
} from '../../protocol/index.ts'
import type { Entry } from '../store/store.ts'
import { PRIORITY_KEY, setEntries } from '../write-entries.ts'
import { badRequest, HttpError } from './http-error.ts'
import { restValue } from './rest-json.ts'

/** Operations of one document; each may copy what the ones before it made. */
const OPERATIONS_MAX = 10_000

/** Refusals that speak of the value, not of the patch: the same patch may do later. */
const CONFLICTS = [
  'TEST_OPERATION_FAILED',
  'OPERATION_PATH_UNRESOLVABLE',
  'OPERATION_PATH_CANNOT_ADD',
  'OPERATION_FROM_UNRESOLVABLE',
  'OPERATION_VALUE_OUT_OF_BOUNDS',
]

const PROTOTYPE = 'a path may not lead through `__proto__` or `constructor/prototype`'

/**
 * Applies a JSON Patch to a value as REST shows it, arrays included; nothing stored counts as an empty object.
 * Only what differs afterwards is written, so that priorities of the rest stay and rules see what was meant.
 *
 * @returns The locations to write, and the document after the patch.
 * @throws {HttpError} 400 for a bad patch, 409 where the value is not what the patch expects.
 */
export function patchedEntries(
  path: Path,
  value: Value,
  patch: unknown,
): { entries: Entry[]; document: unknown } {
  if (!Array.isArray(patch) || patch.length > OPERATIONS_MAX) {
    throw badRequest(`a JSON Patch is an array of at most ${OPERATIONS_MAX} operations`)
  }
  const document = apply(restValue(value) ?? {}, patch as Operation[])
  const entries: Entry[] = []
  try {
    collectChanges(path, value ?? {}, parseValue(document ?? null, path.length), entries)
  } catch (error) {
    throw error instanceof RequestError ? badRequest(`Invalid data; ${error.message}`) : error
  }
  return { entries, document: document ?? null }
}

function apply(document: unknown, patch: Operation[]): unknown {
  try {
    return fastJsonPatch.applyPatch(document, patch, true, true).newDocument
  } catch (error) {
    const { name, message, index } = error as { name?: string; message?: string; index?: number }
    // The library's one TypeError, which advises to switch its protection off.
    const why = error instanceof TypeError ? PROTOTYPE : (message ?? 'cannot be applied').split('\n')[0]!
    const what = `operation ${index ?? 0}: ${why}`
    throw CONFLICTS.includes(name ?? '') ? new HttpError('409 Conflict', what) : badRequest(what)
  }
}

/** What makes `after` of `before`. A priority is changed only where `after` names one. */
function collectChanges(path: Path, before: Value, after: Value, entries: Entry[]): void {
  if (isObject(before) && isObject(after)) {
    for (const key of new Set([...childKeys(before), ...childKeys(after)])) {
      collectChanges([...path, key], childOf(before, key), childOf(after, key), entries)
    }
    if (hasOwn(after, PRIORITY_KEY)) {
      entries.push({ path: [...path, PRIORITY_KEY], value: after[PRIORITY_KEY]! })
    }
    return
  }
  const isSame = !isObject(before) && !isObject(after) && leafOf(before) === leafOf(after)
  // An object is a leaf that names its priority, which may be another.
  if (isSame && (typeof after !== 'object' || after === null)) return
  entries.push({ path, value: after })
}

/**
 * Each value of a merge patch becomes a location of its own; null deletes. Nothing has to be read for it, so one
 * corner differs from the RFC: an object that only deletes leaves a primitive in its place alone.
 * @throws {RequestError} `invalid_value`
 */
export function mergePatchEntries(path: Path, patch: unknown): Entry[] {
  const entries: Entry[] = []
  collectMerge(path, patch, entries)
  return entries
}

function collectMerge(path: Path, patch: unknown, entries: Entry[]): void {
  if (!isPlainObject(patch)) {
    entries.push(...setEntries(path, patch))
    return
  }
  for (const [key, child] of Object.entries(patch)) {
    if (key === PRIORITY_KEY) {
      entries.push(...setEntries([...path, key], child))
      continue
    }
    const problem = keyProblem(key)
    if (problem !== null) throw new RequestError('invalidValue', problem)
    if (path.length >= PATH_DEPTH_MAX) {
      throw new RequestError(
        'invalidValue',
        `patch is nested deeper than ${PATH_DEPTH_MAX} keys from the root`,
      )
    }
    collectMerge([...path, key], child, entries)
  }
}

/** An object to be merged: not a leaf with a priority, not a server value. */
function isPlainObject(patch: unknown): patch is Record<string, unknown> {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return false
  return !hasOwn(patch, '.value') && !hasOwn(patch, '.sv')
}
