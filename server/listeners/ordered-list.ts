/**
 * Ordered list: the windows on one path in one order. What a commit did to a child is looked up once for all of
 * them, and only those within whose reach it was or comes are told: ten thousand users who each listen to what equals
 * their own id on one list cost a write no more than two of them.
 */
import { ListHead } from './list-head.ts'
import type { Moves } from './moves.ts'
import { type Reach, Reaches } from './reaches.ts'

/** To look for the windows that one child concerns costs about as much as to ask this many whether it does. */
const ASKED_INSTEAD = 4

export class OrderedList<Window> extends ListHead {
  readonly #reaches = new Reaches<Window>()

  get isEmpty(): boolean {
    return this.#reaches.size === 0
  }

  windows(): Iterable<Window> {
    return this.#reaches.windows()
  }

  /** A window with its reach, new or another than before. */
  put(window: Window, reach: Reach): void {
    this.#reaches.put(window, reach)
  }

  /** As `put`, where it may do no harm that the window is found too often: costs little where the reach became smaller. */
  extend(window: Window, reach: Reach): void {
    this.#reaches.extend(window, reach)
  }

  remove(window: Window): void {
    this.#reaches.remove(window)
  }

  /** The windows that what moved may concern. */
  concerned(moves: Moves): Iterable<Window> {
    if (moves.all.length * ASKED_INSTEAD >= this.#reaches.size) return this.#reaches.windows()
    const found = new Set<Window>()
    for (const place of moves.places()) this.#reaches.find(place, found)
    return found
  }
}
