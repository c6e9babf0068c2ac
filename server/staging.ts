/**
 * Staging: puts a decided write on the store's head, in an order that keeps priorities right, and says what is to be told of it.
 *
 * INVARIANT: who follows what is told stages the same, and counts alike.
 */
import { formatPath, isAtOrAbove, type Path, type Priority } from '../protocol/index.ts'
import type { Entry, Store } from './store/store.ts'
import { isDeletion, isPriority, PRIORITY_KEY } from './write-entries.ts'

/** Places remembered as having lost their priority: clients' own writes under way are seconds old, not minutes. */
const UNRANKED_MAX = 100

export class Staging {
  readonly #store: Store
  /** Places that went with the last that was in them, and so lost a priority; oldest first. */
  readonly #unranked = new Map<string, Path>()

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * @returns What did something: values, deletions, priorities; the same entries where all of them did. A priority for
   * nothing does nothing, and is not told: Firebase's SDK fails at one for a list that it shows in the order of a child.
   * Priorities that deletions may have touched are told as well: who follows takes what is told together in an order of its
   * own, and so may empty a place in between, which loses its priority, or may not where it was empty here.
   */
  stageDecided(entries: readonly Entry[]): { done: readonly Entry[]; told: readonly Entry[] } {
    if (this.#unranked.size === 0 && !entries.some((entry) => isDeletion(entry) || isPriority(entry))) {
      this.#store.stage(entries)
      return { done: entries, told: entries }
    }
    const { head } = this.#store
    // Staged in parts: a full store is to refuse all of it, before anything is forgotten.
    if (entries.some(({ value }) => value !== null)) this.#store.assertRoom()
    const deletions = entries.filter(isDeletion)
    const ranked = head.rankedAbove(deletions.map(({ path }) => path))
    const madeAnew = this.#madeAnew(entries)
    // A place where something is left keeps its priority, whatever the order in the update.
    const values = [...entries.filter((entry) => !isPriority(entry) && !isDeletion(entry)), ...deletions]
    if (values.length > 0) this.#store.stage(values)
    const priorities = entries.filter(
      (entry) => isPriority(entry) && head.valueAt(entry.path.slice(0, -1)) !== null,
    )
    const named = new Set(priorities.map(({ path }) => formatPath(path)))
    const touched: Entry[] = []
    for (const place of [...ranked, ...madeAnew]) {
      const path = [...place, PRIORITY_KEY]
      if (head.valueAt(place) === null) this.#unranks(place)
      else if (!named.has(formatPath(path))) touched.push({ path, value: head.priorityAt(place) })
    }
    // What is told is staged, too: threads that follow stage what they are told, and count alike.
    if (priorities.length + touched.length > 0) this.stageTold([...priorities, ...touched])
    const did = [...values, ...priorities]
    // As it was sent, where all of it did something: so its writer knows that nothing came of it but that.
    const done = did.length === entries.length ? entries : did
    return { done, told: [...did, ...touched] }
  }

  /** Places that a write is about to make by what it writes below, and that had a priority when they went. */
  #madeAnew(entries: readonly Entry[]): Path[] {
    if (this.#unranked.size === 0) return []
    const { head } = this.#store
    const written = entries.filter((entry) => !isPriority(entry))
    const made: Path[] = []
    // Few, and most lie elsewhere: cheaper to look at each than at all places above what is written.
    for (const [name, place] of this.#unranked) {
      const isAbove = written.some(({ path }) => path.length > place.length && isAtOrAbove(place, path))
      if (!isAbove || head.valueAt(place) !== null) continue
      this.#unranked.delete(name)
      made.push(place)
    }
    return made
  }

  #unranks(place: Path): void {
    this.#unranked.set(formatPath(place), place)
    if (this.#unranked.size <= UNRANKED_MAX) return
    for (const oldest of this.#unranked.keys()) {
      this.#unranked.delete(oldest)
      return
    }
  }

  /** What was told of a write, by who follows as by who decided it. @returns The revision that the write has. */
  stageTold(entries: readonly Entry[]): number {
    const first = entries.findIndex(isPriority)
    if (first < 0) return this.#store.stage(entries)
    if (first > 0) this.#store.stage(entries.slice(0, first))
    for (const { path, value } of entries.slice(first)) {
      this.#store.stagePriority(path.slice(0, -1), value as Priority | null)
    }
    return this.#store.headRevision
  }
}
