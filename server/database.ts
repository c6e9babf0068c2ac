/**
 * Database: the heart. Reads and listens answer from the flushed state; writes go to the commit log, are decided
 * by the rules on the head, flushed, and brought to every listener they touch. Every wire talks to this class.
 *
 * INVARIANT 1: rules decide a write on the state that the writes before it left.
 * INVARIANT 2: a read or a listen sees only flushed state that has been published, so no patch comes twice.
 */
import { strict as assert } from 'node:assert'
import {
  formatPath,
  isAtOrAbove,
  type Leaf,
  type Path,
  type Priority,
  type Query,
  RequestError,
  type ResumePoint,
  type Step,
  showsAll,
  type Value,
} from '../protocol/index.ts'
import { type DataView, type LiveCoverage, OBJECT, type Ruleset } from '../rules/index.ts'
import { Authorizer, type AuthorizerOptions, type DenialCounters } from './authorizer.ts'
import { GarbageKeeper } from './garbage-keeper.ts'
import { GroupPlaces } from './group-places.ts'
import type { Identity } from './identity.ts'
import { IndexKeeper } from './indexes.ts'
import { Conflation } from './listeners/conflation.ts'
import { deliver, deliverMessages, type Touched } from './listeners/fan-out.ts'
import type { Listener, Subscriber, Wire } from './listeners/listener.ts'
import type { LiveQuery } from './listeners/listener-tree.ts'
import { LiveQueries } from './listeners/live-queries.ts'
import type { Grant } from './listeners/read-rights.ts'
import { RightsKeeper } from './listeners/rights-keeper.ts'
import type { Commit, CommitLog, Write } from './log/log.ts'
import { LocalLog } from './log/log-local.ts'
import { isHashOf } from './node-hash.ts'
import { RecentChanges } from './recent-changes.ts'
import { Resumes } from './resumes.ts'
import { Staging } from './staging.ts'
import { type Entry, type IndexProgress, type Store, TooLargeError, type TreeView } from './store/store.ts'
import {
  entriesBeside,
  isDeletion,
  isUnchanged,
  locationOf,
  PRIORITY_KEY,
  resolveEntries,
} from './write-entries.ts'

/** Plain numbers the metrics page reads; the hot path only adds to them. */
export interface DatabaseCounters extends DenialCounters {
  writes: number
  reads: number
}

export interface DatabaseOptions extends AuthorizerOptions {
  store: Store
  counters: DatabaseCounters
  /** Nodes one read may return before it is refused as `too_large`. */
  readNodesMax: number
  writeQueueMax: number
  onGroup?(group: { writes: number; decideMs: number; flushMs: number; publishMs: number }): void
  onIndexProgress?(progress: IndexProgress): void
  /** Hears of each group on disk, before its patches go out. */
  onFlushed?(commits: readonly Commit[]): void
  /** Leads to the thread that writes, where that is another one: then this database only follows. */
  remoteLog?: CommitLog
  /** Something that cannot happen did; the process should say so loudly. */
  onBug(error: unknown): void
}

export interface ReadResult {
  revision: number
  value: Value
}

/** A listener that is not told of each change. */
export interface Behind {
  /** Revision up to which it certainly was sent everything. */
  since: number
  /** Newest revision of which it may have been sent something. */
  at: number
}

/** What a listener that fell behind lacks: a step, empty when that is nothing, or the whole value. */
export type Missed = ReadResult | { revision: number; step: Step }

export interface ListenOptions {
  /** The state the client holds: where the log tells what it missed, it is spared the value. */
  resume?: ResumePoint | null
  /** Whether the caller has no need of the value of a query that is listened to already. */
  isKnown?: (live: LiveQuery) => boolean
}

export interface ListenResult {
  revision: number
  listener: Listener
  /** What a client that resumes has missed; null where it is sent the value. */
  steps: readonly Step[] | null
  /** Undefined where there are steps, or the caller has it. */
  value: Value | undefined
  /** The query's order has no index. */
  warning: 'no_index' | null
}

/** A transaction on more is refused: to hash this many holds the loop for about 150 ms. */
const HASHED_LEAVES_MAX = 50_000

