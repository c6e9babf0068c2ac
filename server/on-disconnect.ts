/**
 * onDisconnect: writes a client leaves behind, run once when its session ends, under the identity and by the rules
 * of that moment. Kept as records in the store too, so that a server that crashed runs them at its next start.
 */
import {
  formatPath,
  isAtOrAbove,
  type Path,
  RequestError,
  type Value,
  withValueAt,
} from '../protocol/index.ts'
import type { Database } from './database.ts'
import { admin, type Identity } from './identity.ts'
import type { Write, WriteOrigin } from './log/log.ts'
import type { Entry } from './store/store.ts'

const RECORD_PREFIX = 'on-disconnect/'

/** Registrations one session may hold; each is kept in memory and on disk. */
const REGISTRATIONS_MAX = 1000

interface Registration {
  record: string
  entries: readonly Entry[]
  identity: Identity
}

interface StoredRegistration {
  entries: [path: string, value: Value][]
  isAdmin: boolean
  auth: Record<string, unknown> | null
}

const unheard: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }

/** What sessions need of it, in whichever thread they are. */
export interface OnDisconnect {
  /**
   * Registers a write for the end of a session. Its origin is answered as for a write: rules decide now, too.
   * @throws {RequestError} `rate_limited` past the number one session may hold.
   */
  register(sessionId: string, write: Pick<Write, 'entries' | 'identity' | 'origin' | 'id'>): void
  /** Drops what is registered at and below a path; a registration above it loses just that part. */
  cancel(sessionId: string, path: Path, origin: WriteOrigin, id: number): void
  /** Runs what a session left, in the order of registration; all of it is decided in one group. */
  run(sessionId: string): void
  /**
   * Resolves when what was run so far is visible; null when it all is. Who reads after a connection ended
   * waits for it, else the read would show the state that its end has just replaced.
   */
  readonly settling: Promise<void> | null
}

/** In the thread that writes. */
export class LocalOnDisconnect implements OnDisconnect {
  readonly #database: Database
  readonly #bySession = new Map<string, Registration[]>()
  #nextNumber = 1
  /** The latest run. Runs settle in order, since the log is one queue. */
  #settling: Promise<void> | null = null

  constructor(database: Database) {
    this.#database = database
  }

  register(sessionId: string, write: Pick<Write, 'entries' | 'identity' | 'origin' | 'id'>): void {
    const registrations = this.#bySession.get(sessionId) ?? []
    if (registrations.length >= REGISTRATIONS_MAX) {
      throw new RequestError(
        'rateLimited',
        `a connection may hold at most ${REGISTRATIONS_MAX} onDisconnect writes`,
      )
    }
    const record = `${RECORD_PREFIX}${sessionId}/${String(this.#nextNumber++).padStart(12, '0')}`
    const { entries, identity, origin, id } = write
    const registration: Registration = { record, entries, identity }
    registrations.push(registration)
    this.#bySession.set(sessionId, registrations)
    this.#database.submit({
      entries,
      identity,
      expectedRevision: null,
      isCheckOnly: true,
      records: [[record, stored(registration)]],
      origin: {
        written: (settled, revision) => origin.written({ ...settled, id }, revision),
        refused: (settled, error) => {
          this.#forget(sessionId, registration)
          origin.refused({ ...settled, id }, error)
        },
        groupSettled: () => origin.groupSettled(),
      },
      id,
    })
  }

  cancel(sessionId: string, path: Path, origin: WriteOrigin, id: number): void {
    const records: [string, unknown][] = []
    const kept: Registration[] = []
    for (const registration of this.#bySession.get(sessionId) ?? []) {
      const entries = without(registration.entries, path)
      if (entries.length === 0) {
        records.push([registration.record, null])
        continue
      }
      if (entries !== registration.entries) {
        registration.entries = entries
        records.push([registration.record, stored(registration)])
      }
      kept.push(registration)
    }
    this.#keep(sessionId, kept)
    this.#database.submit(recordsOnly(records, origin, id))
  }

  run(sessionId: string): void {
    const registrations = this.#bySession.get(sessionId)
    if (registrations === undefined) return
    this.#bySession.delete(sessionId)
    const settled = this.#submitAll(registrations)
    this.#settling = settled
    void settled.then(() => {
      if (this.#settling === settled) this.#settling = null
    })
  }

  get settling(): Promise<void> | null {
    return this.#settling
  }

  /** Runs what sessions of an earlier process left: that process ended without running it. */
  runLeftovers(): void {
    const left: Registration[] = []
    for (const [record, value] of this.#database.records.entries(RECORD_PREFIX)) {
      const { entries, isAdmin, auth } = value as StoredRegistration
      left.push({
        record,
        entries: entries.map(([path, child]) => ({ path: storedPath(path), value: child })),
        identity: { isAdmin, auth },
      })
    }
    if (left.length > 0) void this.#submitAll(left)
  }

  #submitAll(registrations: readonly Registration[]): Promise<void> {
    for (const { entries, identity } of registrations) {
      this.#database.submit({
        entries,
        identity,
        expectedRevision: null,
        isCheckOnly: false,
        records: null,
        origin: unheard,
        id: 0,
      })
    }
    // Apart from the writes, so that one the rules now refuse does not come back at every start.
    const records = registrations.map(({ record }): [string, unknown] => [record, null])
    return new Promise((resolve) => {
      const origin: WriteOrigin = { written: () => resolve(), refused: () => resolve(), groupSettled() {} }
      this.#database.submit(recordsOnly(records, origin, 0))
    })
  }

  #forget(sessionId: string, registration: Registration): void {
    const registrations = this.#bySession.get(sessionId)
    if (registrations !== undefined) {
      this.#keep(
        sessionId,
        registrations.filter((other) => other !== registration),
      )
    }
  }

  #keep(sessionId: string, registrations: Registration[]): void {
    if (registrations.length === 0) this.#bySession.delete(sessionId)
    else this.#bySession.set(sessionId, registrations)
  }
}

function recordsOnly(records: readonly [string, unknown][], origin: WriteOrigin, id: number): Write {
  return { entries: [], identity: admin, expectedRevision: null, isCheckOnly: false, records, origin, id }
}

function without(entries: readonly Entry[], path: Path): readonly Entry[] {
  let isSame = true
  const kept: Entry[] = []
  for (const entry of entries) {
    if (isAtOrAbove(path, entry.path)) {
      isSame = false
    } else if (isAtOrAbove(entry.path, path)) {
      isSame = false
      kept.push({ path: entry.path, value: withValueAt(entry.value, path, null, entry.path.length) })
    } else kept.push(entry)
  }
  return isSame ? entries : kept
}

/** What `formatPath` made of a path that was checked before it was stored; it may name a priority. */
function storedPath(text: string): Path {
  return text === '/' ? [] : text.slice(1).split('/')
}

function stored({ entries, identity }: Registration): StoredRegistration {
  return {
    entries: entries.map(({ path, value }) => [formatPath(path), value]),
    isAdmin: identity.isAdmin,
    auth: identity.auth,
  }
}
