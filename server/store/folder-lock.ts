/**
 * Folder lock: one process at a time has a data folder open. `hearth.lock` names the process; a lock whose process
 * is gone (killed, or the machine restarted) is taken over.
 *
 * A process id alone would lie once the id is used again, as it is in every restarted container: so the lock also
 * holds when that process started and during which boot.
 */
import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { StoreLockedError } from './store.ts'

const LOCK_FILE = 'hearth.lock'

interface Owner {
  pid: number
  /** Clock ticks since boot, from /proc; null where there is none. */
  startedAt: string | null
  boot: string | null
  /** Tells two openings of one process apart. */
  token: string
}

/** @returns Releases the lock. @throws {StoreLockedError} */
export function lockFolder(folder: string): () => void {
  const file = join(resolve(folder), LOCK_FILE)
  const own: Owner = {
    pid: process.pid,
    startedAt: startOf(process.pid),
    boot: bootId(),
    token: randomBytes(9).toString('base64url'),
  }
  // Linked into place when complete: nobody ever reads half a lock.
  const draft = `${file}.${own.token}`
  writeFileSync(draft, JSON.stringify(own))
  try {
    // Twice at most: another starter may take over the same stale lock first, and then it is alive.
    for (let attempt = 0; ; attempt++) {
      if (tryLink(draft, file)) break
      const owner = readOwner(file)
      if (owner !== null && (isAlive(owner) || attempt > 2)) {
        throw new StoreLockedError(
          `data folder \`${folder}\` is in use by process ${owner.pid}; stop it, or choose another folder`,
        )
      }
      removeStale(file, owner)
    }
  } finally {
    rmSync(draft, { force: true })
  }
  return () => {
    if (readOwner(file)?.token === own.token) rmSync(file, { force: true })
  }
}

function tryLink(draft: string, file: string): boolean {
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Moves a stale lock away; if another starter was faster, what was moved is its fresh lock and goes back. */
function removeStale(file: string, stale: Owner | null): void {
  const aside = `${file}.stale-${randomBytes(6).toString('hex')}`
  try {
    renameSync(file, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  const moved = readOwner(aside)
  if (moved !== null && moved.token !== stale?.token) tryLink(aside, file)
  rmSync(aside, { force: true })
}

/** null: there is no lock, or nothing in it that names a process. */
function readOwner(file: string): Owner | null {
  try {
    const owner = JSON.parse(readFileSync(file, 'utf8')) as Partial<Owner> | null
    if (typeof owner?.pid !== 'number' || typeof owner.token !== 'string') return null
    return { startedAt: null, boot: null, ...owner } as Owner
  } catch {
    return null
  }
}

function isAlive(owner: Owner): boolean {
  const boot = bootId()
  if (owner.boot !== null && boot !== null && owner.boot !== boot) return false
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    // EPERM: there is such a process, of another user.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  if (hasEnded(owner.pid)) return false
  const startedAt = startOf(owner.pid)
  return owner.startedAt === null || startedAt === null || owner.startedAt === startedAt
}

/** Killed, but not yet taken note of by its parent: it holds nothing any more. */
function hasEnded(pid: number): boolean {
  const state = statOf(pid)?.[0]
  return state === 'Z' || state === 'X' || state === 'x'
}

function startOf(pid: number): string | null {
  return statOf(pid)?.[19] ?? null
}

/** The fields of Linux' `stat` after the program's name, which stands in parentheses and may hold anything. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return null
  }
}
