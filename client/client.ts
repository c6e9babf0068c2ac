/**
 * Client: a database as the app holds it. Joins the connection to the replica and decides what a write looks like
 * before the server has answered it.
 */
import { formatPath, isAtOrAbove, keyProblem, type Path } from '../protocol/path.ts'
import { pushIdMaker } from '../protocol/push-id.ts'
import { hasServerValue, resolveServerValues } from '../protocol/server-value.ts'
import { hasOwn, parseValue, type Value } from '../protocol/value.ts'
import { type AuthSource, Connection, type Pushed } from './connection.ts'
import { type Environment, realEnvironment } from './environment.ts'
import { HearthError, refusing } from './errors.ts'
import type { Entries, PendingWrite } from './pending-writes.ts'
import { isInfo } from './ref.ts'
import { Replica } from './replica.ts'
import type { RequestBody } from './requests.ts'

export interface DatabaseOptions {
  /** Which database of the server; without it the server's default one. */
  database?: string
  /** A token, or a function that gives a fresh one: it is called at every connect and when a token has expired. */
  auth?: AuthSource
  /** The token was refused, so the connection goes on without identity. Without this it is a console warning. */
  onAuthError?: (error: HearthError) => void
  /** Clock, randomness, timers and sockets, for tests. */
  environment?: Partial<Environment>
}

const CONNECTED: Path = ['.info', 'connected']
const SERVER_TIME_OFFSET: Path = ['.info', 'serverTimeOffset']

/** What is built on the connection beside values: messages, presence. Only an app that uses it loads it. */
export interface Watcher {
  /** The server answers, perhaps again, perhaps to another identity: ask it anew. */
  renew(): void
  pushed?(message: Pushed): void
  stopped?(error: HearthError): void
}

export class Database {
  /** The server's address as http(s), without a trailing slash. */
  readonly url: string
  /** @internal */ readonly connection: Connection
  /** @internal */ readonly data: Replica
  /** @internal */ readonly info: Replica
  /** @internal */ readonly environment: Environment
  /** @internal The onDisconnect writes of this connection, to show them when the connection is lost. */
  leftBehind: (readonly [Path, Value])[] = []
  /** @internal */ readonly watchers = new Set<Watcher>()
  readonly #pushIdAt: (nowMs: number) => string
  /** Writes not yet answered and transactions not yet ended. */
  readonly #working = new Set<{ paths: readonly Path[]; ended: Promise<void> }>()
  #serverTimeOffsetMs = 0

  constructor(address: string, options: DatabaseOptions) {
    const { httpUrl, socketUrl } = readAddress(address, options.database)
    this.url = httpUrl
    this.environment = { ...realEnvironment, ...options.environment }
    this.#pushIdAt = pushIdMaker(() => this.environment.random())
    const onAuthError =
      options.onAuthError ?? ((error) => console.warn(`hearth: going on without identity: ${error.message}`))
    this.connection = new Connection(socketUrl, this.environment, options.auth ?? null, {
      relisten: () => {
        this.data.relisten()
        this.#renew()
      },
      identified: () => this.#renew(),
      online: (serverTimeOffsetMs) => {
        this.#serverTimeOffsetMs = serverTimeOffsetMs
        this.info.assume([
          [SERVER_TIME_OFFSET, serverTimeOffsetMs],
          [CONNECTED, true],
        ])
      },
      lost: () => {
        this.data.lost()
        this.data.assume(this.guess(this.leftBehind.splice(0)))
        this.info.assume([[CONNECTED, false]])
      },
      pushed: (message) => {
        this.data.pushed(message)
        for (const watcher of this.watchers) watcher.pushed?.(message)
      },
      stopped: (error) => {
        this.data.failAll(error)
        for (const watcher of this.watchers) watcher.stopped?.(error)
      },
      authFailed: onAuthError,
    })
    this.data = new Replica(this.connection, this.environment)
    this.info = new Replica(this.connection, this.environment)
    this.info.serve(['.info'], { connected: false, serverTimeOffset: 0 })
  }

