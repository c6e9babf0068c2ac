/**
 * Live queries: which queries are listened to, what each shows, and what a group of commits does to them. Three kinds:
 *
 *   plain      no query, or one without range and limit: the whole value, patched with what was written
 *   windowed   the server keeps the children it shows (query-window.ts)
 *   whole      its order has no index: served like a plain one, with the warning `no_index`; the client filters
 *
 * A windowed query whose index goes becomes whole, a whole one whose index appears becomes windowed: with the next
 * commit that touches it, by a step that replaces all it shows.
 *
 * INVARIANT: between groups every window shows its query applied to the flushed state.
 */
import {
  formatPath,
  isAtOrAbove,
  type Path,
  type Query,
  RequestError,
  type Step,
  showsAll,
  type Value,
} from '../../protocol/index.ts'
import { declares, noIndex } from '../indexes.ts'
import type { Commit } from '../log/log.ts'
import { readQuery, walk } from '../query-read.ts'
import { type Entry, type Store, TooLargeError } from '../store/store.ts'
import type { Changed } from './conflation.ts'
import { currentChildren, currentStep } from './current-step.ts'
import { type Touched, touchedQueries } from './fan-out.ts'
import { IndexGoneError } from './list-head.ts'
import { ListenerTree, type LiveQuery } from './listener-tree.ts'
import { MessageListens } from './message-listens.ts'
import type { Change } from './moves.ts'
import { OrderedList } from './ordered-list.ts'
import { QueryWindow } from './query-window.ts'

export interface LiveQueriesOptions {
  store: Store
  /** Leaves one read may return. */
  leavesMax: number
  /** `.indexOn` in force for the children of a path. */
  indexesAt(path: Path): readonly string[]
}

interface Opened {
  live: LiveQuery
  /** Undefined where it was not to be read. */
  value: Value | undefined
  warning: 'no_index' | null
}

interface Outgrown {
  live: LiveQuery
  /** Why it can no longer be shown. */
  error: RequestError
}

export class LiveQueries {
  readonly #options: LiveQueriesOptions
  readonly #store: Store
  readonly #plain: ListenerTree
  readonly #windowed: ListenerTree
  readonly messages: MessageListens
  /** The lists that have windows; in the tree under a query that is but their order. */
  readonly #lists = new ListenerTree()
  readonly #listOf = new Map<LiveQuery, OrderedList<LiveQuery>>()
  readonly #touchedLists = new Set<OrderedList<LiveQuery>>()
  /** Windows that commits of the group under way have touched. */
  readonly #touched = new Set<LiveQuery>()
  /** Windows made while a group was staged: they have not followed what it did before. */
  readonly #young = new Set<LiveQuery>()

  constructor(options: LiveQueriesOptions) {
    this.#options = options
    this.#store = options.store
    const ids = { next: 1 }
    this.#plain = new ListenerTree(ids)
    this.#windowed = new ListenerTree(ids)
    this.messages = new MessageListens(ids)
  }

  /** Distinct live queries. */
  get size(): number {
    return this.#plain.size + this.#windowed.size
  }

  *all(): Iterable<LiveQuery> {
    yield* this.#plain.all()
    yield* this.#windowed.all()
    yield* this.messages.all()
  }

