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
} from '../../protocol/index.ts'
import type { Verified, Verifier } from '../auth.ts'
import type { Database, ListenResult } from '../database.ts'
import { anonymous, type Identity } from '../identity.ts'
import type { Listener, Subscriber } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import type { Write, WriteOrigin } from '../log/log.ts'
import type { OnDisconnect } from '../on-disconnect.ts'
import { type Presence, presenceKey } from '../presence.ts'
import type { Entry } from '../store/store.ts'
import { messageEntries, setEntries, updateEntries } from '../write-entries.ts'
import { Budget, type BudgetLimits } from './budget.ts'
import { Expiry } from './expiry.ts'
import type { NativeSnapshots } from './native-snapshots.ts'
import type { NativeWire } from './native-wire.ts'
import { NOTHING, RequestLine, type RequestServer } from './request-line.ts'
import { assertTtl, Silence } from './silence.ts'
import type { Sink } from './sink.ts'
import { SlowConsumer, type SlowConsumerLimits } from './slow-consumer.ts'
import type { Turns } from './turns.ts'
import type { WaitingRoom } from './waiting-room.ts'

export interface SessionLimits extends Omit<Limits, keyof BudgetLimits>, BudgetLimits, SlowConsumerLimits {
  pingIntervalMs: number
}

export interface SessionCounters {
  slowConsumers: number
  errors: number
  rateLimited: number
}

