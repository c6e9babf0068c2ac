/**
 * Presence: who is here. Below a path that clients are present at, each user has one child with the state it set last,
 * however many connections it has; the child goes when the last of them has left. It is ordinary data, so listeners see
 * joins and leaves as children that come and go.
 *
 *   Claim (session, path) ──▶ Member (path, key) ──▶ the child at path/key
 *      └─ a record on disk, from the first state until the leave
 *
 * A state is a write under the member's identity, and the first one asks the rules also whether the child may be removed.
 * So nobody can have removed by presence what the rules protect, and no rule is asked again when somebody leaves, else a
 * denial would leave a ghost behind.
 *
 * After a crash the records tell who was here. They stay for a while, so that clients which come back are not seen to leave
 * and join; then those who did not are removed in one write.
 */
import {
  formatPath,
  keyProblem,
  PATH_DEPTH_MAX,
  type Path,
  parsePath,
  RequestError,
  sameValue,
  type Value,
} from '../protocol/index.ts'
import type { Database } from './database.ts'
import { admin, type Identity } from './identity.ts'
import type { Write, WriteOrigin } from './log/log.ts'
import type { Entry } from './store/store.ts'
import { setEntries } from './write-entries.ts'

const RECORD_PREFIX = 'presence/'
/** Paths one connection may be present at; each is a record on disk. */
const PRESENCES_MAX = 100
/** A leave that the disk refused is tried again. */
const RETRY_MS = 5000

/** What sessions need of it, in whichever thread they are. */
export interface Presence {
  /**
   * A session is present at a path with a state, or has another state there. The origin is answered as for a write.
   * @throws {RequestError} `rate_limited`, `invalid_path`, `invalid_value`, `too_large`
   */
  set(sessionId: string, path: Path, state: unknown, write: Pick<Write, 'identity' | 'origin' | 'id'>): void
  /** A session leaves one path; the origin is answered once that is visible. */
  end(sessionId: string, path: Path, origin: WriteOrigin, id: number): void
  /** A session leaves all paths: it ended, or is somebody else now. */
  leave(sessionId: string): void
}

interface Claim {
  record: string
  member: Member
  state: Value
  /** Its state is written, and shown if it is the member's latest. */
  isHeld: boolean
  /** Left; a state that is still being written counts no more. */
  isOver: boolean
  /** States being written. */
  unsettled: number
}

interface Member {
  path: Path
  /** The one that set its state last comes last. */
  held: Set<Claim>
  shown: Value
  /** States being written, of any session: what is shown is not decided before they are. */
  unsettled: number
  /** Leaves being written. */
  leaving: number
  /** Records of claims that are over and still on disk. */
  overRecords: string[]
  /** Records of an earlier process, until the grace ends. */
  leftRecords: string[]
}

/** What an earlier process left and nobody came back for. */
interface Leftovers {
  paths: Path[]
  records: string[]
}

/** The child's key: the user's, or the session's own for one without. */
export function presenceKey({ auth }: Identity, sessionId: string): string {
  const uid = auth?.['uid']
  return typeof uid === 'string' ? uid : sessionId
}

/** In the thread that writes. */
export class LocalPresence implements Presence {
  readonly #database: Database
  readonly #graceMs: number
  readonly #bySession = new Map<string, Map<string, Claim>>()
  readonly #members = new Map<string, Member>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #nextNumber = 1
  #isSuspended = false

  /** @param graceMs How long members of an earlier process may take to come back. */
  constructor(database: Database, graceMs: number) {
    this.#database = database
    this.#graceMs = graceMs
  }

