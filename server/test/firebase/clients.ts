/**
 * Clients: the SDKs that the conformance table runs through, behind one face. Each is used as its own documentation
 * says, against a `--dev` server.
 */
import * as rulesTesting from '@firebase/rules-unit-testing'
import { deleteApp, initializeApp, setLogLevel } from 'firebase/app'
import * as firebase from 'firebase/database'
import * as admin from 'firebase-admin'
import * as hearth from '../../../client/index-node.ts'
import { type Cleanup, type TestServer, unsignedToken } from '../harness.ts'

export type Value = unknown

export interface Snapshot {
  readonly key: string | null
  exists(): boolean
  // biome-ignore lint/suspicious/noExplicitAny: what a row expects is for the row to say.
  val(): any
  exportVal(): Value
  forEach(visit: (child: Snapshot) => void): boolean
}

export type EventName = 'value' | 'child_added' | 'child_changed' | 'child_moved' | 'child_removed'

/** Name and arguments of a query function, such as `['limitToLast', 2]`. */
export type Constraint = readonly [name: string, ...args: unknown[]]

export interface OnDisconnect {
  set(value: Value): Promise<void>
  setWithPriority(value: Value, priority: string | number | null): Promise<void>
  update(values: object): Promise<void>
  remove(): Promise<void>
  cancel(): Promise<void>
}

export interface Client {
  get(path: string, ...constraints: Constraint[]): Promise<Snapshot>
  /** @returns The unsubscribe function. */
  on(
    event: EventName,
    path: string,
    constraints: readonly Constraint[],
    heard: (snapshot: Snapshot, previousKey?: string | null) => void,
    canceled?: (error: Error) => void,
  ): () => void
  set(path: string, value: Value): Promise<void>
  setPriority(path: string, priority: string | number | null): Promise<void>
  setWithPriority(path: string, value: Value, priority: string | number | null): Promise<void>
  update(path: string, values: object): Promise<void>
  remove(path: string): Promise<void>
  /** @returns The new key, once written. */
  push(path: string, value: Value): Promise<string>
  transaction(
    path: string,
    // biome-ignore lint/suspicious/noExplicitAny: the row knows what it stored.
    change: (value: any) => Value,
  ): Promise<{ committed: boolean; snapshot: Snapshot }>
  onDisconnect(path: string): OnDisconnect
  readonly timestamp: object
  increment(by: number): object
  goOffline(): void
  goOnline(): void
  /** Signs another user in on the live connection, or nobody. Only where the SDK can. */
  signIn?(uid: string | null): void
}

export interface Identity {
  /** Signed in as this user; null and absent mean nobody. */
  uid?: string | null
  claims?: Record<string, unknown>
  /** Past all rules. */
  isAdmin?: boolean
}

export interface ClientKind {
  readonly name: 'firebase/database' | 'firebase-admin' | '@firebase/rules-unit-testing' | 'hearthdb/client'
  /** @param rules Of the namespace, for the one client that uploads them itself. */
  open(t: Cleanup, server: TestServer, identity: Identity, namespace: string, rules: object): Promise<Client>
}

setLogLevel('silent')

let appCount = 0

const firebaseClient: ClientKind = {
  name: 'firebase/database',
  async open(t, server, { uid, claims, isAdmin }, namespace) {
    const { host, port } = server.address
    const app = initializeApp(
      { databaseURL: `http://localhost:${port}?ns=${namespace}` },
      `app ${appCount++}`,
    )
    t.onTestFinished(() => deleteApp(app))
    const db = firebase.getDatabase(app)
    const token = isAdmin === true ? 'owner' : uid == null ? undefined : { ...claims, sub: uid, user_id: uid }
    firebase.connectDatabaseEmulator(
      db,
      host,
      port,
      token === undefined ? {} : { mockUserToken: token as string },
    )
    return modular(firebase as unknown as Modular, db)
  },
}

const hearthClient: ClientKind = {
  name: 'hearthdb/client',
  async open(t, server, { uid, claims, isAdmin }, namespace) {
    const auth = isAdmin === true ? 'owner' : uid == null ? null : unsignedToken(uid, claims)
    const options = { database: namespace, ...(auth === null ? {} : { auth }) }
    const db = hearth.getDatabase(server.url, options)
    t.onTestFinished(() => hearth.terminate(db))
    return modular(hearth as unknown as Modular, db)
  },
}

const adminClient: ClientKind = {
  name: 'firebase-admin',
  async open(t, server, { uid, claims, isAdmin }, namespace) {
    const { host, port } = server.address
    const app = admin.initializeApp(
      {
        databaseURL: `http://${host}:${port}?ns=${namespace}`,
        // Rules see just this; null is nobody, and without it an admin is past all rules.
        ...(isAdmin === true
          ? {}
          : { databaseAuthVariableOverride: uid == null ? null : { uid, token: { ...claims, sub: uid } } }),
      },
      `app ${appCount++}`,
    )
    t.onTestFinished(() => app.delete())
    process.env['FIREBASE_DATABASE_EMULATOR_HOST'] = `${host}:${port}`
    const db = app.database()
    delete process.env['FIREBASE_DATABASE_EMULATOR_HOST']
    return namespaced(db as unknown as Namespaced, admin.database.ServerValue)
  },
}

