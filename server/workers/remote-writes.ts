/**
 * Remote writes: what one follower asks of one database in the thread that writes, and what it is answered.
 */
import { Encoder, RequestError } from '../../protocol/index.ts'
import type { OpenDatabase } from '../databases.ts'
import type { Write, WriteOrigin } from '../log/log.ts'
import type { Entry } from '../store/store.ts'
import { decodeOperations, encodeEntries, type Operation } from './group-codec.ts'
import type { SettledNotice, ToFollower } from './messages.ts'

/** A write with its entries as they came: whoever asked is told where they became others. */
interface RemoteWrite extends Write {
  sent: readonly Entry[]
}

export class RemoteWrites implements WriteOrigin {
  readonly #number: number
  readonly #open: OpenDatabase
  readonly #send: (notice: ToFollower) => void
  /** Sessions that leave something for their end, and those that are present somewhere. */
  readonly #registered = new Set<string>()
  readonly #present = new Set<string>()
  readonly #encoder = new Encoder(1024)
  #settled: SettledNotice

  /** @param send Does nothing once the follower has ended. */
  constructor(number: number, open: OpenDatabase, send: (notice: ToFollower) => void) {
    this.#number = number
    this.#open = open
    this.#send = send
    this.#settled = this.#nothingSettled()
  }

  perform(bytes: Uint8Array): void {
    for (const operation of decodeOperations(bytes)) this.#perform(operation)
  }

  #perform(operation: Operation): void {
    const { database, onDisconnect, presence } = this.#open
    const { number } = operation
    switch (operation.type) {
      case 'write': {
        const { entries, identity, rest } = operation
        const write: RemoteWrite = {
          entries,
          sent: entries,
          identity,
          expectedRevision: null,
          isCheckOnly: false,
          records: null,
          origin: this,
          id: number,
          ...rest,
        }
        return database.submit(write)
      }
      case 'register': {
        const { entries, identity, sessionId } = operation
        this.#registered.add(sessionId)
        return this.#guarded(number, () =>
          onDisconnect.register(sessionId, { entries, identity, origin: this, id: number }),
        )
      }
      case 'cancel':
        return this.#guarded(number, () =>
          onDisconnect.cancel(operation.sessionId, operation.path, this, number),
        )
      case 'run': {
        this.#registered.delete(operation.sessionId)
        onDisconnect.run(operation.sessionId)
        const ran = (): void => this.#send({ type: 'ran', database: this.#number, number })
        if (onDisconnect.settling === null) ran()
        else void onDisconnect.settling.then(ran)
        return
      }
      case 'setPresence': {
        const { identity, sessionId, path, state } = operation
        this.#present.add(sessionId)
        return this.#guarded(number, () =>
          presence.set(sessionId, path, state, { identity, origin: this, id: number }),
        )
      }
      case 'endPresence':
        return presence.end(operation.sessionId, operation.path, this, number)
      case 'leavePresence':
        this.#present.delete(operation.sessionId)
        return presence.leave(operation.sessionId)
    }
  }

  /** What throws here would have been thrown at the session: it is its answer. */
  #guarded(number: number, call: () => void): void {
    try {
      call()
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      const { kind, message, retryAfterMs } = error
      this.#settled.refused.push({ number, kind, message, retryAfterMs })
      this.groupSettled()
    }
  }

  /** The follower has ended, and with it all its sessions. */
  followerEnded(): void {
    const { onDisconnect, presence } = this.#open
    for (const sessionId of this.#registered) onDisconnect.run(sessionId)
    for (const sessionId of this.#present) presence.leave(sessionId)
    this.#registered.clear()
    this.#present.clear()
  }

  written(write: Write, revision: number): void {
    const settled = this.#settled
    settled.revision = revision
    settled.written.push(write.id)
    if (write.isUnchanged === true) settled.unchanged.push(write.id)
    if (write.isGroupEmpty === true) settled.inEmptyGroup.push(write.id)
    const { sent } = write as Partial<RemoteWrite>
    if (sent === undefined || sent === write.entries) return
    this.#encoder.reset()
    encodeEntries(this.#encoder, write.entries)
    settled.resolved.push({ number: write.id, entries: this.#encoder.take() })
  }

  refused(write: Write, error: RequestError): void {
    const { kind, message, retryAfterMs } = error
    this.#settled.refused.push({ number: write.id, kind, message, retryAfterMs })
  }

  groupSettled(): void {
    const settled = this.#settled
    if (settled.written.length + settled.refused.length === 0) return
    this.#settled = this.#nothingSettled()
    // A refusal, too, comes after what it was decided on: who is told that its guess is stale has to know better by then.
    settled.revision = Math.max(settled.revision, this.#open.database.revision)
    this.#send(settled)
  }

  #nothingSettled(): SettledNotice {
    const none = { written: [], unchanged: [], inEmptyGroup: [], refused: [], resolved: [] }
    return { type: 'settled', database: this.#number, revision: 0, ...none }
  }
}
