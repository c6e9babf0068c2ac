/**
 * Native session: one connection of Hearth's own protocol. Decodes frames, keeps requests in order, answers each
 * id once.
 *
 * Order: a request sees what the same connection's earlier requests did. Writes are pipelined; a read or a listen
 * waits until the writes before it are settled, and while a token is being verified everything waits.
 */
import {
  closeReasons,
  codeOf,
  decodeToServer,
  Encoder,
  encodeSnapshot,
  encodeToClient,
  FrameError,
  type Limits,
  type Path,
  PROTOCOL_VERSION,
  type Query,
  queryKey,
  type Rejected,
  RequestError,
  type ToClient,
  type ToServer,
  type Value,
} from '../../protocol/index.ts'
import type { Verified, Verifier } from '../auth.ts'
import type { Behind, Database, ListenResult } from '../database.ts'
import { anonymous, type Identity } from '../identity.ts'
import type { Listener, Subscriber } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { warningFor } from '../listeners/live-queries.ts'
import type { Write, WriteOrigin } from '../log/log.ts'
import type { OnDisconnect } from '../on-disconnect.ts'
import { type Presence, presenceKey } from '../presence.ts'
import type { Entry } from '../store/store.ts'
import { messageEntries, setEntries, updateEntries } from '../write-entries.ts'
import { Budget, type BudgetLimits } from './budget.ts'
import type { NativeWire } from './native-wire.ts'
import { assertTtl, Silence } from './silence.ts'
import type { Sink } from './sink.ts'
import type { SnapshotCache } from './snapshot-cache.ts'
import type { Turns, TurnTaker } from './turns.ts'

export interface SessionLimits extends Limits, BudgetLimits {
  pingIntervalMs: number
  /** Bytes waiting in the socket past which the session is a slow consumer and is sent no more patches. */
  slowConsumerSoftBytes: number
  /** Bytes waiting past which the connection is closed. */
  slowConsumerHardBytes: number
  /** A slow consumer that has not caught up after this long is closed. */
  slowConsumerDeadlineMs: number
}

export interface SessionCounters {
  slowConsumers: number
  errors: number
}

/** What all native sessions of one database share; a session itself is kept small, for there are many. */
export interface NativeSessionContext {
  database: Database
  wire: NativeWire
  snapshots: SnapshotCache
  /** Shared by all databases of the server. */
  turns: Turns
  onDisconnect: OnDisconnect
  presence: Presence
  verifier: Verifier
  nowMs(): number
  /** A new push key. */
  pushId(): string
  limits: SessionLimits
  counters: SessionCounters
  /** Called once when a session has ended. */
  ended(session: NativeSession): void
}

/** Requests one connection may have waiting; a client that pipelines more is not reading its answers. */
const WAITING_MAX = 20_000

/** These give something back, or keep the connection. */
const ALWAYS_SERVED: ReadonlySet<string> = new Set([
  ...['ping', 'unauth', 'unlisten', 'unlistenMessages', 'presenceEnd'],
])

/** What an answer that is held back takes beside its bytes. */
const HELD_ANSWER_BYTES = 128

/** A message that waits, and what its sender is charged for it. */
interface Waiting {
  message: ToServer
  bytes: number
}

/** What an idle session's lists are: one empty array for all of them, never added to. */
const NOTHING: never[] = []

/** What was missed is sent without a look at whether the whole value would be shorter. */
const SMALL_RESUME_BYTES = 4096
/** One for the process: a frame is encoded and sent within one call. */
const encoder = new Encoder()
/** For the frame that brings a slow consumer up to date, while answers are encoded. */
const catchUpFrame = new Encoder()