  /**
   * The value a query shows in the flushed state.
   * @param leavesMax Fewer than one read may return at most.
   * @throws {RequestError} `too_large`, and `no_index` where its order has none.
   */
  read(path: Path, query: Query | null, leavesMax = this.#options.leavesMax): Value {
    if (query === null) return this.#readWhole(path, leavesMax)
    const isDeclared = declares(this.#options.indexesAt(path), query)
    const value = isDeclared ? this.#readQuery(path, query, leavesMax) : undefined
    if (value === undefined) throw noIndex(path, query)
    return value
  }

  /** What the listeners of a live query hold once they are up to date. @throws {RequestError} `too_large` */
  valueOf(live: LiveQuery): Value {
    if (live.window === null) return this.#readWhole(live.path)
    const value = this.#readQuery(live.path, live.query!)
    // Its index has gone: until a commit makes it whole nothing it shows has changed, but it cannot be read.
    return value === undefined ? this.#readWhole(live.path) : value
  }

  /**
   * One step that brings a listener to what its query shows now, from before what changed.
   * @returns Null when it needs the whole value.
   * @throws {RequestError} `too_large`
   */
  stepTo(live: LiveQuery, changed: Changed): Step | null {
    if (live.window !== null) return currentChildren(this.valueOf(live), changed)
    const { leavesMax } = this.#options
    return this.#bounded(live.path, leavesMax, () =>
      currentStep(live.path, changed, this.#store.flushed, leavesMax),
    )
  }

  /**
   * The live query, made if it is the first of its kind, and what it shows.
   * @param isSpared Whether the value need not be read; asked with the live query, if there is one already.
   * @throws {RequestError} `too_large`
   */
  open(path: Path, query: Query | null): Opened & { value: Value }
  open(path: Path, query: Query | null, isSpared: (known: LiveQuery | null) => boolean): Opened
  open(
    path: Path,
    query: Query | null,
    isSpared: (known: LiveQuery | null) => boolean = () => false,
  ): Opened {
    const known = this.#find(path, query)
    if (known !== undefined) {
      const value = isSpared(known) ? undefined : this.valueOf(known)
      return { live: known, value, warning: warningFor(known) }
    }
    if (!isRanged(query) || !this.#hasIndex(path, query)) {
      const read = (): Value => (isRanged(query) ? this.#readUnindexed(path, query) : this.#readWhole(path))
      const value = isSpared(null) ? undefined : read()
      const live = this.#plain.add(path, query)
      return { live, value, warning: warningFor(live) }
    }
    const value = isSpared(null) ? undefined : this.#readQuery(path, query)!
    const live = this.#windowed.add(path, query)
    this.#makeWindow(live, query)
    return { live, value, warning: null }
  }

  /** Whether a query with a range or limit is, or would be, served as a window. */
  isWindowed(path: Path, query: Query): boolean {
    const known = this.#find(path, query)
    return known === undefined ? this.#hasIndex(path, query) : known.window !== null
  }

  #find(path: Path, query: Query | null): LiveQuery | undefined {
    return this.#plain.find(path, query) ?? this.#windowed.find(path, query)
  }

  close(live: LiveQuery): void {
    if (live.isMessages) this.messages.close(live)
    else if (live.window === null) this.#plain.remove(live)
    else {
      this.#dropWindow(live)
      this.#touched.delete(live)
      this.#young.delete(live)
    }
  }

  #dropWindow(live: LiveQuery): void {
    live.window = null
    this.#windowed.remove(live)
    const place = this.#lists.find(live.path, orderOf(live))!
    const list = this.#listOf.get(place)!
    list.remove(live)
    if (!list.isEmpty) return
    this.#lists.remove(place)
    this.#listOf.delete(place)
    this.#touchedLists.delete(list)
  }

  /** A commit was staged: the windows it touches move. */
  staged(entries: readonly Entry[]): void {
    if (this.#windowed.size === 0) return
    const changes = new Map<OrderedList<LiveQuery>, Change[]>()
    const invalidate = (place: LiveQuery): void => {
      for (const live of this.#listOf.get(place)!.windows()) {
        this.#touched.add(live)
        live.window!.invalidate()
      }
    }
    for (const { path, value } of entries) {
      this.#lists.touched(
        path,
        (place) => {
          const { length } = place.path
          const key = path[length]
          if (key === undefined) invalidate(place)
          // The priority of the list itself is no part of what a query shows.
          else if (key !== '.priority') {
            const list = this.#listOf.get(place)!
            const change = { key, path: path.slice(length).join('/'), value }
            const others = changes.get(list)
            if (others === undefined) changes.set(list, [change])
            else others.push(change)
          }
        },
        invalidate,
      )
    }
    for (const [list, ofList] of changes) this.#advance(list, ofList)
  }

