/**
 * Firebase session: one connection of an unmodified Firebase SDK. Puts frames together, keeps requests in order,
 * answers each one once.
 *
 * Order: a client never waits for an answer before its next request, not even for that to `auth`. So requests are
 * served as if each were done before the next: writes are pipelined, a read, a listen or its end waits until the writes
 * before it are settled, and while a token is being verified everything waits.
 */
import { closeReasons, isAtOrAbove, type Path, RequestError, type Value } from '../../protocol/index.ts'
import type { Verified, Verifier } from '../auth.ts'
import type { Behind, Database, Missed } from '../database.ts'
import { anonymous, type Identity } from '../identity.ts'
import type { Subscriber } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import type { Write, WriteOrigin } from '../log/log.ts'
import { isHashOf, isSmall } from '../node-hash.ts'
import type { OnDisconnect } from '../on-disconnect.ts'
import { Budget, type BudgetLimits } from './budget.ts'
import { Expiry } from './expiry.ts'
import { encodedFrames, FrameJoiner, FramingError } from './firebase-framing.ts'
import { type Listen, listenKey, messagesOf } from './firebase-listen.ts'
import {
  answer,
  authRevoked,
  complaint,
  debugText,
  type FromClient,
  hello,
  listenRevoked,
  PONG,
  parseMessage,
  type Request,
  refusal,
  shutdown,
  type Writing,
} from './firebase-messages.ts'
import { type HeldAnswer, Outbox, type OutboxLimits } from './firebase-outbox.ts'
import type { FirebaseSnapshots } from './firebase-snapshots.ts'
import type { FirebaseWire, Receiver } from './firebase-wire.ts'
import type { SessionCounters } from './native-session.ts'
import { RequestLine, type RequestServer } from './request-line.ts'
import { Retelling, type Retold } from './retelling.ts'
import type { Sink } from './sink.ts'
import type { Turns } from './turns.ts'
import type { WaitingRoom } from './waiting-room.ts'

export interface FirebaseSessionLimits extends OutboxLimits, BudgetLimits {
  /** Longest message, UTF-16 units. */
  frameBytesMax: number
  listensMax: number
}

/** What all Firebase sessions of one database share. */
export interface FirebaseSessionContext {
  database: Database
  wire: FirebaseWire
  snapshots: FirebaseSnapshots
  onDisconnect: OnDisconnect
  verifier: Verifier
  nowMs(): number
  limits: FirebaseSessionLimits
  counters: SessionCounters
  /** Shared with all other sessions of this thread. */
  turns: Turns
  /** Likewise shared. */
  waitingRoom: WaitingRoom
  /** Tell clients why rules refused. */
  isDev: boolean
  /** Called once when a session has ended. */
  ended(session: FirebaseSession): void
  /** Something that cannot happen did. */
  onBug(error: unknown): void
}

export interface FirebaseSessionOptions {
  /** Unique among all sessions, also those of earlier processes; a secret between the client and this server. */
  id: string
  sink: Sink
  /** The address the client reached: it uses it for its next connections. */
  host: string
  /** Whether the client had a connection before. */
  isBack: boolean
  /** What to wait for before the first request: the end of the session this one takes over. */
  afterwards: Promise<void> | null
}

interface Numbered {
  number: number
  request: Request
}

/** Stands in line with the requests, for as long as listens are to be told again. */
const TELL = 'tell'

type Task = Numbered | typeof TELL

/** Clients come back with the hash of all they hold: hashing more would keep a thousand of them waiting. */
const HASHED_LEAVES_MAX = 5000