export class NativeSession implements Subscriber, WriteOrigin, TurnTaker {
  readonly id: string
  readonly #context: NativeSessionContext
  readonly #sink: Sink
  readonly #listeners = new Map<string, Listener>()
  readonly #budget: Budget
  identity: Identity = anonymous
  #lastId = 0
  #unsettledWrites = 0
  #waiting: Waiting[] = NOTHING
  #waitingBytes = 0
  /** What the message being served took of its frame. */
  #messageBytes = 0
  #isVerifying = false
  #ackIds: number[] = NOTHING
  #ackRevision = 0
  /** Ids of writes that are answered with the key they made. */
  #pushKeys: Map<number, string> | null = null
  #expiry: NodeJS.Timeout | null = null
  #isSlow = false
  /** Listeners that get no patches until they were sent what they lack; or the id of a listen not yet answered. */
  #behind: Map<Listener, number | Behind> | null = null
  #slowDeadline: NodeJS.Timeout | null = null
  /** Answers held back while the socket is full. */
  #heldBack: Uint8Array[] = NOTHING
  #heldBackBytes = 0
  /** Watches a connection that asked to be taken for dead sooner than others. */
  #silence: Silence | null = null
  #isClosed = false
  /** Made when first needed. */
  #wake: (() => void) | null = null

  /** @param id Unique among all sessions, also those of earlier processes. */
  constructor(id: string, context: NativeSessionContext, sink: Sink) {
    this.id = id
    this.#context = context
    this.#sink = sink
    this.#budget = new Budget(context.limits)
  }

  get wire(): NativeWire {
    return this.#context.wire
  }

