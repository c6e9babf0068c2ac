/**
 * Transactions: a new value worked out from the present one, written only if that is still the present one, else
 * worked out again. Of one client, those whose paths overlap run one after the other.
 */
import type { Path } from '../protocol/path.ts'
import { resolveServerValues } from '../protocol/server-value.ts'
import { hasOwn, type Priority, priorityOf, type Value, withPriority } from '../protocol/value.ts'
import { type Database, readValue } from './client.ts'
import { requestFailed } from './errors.ts'
import type { PendingWrite } from './pending-writes.ts'
import { onValue } from './read.ts'
import type { DatabaseReference } from './ref.ts'
import type { Answer } from './requests.ts'
import { DataSnapshot } from './snapshot.ts'
import { assertWritable } from './write.ts'

export interface TransactionOptions {
  /** Whether listeners see the value before the server has taken it. Default: true. */
  applyLocally?: boolean
}

export interface TransactionResult<T> {
  /** False when the update function gave `undefined`. */
  committed: boolean
  snapshot: DataSnapshot<T>
}

const TRIES_MAX = 25
/** Losers of a race come back at random times over a span that doubles up to this: else one client may win them all. */
const RETRY_MS_MAX = 1000

/**
 * @param update Gives the new value for the present one; `undefined` gives up. Called again when somebody else wrote
 * first, so it should do nothing else. Unlike in Firebase it is never called with a null that only means "not known".
 * @throws {HearthError} `max_retries` after 25 tries; `disconnect` when the connection was lost before the answer,
 * since running it twice could count twice; and whatever a write may be refused for.
 */
export function runTransaction<T>(
  ref: DatabaseReference<T>,
  update: (current: T | null) => unknown,
  options: TransactionOptions = {},
): Promise<TransactionResult<T>> {
  return transact(
    ref,
    (current) => {
      const raw = update(new DataSnapshot(ref, current).val())
      if (raw === undefined) return undefined
      const value = readValue('runTransaction', raw, ref.path)
      const saysPriority = typeof raw === 'object' && raw !== null && hasOwn(raw, '.priority')
      return saysPriority ? value : withPriority(value, priorityOf(current))
    },
    options.applyLocally ?? true,
  )
}

/** Changes the priority and leaves the value; nothing where there is no value. */
export async function setPriority(ref: DatabaseReference, priority: Priority | null): Promise<void> {
  await transact(ref, (current) => (current === null ? undefined : withPriority(current, priority)), true)
}

async function transact<T>(
  ref: DatabaseReference<T>,
  work: (current: Value) => Value | undefined,
  applyLocally: boolean,
): Promise<TransactionResult<T>> {
  const { db, path } = ref
  assertWritable(path, 'runTransaction')
  const before = db.whenFree(path)
  const end = db.begin([path])
  const shown: PendingWrite = { entries: [] }
  let isDone = false
  // Listens meanwhile, so that whoever wrote first has been heard when the server says that this was stale.
  const stop = onValue(
    ref,
    () => {},
    () => {},
    // As often as others hear; alone, always.
    { delivery: { maxHz: 0 } },
  )
  try {
    // Without anything to wait for, the first try is made before runTransaction returns.
    if (before !== null) await before
    let current = db.data.confirmed(path) ?? (await read(db, path))
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const value = work(current.value)
      if (value === undefined) {
        db.data.remove(shown)
        return { committed: false, snapshot: new DataSnapshot(ref, current.value) }
      }
      const written = resolveServerValues(value, current.value, db.serverTimeMs)
      const answered = compareAndSet(db, path, current.revision, value)
      if (applyLocally) db.data.replace(shown, [[path, written]])
      const revision = await answered
      if (revision !== null) {
        db.data.done(shown, revision)
        isDone = true
        // What this transaction wrote, even if others have written since: it may be a number drawn, once each.
        return { committed: true, snapshot: new DataSnapshot(ref, written) }
      }
      if (tries > 1) await pause(db, Math.min(RETRY_MS_MAX, 2 ** tries) * db.environment.random())
      const pushed = db.data.confirmed(path)
      current = pushed !== null && pushed.revision > current.revision ? pushed : await read(db, path)
    }
    throw requestFailed(path, 'max_retries', `somebody else wrote first ${TRIES_MAX} times`)
  } finally {
    if (!isDone) db.data.remove(shown)
    stop()
    end()
  }
}

function pause(db: Database, delayMs: number): Promise<void> {
  return new Promise((resolve) => db.environment.schedule(delayMs, resolve))
}

/** The server's present value; a listener's may be old. */
function read(db: Database, path: Path): Promise<{ value: Value; revision: number }> {
  return new Promise((resolve, reject) => {
    db.connection.send({
      body: { type: 'get', path, query: null },
      kind: 'read',
      done: (answer) => resolve(answer as Extract<Answer, { type: 'value' }>),
      failed: reject,
    })
  })
}

/** @returns The revision it was done at; null when the value changed after `revision`. */
function compareAndSet(db: Database, path: Path, revision: number, value: Value): Promise<number | null> {
  return new Promise((resolve, reject) => {
    db.connection.send({
      body: { type: 'compareAndSet', path, revision, value },
      kind: 'once',
      done: (answer) => resolve((answer as Extract<Answer, { type: 'ack' }>).revision),
      failed: (error) => (error.code === 'stale' ? resolve(null) : reject(error)),
    })
  })
}