/** What all native sessions of one database share; a session itself is kept small, for there are many. */
export interface NativeSessionContext {
  database: Database
  wire: NativeWire
  snapshots: NativeSnapshots
  /** Shared by all databases of the server. */
  turns: Turns
  /** Likewise. */
  waitingRoom: WaitingRoom
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

/** Other connections' requests are served meanwhile. */
const FULL_RETRY_MS = 1000

/** These give something back, or keep the connection. */
const ALWAYS_SERVED: ReadonlySet<string> = new Set([
  ...['ping', 'unauth', 'unlisten', 'unlistenMessages', 'presenceEnd'],
])

/** What was missed is sent without a look at whether the whole value would be shorter. */
const SMALL_RESUME_BYTES = 4096
/** One for the process: a frame is encoded and sent within one call. */
const encoder = new Encoder()

export class NativeSession implements Subscriber, WriteOrigin, RequestServer<ToServer> {
  readonly id: string
  readonly #context: NativeSessionContext
  readonly #sink: Sink
  readonly #listeners = new Map<string, Listener>()
  readonly #budget: Budget
  readonly #line: RequestLine<ToServer>
  identity: Identity = anonymous
  #lastId = 0
  #unsettledWrites = 0
  /** What the message being served took of its frame. */
  #messageBytes = 0
  #isVerifying = false
  #ackIds: number[] = NOTHING
  #ackRevision = 0
  /** Ids of writes that are answered with the key they made. */
  #pushKeys: Map<number, string> | null = null
  #expiry: Expiry | null = null
  /** While the socket is full: what is owed to the client. */
  #slow: SlowConsumer | null = null
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
    this.#line = new RequestLine(context, sink, this)
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
      limits: {
        frameBytesMax: limits.frameBytesMax,
        listensMax: limits.listensMax,
        messagesPerSecondMax: limits.messagesPerSecondMax,
        messageBytesPerSecondMax: limits.messageBytesPerSecondMax,
        readBytesPerSecondMax: limits.readBytesPerSecondMax,
      },
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
      this.#sink.close({ code, reason: `${reason}: ${error.message}` })
      return
    }
    const messageBytes = Math.ceil(frame.length / messages.length)
    for (const message of messages) {
      const waitMs = this.#budget.take(messageBytes)
      // Whatever it sends: what is always served, or refused without a look, costs an answer all the same.
      if (waitMs > 0 && this.#budget.isFlooded) {
        this.#line.giveUp()
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
    this.#line.drained()
    const slow = this.#slow
    if (slow === null || this.#isClosed || !slow.mayCatchUp) return
    const { database } = this.#context
    if (!database.isReadable) {
      setImmediate(() => this.drained())
      return
    }
    const hasCaughtUp = slow.catchUp((listener, error) => {
      database.unlisten(listener)
      this.canceled(listener.live, error)
    })
    if (!hasCaughtUp) return
    slow.close()
    this.#slow = null
    this.#line.work()
  }

  /** A patch for this connection was dropped because its socket is full: from now on it is behind. */
  dropped(): void {
    this.#becomeSlow()
    // The socket may have been emptied before the news came: then nothing more drains from it.
    this.drained()
  }

  closed(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#line.close()
    this.#expiry?.cancel()
    this.#slow?.close()
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
    const unanswered = this.#slow?.unansweredOf(listener) ?? null
    this.#drop(listener)
    if (unanswered !== null) {
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
    this.#line.work()
  }

  #refuseForNow(id: number, waitMs: number, why = 'more than this connection may ask for in a second'): void {
    this.#context.counters.rateLimited += 1
    this.#fail(id, new RequestError('rateLimited', why, waitMs))
  }

  #accept(message: ToServer): void {
    const isServed = this.#line.accept(message, this.#messageBytes)
    // All that a client resumes is looked up together.
    if (!isServed && !this.#isClosed && message.type === 'listen') this.#isPrepared(message)
  }

  // RequestServer

  get unsentBytes(): number {
    return this.#sink.bufferedBytes
  }

  refuse({ id }: ToServer): void {
    // What it sends next is refused, too: nothing may overtake this.
    this.#refuseForNow(id, this.#budget.shut(FULL_RETRY_MS), 'too many requests are waiting')
  }

  isAlwaysServed({ type }: ToServer): boolean {
    return ALWAYS_SERVED.has(type)
  }

  mustWait(message: ToServer): boolean {
    if (this.#isVerifying) return true
    if (!readsData(message)) return false
    if (this.#unsettledWrites > 0) return true
    if (message.type === 'get' && (this.#slow !== null || this.#isFull)) {
      // An answer that would be held back is not made before the client reads: a request takes less memory.
      this.#becomeSlow()
      return true
    }
    if (!this.#context.database.isReadable) {
      setImmediate(() => this.#line.work())
      return true
    }
    return message.type === 'listen' && !this.#isPrepared(message)
  }

  /** Whether it is known what the client missed, where it resumes. */
  #isPrepared({ path, query, resume }: Extract<ToServer, { type: 'listen' }>): boolean {
    if (resume === undefined) return true
    this.#wake ??= () => this.#line.work()
    return this.#context.database.prepareResume(path, query, resume, this.#wake)
  }

  isCostly(message: ToServer): boolean {
    // Another identity has the right of each listen asked again: with many of them that is as much work as a read.
    const isAskedAnew = message.type === 'auth' || message.type === 'unauth'
    return readsData(message) || (isAskedAnew && this.#listeners.size > 0)
  }

  serve(message: ToServer, bytes: number): void {
    this.#messageBytes = bytes
    try {
      const isRead = message.type === 'listen' || message.type === 'get'
      if (isRead) this.#assertMayReadMore()
      encoder.reset()
      this.#dispatch(message)
      // What was encoded last is the answer; nothing, where it is owed.
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
    this.#context.counters.rateLimited += 1
    throw new RequestError('rateLimited', 'more than this connection may read in a second', waitMs)
  }

  /** @throws {RequestError} */
  #dispatch(message: ToServer): void {
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
        return this.#line.countUnsent()
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
      resume: this.#slow === null ? (resume ?? null) : null,
      isKnown: (live) => this.#slow !== null || snapshots.get(live) !== undefined,
    })
    const { listener } = listened
    if (delivery !== undefined) listener.delivery = delivery
    this.#listeners.set(key, listener)
    if (this.#slow !== null) {
      this.#slow.owes(listener, id)
      return
    }
    this.#answerListen(id, listened)
    this.wire.subscribe(listener.live, this.#sink, listener.delivery)
    this.#line.countUnsent()
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

  /** Messages are not owed to anyone: they need no snapshot to start from, and who is slow misses some. */
  #listenMessages(id: number, path: Path): void {
    const key = messagesKey(path)
    this.#makeRoomFor(key)
    const { listener, revision } = this.#context.database.listenMessages(this, path)
    this.#listeners.set(key, listener)
    this.#send({ type: 'snapshot', id, queryId: listener.live.id, revision, value: null })
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
    const unanswered = this.#slow?.unansweredOf(listener) ?? null
    if (unanswered !== null) {
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
        this.#line.work()
      })
  }

  #authenticated(id: number, { identity, expiresAtMs }: Verified): void {
    if (this.#isClosed) return
    this.#becomes(identity, expiresAtMs)
    this.#ack(id)
  }

  #becomes(identity: Identity, expiresAtMs: number | null): void {
    this.#expiry?.cancel()
    this.#expiry =
      expiresAtMs === null ? null : new Expiry(expiresAtMs, this.#context.nowMs, () => this.#expired())
    const isOther = presenceKey(identity, this.id) !== presenceKey(this.identity, this.id)
    if (isOther) this.#context.presence.leave(this.id)
    this.identity = identity
    this.#context.database.identityChanged(this.#listeners.values())
  }

  #expired(): void {
    const error = new RequestError('expiredToken', 'the token has expired; send a new one')
    this.#send({ type: 'authRevoked', code: codeOf(error), name: error.codeName, message: error.message })
    this.#becomes(anonymous, null)
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
    if (this.#slow !== null || this.#isFull) this.#becomeSlow()?.holdBack(encoder.take())
    else this.#sink.send(encoder.view())
  }

  get #isFull(): boolean {
    return this.#sink.bufferedBytes > this.#context.limits.slowConsumerSoftBytes
  }

  /** Patches stop, answers are held back. As the socket drains, the session is brought to the server's state. */
  #becomeSlow(): SlowConsumer | null {
    if (this.#isClosed) return null
    if (this.#slow === null) {
      this.#context.counters.slowConsumers += 1
      this.#slow = new SlowConsumer(this.#context, this.#sink, this.#budget)
    }
    for (const listener of this.#listeners.values()) this.#slow.fallsBehind(listener)
    return this.#slow
  }

  #drop(listener: Listener): void {
    if (this.#slow?.forget(listener)) return
    this.wire.unsubscribe(listener.live, this.#sink, listener.delivery)
  }
}

/** Whether serving it reads data: its cost is that of the data, and it sees what was written before it. */
function readsData({ type }: ToServer): boolean {
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