export class FirebaseSession implements Subscriber, WriteOrigin, Receiver, Retold, RequestServer<Task> {
  readonly id: string
  readonly sink: Sink
  readonly #context: FirebaseSessionContext
  readonly #options: FirebaseSessionOptions
  readonly #database: Database
  readonly #joiner: FrameJoiner
  readonly #outbox: Outbox
  readonly #retelling: Retelling
  readonly #budget: Budget
  readonly #line: RequestLine<Task>
  readonly #listens = new Map<string, Listen>()
  identity: Identity = anonymous
  #unsettledWrites = 0
  /** What everything waits for: a token to be verified, another connection's end. */
  #parkedBy = 0
  #isSlowedDown = false
  /** Answers of the group being settled, to leave in one packet. */
  #answers: string[] = []
  /** Own writes of the group being settled. */
  #settled: Write[] = []
  /** What the client shows at or below an empty place may be from a listen that has ended, or an onDisconnect it guessed at. */
  #mayHoldOld: boolean
  #expiry: Expiry | null = null
  /** Listens that get no pushes while the client is slow; null for one whose client was not sent the first value. */
  readonly #behind = new Map<Listen, Behind | null>()
  #isClosed = false

  constructor(context: FirebaseSessionContext, options: FirebaseSessionOptions) {
    const { id, sink, isBack } = options
    this.id = id
    this.#mayHoldOld = isBack
    this.sink = sink
    this.#options = options
    this.#context = context
    this.#database = context.database
    this.#joiner = new FrameJoiner(context.limits.frameBytesMax)
    this.#budget = new Budget(context.limits)
    this.#line = new RequestLine(context, sink, this)
    this.#outbox = new Outbox(sink, context.limits, () => this.#becameSlow())
    this.#retelling = new Retelling(context.database, this.#outbox, this)
  }

  get wire(): FirebaseWire {
    return this.#context.wire
  }

  open(): void {
    const { host, afterwards } = this.#options
    this.#outbox.send(hello(host, this.id, this.#context.nowMs()))
    if (afterwards !== null) this.#park(afterwards)
  }