  #renew(): void {
    for (const watcher of this.watchers) watcher.renew()
  }

  /** @internal */
  start(): void {
    this.connection.start()
  }

  /** The server's clock as far as this client knows, Unix milliseconds. */
  get serverTimeMs(): number {
    return this.environment.nowMs() + this.#serverTimeOffsetMs
  }

  /** @internal */
  nextPushId(): string {
    return this.#pushIdAt(this.serverTimeMs)
  }

  /** @internal `.info` lives in the client. */
  replicaOf(path: Path): Replica {
    return isInfo(path) ? this.info : this.data
  }

  /**
   * Sends a write and shows it at once.
   * @internal
   * @param entries What it does, paths from the root.
   */
  write(body: RequestBody, entries: Entries): Promise<void> {
    const pending: PendingWrite = { entries: this.guess(entries) }
    const end = this.begin(entries.map(([path]) => path))
    let isSettled = false
    const answered = new Promise<void>((resolve, reject) => {
      // Sent before it is shown: what a listener writes in answer must reach the server after it.
      this.connection.send({
        body,
        kind: 'write',
        done: (answer) => {
          isSettled = true
          this.data.done(pending, (answer as { revision: number }).revision)
          end()
          resolve()
        },
        failed: (error) => {
          isSettled = true
          this.data.remove(pending)
          end()
          reject(error)
        },
      })
    })
    if (!isSettled) this.data.add(pending)
    return answered
  }

  /** @internal Work on these paths begins. @returns Ends it. */
  begin(paths: readonly Path[]): () => void {
    let resolve = (): void => {}
    const work = {
      paths,
      ended: new Promise<void>((done) => {
        resolve = done
      }),
    }
    this.#working.add(work)
    return () => {
      this.#working.delete(work)
      resolve()
    }
  }

  /** @internal Resolves when work begun at, above or below a path has ended; null when there is none. */
  whenFree(path: Path): Promise<unknown> | null {
    const overlapping = [...this.#working].filter(({ paths }) =>
      paths.some((at) => isAtOrAbove(at, path) || isAtOrAbove(path, at)),
    )
    return overlapping.length === 0 ? null : Promise.all(overlapping.map(({ ended }) => ended))
  }

  /** @internal What the server will make of server values. An increment of something unknown is not guessed. */
  guess(entries: Entries): Entries {
    return entries.flatMap(([path, value]) => {
      if (!hasServerValue(value)) return [[path, value] as const]
      const base = this.data.base(path)
      if (base === undefined && hasIncrement(value)) return []
      return [[path, resolveServerValues(value, base ?? null, this.serverTimeMs)] as const]
    })
  }
}

/**
 * A database on a Hearth server. Nothing is sent before its first `ref`.
 *
 * @param address `http(s)://` or `ws(s)://`, host and port; `?ns=name` names a database, as in Firebase.
 * @throws {HearthError} `invalid_url`
 */
export function getDatabase(address: string, options: DatabaseOptions = {}): Database {
  return new Database(address, options)
}

/** Closes the connection until `goOnline`. Listeners keep what they have; writes wait; `get` fails. */
export function goOffline(db: Database): void {
  db.connection.goOffline()
}

export function goOnline(db: Database): void {
  db.connection.goOnline()
}

/** Ends the connection: what is pending fails with code `terminated`, listeners are canceled with it. */
export function terminate(db: Database): void {
  db.connection.stop(new HearthError('terminated', 'terminated'))
}

/**
 * Takes another identity; null takes none. Listeners the new identity may not keep are canceled.
 * @returns Resolves when the server accepted it or, while offline, at once: it then holds from the next connection.
 * @throws {HearthError} `invalid_token`, `expired_token`
 */
export function setAuth(db: Database, auth: AuthSource): Promise<void> {
  return db.connection.setAuth(auth)
}

export function unauth(db: Database): Promise<void> {
  return setAuth(db, null)
}

/**
 * A value of the app's in export form.
 * @throws {HearthError} `invalid_value` with the place of what is wrong.
 */
export function readValue(operation: string, raw: unknown, path: Path): Value {
  try {
    return parseValue(raw, path.length)
  } catch {
    // What is wrong further in is told first, so that the message names the innermost place.
    if (typeof raw === 'object' && raw !== null) {
      for (const [key, inner] of Object.entries(raw)) {
        if (keyProblem(key) === null) readValue(operation, inner, [...path, key])
      }
    }
    return refusing(`${operation} at ${formatPath(path)}`, () => parseValue(raw, path.length))
  }
}

function hasIncrement(value: Value): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (hasOwn(value, '.sv')) return typeof value['.sv'] === 'object'
  return Object.values(value).some(hasIncrement)
}

function readAddress(address: string, database?: string): { httpUrl: string; socketUrl: string } {
  const wrong = (): never => {
    throw new HearthError('invalid_url', `address \`${address}\` is not http(s):// or ws(s)://`)
  }
  let url: URL
  try {
    url = new URL(address)
  } catch {
    return wrong()
  }
  const [, secure] = /^(?:http|ws)(s?):$/.exec(url.protocol) ?? wrong()
  const place = `${url.host}${url.pathname.replace(/\/+$/, '')}`
  const name = database ?? url.searchParams.get('ns')
  const query = name === null ? '' : `?database=${encodeURIComponent(name)}`
  return { httpUrl: `http${secure}://${place}`, socketUrl: `ws${secure}://${place}/v1${query}` }
}
