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
import { assertFew, PRIORITY_KEY, setEntries } from '../write-entries.ts'
import { badRequest, HttpError } from './http-error.ts'
import { restValue } from './rest-json.ts'

/** Operations of one document. */
const OPERATIONS_MAX = 10_000

/** Names by which the library finds an operation: with any other one it may find a method of every object. */
const OPERATIONS = ['add', 'remove', 'replace', 'move', 'copy', 'test']

/**
 * Bytes, about, that the operations of one document may copy. Each may copy what the ones before it made, so that
 * thirty copies can make a value a billion times as large.
 */
const COPIED_BYTES_MAX = 32 * 1024 * 1024
/** What moves when an array grows or shrinks in the middle, in bytes of the same cost. */
const SHIFTED_BYTES = 1 / 16

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
  const document = apply(restValue(value) ?? {}, patch)
  const entries: Entry[] = []
  try {
    collectChanges(path, value ?? {}, parseValue(document ?? null, path.length), entries)
    assertFew(entries.length)
  } catch (error) {
    throw error instanceof RequestError ? badRequest(`Invalid data; ${error.message}`) : error
  }
  return { entries, document: document ?? null }
}

function apply(document: unknown, patch: readonly unknown[]): unknown {
  const copying = new Copying()
  let after = document
  for (const [index, operation] of patch.entries()) {
    try {
      after = applyOne(after, operation, copying)
    } catch (error) {
      if (error instanceof HttpError)
        throw new HttpError(error.status, `operation ${index}: ${error.message}`)
      const { name, message } = error as { name?: string; message?: string }
      // The library's one TypeError, which advises to switch its protection off.
      const why = error instanceof TypeError ? PROTOTYPE : (message ?? 'cannot be applied').split('\n')[0]!
      const what = `operation ${index}: ${why}`
      throw CONFLICTS.includes(name ?? '') ? new HttpError('409 Conflict', what) : badRequest(what)
    }
  }
  return after
}

/** @returns The document, or another in its place. */
function applyOne(document: unknown, raw: unknown, copying: Copying): unknown {
  const { op, path, from, value } = (raw ?? {}) as Record<string, unknown>
  if (!OPERATIONS.includes(op as string)) throw badRequest(`\`op\` is none of ${OPERATIONS.join(', ')}`)
  copying.shift(document, path)
  if (op !== 'move' && op !== 'copy') {
    // A copy: what is added here may be changed by the next operation, and the patch may have to be applied again.
    const operation = value === undefined ? raw : { ...(raw as object), value: copying.of(value) }
    return step(document, operation as Operation)
  }
  // Both are made of the simpler ones: the library would copy the whole document to see whether `from` is there.
  if (typeof path !== 'string' || typeof from !== 'string') throw badRequest('`from` and `path` are pointers')
  const found = at(document, from)
  if (found === undefined) throw new HttpError('409 Conflict', 'nothing is where `from` points to')
  if (op === 'copy') return step(document, { op: 'add', path, value: copying.of(found) })
  if (path === from) return document
  if (path.startsWith(`${from}/`)) throw badRequest('a value cannot be moved into itself')
  copying.shift(document, from)
  return step(step(document, { op: 'remove', path: from }), { op: 'add', path, value: found })
}

function step(document: unknown, operation: Operation): unknown {
  return fastJsonPatch.applyOperation(document, operation, true, true).newDocument
}

/** What a JSON Pointer points to; undefined for nothing. */
function at(document: unknown, pointer: string): unknown {
  let found = document
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replace(/~1/g, '/').replace(/~0/g, '~')
    if (typeof found !== 'object' || found === null || !hasOwn(found, key)) return undefined
    if (Array.isArray(found) && !/^(?:0|[1-9]\d*)$/.test(key)) return undefined
    found = (found as Record<string, unknown>)[key]
  }
  return pointer === '' || pointer.startsWith('/') ? found : undefined
}

/** Copies values, up to a limit for all of one document. */
class Copying {
  #bytesLeft = COPIED_BYTES_MAX

  /** @throws {HttpError} 400 */
  of(value: unknown, depth = 0): unknown {
    if (typeof value !== 'object' || value === null) {
      this.#spend(8 + (typeof value === 'string' ? value.length : 0))
      return value
    }
    if (depth > PATH_DEPTH_MAX) throw badRequest(`value is nested deeper than ${PATH_DEPTH_MAX} keys`)
    this.#spend(8)
    if (Array.isArray(value)) return value.map((item) => this.of(item, depth + 1))
    return Object.fromEntries(
      Object.entries(value).map(([key, child]) => {
        this.#spend(key.length)
        return [key, this.of(child, depth + 1)]
      }),
    )
  }

  /** To be called before an element of an array comes or goes. */
  shift(document: unknown, path: unknown): void {
    const array = typeof path === 'string' ? at(document, path.slice(0, path.lastIndexOf('/'))) : null
    if (Array.isArray(array)) this.#spend(array.length * SHIFTED_BYTES)
  }

  #spend(bytes: number): void {
    this.#bytesLeft -= bytes
    if (this.#bytesLeft < 0) throw badRequest('the patch copies too much')
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
 * @throws {RequestError} `invalid_value`, `too_large`
 */
export function mergePatchEntries(path: Path, patch: unknown): Entry[] {
  const entries: Entry[] = []
  collectMerge(path, patch, entries)
  assertFew(entries.length)
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