export class Database {
  readonly name: string
  readonly #options: DatabaseOptions
  readonly #store: Store
  readonly #staging: Staging
  readonly #log: CommitLog
  readonly #isFollower: boolean
  readonly #queries: LiveQueries
  readonly #indexes: IndexKeeper
  readonly #garbage: GarbageKeeper
  readonly #authorizer: Authorizer
  readonly #rights: RightsKeeper
  readonly #wires = new Set<Wire>()
  readonly #recent: RecentChanges
  readonly #resumes: Resumes
  /** Queries in the order of an index that were told before this may have been served whole, or may be now. */
  #indexesSince: number
  #publishedRevision: number
  readonly #conflation: Conflation
  #lastGroup: readonly Commit[] = []
  #lastPlaces: GroupPlaces | null = null
  listenerCount = 0

  constructor(options: DatabaseOptions) {
    this.name = options.name
    this.#options = options
    this.#store = options.store
    this.#staging = new Staging(options.store)
    this.#authorizer = new Authorizer(options)
    this.#publishedRevision = options.store.flushedRevision
    this.#recent = new RecentChanges(options.store.flushedRevision)
    this.#conflation = new Conflation(options.store.flushedRevision)
    this.#indexesSince = options.store.flushedRevision
    this.#resumes = new Resumes({
      changes: options.store.changes,
      publishedRevision: () => this.#publishedRevision,
    })
    this.#queries = new LiveQueries({
      store: options.store,
      leavesMax: options.readNodesMax,
      indexesAt: (path) => this.ruleset.indexesAt(path),
    })
    this.#isFollower = options.remoteLog !== undefined
    this.#log = options.remoteLog ?? this.#localLog()
    this.#rights = new RightsKeeper({
      authorizer: this.#authorizer,
      store: options.store,
      isBusy: () => this.#log.isBusy,
      nowMs: options.nowMs,
      cancel: (listener) => this.#cancel(listener),
    })
    this.#garbage = new GarbageKeeper(options.store, this.#log, this.#isFollower)
    this.#indexes = new IndexKeeper({
      store: options.store,
      submit: (write) => this.#log.submit(write),
      report: (progress) => {
        this.#indexesSince = this.#publishedRevision
        options.onIndexProgress?.(progress)
      },
    })
    options.store.declareIndexes(options.ruleset.indexPatterns)
    this.#indexes.wake()
  }

  #localLog(): LocalLog {
    const options = this.#options
    return new LocalLog({
      store: options.store,
      decide: (write, nowMs) => this.#decide(write, nowMs),
      ...(options.onFlushed === undefined ? {} : { flushed: options.onFlushed }),
      publish: (commits) => this.#publish(commits),
      discarded: () => this.#discarded(),
      nowMs: options.nowMs,
      queueMax: options.writeQueueMax,
      ...(options.onGroup === undefined ? {} : { onGroup: options.onGroup }),
      onBug: options.onBug,
    })
  }

  /** Names this opening of this store; with a revision it names a state. */
  get epoch(): string {
    return this.#store.changes.epoch
  }

  /** What a thread that follows has to know of the store. */
  get followed(): { epoch: string; runs: Store['changes']['runs']['list'] } {
    return { epoch: this.#store.epoch, runs: this.#store.changes.runs.list }
  }

  /** The newest revision anyone has been shown. */
  get revision(): number {
    return this.#publishedRevision
  }

  get indexProgress(): IndexProgress {
    return this.#store.indexProgress
  }

  get records(): Store['records'] {
    return this.#store.records
  }

  /** The flushed state: that of `revision`, or while a group is being published the one it leads to. */
  get view(): DataView {
    return this.#store.flushed
  }

  get ruleset(): Ruleset {
    return this.#authorizer.ruleset
  }

  /** False only within the turn in which a flushed group is being published: try again in the next one. */
  get isReadable(): boolean {
    return this.#store.flushedRevision === this.#publishedRevision
  }

  /** What the rules in force were asked; null where nobody counts. */
  get coverage(): LiveCoverage | null {
    return this.#authorizer.coverage
  }

  addWire(wire: Wire): void {
    this.#wires.add(wire)
  }

  /** @throws {RequestError} `permission_denied`, `too_large`, `no_index` */
  get(identity: Identity, path: Path, query: Query | null, nodesMax = Number.POSITIVE_INFINITY): ReadResult {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    this.#authorizer.assertMayRead(identity, path, query, this.#store.flushed)
    const leavesMax = Math.min(nodesMax, this.#options.readNodesMax)
    return { revision: this.#publishedRevision, value: this.#queries.read(path, query, leavesMax) }
  }

  /**
   * The keys of the children at a path in key order, or the leaf there: for values that are too large to read.
   * @throws {RequestError} `permission_denied`, `too_large`
   */
  shallow(
    identity: Identity,
    path: Path,
    range: { from?: string; limit?: number } = {},
  ): { revision: number; leaf: Leaf | null; keys: string[] } {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    this.#authorizer.assertMayRead(identity, path, null, this.#store.flushed)
    const seen = this.#store.flushed.valueAt(path)
    const revision = this.#publishedRevision
    if (seen !== OBJECT) return { revision, leaf: seen as Leaf | null, keys: [] }
    const limit = Math.min(range.limit ?? Number.POSITIVE_INFINITY, this.#options.readNodesMax + 1)
    const keys = [...this.#store.flushed.keys(path, { ...range, limit })]
    if (keys.length > this.#options.readNodesMax) {
      throw new RequestError('tooLarge', `\`${formatPath(path)}\` has too many children to list them at once`)
    }
    return { revision, leaf: null, keys }
  }

  /** Whether somebody may read a place now. A no is no denial: nobody has tried to. */
  mayRead(identity: Identity, path: Path): boolean {
    assert(this.isReadable)
    return this.#authorizer.mayRead(identity, path, this.#store.flushed)
  }

  /** @throws {RequestError} `permission_denied` */
  priority(identity: Identity, path: Path): Priority | null {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    this.#authorizer.assertMayRead(identity, path, null, this.#store.flushed)
    return this.#store.flushed.priorityAt(path)
  }

  /**
   * Has what a client missed looked up, so that `listen` can answer with it.
   * @param wake Called once that is done, where the answer is false.
   */
  prepareResume(path: Path, query: Query | null, point: ResumePoint, wake: () => void): boolean {
    return this.#resumes.prepare(path, query, point, wake)
  }

  /**
   * Rules, snapshot (or what a client that resumes has missed) and registration in one turn: nothing is missed, nothing
   * comes twice. With the warning `no_index` the query is served whole, and what it shows is the client's to pick.
   * @throws {RequestError} `permission_denied`, `too_large`
   */
  listen(
    subscriber: Subscriber,
    path: Path,
    query: Query | null,
  ): ListenResult & { steps: null; value: Value }
  listen(subscriber: Subscriber, path: Path, query: Query | null, options: ListenOptions): ListenResult
  listen(
    subscriber: Subscriber,
    path: Path,
    query: Query | null,
    { resume = null, isKnown = () => false }: ListenOptions = {},
  ): ListenResult {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    const grant = this.#authorizer.grantRead(subscriber.identity, path, query, this.#store.flushed)
    const steps = resume === null ? null : this.#missed(path, query, resume)
    const isSpared = (known: LiveQuery | null): boolean =>
      steps !== null || (known !== null && isKnown(known))
    const { live, value, warning } = this.#queries.open(path, query, isSpared)
    const listener = this.#register(subscriber, live, grant)
    return { revision: this.#publishedRevision, steps, value, listener, warning }
  }

  /** A window is resumed only as long as it is one, in the order it was one in. */
  #missed(path: Path, query: Query | null, resume: ResumePoint): readonly Step[] | null {
    if (query !== null && !showsAll(query)) {
      const isSameKind = !isIndexed(query) || resume.revision > this.#indexesSince
      if (!isSameKind || !this.#queries.isWindowed(path, query)) return null
    }
    return this.#resumes.take(path, query, resume)
  }

  /**
   * From now on the messages sent to a path. Nothing of what was sent before is told.
   * @throws {RequestError} `permission_denied`
   */
  listenMessages(subscriber: Subscriber, path: Path): { revision: number; listener: Listener } {
    assert(this.isReadable)
    const grant = this.#authorizer.grantRead(subscriber.identity, path, null, this.#store.flushed)
    const listener = this.#register(subscriber, this.#queries.messages.open(path), grant)
    return { revision: this.#publishedRevision, listener }
  }

  #register(subscriber: Subscriber, live: LiveQuery, grant: Grant): Listener {
    const listener: Listener = { subscriber, live, grant, isRevoked: false, denial: null }
    live.listeners.add(listener)
    this.listenerCount += 1
    this.#rights.add(listener)
    return listener
  }

  unlisten(listener: Listener): void {
    if (!listener.live.listeners.delete(listener)) return
    this.listenerCount -= 1
    this.#rights.remove(listener)
    if (listener.live.listeners.size === 0) this.#queries.close(listener.live)
  }

  /** The value a listener holds if it is up to date: for one that was too slow for its patches. */
  snapshotOf(listener: Listener): ReadResult {
    assert(this.isReadable)
    return { revision: this.#publishedRevision, value: this.#queries.valueOf(listener.live) }
  }

  /** Newest revision of which every listener that is not behind certainly was sent all. */
  get certainRevision(): number {
    return this.#conflation.confirmed
  }

  /** From now on a listener is not told of each change; what changes is kept by place until `caughtUp`. */
  fallsBehind({ live, delivery }: Listener): Behind {
    this.#conflation.track(live)
    // One that hears now and then may not have been told of what was long confirmed to others: it is owed the whole value.
    const since = delivery === undefined ? this.#conflation.confirmed : -1
    return { since, at: this.#publishedRevision }
  }

  /** What a listener that fell behind lacks. @throws {RequestError} `too_large` */
  missed({ since, at }: Behind, listener: Listener): Missed {
    assert(this.isReadable)
    const { live } = listener
    const revision = this.#publishedRevision
    const changed = live.changed?.since(since) ?? null
    if (changed?.paths.length === 0) return { revision, step: [] }
    // It may hold a patch of this revision though one before was dropped: then it would ignore another of the same.
    const step = changed === null || at === revision ? null : this.#queries.stepTo(live, changed)
    return step === null ? this.snapshotOf(listener) : { revision, step }
  }

  /**
   * Which of one origin's writes, all of the group that was published last, met others of that group: there the answer to
   * a write comes behind what others wrote after it.
   */
  contended(writes: readonly Write[], placesOf: (write: Write) => Path[]): Path[] {
    const commits = this.#lastGroup
    // One of a group in which nothing changed: no group was published.
    const ofGroup = writes.filter(({ isGroupEmpty }) => isGroupEmpty !== true)
    const ownCommits = ofGroup.filter(({ isUnchanged }) => isUnchanged !== true)
    if (ofGroup.length === 0 || commits.length <= ownCommits.length) return []
    const all = this.#placesOfLastGroup()
    const own = new GroupPlaces(ownCommits)
    return ofGroup.flatMap(placesOf).filter((path) => all.touching(path) > own.touching(path))
  }

  /** From when the last group is told: whether it wrote all that is at a place now. */
  isNewInGroup(place: Path): boolean {
    return this.#placesOfLastGroup().wroteAllAt(place, this.#store.flushed)
  }

  #placesOfLastGroup(): GroupPlaces {
    this.#lastPlaces ??= new GroupPlaces(this.#lastGroup)
    return this.#lastPlaces
  }

  /** The paths of priorities that there are now above what some entries delete. */
  prioritiesAbove(entries: readonly Entry[]): Path[] {
    const deleted = entries.filter(isDeletion).map(({ path }) => path)
    return this.#store.flushed.rankedAbove(deleted).map((place) => [...place, PRIORITY_KEY])
  }

  /** Between groups: children in which places lie that a window does not show; none for any other query. */
  unshown({ live: { path, window } }: Listener, places: readonly Path[]): string[] {
    if (window === null) return []
    const keys = new Set<string>()
    for (const place of places) {
      const key = place[path.length]
      if (key !== undefined && isAtOrAbove(path, place)) keys.add(key)
    }
    return [...keys].filter((key) => !window.shows(key))
  }

  /** What a listener shows at these places now, told as high up as there is no object above. @throws {RequestError} `too_large` */
  current(listener: Listener, places: readonly Path[]): Missed {
    assert(this.isReadable)
    const { live } = listener
    const { flushed } = this.#store
    const paths = new Set<string>()
    for (const place of places) {
      let { length } = place
      while (length > live.path.length && flushed.valueAt(place.slice(0, length - 1)) !== OBJECT) length -= 1
      // A window has no priority of its own.
      const isOwnPriority = length === live.path.length + 1 && place[length - 1] === PRIORITY_KEY
      if (live.window === null || !isOwnPriority) paths.add(place.slice(live.path.length, length).join('/'))
    }
    const step = this.#queries.stepTo(live, { paths: [...paths], emptied: [] })
    return step === null ? this.snapshotOf(listener) : { revision: this.#publishedRevision, step }
  }

  /** A listener that fell behind is told of each change again, or of none any more. */
  caughtUp({ live }: Listener): void {
    this.#conflation.release(live)
  }

  /** Queues a write; its origin hears what became of it. */
  submit(write: Write): void {
    this.#log.submit(write)
  }

  /** The subscriber's identity changed: listeners it may no longer keep are canceled. */
  identityChanged(listeners: Iterable<Listener>): void {
    for (const listener of [...listeners]) this.#rights.ask(listener)
  }

  /** New rules hold for every write and read from now on, and for live listeners at once. */
  replaceRuleset(ruleset: Ruleset): void {
    this.#authorizer.replaceRuleset(ruleset)
    this.#indexesSince = this.#publishedRevision
    // A follower only learns which of them the writer has.
    if (this.#isFollower) this.#store.declareIndexes(ruleset.indexPatterns)
    else this.#indexes.declare(ruleset.indexPatterns)
    this.#queries.rulesChanged()
    for (const live of [...this.#queries.all()]) {
      for (const listener of [...live.listeners]) this.#rights.ask(listener)
    }
  }

  /**
   * Shows a group that another thread has written: staged here as there, so that windows and rights move alike.
   * @param advance Makes what was staged the flushed state, and says whether other indexes can be read than before.
   */
  followGroup(commits: readonly Commit[], advance: () => boolean): void {
    assert(this.#isFollower)
    for (const { entries, revision } of commits) {
      if (entries.length === 0) continue
      assert(this.#staging.stageTold(entries) === revision, 'a follower counts as the writer does')
      this.#follow(entries, revision)
    }
    if (advance()) this.#indexesSince = this.#store.flushedRevision
    if (commits.length > 0) this.#publish(commits)
  }

  /** Resolves when every queued write is settled. */
  idle(): Promise<void> {
    return this.#log.idle()
  }

  async close(): Promise<void> {
    this.#resumes.close()
    this.#rights.close()
    this.#garbage.close()
    this.#indexes.close()
    await this.#log.idle()
    await this.#store.close()
  }

  /** Removes what deleted and replaced subtrees left on disk, bit by bit. */
  collectGarbage(): void {
    this.#garbage.wake()
  }

  #decide(write: Write, nowMs: number): Commit | null {
    if (write === this.#garbage.write) {
      this.#garbage.decide()
      return null
    }
    if (write === this.#indexes.write) {
      this.#indexes.decide()
      return null
    }
    const head = this.#store.head
    const resolved = resolveEntries(write.entries, head, nowMs)
    const entries = write.untouched === undefined ? resolved : entriesBeside(resolved, write.untouched, head)
    this.#assertConditions(write, entries, head)
    if (!write.identity.isAdmin) {
      const { alsoAllowed } = write
      this.#authorizer.assertMayWrite(write, entries, head, nowMs)
      if (alsoAllowed !== undefined) this.#authorizer.assertMayWrite(write, alsoAllowed, head, nowMs)
    }
    if (write.isMessage) {
      return { revision: this.#store.headRevision, timestampMs: nowMs, entries: [], messages: entries }
    }
    const isNothing = write.isCheckOnly || entries.length === 0 || isUnchanged(entries, head)
    // First, since a full store refuses here, and then nothing of the write may be staged.
    const { done, told } = isNothing ? { done: entries, told: entries } : this.#staging.stageDecided(entries)
    const revision = isNothing ? 0 : this.#store.headRevision
    if (write.records !== null)
      for (const [key, value] of write.records) this.#store.records.stage(key, value)
    if (!write.isCheckOnly) write.entries = done
    if (isNothing) {
      write.isUnchanged = true
      return null
    }
    this.#options.counters.writes += 1
    this.#follow(told, revision)
    const commit: Commit = { revision, timestampMs: nowMs, entries: told }
    this.#store.changes.stage(commit)
    return commit
  }

  /**
   * Before the rules: they may refuse what a client that does not know the value yet has guessed.
   * @throws {RequestError} `stale`, `permission_denied`; `too_large` for a value that is not hashed.
   */
  #assertConditions(
    { identity, expectedRevision, expectedHash, expectedAt }: Write,
    entries: readonly Entry[],
    head: TreeView,
  ): void {
    // Whether a guess about what is there was right is for those to know who may read it. That there is nothing may be asked
    // by anyone who may write: an app may claim a name by a transaction without reading names.
    if (expectedRevision !== null || (expectedHash ?? '') !== '') {
      this.#authorizer.assertMayRead(identity, expectedAt ?? locationOf(entries[0]!), null, head)
    }
    if (expectedRevision !== null) {
      const path = expectedAt ?? entries[0]!.path
      if (expectedRevision > this.#store.headRevision || this.#recent.changedSince(path, expectedRevision)) {
        throw stale(`\`${formatPath(path)}\` may have changed since revision ${expectedRevision}`)
      }
    }
    if (expectedHash !== undefined) {
      const path = expectedAt ?? entries[0]!.path
      const isExpected =
        expectedHash === ''
          ? head.valueAt(path) === null
          : isHashOf(expectedHash, this.#readFrom(head, path, HASHED_LEAVES_MAX))
      if (!isExpected) throw stale(`the value at \`${formatPath(path)}\` is not the expected one`)
    }
  }

  /** What has to move with a staged commit. The commit stands, so a bug here must not have it called refused. */
  #follow(entries: readonly Entry[], revision: number): void {
    try {
      this.#queries.staged(entries)
      for (const { path } of entries) {
        this.#recent.add(path, revision)
        this.#rights.staged(path)
      }
    } catch (error) {
      this.#options.onBug(error)
    }
  }

  #publish(commits: readonly Commit[]): void {
    const revision = commits[commits.length - 1]!.revision
    // First: who is told of the group asks what it wrote.
    this.#lastGroup = commits
    this.#lastPlaces = null
    try {
      const touched = this.#touchedBy(commits)
      this.#conflation.published(touched, revision)
      deliver(touched, revision, this.#wires)
      this.#tell(commits, revision)
    } finally {
      // Whatever went wrong: reads wait until what is flushed counts as published.
      this.#publishedRevision = revision
    }
    this.#resumes.published(commits)
    this.#garbage.wake()
    this.#indexes.wake()
  }

  /** Brings the messages of a group to those who still may hear them. */
  #tell(commits: readonly Commit[], revision: number): void {
    const told = this.#queries.messages.toldBy(commits)
    if (told.size === 0) return
    this.#rights.askWhoseTimeHasCome(told.keys())
    deliverMessages(told, revision, this.#wires)
  }

  /** What a group did to each query, after those who may no longer hear of it were told so. */
  #touchedBy(commits: readonly Commit[]): Touched {
    this.#rights.flushed()
    const touched = this.#queries.published(commits, (live, error) => this.#end(live, error))
    this.#rights.askWhoseTimeHasCome(touched.keys())
    return touched
  }

  /** The disk refused the group: what was decided about listeners within it never happened. */
  #discarded(): void {
    this.#store.discard()
    this.#queries.discarded()
    this.#recent.reset(this.#store.flushedRevision)
    this.#rights.discarded()
  }

  #cancel(listener: Listener): void {
    this.unlisten(listener)
    listener.isRevoked = true
    const { subscriber, live, denial } = listener
    assert(denial !== null)
    subscriber.canceled(live, this.#authorizer.denied('read', live.path, subscriber.identity, denial))
  }

  /** A query shows more than one read may take: nobody can be kept up to date. */
  #end(live: LiveQuery, error: RequestError): void {
    for (const listener of [...live.listeners]) {
      this.unlisten(listener)
      listener.isRevoked = true
      listener.subscriber.canceled(live, error)
    }
  }

  #readFrom(view: TreeView, path: Path, leavesMax = this.#options.readNodesMax): Value {
    try {
      return view.read(path, leavesMax)
    } catch (error) {
      if (error instanceof TooLargeError) {
        throw new RequestError(
          'tooLarge',
          `\`${formatPath(path)}\` holds more than ${leavesMax} values; read a part of it`,
        )
      }
      throw error
    }
  }
}

function stale(message: string): RequestError {
  return new RequestError('stale', message)
}

/** Whether a query's order takes an index of the rules'. */
function isIndexed({ orderBy }: Query): boolean {
  return orderBy !== 'key' && orderBy !== 'priority'
}

export type { LiveQuery }
