/**
 * onDisconnect: writes the server makes when this client's connection ends, however it ends. They belong to one
 * connection: a presence sets them anew each time `.info/connected` becomes true.
 */
import { isAtOrAbove } from '../protocol/path.ts'
import { type Priority, type Value, withPriority } from '../protocol/value.ts'
import { readValue } from './client.ts'
import type { Entries } from './pending-writes.ts'
import type { DatabaseReference, Untyped } from './ref.ts'
import type { RequestBody } from './requests.ts'
import { assertWritable, fromRoot, readEntries, type Writable } from './write.ts'

export class OnDisconnect<T = Untyped> {
  readonly #ref: DatabaseReference<T>

  constructor(ref: DatabaseReference<T>) {
    assertWritable(ref.path, 'onDisconnect')
    this.#ref = ref
  }

  /** @returns Resolves when the server has noted it. */
  set(value: Writable<T> | null): Promise<void> {
    return this.#set(readValue('onDisconnect().set', value, this.#ref.path))
  }

  setWithPriority(value: Writable<T> | null, priority: Priority | null): Promise<void> {
    const parsed = readValue('onDisconnect().setWithPriority', value, this.#ref.path)
    return this.#set(withPriority(parsed, priority))
  }

  remove(): Promise<void> {
    return this.#set(null)
  }

  update(values: Record<string, unknown>): Promise<void> {
    const { path } = this.#ref
    const entries = readEntries('onDisconnect().update', path, values)
    if (entries.length === 0) return Promise.resolve()
    return this.#register({ type: 'onDisconnectUpdate', path, entries }, fromRoot(path, entries))
  }

  /** Drops what is registered at and below this ref. */
  cancel(): Promise<void> {
    return this.#register({ type: 'onDisconnectCancel', path: this.#ref.path }, [])
  }

  #set(value: Value): Promise<void> {
    const { path } = this.#ref
    return this.#register({ type: 'onDisconnectSet', path, value }, [[path, value]])
  }

  #register(body: RequestBody, entries: Entries): Promise<void> {
    const { db, path } = this.#ref
    return new Promise((resolve, reject) => {
      db.connection.send({
        body,
        kind: 'write',
        done: () => {
          if (entries.length > 0) db.leftBehind.push(...entries)
          else db.leftBehind = db.leftBehind.filter(([at]) => !isAtOrAbove(path, at))
          resolve()
        },
        failed: reject,
      })
    })
  }
}

export function onDisconnect<T>(ref: DatabaseReference<T>): OnDisconnect<T> {
  return new OnDisconnect(ref)
}