  set(
    sessionId: string,
    path: Path,
    state: unknown,
    { identity, origin, id }: Pick<Write, 'identity' | 'origin' | 'id'>,
  ): void {
    const at = memberPath(path, presenceKey(identity, sessionId))
    const entries = setEntries(at, state)
    if (entries[0]!.value === null) {
      throw new RequestError('invalidValue', 'a presence without a state is none; end it instead')
    }
    const claim = this.#claimOf(sessionId, path, at)
    const { member } = claim
    member.unsettled += 1
    claim.unsettled += 1
    const settle = (): void => {
      member.unsettled -= 1
      claim.unsettled -= 1
    }
    this.#database.submit({
      entries,
      ...(claim.isHeld ? {} : { alsoAllowed: [{ path: at, value: null }] }),
      identity,
      expectedRevision: null,
      isCheckOnly: false,
      records: claim.isHeld ? null : [[claim.record, formatPath(at)]],
      origin: {
        written: (settled, revision) => {
          settle()
          this.#hold(claim, settled.entries[0]!.value)
          origin.written({ ...settled, id }, revision)
        },
        refused: (settled, error) => {
          settle()
          if (!claim.isHeld && claim.unsettled === 0) this.#forget(sessionId, path, claim)
          this.#reconcile(member)
          origin.refused({ ...settled, id }, error)
        },
        groupSettled: () => origin.groupSettled(),
      },
      id,
    })
  }

  end(sessionId: string, path: Path, origin: WriteOrigin, id: number): void {
    const claims = this.#bySession.get(sessionId)
    const claim = claims?.get(path.join('/'))
    if (claim !== undefined) {
      this.#forget(sessionId, path, claim)
      this.#endClaim(claim)
    }
    // Behind what the leave has queued, and behind states that are still being decided.
    this.#submit([], [], origin, id)
  }

  leave(sessionId: string): void {
    const claims = this.#bySession.get(sessionId)
    this.#bySession.delete(sessionId)
    if (claims === undefined || this.#isSuspended) return
    for (const claim of claims.values()) this.#endClaim(claim)
  }

  /** The server ends: who leaves now may come back to the next one, and is not removed unless it does not. */
  suspend(): void {
    this.#isSuspended = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Takes up what an earlier process left. */
  resume(): void {
    const gone: Leftovers = { paths: [], records: [] }
    for (const [record, at] of this.#database.records.entries(RECORD_PREFIX)) {
      const path = parsePath(at as string)
      if (isOfSession(record, path)) {
        // Nobody can come back under the id of a connection that is no more.
        gone.paths.push(path)
        gone.records.push(record)
      } else this.#memberAt(path).leftRecords.push(record)
    }
    this.#remove(gone)
    if (this.#members.size > 0) this.#later(this.#graceMs, () => this.#endGrace())
  }

  /** Whoever is not back by now is removed. */
  #endGrace(): void {
    const gone: Leftovers = { paths: [], records: [] }
    for (const member of [...this.#members.values()]) {
      if (member.leftRecords.length === 0) continue
      const left = member.leftRecords.splice(0)
      if (member.unsettled > 0) member.overRecords.push(...left)
      else {
        gone.records.push(...left)
        if (member.held.size === 0) gone.paths.push(member.path)
        this.#prune(member)
      }
    }
    this.#remove(gone)
  }

  /** All in one write. */
  #remove(gone: Leftovers): void {
    if (gone.records.length === 0) return
    const entries = gone.paths.map((path) => ({ path, value: null }))
    const refused = (): void => this.#later(RETRY_MS, () => this.#remove(gone))
    this.#submit(entries, gone.records, { ...unheard, refused })
  }

  #claimOf(sessionId: string, path: Path, at: Path): Claim {
    let claims = this.#bySession.get(sessionId)
    const pathText = path.join('/')
    let claim = claims?.get(pathText)
    if (claim !== undefined) return claim
    if (claims !== undefined && claims.size >= PRESENCES_MAX) {
      throw new RequestError(
        'rateLimited',
        `a connection may be present at ${PRESENCES_MAX} paths at most; end some first`,
      )
    }
    if (claims === undefined) {
      claims = new Map()
      this.#bySession.set(sessionId, claims)
    }
    claim = {
      record: `${RECORD_PREFIX}${sessionId}/${String(this.#nextNumber++).padStart(12, '0')}`,
      member: this.#memberAt(at),
      state: null,
      isHeld: false,
      isOver: false,
      unsettled: 0,
    }
    claims.set(pathText, claim)
    return claim
  }

  #memberAt(path: Path): Member {
    const key = path.join('/')
    let member = this.#members.get(key)
    if (member === undefined) {
      member = {
        path,
        held: new Set(),
        shown: null,
        unsettled: 0,
        leaving: 0,
        overRecords: [],
        leftRecords: [],
      }
      this.#members.set(key, member)
    }
    return member
  }

  #hold(claim: Claim, state: Value): void {
    const { member } = claim
    claim.isHeld = true
    claim.state = state
    member.held.delete(claim)
    member.held.add(claim)
    member.shown = state
    if (claim.isOver) this.#letGo(claim)
    this.#reconcile(member)
  }

  #endClaim(claim: Claim): void {
    claim.isOver = true
    if (claim.isHeld) this.#letGo(claim)
    this.#reconcile(claim.member)
  }

  #letGo(claim: Claim): void {
    claim.member.held.delete(claim)
    claim.member.overRecords.push(claim.record)
  }

  #forget(sessionId: string, path: Path, claim: Claim): void {
    const claims = this.#bySession.get(sessionId)
    if (claims?.get(path.join('/')) !== claim) return
    claims.delete(path.join('/'))
    if (claims.size === 0) this.#bySession.delete(sessionId)
  }

  /** Brings the child to what those who are left say, once nobody is about to say more. */
  #reconcile(member: Member): void {
    if (member.unsettled > 0) return
    const records = member.overRecords.splice(0)
    if (records.length > 0) {
      const latest = [...member.held].at(-1)
      // Others of the earlier process may still come back.
      const isAwaited = latest === undefined && member.leftRecords.length > 0
      const value = isAwaited ? member.shown : (latest?.state ?? null)
      const entries = sameValue(value, member.shown) ? [] : [{ path: member.path, value }]
      const before = member.shown
      member.shown = value
      member.leaving += 1
      this.#submit(entries, records, {
        written: () => {
          member.leaving -= 1
          this.#prune(member)
        },
        refused: () => {
          member.leaving -= 1
          member.shown = before
          member.overRecords.push(...records)
          this.#later(RETRY_MS, () => this.#reconcile(member))
        },
        groupSettled() {},
      })
    }
    this.#prune(member)
  }

  #prune(member: Member): void {
    const { held, unsettled, leaving, overRecords, leftRecords } = member
    if (held.size + unsettled + leaving + overRecords.length + leftRecords.length > 0) return
    this.#members.delete(member.path.join('/'))
  }

  /** The server's own write: no rules are asked. */
  #submit(entries: readonly Entry[], records: readonly string[], origin: WriteOrigin, id = 0): void {
    this.#database.submit({
      entries,
      identity: admin,
      expectedRevision: null,
      isCheckOnly: false,
      records: records.map((record) => [record, null]),
      origin,
      id,
    })
  }

  #later(delayMs: number, task: () => void): void {
    if (this.#isSuspended) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      task()
    }, delayMs)
    timer.unref()
    this.#timers.add(timer)
  }
}

function isOfSession(record: string, path: Path): boolean {
  return record.startsWith(`${RECORD_PREFIX}${path.at(-1)}/`)
}

const unheard: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }

/** @throws {RequestError} `invalid_path` for a uid that is no key, and for a path that is too long. */
function memberPath(path: Path, key: string): Path {
  const problem = keyProblem(key)
  if (problem !== null) throw new RequestError('invalidPath', `the uid cannot be a key: ${problem}`)
  if (path.length >= PATH_DEPTH_MAX) {
    throw new RequestError('invalidPath', `path \`${formatPath(path)}\` leaves no room for a key below it`)
  }
  return [...path, key]
}