  /** @param frame Read before this returns. */
  receive(frame: Uint8Array): void {
    if (this.#isClosed) return
    let message: FromClient
    let units: number
    try {
      const text = this.#joiner.add(Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString())
      if (text === null) return
      units = text.length
      message = parseMessage(text)
    } catch (error) {
      this.#refuseFrame(error)
      return
    }
    switch (message.type) {
      case 'request':
        this.#slowDown(this.#budget.spend(units))
        this.#accept(message, units)
        return
      case 'rejected':
        this.#fail(message.number, message.error)
        return
      case 'ping':
        this.#send(PONG)
        return
      case 'unknown':
        this.#context.counters.errors += 1
        this.#send(complaint(message.problem))
        return
      case 'end':
      case 'switch':
        return
      default:
        return unreachable(message)
    }
  }

  /** The socket took some of what was waiting. */
  drained(): void {
    this.#catchUp()
    this.#line.drained()
  }

  #catchUp(): void {
    if (this.#isClosed || !this.#outbox.mayCatchUp) return
    if (!this.#database.isReadable) {
      setImmediate(() => this.drained())
      return
    }
    let hasCaughtUp = false
    this.sink.cork(() => {
      hasCaughtUp = this.#outbox.catchUp(this.#missed())
    })
    if (!hasCaughtUp) return
    for (const [{ listener, tag }] of this.#behind) {
      this.#database.caughtUp(listener)
      this.wire.subscribe(listener.live, tag, this)
    }
    this.#behind.clear()
    this.sink.cork(() => this.#retelling.tell())
    this.#line.work()
  }

  /** Pushes to this connection were dropped because its socket is full; nobody knows which. */
  dropped(): void {
    if (this.#isClosed) return
    this.#outbox.becomeSlow()
    const since = this.#database.certainRevision
    for (const behind of this.#behind.values()) {
      if (behind !== null) behind.since = Math.min(behind.since, since)
    }
    // The socket may have been emptied before the news came: then nothing more drains from it.
    this.drained()
  }

  closed(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#line.close()
    this.#outbox.close()
    this.#expiry?.cancel()
    for (const listen of [...this.#listens.values()]) this.#drop(listen, true)
    this.#context.onDisconnect.run(this.id)
    this.#context.ended(this)
  }

  /** Firebase's clients are told nothing in advance: they come back at random times by themselves. */
  announceEnd(): void {}

  /** Ends the connection; the client comes back by itself. */
  end(): void {
    if (!this.#isClosed) this.sink.close(closeReasons.goingAway)
  }

  /**
   * The same client is back on another connection: this one is over, whatever its socket says.
   * @returns What the new session has to wait for.
   */
  takeOver(): Promise<void> | null {
    this.closed()
    this.sink.close(closeReasons.takenOver)
    return this.#context.onDisconnect.settling
  }

  // Receiver

  push(message: string): void {
    // One that does not fit is among what the listen lacks once the client has caught up.
    this.#outbox.trySend(message)
  }

  toldUntagged(live: LiveQuery, isDeletion: boolean): void {
    this.#retelling.oweWindowsAbove(live, isDeletion)
  }

  // Retold

  get listens(): Iterable<Listen> {
    return this.#listens.values()
  }

  standInLine(): void {
    if (!this.#isClosed) this.#line.accept(TELL, 0)
  }

  outgrown(listen: Listen, error: RequestError): void {
    this.#end(listen, true, error)
  }

  // Subscriber

  canceled(live: LiveQuery, error: RequestError): void {
    for (const listen of [...this.#listens.values()]) {
      if (listen.listener.live === live && listen.listener.isRevoked) this.#end(listen, false, error)
    }
  }

  #end(listen: Listen, isKnownToDatabase: boolean, error: RequestError): void {
    this.#drop(listen, isKnownToDatabase)
    this.#debug(error)
    if (listen.heldAnswer !== null) {
      const { number, answer: held } = listen.heldAnswer
      held.text = refusal(number, error)
      return
    }
    const { pathText } = listen.listener.live
    this.#send(listenRevoked(pathText, listen.tag === null ? undefined : listen.wireQuery, error))
  }

  // WriteOrigin

  written(write: Write): void {
    this.#unsettledWrites -= 1
    if (this.#listens.size > 0 && !write.isCheckOnly) this.#settled.push(write)
    this.#answers.push(answer(write.id, ''))
  }

  refused(write: Write, error: RequestError): void {
    this.#unsettledWrites -= 1
    this.#context.counters.errors += 1
    if (this.#isExplained(error)) this.#answers.push(debugText(error.message))
    this.#answers.push(refusal(write.id, error))
  }

  groupSettled(): void {
    const answers = this.#answers
    const settled = this.#settled
    this.#answers = []
    this.#settled = []
    if (!this.#isClosed && answers.length > 0) {
      this.sink.cork(() => {
        for (const text of answers) this.#outbox.send(text)
        this.#retelling.oweContended(settled)
        this.#retelling.tell()
      })
    }
    this.#line.work()
  }

  #accept(numbered: Numbered, units: number): void {
    const { action } = numbered.request
    const { settling } = this.#context.onDisconnect
    // A connection that ended before this request left writes behind: what is read now has to show them.
    if (settling !== null && (action === 'listen' || action === 'get')) this.#park(settling)
    this.#line.accept(numbered, units)
  }

  // RequestServer

  get unsentBytes(): number {
    return this.#outbox.unsentBytes
  }

  isCostly(task: Task): boolean {
    if (task === TELL) return true
    const { action } = task.request
    // Another identity has the right of each listen asked again.
    if (action === 'auth' || action === 'unauth') return this.#listens.size > 0
    return action === 'listen' || action === 'get'
  }

  mustWait(task: Task): boolean {
    if (task === TELL) return this.#mustWaitToRead()
    const { action } = task.request
    if (this.#parkedBy > 0) return true
    // What was written before goes to a listen that ends, too: the client keeps what it was told for one within it.
    if (action !== 'listen' && action !== 'get' && action !== 'unlisten') return false
    if (this.#unsettledWrites > 0) return true
    // An answer that would be held back is not made before the client reads: a request takes less memory.
    if (action === 'get' && this.#outbox.isSlow) return true
    return this.#mustWaitToRead()
  }

  #mustWaitToRead(): boolean {
    if (this.#database.isReadable) return false
    setImmediate(() => this.#line.work())
    return true
  }

  /**
   * Firebase's clients know no error that says to wait: a write that is refused is lost to them. So what is past the
   * budget waits, and one that goes on all the same is closed once too much does.
   */
  #slowDown(waitMs: number): void {
    if (waitMs === 0 || this.#isSlowedDown) return
    this.#isSlowedDown = true
    this.#park(
      new Promise((resolve) => {
        setTimeout(() => {
          this.#isSlowedDown = false
          resolve(null)
        }, waitMs).unref()
      }),
    )
  }

  #park(until: Promise<unknown>): void {
    this.#parkedBy += 1
    const goOn = (): void => {
      this.#parkedBy -= 1
      this.#line.work()
    }
    until.then(goOn, goOn)
  }

  serve(task: Task, units: number): void {
    if (task === TELL) {
      this.sink.cork(() => this.#retelling.takeTurn())
      return
    }
    const { number, request } = task
    try {
      this.#dispatch(number, request, units)
    } catch (error) {
      if (!(error instanceof RequestError)) this.#context.onBug(error)
      this.#fail(
        number,
        error instanceof RequestError ? error : new RequestError('internal', 'the request failed'),
      )
    }
  }

  /** @throws {RequestError} */
  #dispatch(number: number, request: Request, units: number): void {
    switch (request.action) {
      case 'write':
        return this.#write(number, request, request.hash, units)
      case 'listen':
        this.#listen(number, request)
        return this.#line.countUnsent()
      case 'unlisten':
        this.#unlisten(request.path, request.tag)
        return this.#send(answer(number, ''))
      case 'get': {
        const { value } = this.#database.get(this.identity, request.path, request.query)
        this.#send(answer(number, value))
        return this.#line.countUnsent()
      }
      case 'auth':
        return this.#auth(number, request.credential, request.override)
      case 'unauth':
        this.#becomes(anonymous, null)
        return this.#send(answer(number, 'unauthenticated'))
      case 'onDisconnect':
        return this.#register(number, request, units)
      case 'onDisconnectCancel':
        this.#context.onDisconnect.cancel(this.id, request.path, this, number)
        this.#unsettledWrites += 1
        return
      case 'none':
        return this.#send(answer(number, ''))
      default:
        return unreachable(request)
    }
  }

  #write(number: number, { path, entries }: Writing, hash: string | null, units: number): void {
    this.#unsettledWrites += 1
    this.#database.submit({
      entries,
      ...(entries.length === 0 ? { emptyAt: path } : {}),
      identity: this.identity,
      expectedRevision: null,
      ...(hash === null ? {} : { expectedHash: hash }),
      isCheckOnly: false,
      records: null,
      origin: this,
      id: number,
      bytes: units,
    })
  }

  #register(number: number, request: Writing, units: number): void {
    const { entries } = request
    // Nothing to do later; whether it may be done is asked all the same.
    if (entries.length === 0) return this.#write(number, request, null, units)
    this.#unsettledWrites += 1
    try {
      this.#context.onDisconnect.register(this.id, {
        entries,
        identity: this.identity,
        origin: this,
        id: number,
      })
    } catch (error) {
      this.#unsettledWrites -= 1
      throw error
    }
  }

  #listen(number: number, request: Request & { action: 'listen' }): void {
    const { path, query, tag, wireQuery, hash } = request
    const key = listenKey(path, tag)
    if (!this.#listens.has(key) && this.#listens.size >= this.#context.limits.listensMax) {
      throw new RequestError(
        'tooManyListens',
        `a connection may hold at most ${this.#context.limits.listensMax} listens; unlisten some first`,
      )
    }
    // Listening again under the same tag starts it anew.
    this.#unlisten(path, tag)
    const { snapshots } = this.#context
    const isFresh = hash === ''
    const { listener, value, warning } = this.#database.listen(this, path, query, {
      isKnown: (live) => isFresh && snapshots.framesOf(live, tag) !== undefined,
    })
    const { live } = listener
    const ok = answer(number, warning === null ? {} : { w: [warning] })
    const listen: Listen = { path, tag, wireQuery, listener, heldAnswer: null }
    const isKnown = value !== undefined && isHeld(hash, value) && !this.#mustBeTold(value, tag, path)
    // Until its `ok` a client ignores changes to what it has already: if that cannot leave now, the value is owed, too.
    const isWithClient = isKnown
      ? this.#outbox.trySend(ok)
      : this.#outbox.trySendFrames(() => snapshots.framesOf(live, tag) ?? snapshots.made(live, tag, value!))
    this.#listens.set(key, listen)
    this.#retelling.follow(listen)
    if (!this.#outbox.isSlow) this.wire.subscribe(live, tag, this)
    else this.#behind.set(listen, isWithClient ? this.#database.fallsBehind(listener) : null)
    if (isWithClient) {
      if (!isKnown) this.#send(ok)
      return
    }
    const held: HeldAnswer = { text: ok }
    listen.heldAnswer = { number, answer: held }
    this.#outbox.hold(held)
  }

  /** Whether a client needs a push of what it has already. */
  #mustBeTold(value: Value, tag: number | null, path: Path): boolean {
    // Until a push has come, the SDK holds a window with nothing in it for the whole list: it answers a `get` there from what
    // it knows of some children, and fails when a priority of the list is answered, which has no place in a window.
    if (tag !== null) return value === null
    // Windows at or below are told by this listen from now on, and go on ignoring changes deep in children that they do
    // not show until they are told a whole value.
    return (value === null && this.#mayHoldOld) || this.#hasWindowWithin(path)
  }

  #hasWindowWithin(path: Path): boolean {
    return [...this.#listens.values()].some((listen) => listen.tag !== null && isAtOrAbove(path, listen.path))
  }

  #unlisten(path: Path, tag: number | null): void {
    const listen = this.#listens.get(listenKey(path, tag))
    if (listen === undefined) return
    this.#mayHoldOld = true
    const wasWhole = tag !== null && listen.listener.live.window === null
    this.#drop(listen, true)
    if (!wasWhole) return
    this.#retelling.oweWindowsBelow(path)
    this.#retelling.tell()
  }

