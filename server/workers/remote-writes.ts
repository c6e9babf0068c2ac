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
  /** Sessions that left something for their end. */
  readonly #sessions = new Set<string>()
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
    const { database, onDisconnect } = this.#open
    switch (operation.type) {
      case 'write': {
        const { number, entries, identity, expectedRevision, expectedHash, expectedAt } = operation
        const write: RemoteWrite = {
          entries,
          sent: entries,
          identity,
          expectedRevision,
          ...(expectedHash === null ? {} : { expectedHash }),
          ...(expectedAt === null ? {} : { expectedAt }),
          isCheckOnly: operation.isCheckOnly,
          records: null,
          origin: this,
          id: number,
          bytes: operation.bytes,
        }
        return database.submit(write)
      }
      case 'register': {
        const { number, entries, identity, sessionId } = operation
        const write = { entries, identity, origin: this, id: number }
        this.#sessions.add(sessionId)
        try {
          onDisconnect.register(sessionId, write)
        } catch (error) {
          if (!(error instanceof RequestError)) throw error
          this.refused({ ...write, expectedRevision: null, isCheckOnly: true, records: null }, error)
          this.groupSettled()
        }
        return
      }
      case 'cancel':
        return onDisconnect.cancel(operation.sessionId, operation.path, this, operation.number)
      case 'run': {
        const { number, sessionId } = operation
        this.#sessions.delete(sessionId)
        onDisconnect.run(sessionId)
        const ran = (): void => this.#send({ type: 'ran', database: this.#number, number })
        if (onDisconnect.settling === null) ran()
        else void onDisconnect.settling.then(ran)
      }
    }
  }

  /** The follower has ended, and with it all its sessions. */
  followerEnded(): void {
    for (const sessionId of this.#sessions) this.#open.onDisconnect.run(sessionId)
    this.#sessions.clear()
  }

  written(write: Write, revision: number): void {
    const settled = this.#settled
    settled.revision = revision
    settled.written.push(write.id)
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
    this.#send(settled)
  }

  #nothingSettled(): SettledNotice {
    return { type: 'settled', database: this.#number, revision: 0, written: [], refused: [], resolved: [] }
  }
}
