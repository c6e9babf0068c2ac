/**
 * Reading: once with `get`, or live with `onValue` and the child events.
 */
import type { Value } from '../protocol/value.ts'
import { type Delivery, hzOf } from './delivery.ts'
import { type HearthError, requestFailed } from './errors.ts'
import { DatabaseReference, type Query, type Untyped } from './ref.ts'
import type { Request } from './requests.ts'
import { type ChildOf, DataSnapshot } from './snapshot.ts'
import type { EventData, EventType, Registration } from './view.ts'
import { wireQuery } from './window.ts'

export type Unsubscribe = () => void

export interface ListenOptions {
  /** Unsubscribes before the first event is told. */
  onlyOnce?: boolean
  /**
   * How often to hear of changes: `every` one (the default), the `latest` value of each path once a group of writes, or
   * at most so many times a second, `{ maxHz }` from 0.1 to 1000. Of listeners that share what the server sends, the
   * one that wants most decides.
   */
  delivery?: Delivery
}

export interface GetOptions {
  /** Fails with code `timeout` after so long; without it a `get` waits for a connection. */
  timeoutMs?: number
}

export type CancelCallback = (error: HearthError) => void
type ChildCallback<T> = (
  snapshot: DataSnapshot<ChildOf<T>> & { key: string },
  previousChildName: string | null,
) => unknown

/**
 * Reads a value once: from a live listener that covers it, else from the server.
 * @throws {HearthError} `permission_denied`, `too_large`, `no_index`, `timeout`, `offline` after `goOffline`
 */
export function get<T>(query: Query<T>, options: GetOptions = {}): Promise<DataSnapshot<T>> {
  const { db, path, spec } = query
  const seen = db.replicaOf(path).peek(path, spec)
  if (seen !== undefined) return Promise.resolve(new DataSnapshot(query.ref, seen, spec.orderBy))
  return new Promise((resolve, reject) => {
    let cancelTimer = (): void => {}
    const request: Request = {
      body: { type: 'get', path, query: wireQuery(spec) },
      kind: 'read',
      done(answer) {
        cancelTimer()
        const value = db.data.overlaid(path, spec, (answer as { value: Value }).value)
        resolve(new DataSnapshot(query.ref, value, spec.orderBy))
      },
      failed(error) {
        cancelTimer()
        reject(error)
      },
    }
    if (options.timeoutMs !== undefined) {
      cancelTimer = db.environment.schedule(options.timeoutMs, () => {
        db.connection.abandon(request)
        reject(requestFailed(null, 'timeout', `no answer within ${options.timeoutMs} ms`))
      })
    }
    db.connection.send(request)
  })
}

/**
 * Follows a value: called with the present one as soon as it is known, then with every other.
 * @param cancel Called once if the server ends or refuses the listener; nothing follows it.
 */
export function onValue<T>(
  query: Query<T>,
  callback: (snapshot: DataSnapshot<T>) => unknown,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listen(query, 'value', callback, cancel, options, ({ value }) => {
    callback(new DataSnapshot(query.ref, value, query.spec.orderBy))
  })
}

/** Called for every child there is, in order, then for each new one, with the key of the child before it. */
export function onChildAdded<T>(
  query: Query<T>,
  callback: ChildCallback<NoInfer<T>>,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listenToChildren(query, 'child_added', callback, cancel, options)
}

export function onChildChanged<T>(
  query: Query<T>,
  callback: ChildCallback<NoInfer<T>>,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listenToChildren(query, 'child_changed', callback, cancel, options)
}

/** Called with the last value of a child that is gone, or that left the query's window. */
export function onChildRemoved<T>(
  query: Query<T>,
  callback: ChildCallback<NoInfer<T>>,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listenToChildren(query, 'child_removed', callback, cancel, options)
}

/** Called when what a child is ordered by has changed; `child_changed` follows. */
export function onChildMoved<T>(
  query: Query<T>,
  callback: ChildCallback<NoInfer<T>>,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listenToChildren(query, 'child_moved', callback, cancel, options)
}

/** Ends listeners: of one callback, of one event, or all of a query. On a ref, also those of its queries. */
export function off(query: Query, eventType?: EventType, callback?: (...args: Untyped[]) => unknown): void {
  const { db, path, spec } = query
  db.replicaOf(path).unregister(
    path,
    spec,
    (registration) =>
      (eventType === undefined || registration.type === eventType) &&
      (callback === undefined || registration.callback === callback),
  )
}

function listenToChildren<T>(
  query: Query<T>,
  type: EventType,
  callback: ChildCallback<NoInfer<T>>,
  cancel?: CancelCallback | ListenOptions,
  options?: ListenOptions,
): Unsubscribe {
  return listen(query, type, callback, cancel, options, ({ key, value, previousKey }) => {
    const ref = new DatabaseReference(query.db, [...query.path, key!])
    callback(new DataSnapshot(ref, value) as DataSnapshot<ChildOf<T>> & { key: string }, previousKey)
  })
}

/** The one way in for whoever follows a query. */
export function listen(
  { db, path, spec }: Query,
  type: EventType,
  callback: unknown,
  cancel: CancelCallback | ListenOptions | undefined,
  options: ListenOptions | undefined,
  hear: (data: EventData) => void,
): Unsubscribe {
  const { onlyOnce = false, delivery } = (typeof cancel === 'object' ? cancel : options) ?? {}
  const replica = db.replicaOf(path)
  const registration: Registration = {
    type,
    callback,
    isActive: true,
    hz: hzOf(delivery),
    cancel: typeof cancel === 'function' ? cancel : null,
    hear(data) {
      if (onlyOnce) unsubscribe()
      hear(data)
    },
  }
  const unsubscribe = (): void => replica.unregister(path, spec, (other) => other === registration)
  replica.register(path, spec, registration)
  return unsubscribe
}