  /** No more pushes of this listen. */
  #drop(listen: Listen, isKnownToDatabase: boolean): void {
    const { path, tag, listener } = listen
    this.#listens.delete(listenKey(path, tag))
    this.#retelling.forget(listen)
    if (this.#behind.get(listen)) this.#database.caughtUp(listener)
    if (!this.#behind.delete(listen)) this.wire.unsubscribe(listener.live, tag, this)
    if (isKnownToDatabase) this.#database.unlisten(listener)
  }

  #auth(number: number, credential: string, override: Record<string, unknown> | null | undefined): void {
    const { verifier } = this.#context
    const known = verifier.known(credential)
    if (known !== null) {
      this.#authenticated(number, known, override)
      return
    }
    this.#park(
      verifier.verify(credential).then(
        (verified) => this.#authenticated(number, verified, override),
        (error: unknown) => {
          this.#fail(
            number,
            error instanceof RequestError
              ? error
              : new RequestError('internal', 'the token could not be verified'),
          )
        },
      ),
    )
  }

  #authenticated(
    number: number,
    { identity, expiresAtMs }: Verified,
    override: Record<string, unknown> | null | undefined,
  ): void {
    if (this.#isClosed) return
    if (override === undefined) this.#becomes(identity, expiresAtMs)
    else if (identity.isAdmin) this.#becomes({ isAdmin: false, auth: override }, expiresAtMs)
    else {
      const error = new RequestError('permissionDenied', 'only an admin may ask for the rights of others')
      this.#fail(number, error)
      return
    }
    this.#send(answer(number, ''))
  }

  #becomes(identity: Identity, expiresAtMs: number | null): void {
    this.#expiry?.cancel()
    this.#expiry =
      expiresAtMs === null ? null : new Expiry(expiresAtMs, this.#context.nowMs, () => this.#expired())
    this.identity = identity
    this.#database.identityChanged([...this.#listens.values()].map(({ listener }) => listener))
  }

  #expired(): void {
    this.#send(authRevoked(new RequestError('expiredToken', 'Auth token is expired')))
    this.#becomes(anonymous, null)
  }

  #fail(number: number, error: RequestError): void {
    this.#context.counters.errors += 1
    this.#debug(error)
    this.#send(refusal(number, error))
  }

  #debug(error: RequestError): void {
    if (this.#isExplained(error)) this.#send(debugText(error.message))
  }

  #isExplained(error: RequestError): boolean {
    return this.#context.isDev && error.kind === 'permissionDenied'
  }

  #refuseFrame(error: unknown): void {
    this.#context.counters.errors += 1
    if (error instanceof FramingError) {
      // A client that were only disconnected would send the same again and again.
      this.#send(shutdown(error.message))
      this.sink.close(closeReasons.frameTooLarge)
    } else if (error instanceof SyntaxError) {
      this.sink.close({ ...closeReasons.invalidFrame, reason: 'invalid frame: not JSON' })
    } else throw error
  }

  #send(text: string): void {
    if (!this.#isClosed) this.#outbox.send(text)
  }

  /** Pushes stop and answers are held back. As the socket drains, the session is brought to the server's state. */
  #becameSlow(): void {
    this.#context.counters.slowConsumers += 1
    for (const listen of this.#listens.values()) {
      this.wire.unsubscribe(listen.listener.live, listen.tag, this)
      this.#behind.set(listen, this.#database.fallsBehind(listen.listener))
    }
  }

  /**
   * What the client lacks, listen by listen: the latest of each place that changed, or the whole value. Windows come first: a
   * child that is emptied by what a listen below is told leaves them, and does not come back by what they are told of it.
   */
  *#missed(): Iterator<readonly Buffer[]> {
    const isWindow = ({ listener }: Listen): boolean => listener.live.window !== null
    for (const areWindows of [true, false]) {
      for (const [listen, behind] of this.#behind) {
        if (isWindow(listen) === areWindows) yield* this.#missedOf(listen, behind)
      }
    }
  }

  *#missedOf(listen: Listen, behind: Behind | null): Iterable<readonly Buffer[]> {
    const { listener } = listen
    let missed: Missed
    try {
      missed = behind === null ? this.#database.snapshotOf(listener) : this.#database.missed(behind, listener)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      // Its value has grown past what one read may take: this listen ends, the others go on.
      this.#end(listen, true, error)
      return
    }
    const messages = this.#framesOf(listen, missed)
    const last = messages.pop()
    yield* messages
    // What is taken from here leaves before all else: from now on the listen lacks only what comes after.
    this.#behind.set(listen, this.#toldUpTo(missed.revision, listen, behind))
    if (last !== undefined) yield last
  }

  /** Each message's. A value is made once for all who have fallen behind: each would keep one of its own until it has read it. */
  #framesOf({ listener: { live }, tag }: Listen, missed: Missed): (readonly Buffer[])[] {
    const { snapshots } = this.#context
    if ('value' in missed) return [snapshots.framesOf(live, tag) ?? snapshots.made(live, tag, missed.value)]
    return messagesOf(live, missed, tag).map(encodedFrames)
  }

  #toldUpTo(revision: number, listen: Listen, behind: Behind | null): Behind {
    if (behind === null) {
      this.#database.fallsBehind(listen.listener)
      listen.heldAnswer = null
    }
    return { since: revision, at: revision }
  }
}

/** Whether the client has the value already, as far as it is worth finding out. */
function isHeld(hash: string, value: Value): boolean {
  return hash === '' ? value === null : isSmall(value, HASHED_LEAVES_MAX) && isHashOf(hash, value)
}

function unreachable(message: never): never {
  throw new Error(`unhandled message ${JSON.stringify(message)}`)
}
