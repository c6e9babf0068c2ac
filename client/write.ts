/**
 * Writing. Each write is shown to this client's listeners at once and taken back if the server denies it; its promise
 * settles with the server's answer, however long that takes. Bad paths and values throw before anything is sent.
 */
import { type Path, parsePath } from '../protocol/path.ts'
import { increment as incrementValue, serverTimestamp as timestampValue } from '../protocol/server-value.ts'
import { type Priority, type Value, withPriority } from '../protocol/value.ts'
import { readValue } from './client.ts'
import { HearthError, refusing } from './errors.ts'
import type { Entries } from './pending-writes.ts'
import { assertDisjoint, DatabaseReference, isInfo, type Untyped } from './ref.ts'
import type { ChildOf } from './snapshot.ts'

/** A placeholder the server fills in. */
export interface ServerValue {
  '.sv': unknown
}

/** A `T` of which any part may be a server value. */
export type Writable<T> =
  | ServerValue
  | (T extends readonly (infer Item)[]
      ? readonly Writable<Item>[]
      : T extends object
        ? { [K in keyof T]: Writable<T[K]> }
        : T)

export type ThenableReference<T = Untyped> = DatabaseReference<T> &
  Pick<Promise<DatabaseReference<T>>, 'then' | 'catch'>

/** The server's clock when it writes, Unix milliseconds. Until then listeners see this client's guess. */
export function serverTimestamp(): ServerValue {
  return timestampValue as unknown as ServerValue
}

/** The number stored, plus `delta`; `delta` where no number is stored. */
export function increment(delta: number): ServerValue {
  return incrementValue(delta) as unknown as ServerValue
}

/** Replaces the value; null removes it. */
export function set<T>(ref: DatabaseReference<T>, value: Writable<T> | null): Promise<void> {
  return setAt(ref, readValue('set', value, ref.path), 'set')
}

/** Replaces the value and its priority, by which siblings are ordered first. */
export function setWithPriority<T>(
  ref: DatabaseReference<T>,
  value: Writable<T> | null,
  priority: Priority | null,
): Promise<void> {
  return setAt(ref, withPriority(readValue('setWithPriority', value, ref.path), priority), 'setWithPriority')
}

export function remove(ref: DatabaseReference): Promise<void> {
  return setAt(ref, null, 'remove')
}

/**
 * Replaces several values below a ref at once: all or none. Keys are child keys or paths; null removes.
 * What is not named stays.
 */
export function update(ref: DatabaseReference, values: Record<string, unknown>): Promise<void> {
  assertWritable(ref.path, 'update')
  const entries = readEntries('update', ref.path, values)
  if (entries.length === 0) return Promise.resolve()
  return ref.db.write({ type: 'update', path: ref.path, entries }, fromRoot(ref.path, entries))
}

/**
 * A new child with a key that sorts after those made before it. The key is made here, so it is known at once.
 * @returns The new child's ref, which is also a promise for it once the value, if one is given, is written.
 */
export function push<T>(
  parent: DatabaseReference<T>,
  value?: Writable<ChildOf<T>> | null,
): ThenableReference<ChildOf<T>> {
  const { db } = parent
  const path = [...parent.path, db.nextPushId()]
  const ref = new DatabaseReference<ChildOf<T>>(db, path)
  const done = value === undefined ? Promise.resolve(ref) : set(ref, value).then(() => ref)
  const thenable = new DatabaseReference(db, path) as ThenableReference<ChildOf<T>>
  // biome-ignore lint/suspicious/noThenProperty: `push` gives a ref one may await, as Firebase's does.
  thenable.then = done.then.bind(done)
  thenable.catch = done.catch.bind(done)
  return thenable
}

function setAt({ db, path }: DatabaseReference, value: Value, operation: string): Promise<void> {
  assertWritable(path, operation)
  return db.write(value === null ? { type: 'remove', path } : { type: 'set', path, value }, [[path, value]])
}

/** @throws {HearthError} `.info` is the client's own. */
export function assertWritable(path: Path, operation: string): void {
  if (isInfo(path)) throw new HearthError('invalid_path', `${operation} failed: .info is read-only`)
}

/** The places an `update` names, relative to its ref. */
export function readEntries(operation: string, path: Path, values: Record<string, unknown>): Entries {
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new HearthError('invalid_value', `${operation} failed: it takes an object of paths and values`)
  }
  const entries = Object.entries(values).map(([key, raw]) => {
    const below = refusing(operation, () => {
      const keys = parsePath(key)
      parsePath([...path, ...keys].join('/'))
      return keys
    })
    return [below, readValue(operation, raw, [...path, ...below])] as const
  })
  assertDisjoint(
    operation,
    entries.map(([below]) => below),
  )
  return entries
}

export function fromRoot(path: Path, entries: Entries): Entries {
  return entries.map(([below, value]) => [[...path, ...below], value] as const)
}
