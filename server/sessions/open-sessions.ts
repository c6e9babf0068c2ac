/**
 * Open sessions: those of one thread, and how many all threads of the server have together. What REST has under way counts as
 * a session does: a request until its answer is known, an event stream until its end; and so does a connection that waits for
 * its database to be opened.
 */

/** What a server does to a session, whatever its wire. */
export interface OpenSession {
  announceEnd(delayMs: number): void
  end(): void
}

/** Counts what is no session: who enters, leaves. */
export type ConnectionCount = Pick<OpenSessions, 'size' | 'enter' | 'leave'>

export class OpenSessions {
  readonly #own = new Set<OpenSession>()
  /** One count for each thread. */
  readonly #counts: Int32Array<ArrayBufferLike>
  readonly #thread: number
  #others = 0

  /** @param counts In shared memory where there are several threads. */
  constructor(counts: Int32Array<ArrayBufferLike> = new Int32Array(1), thread = 0) {
    this.#counts = counts
    this.#thread = thread
    this.#count()
  }

  add(session: OpenSession): void {
    this.#own.add(session)
    this.#count()
  }

  delete(session: OpenSession): void {
    this.#own.delete(session)
    this.#count()
  }

  /** What is no session; to be followed by `leave`. */
  enter(): void {
    this.#others += 1
    this.#count()
  }

  leave(): void {
    this.#others -= 1
    this.#count()
  }

  #count(): void {
    Atomics.store(this.#counts, this.#thread, this.ownSize)
  }

  /** Of all threads. */
  get size(): number {
    let size = 0
    for (let thread = 0; thread < this.#counts.length; thread++) size += Atomics.load(this.#counts, thread)
    return size
  }

  get ownSize(): number {
    return this.#own.size + this.#others
  }

  announceEnd(delayMs: number): void {
    for (const session of this.#own) session.announceEnd(delayMs)
  }

  end(): void {
    for (const session of [...this.#own]) session.end()
  }
}