  #advance(list: OrderedList<LiveQuery>, changes: readonly Change[]): void {
    this.#touchedLists.add(list)
    const moves = list.follow(changes)
    for (const live of list.concerned(moves)) {
      const window = live.window!
      try {
        if (!window.advance(moves)) {
          // Its reach had become smaller since it was put: so the next one like these does not find it.
          list.put(live, window.reach)
          continue
        }
      } catch (error) {
        // Found out again when the group is published, with listeners to tell.
        if (error instanceof TooLargeError || error instanceof IndexGoneError) window.invalidate()
        else throw error
      }
      this.#touched.add(live)
      list.extend(live, window.reach)
    }
  }

  /** What the group has touched is in the flushed state now, or never was. */
  #forgetTouched(): void {
    for (const list of this.#touchedLists) list.forget()
    this.#touchedLists.clear()
  }

  /**
   * A group is in: its steps in each query it touched.
   * @param lost Hears of queries that now show more than one read may take.
   */
  published(commits: readonly Commit[], lost: (live: LiveQuery, error: RequestError) => void): Touched {
    this.#forgetTouched()
    const touched = touchedQueries(this.#plain, commits)
    const outgrown: Outgrown[] = []
    for (const live of [...touched.keys()]) {
      if (isRanged(live.query) && this.#hasIndex(live.path, live.query)) {
        this.#keep(live, touched, outgrown, () => [this.#becomeWindowed(live)])
      }
    }
    this.#adoptYoung(commits)
    const windows = [...this.#touched]
    this.#touched.clear()
    for (const live of windows) this.#keep(live, touched, outgrown, () => this.#settle(live))
    // Only now: who hears of it may end there and then, and all it listens to with it.
    for (const { live, error } of outgrown) lost(live, error)
    return touched
  }

  /** Those the group touched have to start anew; the others have missed nothing. */
  #adoptYoung(commits: readonly Commit[]): void {
    for (const live of this.#young) {
      if (this.#touched.has(live)) continue
      if (isTouched(live, commits)) this.#touched.add(live)
      else this.#reload(live)
    }
    this.#young.clear()
  }

  #keep(live: LiveQuery, touched: Touched, outgrown: Outgrown[], stepsOf: () => Step[]): void {
    try {
      const steps = stepsOf()
      if (steps.length > 0) touched.set(live, steps)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      touched.delete(live)
      outgrown.push({ live, error })
    }
  }

  #settle(live: LiveQuery): Step[] {
    const window = live.window!
    const query = live.query!
    const steps = window.settle()
    if (!window.mustReload) return steps
    if (!this.#hasIndex(live.path, query)) return [...steps, this.#becomeWhole(live)]
    this.#reloadWindow(live)
    return [...steps, ['', this.#readQuery(live.path, query)!]]
  }

  #becomeWhole(live: LiveQuery): Step {
    this.#dropWindow(live)
    this.#plain.adopt(live)
    return ['', this.#readWhole(live.path)]
  }

  #becomeWindowed(live: LiveQuery): Step {
    this.#plain.remove(live)
    this.#windowed.adopt(live)
    this.#makeWindow(live, live.query!)
    return ['', this.#readQuery(live.path, live.query!)!]
  }

  #makeWindow(live: LiveQuery, query: Query): void {
    const place = this.#lists.add(live.path, orderOf(live))
    let list = this.#listOf.get(place)
    if (list === undefined) {
      list = new OrderedList(this.#store, live.path, query.orderBy)
      this.#listOf.set(place, list)
    }
    live.window = new QueryWindow(list, query, this.#options.leavesMax)
    list.put(live, live.window.reach)
    if (this.#store.headRevision === this.#store.flushedRevision) return
    live.window.invalidate()
    this.#young.add(live)
  }

  /** The group never happened. */
  discarded(): void {
    this.#forgetTouched()
    for (const live of new Set([...this.#touched, ...this.#young])) this.#reload(live)
    this.#touched.clear()
    this.#young.clear()
  }

  #reload(live: LiveQuery): void {
    try {
      this.#reloadWindow(live)
    } catch (error) {
      if (!(error instanceof IndexGoneError)) throw error
      live.window!.invalidate()
    }
  }

  #reloadWindow(live: LiveQuery): void {
    const window = live.window!
    try {
      window.reload()
    } finally {
      this.#listOf.get(this.#lists.find(live.path, orderOf(live))!)!.put(live, window.reach)
    }
  }

  /** Windows whose index the rules no longer define are given up with the next commit that touches them. */
  rulesChanged(): void {
    for (const live of this.#windowed.all()) {
      if (!declares(this.#options.indexesAt(live.path), live.query!)) live.window!.invalidate()
    }
  }

  /** Whether children can be walked in a query's order: the rules define its index, and it is built. */
  #hasIndex(path: Path, query: Query): boolean {
    return declares(this.#options.indexesAt(path), query) && walk(this.#store, path, query) !== null
  }

  #readWhole(path: Path, leavesMax = this.#options.leavesMax): Value {
    return this.#bounded(path, leavesMax, () => this.#store.flushed.read(path, leavesMax))
  }

  /** All that a query looks at, since nothing less will do: said to whoever asks for too much without knowing. */
  #readUnindexed(path: Path, query: Query): Value {
    try {
      return this.#readWhole(path)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      const { leavesMax } = this.#options
      throw new RequestError(
        'tooLarge',
        `more than ${leavesMax} values are not served without an index. ${noIndex(path, query).message}`,
      )
    }
  }

  #readQuery(path: Path, query: Query, leavesMax = this.#options.leavesMax): Value | undefined {
    return this.#bounded(path, leavesMax, () => readQuery(this.#store, path, query, leavesMax))
  }

  #bounded<T>(path: Path, leavesMax: number, read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof TooLargeError)) throw error
      throw new RequestError(
        'tooLarge',
        `\`${formatPath(path)}\` holds more than ${leavesMax} values; read a part of it`,
      )
    }
  }
}

/** Whether a query shows a part only: else it is the whole value, and its order the client's business. */
function isRanged(query: Query | null): query is Query {
  return query !== null && !showsAll(query)
}

function orderOf({ query }: LiveQuery): Query {
  return { orderBy: query!.orderBy }
}

/** What the answer to a listen of a live query is to say beside the value. */
export function warningFor({ query, window }: LiveQuery): 'no_index' | null {
  return window === null && isRanged(query) ? 'no_index' : null
}

function isTouched(live: LiveQuery, commits: readonly Commit[]): boolean {
  return commits.some(({ entries }) =>
    entries.some(({ path }) => isAtOrAbove(path, live.path) || isAtOrAbove(live.path, path)),
  )
}
