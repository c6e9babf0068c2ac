/**
 * Follower log: the commit log as a thread sees it that does not write. Writes, and what sessions leave for their
 * end, go to the writing thread in the order in which they came, all of one event turn in one message.
 */
import { Encoder, type Path, RequestError } from '../../protocol/index.ts'
import { type CommitLog, emptyWrite, type Write, type WriteOrigin } from '../log/log.ts'
import type { OnDisconnect } from '../on-disconnect.ts'
import type { Presence } from '../presence.ts'
import type { Entry } from '../store/store.ts'
import { encodeOperation, type Operation, type WriteRest } from './group-codec.ts'
import type { SettledNotice } from './messages.ts'

export interface FollowerLogOptions {
  /** Hands operations to the writer; the bytes may be given away. */
  send(bytes: Uint8Array): void
  decodeEntries(bytes: Uint8Array): Entry[]
  /** Writes that may wait for their answer. */
  queueMax: number
}

/** Bytes of writes on their way to the writer or waiting there; as the writer's own bound. */
const QUEUE_BYTES_MAX = 256 * 1024 * 1024

export class FollowerLog implements CommitLog, OnDisconnect, Presence {
  /** Groups are followed within one turn, so none is ever under way. */
  readonly isBusy = false
  readonly #options: FollowerLogOptions
  readonly #encoder = new Encoder()
  readonly #unsettled = new Map<number, Write>()
  readonly #runs = new Map<number, () => void>()
  /** Sessions that leave something for their end, and those that are present somewhere. */
  readonly #registered = new Set<string>()
  readonly #present = new Set<string>()
  #unsettledBytes = 0
  #nextNumber = 1
  #flush: NodeJS.Immediate | null = null
  #idleWaiters: (() => void)[] = []
  settling: Promise<void> | null = null

  constructor(options: FollowerLogOptions) {
    this.#options = options
  }

  submit(write: Write): void {
    if (!this.#admits(write)) return
    const { identity, entries } = write
    this.#push({ type: 'write', number: this.#await(write), identity, entries, rest: restOf(write) })
  }

  register(sessionId: string, given: Pick<Write, 'entries' | 'identity' | 'origin' | 'id'>): void {
    const write = { ...given, expectedRevision: null, isCheckOnly: true, records: null }
    if (!this.#admits(write)) return
    const { identity, entries } = given
    this.#registered.add(sessionId)
    this.#push({ type: 'register', number: this.#await(write), identity, sessionId, entries })
  }

  cancel(sessionId: string, path: Path, origin: WriteOrigin, id: number): void {
    const write = emptyWrite(origin, id)
    if (this.#admits(write)) this.#push({ type: 'cancel', number: this.#await(write), sessionId, path })
  }

  run(sessionId: string): void {
    if (!this.#registered.delete(sessionId)) return
    const number = this.#nextNumber++
    this.#push({ type: 'run', number, sessionId })
    const settling = new Promise<void>((resolve) => this.#runs.set(number, resolve))
    this.settling = settling
    void settling.then(() => {
      if (this.settling === settling) this.settling = null
    })
  }

  set(
    sessionId: string,
    path: Path,
    state: unknown,
    { identity, origin, id }: Pick<Write, 'identity' | 'origin' | 'id'>,
  ): void {
    const write = emptyWrite(origin, id)
    if (!this.#admits(write)) return
    this.#present.add(sessionId)
    this.#push({ type: 'setPresence', number: this.#await(write), identity, sessionId, path, state })
  }

  end(sessionId: string, path: Path, origin: WriteOrigin, id: number): void {
    const write = emptyWrite(origin, id)
    if (this.#admits(write)) this.#push({ type: 'endPresence', number: this.#await(write), sessionId, path })
  }

  leave(sessionId: string): void {
    if (this.#present.delete(sessionId)) this.#push({ type: 'leavePresence', number: 0, sessionId })
  }

  /** What a session left is visible. */
  ran(number: number): void {
    this.#runs.get(number)?.()
    this.#runs.delete(number)
    this.#tellIdle()
  }

  /** To be called once the group the writes were in is shown. */
  settle({ revision, written, unchanged, inEmptyGroup, refused, resolved }: SettledNotice): void {
    const origins = new Set<WriteOrigin>()
    for (const { number, kind, message, retryAfterMs } of refused) {
      const write = this.#take(number)
      write.origin.refused(write, new RequestError(kind, message, retryAfterMs))
      origins.add(write.origin)
    }
    for (const { number, entries } of resolved) {
      this.#unsettled.get(number)!.entries = this.#options.decodeEntries(entries)
    }
    for (const number of unchanged) this.#unsettled.get(number)!.isUnchanged = true
    for (const number of inEmptyGroup) this.#unsettled.get(number)!.isGroupEmpty = true
    for (const number of written) {
      const write = this.#take(number)
      write.origin.written(write, revision)
      origins.add(write.origin)
    }
    for (const origin of origins) origin.groupSettled()
    this.#tellIdle()
  }

  /** Sends what waits for the end of the turn. */
  flush(): void {
    if (this.#flush !== null) clearImmediate(this.#flush)
    this.#flush = null
    if (this.#encoder.length === 0) return
    const bytes = this.#encoder.take()
    this.#encoder.reset()
    this.#options.send(bytes)
  }

  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.push(resolve))
  }

  get #isIdle(): boolean {
    return this.#unsettled.size === 0 && this.#runs.size === 0
  }

  #tellIdle(): void {
    if (!this.#isIdle || this.#idleWaiters.length === 0) return
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const resolve of waiters) resolve()
  }

  #admits(write: Write): boolean {
    if (this.#unsettled.size < this.#options.queueMax && this.#unsettledBytes <= QUEUE_BYTES_MAX) return true
    const error = new RequestError('unavailable', 'too many writes are waiting for the disk; try again', 1000)
    write.origin.refused(write, error)
    write.origin.groupSettled()
    return false
  }

  #await(write: Write): number {
    const number = this.#nextNumber++
    this.#unsettled.set(number, write)
    this.#unsettledBytes += write.bytes ?? 0
    return number
  }

  #take(number: number): Write {
    const write = this.#unsettled.get(number)!
    this.#unsettled.delete(number)
    this.#unsettledBytes -= write.bytes ?? 0
    return write
  }

  #push(operation: Operation): void {
    encodeOperation(this.#encoder, operation)
    this.#flush ??= setImmediate(() => {
      this.#flush = null
      this.flush()
    })
  }
}

function restOf(write: Write): WriteRest {
  const { expectedRevision, expectedHash, expectedAt, emptyAt, isCheckOnly, isMessage, bytes } = write
  const rest: WriteRest = {}
  if (bytes !== undefined) rest.bytes = bytes
  if (expectedRevision !== null) rest.expectedRevision = expectedRevision
  if (expectedHash !== undefined) rest.expectedHash = expectedHash
  if (expectedAt !== undefined) rest.expectedAt = expectedAt
  if (emptyAt !== undefined) rest.emptyAt = emptyAt
  if (isCheckOnly) rest.isCheckOnly = true
  if (isMessage === true) rest.isMessage = true
  return rest
}
