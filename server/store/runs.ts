/**
 * Runs: which revisions each opening of a store made. A revision alone does not name a state: a folder restored from a
 * backup, or one that lost its last commits in a power cut, makes the same numbers again with other content.
 * So what clients are told is the run, too, and one that returns is known only within the span its run had here.
 */
import { randomBytes } from 'node:crypto'

export interface Run {
  id: string
  /** The revision it found. */
  from: number
}

/** Older ones are forgotten: who comes back from them is sent everything. */
const RUNS_MAX = 32

export class Runs {
  /** Of the store, whichever run. */
  readonly #lifetime: string
  readonly #revision: () => number
  /** Oldest first; the last is this one. */
  readonly list: readonly Run[]

  /**
   * @param list As a thread that has opened the store lists them.
   * @param revision The flushed one, now and later.
   */
  constructor(lifetime: string, list: readonly Run[], revision: () => number) {
    this.#lifetime = lifetime
    this.#revision = revision
    this.list = list
  }

  /** The store is opened once more. */
  static begin(lifetime: string, before: readonly Run[], revision: () => number): Runs {
    const run = { id: randomBytes(6).toString('base64url'), from: revision() }
    return new Runs(lifetime, [...before.slice(1 - RUNS_MAX), run], revision)
  }

  /** Names this run of this store. */
  get epoch(): string {
    return `${this.#lifetime}.${this.list.at(-1)!.id}`
  }

  /** Whether a run of that name went through that revision, and this store went through it too. */
  knows(epoch: string, revision: number): boolean {
    const at = this.list.findIndex(({ id }) => `${this.#lifetime}.${id}` === epoch)
    if (at < 0) return false
    const to = this.list[at + 1]?.from ?? this.#revision()
    return revision >= this.list[at]!.from && revision <= to
  }
}
