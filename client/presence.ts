/**
 * Presence: this client is here, and everyone who listens sees it. The server keeps the child and takes it away when the
 * last of this user's connections has left, however it left.
 */
import type { Value } from '../protocol/value.ts'
import { type Database, readValue, type Watcher } from './client.ts'
import { HearthError } from './errors.ts'
import type { DatabaseReference, Untyped } from './ref.ts'
import type { Request } from './requests.ts'
import type { ChildOf } from './snapshot.ts'
import { assertWritable, type Writable } from './write.ts'

export interface PresenceOptions {
  /**
   * Silence after which the server takes this client for gone, from 2,000 to 3,600,000; this client then sends something
   * three times as often. Without it the server's own time counts, about a minute.
   */
  ttlMs?: number
  /** It was refused after it had been accepted, by another identity or by other rules. */
  onError?: (error: HearthError) => void
}

export interface Presence<T = Untyped> {
  /** Resolves once everyone can see it, or it has left before that. @throws {HearthError} `permission_denied`, `rate_limited`, `invalid_path` */
  readonly joined: Promise<void>
  /** This user's child: the uid or, without one, an id of this connection; null until it has joined. */
  readonly key: string | null
  /** Shows another state. While offline it is shown after the next connect. */
  update(state: Writable<T>): Promise<void>
  leave(): Promise<void>
}

/**
 * Is present below `ref` with a state until `leave`: joins again after each reconnect and with each identity. Who is here
 * are the children of `ref`, for `onChildAdded`, `onChildRemoved`, `onValue` and the rest.
 */
export function presence<T>(
  ref: DatabaseReference<T>,
  state: Writable<ChildOf<T>>,
  options: PresenceOptions = {},
): Presence<ChildOf<T>> {
  assertWritable(ref.path, 'presence')
  return new Present(ref, state, options)
}

class Present implements Presence, Watcher {
  readonly joined: Promise<void>
  key: string | null = null
  readonly #db: Database
  readonly #ref: DatabaseReference
  readonly #options: PresenceOptions
  #state: Value
  /** Until then its first state waits for the connection, and needs no renewal. */
  #hasJoined = false
  #isOver = false
  /** Not answered yet. */
  readonly #asked = new Set<Request>()
  #stopBeating = (): void => {}

  constructor(ref: DatabaseReference, state: unknown, options: PresenceOptions) {
    this.#ref = ref
    this.#db = ref.db
    this.#options = options
    this.#state = this.#read(state)
    this.joined = this.#set('write')
    this.joined.then(
      () => {
        this.#hasJoined = true
      },
      (error: HearthError) => {
        this.#end()
        this.#complain(error)
      },
    )
    this.#db.watchers.add(this)
    this.#beat()
  }

  update(state: unknown): Promise<void> {
    this.#state = this.#read(state)
    if (this.#isOver) return Promise.reject(new HearthError('left', 'left: this presence has ended'))
    return this.#db.connection.isReady ? this.#set('write') : Promise.resolve()
  }

  leave(): Promise<void> {
    if (this.#isOver) return Promise.resolve()
    this.#end()
    for (const request of this.#asked) {
      // Sent on a later connection it would bring back who has left.
      request.kind = 'live'
      if (this.#db.connection.isReady) continue
      this.#db.connection.abandon(request)
      request.forgotten!()
    }
    return new Promise((resolve, reject) => {
      this.#db.connection.send({
        body: { type: 'presenceEnd', path: this.#ref.path },
        kind: 'live',
        done: () => resolve(),
        failed: reject,
        // The server has seen to it when the connection ended.
        forgotten: resolve,
      })
    })
  }

  renew(): void {
    if (this.#hasJoined) this.#set('live').catch((error: HearthError) => this.#complain(error))
  }

  stopped(): void {
    this.#end()
  }

  #read(state: unknown): Value {
    return readValue('presence', state, [...this.#ref.path, 'uid'])
  }

  /** @param kind `write` waits for a connection; `live` is of this one only. */
  #set(kind: 'write' | 'live'): Promise<void> {
    const { ttlMs = null } = this.#options
    const stateNow = (): Value => this.#state
    return new Promise((resolve, reject) => {
      const settled = (): void => {
        this.#asked.delete(request)
        resolve()
      }
      const request: Request = {
        body: {
          type: 'presenceSet',
          path: this.#ref.path,
          // Read whenever it is sent: what waited for a connection shows the state of then, not an older one.
          get value() {
            return stateNow()
          },
          ttlMs,
        },
        kind,
        done: (answer) => {
          if (answer.type === 'pushed') this.key = answer.key
          settled()
        },
        failed: (error) => {
          this.#asked.delete(request)
          reject(error)
        },
        forgotten: settled,
      }
      this.#asked.add(request)
      this.#db.connection.send(request)
    })
  }

  /** The connection has its own heartbeat, which may be too slow. */
  #beat(): void {
    const { ttlMs } = this.#options
    if (ttlMs === undefined) return
    this.#stopBeating = this.#db.environment.schedule(ttlMs / 3, () => {
      this.#db.connection.send({ body: { type: 'ping' }, kind: 'live', done() {}, failed() {} })
      this.#beat()
    })
  }

  #complain(error: HearthError): void {
    const { onError } = this.#options
    if (onError !== undefined) onError(error)
    else if (error.code !== 'terminated') console.warn(`hearth: not present: ${error.message}`)
  }

  #end(): void {
    this.#isOver = true
    this.#stopBeating()
    this.#db.watchers.delete(this)
  }
}
