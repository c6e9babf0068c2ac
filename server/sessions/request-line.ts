/**
 * Request line: the requests of one session that have to wait, in their order: for what they build on, or for the
 * session's turn among all who read. The rest is served at once.
 *
 * INVARIANT: a request is served only when all that came before it on the same connection were.
 */
import { closeReasons } from '../../protocol/index.ts'
import type { Sink } from './sink.ts'
import type { Turns, TurnTaker } from './turns.ts'
import type { WaitingRoom } from './waiting-room.ts'

/** What a session does with its requests. */
export interface RequestServer<R> {
  /** Whether something has to come first; asked again whenever its turn comes. Sees to it that `work` is called then. */
  mustWait(request: R): boolean
  /** Whether it reads data, or as much work: such are served in turn. */
  isCostly(request: R): boolean
  /** Bytes of answers that its socket has not taken. */
  readonly unsentBytes: number
  /** @param size Of the message it came in. */
  serve(request: R, size: number): void
  /** Requests of all connections take too much. Where the wire has no error that says to wait, the connection is closed. */
  refuse?(request: R): void
  /** Whether it gives something back, so that it is not to be refused for want of room. */
  isAlwaysServed?(request: R): boolean
}

export interface RequestLineContext {
  /** Shared by all sessions of this thread. */
  turns: Turns
  /** Likewise. */
  waitingRoom: WaitingRoom
  /** Twice this may wait. */
  limits: { frameBytesMax: number }
}

/** Requests one connection may have waiting; a client that pipelines more is not reading its answers. */
const WAITING_MAX = 20_000
/** When requests of all connections take too much, each may still have a first one of this size waiting, */
const FIRST_SIZE_ALWAYS = 16 * 1024
/** or, of what is not to be refused or cannot be, as long as all that it has waiting is no more than this. */
const WAITING_SIZE_ALWAYS = 64 * 1024

/** What an idle session's list is: one empty array for all of them, never added to. */
export const NOTHING: never[] = []

export class RequestLine<R> implements TurnTaker {
  readonly #context: RequestLineContext
  readonly #sink: Sink
  readonly #server: RequestServer<R>
  #waiting: { request: R; size: number }[] = NOTHING
  #waitingSize = 0
  #isClosed = false

  constructor(context: RequestLineContext, sink: Sink, server: RequestServer<R>) {
    this.#context = context
    this.#sink = sink
    this.#server = server
  }

  /** @returns Whether it was served; if not, it waits. */
  accept(request: R, size: number): boolean {
    const server = this.#server
    const mustWait = this.#waiting.length > 0 || server.mustWait(request)
    if (!mustWait && !server.isCostly(request)) {
      server.serve(request, size)
      return true
    }
    if (!mustWait && this.#context.turns.tryNow(() => server.serve(request, size))) return true
    this.#add(request, size)
    if (!mustWait) this.work()
    return false
  }

  #add(request: R, size: number): void {
    const { limits, waitingRoom } = this.#context
    const isFirst = this.#waiting.length === 0
    const canRefuse = this.#server.refuse !== undefined
    if (canRefuse && waitingRoom.isFull && !this.#fitsAlways(request, size)) {
      this.#server.refuse!(request)
      return
    }
    const sizeMax = !canRefuse && waitingRoom.isFull ? WAITING_SIZE_ALWAYS : 2 * limits.frameBytesMax
    if (this.#waiting.length >= WAITING_MAX || this.#waitingSize + size > sizeMax) {
      this.giveUp()
      return
    }
    if (isFirst) this.#waiting = []
    this.#waiting.push({ request, size })
    this.#waitingSize += size
    waitingRoom.enter(size)
  }

  #fitsAlways(request: R, size: number): boolean {
    if (this.#waiting.length === 0) return size <= FIRST_SIZE_ALWAYS
    const isSmall = this.#waitingSize + size <= WAITING_SIZE_ALWAYS
    return isSmall && this.#server.isAlwaysServed?.(request) === true
  }

  /** Goes on with what had to wait. */
  work(): void {
    if (this.#waiting.length > 0) this.#context.turns.enter(this)
  }

  takeTurn(): boolean {
    const next = this.#waiting[0]
    if (next === undefined || this.#server.mustWait(next.request)) return false
    this.#waiting.shift()
    this.#waitingSize -= next.size
    this.#context.waitingRoom.leave(next.size)
    this.#server.serve(next.request, next.size)
    return this.#waiting.length > 0
  }

  /** What the socket has not taken of a large answer counts towards what all of them may have in flight. */
  countUnsent(): void {
    // The answer itself may have closed the session; its socket may hold something for a while all the same.
    if (this.#isClosed) return
    const { unsentBytes } = this.#server
    if (unsentBytes > 0) this.#context.turns.hold(this, unsentBytes)
    else this.drained()
  }

  /** The socket took some of what was waiting. */
  drained(): void {
    const { turns } = this.#context
    if (turns.isHolding(this)) turns.hold(this, this.#server.unsentBytes)
  }

  /** The client asks for more than it may: nothing of it is served. */
  giveUp(): void {
    this.#forget()
    this.#sink.close(closeReasons.rateLimited)
  }

  close(): void {
    this.#isClosed = true
    this.#forget()
    this.#context.turns.leave(this)
  }

  #forget(): void {
    this.#context.waitingRoom.leave(this.#waitingSize, this.#waiting.length)
    this.#waiting = NOTHING
    this.#waitingSize = 0
  }
}