  open(): void {
    const { limits } = this.#context
    this.#send({
      type: 'hello',
      version: PROTOCOL_VERSION,
      serverTimeMs: this.#context.nowMs(),
      sessionId: this.id,
      epoch: this.#context.database.epoch,
      revision: this.#context.database.revision,
      pingIntervalMs: limits.pingIntervalMs,
      limits: { frameBytesMax: limits.frameBytesMax, listensMax: limits.listensMax },
    })
  }

  /** @param frame Read before this returns. */
  receive(frame: Uint8Array): void {
    if (this.#isClosed) return
    this.#silence?.heard()
    let messages: (ToServer | Rejected)[]
    try {
      messages = decodeToServer(frame)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#context.counters.errors += 1
      const { code, reason } = closeReasons.invalidFrame
      this.#sink.close({ code, reason: `${reason}: ${error.message}`.slice(0, 120) })
      return
    }
    const messageBytes = Math.ceil(frame.length / messages.length)
    for (const message of messages) {
      const waitMs = this.#budget.take(messageBytes)
      // Whatever it sends: what is always served, or refused without a look, costs an answer all the same.
      if (waitMs > 0 && this.#budget.isFlooded) {
        this.#waiting = NOTHING
        this.#sink.close(closeReasons.rateLimited)
        return
      }
      this.#messageBytes = messageBytes
      if (message.id <= this.#lastId) {
        this.#fail(
          message.id,
          new RequestError('duplicateId', `id ${message.id} was used before; ids of one connection grow`),
        )
        continue
      }
      this.#lastId = message.id
      if (waitMs > 0 && !ALWAYS_SERVED.has(message.type)) this.#refuseForNow(message.id, waitMs)
      else if (message.type === 'rejected') this.#fail(message.id, message.error)
      else this.#accept(message)
      if (this.#isClosed) return
    }
  }

  /** The socket took some of what was waiting. */
  drained(): void {
    const { turns } = this.#context
    if (turns.isHolding(this)) turns.hold(this, this.#sink.bufferedBytes)
    if (
      !this.#isSlow ||
      this.#isClosed ||
      this.#sink.bufferedBytes > this.#context.limits.slowConsumerSoftBytes / 2
    ) {
      return
    }
    if (!this.#context.database.isReadable) {
      setImmediate(() => this.drained())
      return
    }
    this.#catchUp()
  }

  /** A patch for this connection was dropped because its socket is full: from now on it is behind. */
  dropped(): void {
    this.#becomeSlow()
  }

  closed(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#context.turns.leave(this)
    this.#waiting = NOTHING
    this.#heldBack = NOTHING
    if (this.#expiry !== null) clearTimeout(this.#expiry)
    if (this.#slowDeadline !== null) clearTimeout(this.#slowDeadline)
    for (const listener of this.#listeners.values()) {
      this.#drop(listener)
      this.#context.database.unlisten(listener)
    }
    this.#listeners.clear()
    this.#silence?.end()
    this.#context.onDisconnect.run(this.id)
    this.#context.presence.leave(this.id)
    this.#context.ended(this)
  }

  /** Tells the client that the server is about to close, and over how long to spread its return. */
  announceEnd(delayMs: number): void {
    this.#send({ type: 'goingAway', reason: 'the server is shutting down', delayMs })
  }

  /** Ends the connection; the client comes back by itself. */
  end(): void {
    if (!this.#isClosed) this.#sink.close(closeReasons.goingAway)
  }

  // Subscriber

  canceled(live: LiveQuery, error: RequestError): void {
    const key = live.isMessages ? messagesKey(live.path) : listenKey(live.path, live.query)
    const listener = this.#listeners.get(key)
    if (listener === undefined) return
    this.#listeners.delete(key)
    const unanswered = this.#behind?.get(listener)
    this.#drop(listener)
    if (typeof unanswered === 'number') {
      this.#fail(unanswered, error)
      return
    }
    this.#send({
      type: 'cancel',
      queryId: live.id,
      code: codeOf(error),
      name: error.codeName,
      message: error.message,
    })
  }

  // WriteOrigin

  written(write: Write, revision: number): void {
    this.#unsettledWrites -= 1
    const key = this.#pushKeys?.get(write.id)
    if (key !== undefined) {
      this.#pushKeys!.delete(write.id)
      this.#send({ type: 'pushed', id: write.id, revision, key })
      return
    }
    if (this.#ackIds.length === 0) this.#ackIds = []
    this.#ackIds.push(write.id)
    this.#ackRevision = revision
  }

  refused(write: Write, error: RequestError): void {
    this.#unsettledWrites -= 1
    this.#pushKeys?.delete(write.id)
    this.#fail(write.id, error)
  }

  groupSettled(): void {
    if (this.#ackIds.length > 0) {
      const ack = { type: 'ack' as const, revision: this.#ackRevision, ids: this.#ackIds }
      this.#ackIds = NOTHING
      // The group's patches are still to be sent, and go before the ack: corked, both leave in one packet.
      if (this.#listeners.size > 0) this.#sink.cork(() => this.#send(ack))
      else this.#send(ack)
    }
    this.#work()
  }

  #refuseForNow(id: number, waitMs: number): void {
    this.#fail(
      id,
      new RequestError('rateLimited', 'more than this connection may ask for in a second', waitMs),
    )
  }

  #accept(message: ToServer): void {
    if (this.#waiting.length > 0 || this.#mustWait(message)) {
      this.#wait(message)
      return
    }
    if (!isCostly(message) && !this.#asksRightsAnew(message)) {
      this.#handle(message)
      return
    }
    if (this.#context.turns.tryNow(() => this.#handle(message))) return
    this.#wait(message)
    this.#work()
  }

  #wait(message: ToServer): void {
    this.#waitingBytes += this.#messageBytes
    const waitingBytesMax = 2 * this.#context.limits.frameBytesMax
    if (this.#waiting.length >= WAITING_MAX || this.#waitingBytes > waitingBytesMax) {
      this.#waiting = NOTHING
      this.#sink.close(closeReasons.rateLimited)
      return
    }
    if (this.#waiting.length === 0) this.#waiting = []
    this.#waiting.push({ message, bytes: this.#messageBytes })
    // All that a client resumes is looked up together.
    if (message.type === 'listen') this.#isPrepared(message)
  }

  #mustWait(message: ToServer): boolean {
    if (this.#isVerifying) return true
    if (!isCostly(message)) return false
    if (this.#unsettledWrites > 0) return true
    if (message.type === 'get' && (this.#isSlow || this.#isFull)) {
      // An answer that would be held back is not made before the client reads: a request takes less memory.
      this.#becomeSlow()
      return true
    }
    if (!this.#context.database.isReadable) {
      setImmediate(() => this.#work())
      return true
    }
    return message.type === 'listen' && !this.#isPrepared(message)
  }

  /** Whether it is known what the client missed, where it resumes. */
  #isPrepared({ path, query, resume }: Extract<ToServer, { type: 'listen' }>): boolean {
    if (resume === undefined) return true
    this.#wake ??= () => this.#work()
    return this.#context.database.prepareResume(path, query, resume, this.#wake)
  }

  /** Another identity has the right of each listen asked again: with many of them that is as much work as a read. */
  #asksRightsAnew({ type }: ToServer): boolean {
    return (type === 'auth' || type === 'unauth') && this.#listeners.size > 0
  }

  /** Goes on with what had to wait. */
  #work(): void {
    if (this.#waiting.length > 0 && !this.#isClosed) this.#context.turns.enter(this)
  }

  takeTurn(): boolean {
    const next = this.#waiting[0]
    if (next === undefined || this.#isClosed || this.#mustWait(next.message)) return false
    this.#waiting.shift()
    this.#waitingBytes -= next.bytes
    this.#messageBytes = next.bytes
    this.#handle(next.message)
    return this.#waiting.length > 0
  }

  #handle(message: ToServer): void {
    try {
      const isRead = message.type === 'listen' || message.type === 'get'
      if (isRead) this.#assertMayReadMore()
      this.#serve(message)
      // What was encoded last is the answer.
      if (isRead) this.#budget.spendOnRead(encoder.length)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      this.#fail(message.id, error)
    }
  }

  /** @throws {RequestError} `rate_limited` */
  #assertMayReadMore(): void {
    const waitMs = this.#budget.readWaitMs
    if (waitMs === 0) return
    throw new RequestError('rateLimited', 'more than this connection may read in a second', waitMs)
  }

  /** @throws {RequestError} */
  #serve(message: ToServer): void {
    const { id } = message
    switch (message.type) {
      case 'set':
        return this.#write(id, setEntries(message.path, message.value))
      case 'update':
        return this.#update(id, message.path, updateEntries(message.path, message.entries))
      case 'remove':
        return this.#write(id, [{ path: message.path, value: null }])
      case 'push': {
        const key = this.#context.pushId()
        this.#pushKeys ??= new Map()
        const entries = setEntries([...message.path, key], message.value)
        this.#pushKeys.set(id, key)
        return this.#write(id, entries)
      }
      case 'compareAndSet':
        return this.#write(id, setEntries(message.path, message.value), {
          expectedRevision: message.revision,
        })
      case 'listen':
        return this.#listen(message)
      case 'unlisten':
        this.#endListen(listenKey(message.path, message.query))
        return this.#ack(id)
      case 'get': {
        const { revision, value } = this.#context.database.get(this.identity, message.path, message.query)
        this.#send({ type: 'value', id, revision, value })
        return this.#countUnsent()
      }
      case 'auth':
        return this.#auth(id, message.token)
      case 'unauth':
        this.#becomes(anonymous, null)
        return this.#ack(id)
      case 'onDisconnectSet':
        return this.#register(id, message.path, setEntries(message.path, message.value))
      case 'onDisconnectUpdate':
        return this.#register(id, message.path, updateEntries(message.path, message.entries))
      case 'onDisconnectCancel':
        this.#context.onDisconnect.cancel(this.id, message.path, this, id)
        this.#unsettledWrites += 1
        return
      case 'ping':
        return this.#send({ type: 'pong', id, serverTimeMs: this.#context.nowMs() })
      case 'send':
        return this.#write(id, messageEntries(message.path, message.value), { isMessage: true })
      case 'listenMessages':
        return this.#listenMessages(id, message.path)
      case 'unlistenMessages':
        this.#endListen(messagesKey(message.path))
        return this.#ack(id)
      case 'presenceSet':
        return this.#setPresence(id, message.path, message.value, message.ttlMs)
      case 'presenceEnd':
        this.#context.presence.end(this.id, message.path, this, id)
        this.#unsettledWrites += 1
        return
      default:
        return unreachable(message)
    }
  }

  #write(
    id: number,
    entries: readonly Entry[],
    more: Partial<Pick<Write, 'expectedRevision' | 'emptyAt' | 'isMessage'>> = {},
  ): void {
    this.#unsettledWrites += 1
    this.#context.database.submit({
      entries,
      identity: this.identity,
      expectedRevision: null,
      isCheckOnly: false,
      records: null,
      origin: this,
      id,
      bytes: this.#messageBytes,
      ...more,
    })
  }

  #update(id: number, path: Path, entries: readonly Entry[]): void {
    this.#write(id, entries, entries.length === 0 ? { emptyAt: path } : {})
  }

  #register(id: number, path: Path, entries: readonly Entry[]): void {
    // Nothing to do later; whether it may be done is asked all the same.
    if (entries.length === 0) return this.#write(id, entries, { emptyAt: path })
    this.#unsettledWrites += 1
    try {
      this.#context.onDisconnect.register(this.id, {
        entries,
        identity: this.identity,
        origin: this,
        id,
      })
    } catch (error) {
      this.#unsettledWrites -= 1
      throw error
    }
  }

  #listen({ id, path, query, delivery, resume }: Extract<ToServer, { type: 'listen' }>): void {
    const key = listenKey(path, query)
    this.#makeRoomFor(key)
    // Known before the listener is: one that falls behind must have been subscribed, and this one never was.
    if (this.#isFull) this.#becomeSlow()
    const { database, snapshots } = this.#context
    const listened = database.listen(this, path, query, {
      resume: this.#isSlow ? null : (resume ?? null),
      isKnown: (live) => this.#isSlow || snapshots.has(live),
    })
    const { listener } = listened
    if (delivery !== undefined) listener.delivery = delivery
    this.#listeners.set(key, listener)
    if (this.#isSlow) {
      this.#behind ??= new Map()
      this.#behind.set(listener, id)
      return
    }
    this.#answerListen(id, listened)
    this.wire.subscribe(listener.live, this.#sink, listener.delivery)
    this.#countUnsent()
  }

  /** With what the client missed, or with the whole value where that is shorter or not known. */
  #answerListen(id: number, { listener, revision, steps, value, warning }: ListenResult): void {
    const { database, snapshots } = this.#context
    const { live } = listener
    const answer = { id, queryId: live.id, revision, ...(warning === null ? {} : { warning }) }
    encoder.reset()
    if (steps !== null) {
      encodeToClient(encoder, { type: 'resumed', id, queryId: live.id, revision, steps })
      if (encoder.length <= SMALL_RESUME_BYTES) return this.#sendEncoded()
    }
    let snapshot: Uint8Array
    try {
      snapshot = snapshots.encoded(live, () =>
        value === undefined ? database.snapshotOf(listener).value : value,
      )
    } catch (error) {
      // More than one read may take, but what was missed is not.
      if (!(error instanceof RequestError) || steps === null) throw error
      return this.#sendEncoded()
    }
    if (steps === null || snapshot.length < encoder.length) {
      encoder.reset()
      encodeSnapshot(encoder, { type: 'snapshot', ...answer }, snapshot)
    }
    this.#sendEncoded()
  }

  /** What the socket has not taken of a large answer counts towards what all of them may have in flight. */
  #countUnsent(): void {
    const { bufferedBytes } = this.#sink
    const { turns } = this.#context
    if (bufferedBytes > 0 || turns.isHolding(this)) turns.hold(this, bufferedBytes)
  }

  /** Messages are not owed to anyone: they need no snapshot to start from, and who is slow misses some. */
  #listenMessages(id: number, path: Path): void {
    const key = messagesKey(path)
    this.#makeRoomFor(key)
    const { listener, revision } = this.#context.database.listenMessages(this, path)
    this.#listeners.set(key, listener)
    this.#send(snapshotMessage(id, listener.live.id, revision, null, null))
    this.wire.subscribe(listener.live, this.#sink)
  }

  /** Listening again to the same starts it anew. @throws {RequestError} `too_many_listens` */
  #makeRoomFor(key: string): void {
    const { listensMax } = this.#context.limits
    if (!this.#listeners.has(key) && this.#listeners.size >= listensMax) {
      throw new RequestError(
        'tooManyListens',
        `a connection may hold at most ${listensMax} listens; unlisten some first`,
      )
    }
    this.#endListen(key)
  }

  #setPresence(id: number, path: Path, state: unknown, ttlMs: number | null): void {
    if (ttlMs !== null) assertTtl(ttlMs)
    this.#context.presence.set(this.id, path, state, { identity: this.identity, origin: this, id })
    this.#pushKeys ??= new Map()
    this.#pushKeys.set(id, presenceKey(this.identity, this.id))
    this.#unsettledWrites += 1
    if (ttlMs === null || ttlMs >= (this.#silence?.ttlMs ?? Number.POSITIVE_INFINITY)) return
    this.#silence?.end()
    this.#silence = new Silence(ttlMs, () => {
      // Left at once: a peer that is gone answers no close frame.
      this.closed()
      this.#sink.close(closeReasons.idle)
    })
  }

  #endListen(key: string): void {
    const listener = this.#listeners.get(key)
    if (listener === undefined) return
    this.#listeners.delete(key)
    const unanswered = this.#behind?.get(listener)
    if (typeof unanswered === 'number') {
      this.#fail(
        unanswered,
        new RequestError('invalidMessage', 'the listen was replaced or ended before its answer'),
      )
    }
    this.#drop(listener)
    this.#context.database.unlisten(listener)
  }

  #auth(id: number, token: string): void {
    const known = this.#context.verifier.known(token)
    if (known !== null) {
      this.#authenticated(id, known)
      return
    }
    this.#isVerifying = true
    this.#context.verifier
      .verify(token)
      .then(
        (verified) => this.#authenticated(id, verified),
        (error: unknown) => {
          this.#fail(
            id,
            error instanceof RequestError
              ? error
              : new RequestError('internal', 'the token could not be verified'),
          )
        },
      )
      .finally(() => {
        this.#isVerifying = false
        this.#work()
      })
  }

  #authenticated(id: number, { identity, expiresAtMs }: Verified): void {
    if (this.#isClosed) return
    this.#becomes(identity, expiresAtMs)
    this.#ack(id)
  }

  #becomes(identity: Identity, expiresAtMs: number | null): void {
    if (this.#expiry !== null) clearTimeout(this.#expiry)
    this.#expiry = null
    const isOther = presenceKey(identity, this.id) !== presenceKey(this.identity, this.id)
    if (isOther) this.#context.presence.leave(this.id)
    this.identity = identity
    if (expiresAtMs !== null) this.#expireAt(expiresAtMs)
    this.#context.database.identityChanged(this.#listeners.values())
  }

  #expireAt(expiresAtMs: number): void {
    // A timer holds at most 2^31 ms; later expiries are waited for in steps.
    const delayMs = Math.min(Math.max(expiresAtMs - this.#context.nowMs(), 0), 0x7fffffff)
    this.#expiry = setTimeout(() => {
      if (this.#context.nowMs() < expiresAtMs) {
        this.#expireAt(expiresAtMs)
        return
      }
      const error = new RequestError('expiredToken', 'the token has expired; send a new one')
      this.#send({ type: 'authRevoked', code: codeOf(error), name: error.codeName, message: error.message })
      this.#becomes(anonymous, null)
    }, delayMs)
  }

  #ack(id: number): void {
    this.#send({ type: 'ack', revision: this.#context.database.revision, ids: [id] })
  }

  #fail(id: number, error: RequestError): void {
    this.#context.counters.errors += 1
    this.#send({
      type: 'error',
      id,
      code: codeOf(error),
      name: error.codeName,
      message: error.message,
      retryAfterMs: error.retryAfterMs,
    })
  }

  #send(message: ToClient): void {
    if (this.#isClosed) return
    encoder.reset()
    encodeToClient(encoder, message)
    this.#sendEncoded()
  }

  #sendEncoded(): void {
    if (this.#isSlow || this.#isFull) {
      this.#becomeSlow()
      this.#holdBack(encoder.take())
      return
    }
    this.#sink.send(encoder.view())
  }

  get #isFull(): boolean {
    return this.#sink.bufferedBytes > this.#context.limits.slowConsumerSoftBytes
  }

  /** Patches stop, answers are held back. As the socket drains, the session is brought to the server's state. */
  #becomeSlow(): void {
    if (this.#isClosed) return
    for (const listener of this.#listeners.values()) this.#fallBehind(listener)
    if (this.#isSlow) return
    this.#isSlow = true
    this.#context.counters.slowConsumers += 1
    this.#slowDeadline = setTimeout(
      () => this.#sink.close(closeReasons.slowConsumer),
      this.#context.limits.slowConsumerDeadlineMs,
    )
  }

  #fallBehind(listener: Listener): void {
    if (listener.live.isMessages) return
    if (this.#behind?.has(listener)) return
    this.wire.unsubscribe(listener.live, this.#sink, listener.delivery)
    this.#behind ??= new Map()
    this.#behind.set(listener, this.#context.database.fallsBehind(listener))
  }

  #holdBack(bytes: Uint8Array): void {
    if (this.#heldBack.length === 0) this.#heldBack = []
    this.#heldBack.push(bytes)
    this.#heldBackBytes += bytes.length + HELD_ANSWER_BYTES
    if (this.#heldBackBytes > this.#context.limits.slowConsumerHardBytes) {
      this.#sink.close(closeReasons.slowConsumer)
    }
  }

  /**
   * Sends what fell behind the latest of each place that changed, then the answers held back, since an answer
   * promises that what it speaks of has been sent: all in one frame, or as much as the socket takes.
   */
  #catchUp(): void {
    const { slowConsumerSoftBytes: bytesMax } = this.#context.limits
    const told: Listener[] = []
    let answers = 0
    const send = (): boolean => {
      if (catchUpFrame.length > 0 && !this.#sink.send(catchUpFrame.view())) return false
      catchUpFrame.reset()
      for (const listener of told.splice(0)) this.#rejoin(listener)
      for (const bytes of this.#heldBack.splice(0, answers)) {
        this.#heldBackBytes -= bytes.length + HELD_ANSWER_BYTES
      }
      answers = 0
      return true
    }

    catchUpFrame.reset()
    for (const [listener, held] of this.#behind ?? []) {
      if (catchUpFrame.length > bytesMax && !(send() && !this.#isFull)) return
      if (this.#writeMissed(listener, held)) told.push(listener)
    }
    for (let next = this.#heldBack[0]; next !== undefined; next = this.#heldBack[answers]) {
      const isLong = catchUpFrame.length > 0 && catchUpFrame.length + next.length > bytesMax
      if (isLong && !(send() && !this.#isFull)) return
      catchUpFrame.raw(next)
      answers += 1
    }
    if (!send()) return
    this.#isSlow = false
    this.#behind = null
    this.#heldBack = NOTHING
    if (this.#slowDeadline !== null) clearTimeout(this.#slowDeadline)
    this.#slowDeadline = null
    this.#work()
  }

  /** @returns False when the listen ended instead. */
  #writeMissed(listener: Listener, held: number | Behind): boolean {
    const { database } = this.#context
    const { live } = listener
    const queryId = live.id
    try {
      if (typeof held === 'number') {
        const { revision, value } = database.snapshotOf(listener)
        encodeToClient(catchUpFrame, snapshotMessage(held, queryId, revision, value, warningFor(live)))
        return true
      }
      const missed = database.missed(held, listener)
      const { revision } = missed
      if ('value' in missed) {
        encodeToClient(catchUpFrame, { type: 'resync', queryId, revision, value: missed.value })
      } else if (missed.step.length > 0) {
        encodeToClient(catchUpFrame, { type: 'patch', queryId, revision, steps: [missed.step] })
      }
      return true
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      // Its value has grown past what one read may take: this listen ends, the others go on.
      database.unlisten(listener)
      this.canceled(live, error)
      return false
    }
  }

  /** It was sent all it lacked: it hears of each change again. */
  #rejoin(listener: Listener): void {
    const held = this.#behind!.get(listener)
    this.#behind!.delete(listener)
    if (typeof held === 'object') this.#context.database.caughtUp(listener)
    this.wire.subscribe(listener.live, this.#sink, listener.delivery)
  }

  #drop(listener: Listener): void {
    const held = this.#behind?.get(listener)
    if (held === undefined) {
      this.wire.unsubscribe(listener.live, this.#sink, listener.delivery)
      return
    }
    this.#behind!.delete(listener)
    if (typeof held === 'object') this.#context.database.caughtUp(listener)
  }
}

/** Whether serving it reads data: its cost is that of the data, and it sees what was written before it. */
function isCostly({ type }: ToServer): boolean {
  return type === 'listen' || type === 'listenMessages' || type === 'get'
}

function listenKey(path: Path, query: Query | null): string {
  return query === null ? path.join('/') : `${path.join('/')}?${queryKey(query)}`
}

/** No path has a `#`. */
function messagesKey(path: Path): string {
  return `#${path.join('/')}`
}

function unreachable(message: never): never {
  throw new Error(`unhandled message ${JSON.stringify(message)}`)
}

function snapshotMessage(
  id: number,
  queryId: number,
  revision: number,
  value: Value,
  warning: 'no_index' | null,
): ToClient {
  const snapshot = { type: 'snapshot' as const, id, queryId, revision, value }
  return warning === null ? snapshot : { ...snapshot, warning }
}