const rulesTestingClient: ClientKind = {
  name: '@firebase/rules-unit-testing',
  async open(t, server, { uid, claims, isAdmin }, namespace, rules) {
    const { host, port } = server.address
    const environment = await rulesTesting.initializeTestEnvironment({
      projectId: namespace,
      database: { host, port, rules: JSON.stringify({ rules }) },
    })
    t.onTestFinished(() => environment.cleanup())
    const values = { TIMESTAMP: firebase.serverTimestamp(), increment: firebase.increment }
    if (isAdmin === true) {
      let keepOpen = (): void => {}
      const opened = await new Promise<rulesTesting.RulesTestContext>((resolve) => {
        void environment.withSecurityRulesDisabled((context) => {
          resolve(context)
          return new Promise<void>((done) => {
            keepOpen = done
          })
        })
      })
      t.onTestFinished(() => keepOpen())
      return namespaced(opened.database() as unknown as Namespaced, values)
    }
    const context =
      uid == null ? environment.unauthenticatedContext() : environment.authenticatedContext(uid, claims)
    return namespaced(context.database() as unknown as Namespaced, values)
  },
}

export const clientKinds: readonly ClientKind[] = [
  firebaseClient,
  adminClient,
  rulesTestingClient,
  hearthClient,
]

/** The functions of `firebase/database`, which `hearthdb/client` has, too. */
interface Modular {
  [name: string]: (...args: unknown[]) => unknown
}

function modular(sdk: Modular, db: unknown): Client {
  const at = (path: string): unknown =>
    path === '' || path === '/' ? sdk['ref']!(db) : sdk['ref']!(db, path)
  const queryAt = (path: string, constraints: readonly Constraint[]): unknown =>
    constraints.length === 0
      ? at(path)
      : sdk['query']!(at(path), ...constraints.map(([name, ...args]) => sdk[name]!(...args)))
  return {
    get: (path, ...constraints) => sdk['get']!(queryAt(path, constraints)) as Promise<Snapshot>,
    on(event, path, constraints, heard, canceled) {
      const name = `on${event
        .split('_')
        .map((word) => word[0]!.toUpperCase() + word.slice(1))
        .join('')}`
      return sdk[name]!(queryAt(path, constraints), heard, canceled ?? (() => {})) as () => void
    },
    set: (path, value) => sdk['set']!(at(path), value) as Promise<void>,
    setPriority: (path, priority) => sdk['setPriority']!(at(path), priority) as Promise<void>,
    setWithPriority: (path, value, priority) =>
      sdk['setWithPriority']!(at(path), value, priority) as Promise<void>,
    update: (path, values) => sdk['update']!(at(path), values) as Promise<void>,
    remove: (path) => sdk['remove']!(at(path)) as Promise<void>,
    async push(path, value) {
      const pushed = sdk['push']!(at(path), value) as { key: string } & PromiseLike<unknown>
      await pushed
      return pushed.key
    },
    transaction: (path, change) =>
      sdk['runTransaction']!(at(path), change) as Promise<{ committed: boolean; snapshot: Snapshot }>,
    onDisconnect: (path) => sdk['onDisconnect']!(at(path)) as OnDisconnect,
    timestamp: sdk['serverTimestamp']!() as object,
    increment: (by) => sdk['increment']!(by) as object,
    goOffline: () => void sdk['goOffline']!(db),
    goOnline: () => void sdk['goOnline']!(db),
  }
}

/** The older API: methods on references. */
interface Namespaced {
  ref(path?: string): NamespacedRef
  goOffline(): void
  goOnline(): void
}

interface NamespacedRef extends Omit<OnDisconnect, 'cancel'> {
  get(): Promise<Snapshot>
  on(event: EventName, heard: (snapshot: Snapshot) => void, canceled: (error: Error) => void): unknown
  off(event: EventName, heard: unknown): void
  setPriority(priority: unknown, done: (error: Error | null) => void): Promise<void>
  push(value: Value): { key: string } & PromiseLike<unknown>
  transaction(
    change: (value: Value) => Value,
    done: undefined,
    applyLocally: boolean,
  ): Promise<{ committed: boolean; snapshot: Snapshot }>
  onDisconnect(): OnDisconnect
}

function namespaced(db: Namespaced, values: { TIMESTAMP: object; increment(by: number): object }): Client {
  const at = (path: string): NamespacedRef => (path === '' ? db.ref() : db.ref(path))
  const queryAt = (path: string, constraints: readonly Constraint[]): NamespacedRef =>
    constraints.reduce<NamespacedRef>(
      (query, [name, ...args]) =>
        (query as unknown as Record<string, (...args: unknown[]) => NamespacedRef>)[name]!(...args),
      at(path),
    )
  return {
    get: (path, ...constraints) => queryAt(path, constraints).get(),
    on(event, path, constraints, heard, canceled) {
      const query = queryAt(path, constraints)
      query.on(event, heard, canceled ?? (() => {}))
      return () => query.off(event, heard)
    },
    set: (path, value) => at(path).set(value),
    setPriority: (path, priority) =>
      new Promise((resolve, reject) => {
        const done = (error: Error | null): void => (error === null ? resolve() : reject(error))
        at(path)
          .setPriority(priority, done)
          .catch(() => {})
      }),
    setWithPriority: (path, value, priority) => at(path).setWithPriority(value, priority),
    update: (path, children) => at(path).update(children),
    remove: (path) => at(path).remove(),
    async push(path, value) {
      const pushed = at(path).push(value)
      await pushed
      return pushed.key
    },
    transaction: (path, change) => at(path).transaction(change, undefined, true),
    onDisconnect: (path) => at(path).onDisconnect(),
    timestamp: values.TIMESTAMP,
    increment: (by) => values.increment(by),
    goOffline: () => db.goOffline(),
    goOnline: () => db.goOnline(),
  }
}
