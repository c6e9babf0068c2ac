/**
 * onDisconnect: writes a client leaves behind, run once when its session ends, under the identity and by the rules
 * of that moment. Kept as records in the store too, so that a server that crashed runs them at its next start.
 */
import { formatPath, isAtOrAbove, type Path, RequestError, type Value } from '../protocol/index.ts'
import type { Database } from './database.ts'
import type { Identity } from './identity.ts'
import { emptyWrite, type Write, type WriteOrigin } from './log/log.ts'
import type { Entry } from './store/store.ts'
import { bytesAbout } from './write-entries.ts'

const RECORD_PREFIX = 'on-disconnect/'

/** Registrations one session may hold, and places taken out of them; each is kept in memory and on disk. */
const REGISTRATIONS_MAX = 1000
/** Bytes, about, that the values one session has registered may have together: the largest message by default. */
const REGISTERED_BYTES_MAX = 32 * 1024 * 1024

interface Registration {
  record: string
  entries: readonly Entry[]
  /** Places below an entry's that were canceled: what is there at the end stays, also where the entry says nothing of it. */
  untouched: readonly Path[]
  identity: Identity
  /** Of its values, about. */
  bytes: number
}

interface StoredRegistration {
  entries: [path: string, value: Value][]
  /** Left out where there is none. */
  untouched?: string[]
  isAdmin: boolean
  auth: Record<string, unknown> | null
}

const unheard: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }

/** What sessions need of it, in whichever thread they are. */
export interface OnDisconnect {
  /**
   * Registers a write for the end of a session. Its origin is answered as for a write: rules decide now, too.
   * @throws {RequestError} `rate_limited` past the number one session may hold, `too_large` past their bytes.
   */
  register(sessionId: string, write: Pick<Write, 'entries' | 'identity' | 'origin' | 'id'>): void
  /**
   * Drops what is registered at and below a path; a registration above it leaves just that part as it is.
   * @throws {RequestError} `rate_limited` past the number of such parts one session may have.
   */
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
    if (sizeOf(registrations) >= REGISTRATIONS_MAX) throw tooMany()
    const record = `${RECORD_PREFIX}${sessionId}/${String(this.#nextNumber++).padStart(12, '0')}`
    const { entries, identity, origin, id } = write
    const bytes = entries.reduce((sum, { value }) => sum + bytesAbout(value, REGISTERED_BYTES_MAX), 0)
    if (registrations.reduce((sum, other) => sum + other.bytes, bytes) > REGISTERED_BYTES_MAX) {
      throw new RequestError(
        'tooLarge',
        `the onDisconnect writes of a connection may have at most ${REGISTERED_BYTES_MAX} bytes together`,
      )
    }
    const registration: Registration = { record, entries, untouched: [], identity, bytes }
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
    const before = this.#bySession.get(sessionId) ?? []
    const after = before.map((registration) => without(registration, path))
    if (sizeOf(after) > Math.max(sizeOf(before), REGISTRATIONS_MAX)) throw tooMany()
    const records: [string, unknown][] = []
    const kept: Registration[] = []
    for (const [i, registration] of before.entries()) {
      const { entries, untouched } = after[i]!
      const isDropped = entries.length === 0
      if (after[i] !== registration) {
        registration.entries = entries
        registration.untouched = untouched
        records.push([registration.record, isDropped ? null : stored(registration)])
      }
      if (!isDropped) kept.push(registration)
    }
    this.#keep(sessionId, kept)
    this.#database.submit(emptyWrite(origin, id, records))
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
      const { entries, untouched = [], isAdmin, auth } = value as StoredRegistration
      left.push({
        record,
        entries: entries.map(([path, child]) => ({ path: storedPath(path), value: child })),
        untouched: untouched.map(storedPath),
        identity: { isAdmin, auth },
        bytes: 0,
      })
    }
    if (left.length > 0) void this.#submitAll(left)
  }

  #submitAll(registrations: readonly Registration[]): Promise<void> {
    for (const { entries, untouched, identity } of registrations) {
      this.#database.submit({
        entries,
        ...(untouched.length === 0 ? {} : { untouched }),
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
      this.#database.submit(emptyWrite(origin, 0, records))
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

/** What is left of a registration; the same where a path has nothing to do with it. */
function without(registration: Registration, path: Path): Registration {
  const entries = registration.entries.filter((entry) => !isAtOrAbove(path, entry.path))
  const isBelow = entries.some((entry) => isAtOrAbove(entry.path, path))
  const isCovered = registration.untouched.some((place) => isAtOrAbove(place, path))
  if (isBelow && !isCovered) {
    const others = registration.untouched.filter((place) => !isAtOrAbove(path, place))
    return { ...registration, untouched: [...others, path] }
  }
  return entries.length === registration.entries.length ? registration : { ...registration, entries }
}

function sizeOf(registrations: readonly Registration[]): number {
  return registrations.reduce(
    (size, { entries, untouched }) => size + (entries.length === 0 ? 0 : 1 + untouched.length),
    0,
  )
}

function tooMany(): RequestError {
  return new RequestError(
    'rateLimited',
    `a connection may hold at most ${REGISTRATIONS_MAX} onDisconnect writes, with the places canceled below them`,
  )
}

/** What `formatPath` made of a path that was checked before it was stored; it may name a priority. */
function storedPath(text: string): Path {
  return text === '/' ? [] : text.slice(1).split('/')
}

function stored({ entries, untouched, identity }: Registration): StoredRegistration {
  return {
    entries: entries.map(({ path, value }) => [formatPath(path), value]),
    ...(untouched.length === 0 ? {} : { untouched: untouched.map(formatPath) }),
    isAdmin: identity.isAdmin,
    auth: identity.auth,
  }
}
