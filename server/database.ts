/**
 * Database: the heart. Reads and listens answer from the flushed state; writes go to the commit log, are decided
 * by the rules on the head, flushed, and brought to every listener they touch. Every wire talks to this class.
 *
 * INVARIANT 1: rules decide a write on the state that the writes before it left.
 * INVARIANT 2: a read or a listen sees only flushed state that has been published, so no patch comes twice.
 * INVARIANT 4: a listener that lost its right hears a cancel before anything of the commit that took it.
 */
import { strict as assert } from 'node:assert'
import {
  formatPath,
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
import {
  type DataView,
  type Decision,
  Dependencies,
  LiveCoverage,
  OBJECT,
  type Ruleset,
} from '../rules/index.ts'
import type { ExplainDenial } from './denials.ts'
import { admin, type Identity } from './identity.ts'
import { IndexKeeper } from './indexes.ts'
import { Conflation } from './listeners/conflation.ts'
import { deliver, deliverMessages, type Touched } from './listeners/fan-out.ts'
import type { Listener, Subscriber, Wire } from './listeners/listener.ts'
import type { LiveQuery } from './listeners/listener-tree.ts'
import { LiveQueries } from './listeners/live-queries.ts'
import { type Grant, grantFrom, ReadRights, UNCONDITIONAL } from './listeners/read-rights.ts'
import type { Commit, CommitLog, Write } from './log/log.ts'
import { LocalLog } from './log/log-local.ts'
import { isHashOf } from './node-hash.ts'
import { overlayView } from './overlay-view.ts'
import { RecentChanges } from './recent-changes.ts'
import { Resumes } from './resumes.ts'
import { ruleQuery } from './rule-query.ts'
import { type Entry, type IndexProgress, type Store, TooLargeError, type TreeView } from './store/store.ts'
import { entriesBeside, isPriorityPath, locationOf, resolveEntries } from './write-entries.ts'

/** Plain numbers the metrics page reads; the hot path only adds to them. */
export interface DatabaseCounters {
  writes: number
  denials: number
  /** Of the denials, those for a check that went over its budget of steps. */
  budgetOverruns: number
  reads: number
}

export interface DatabaseOptions {
  name: string
  store: Store
  ruleset: Ruleset
  counters: DatabaseCounters
  /** Unix milliseconds. */
  nowMs(): number
  /** Nodes one read may return before it is refused as `too_large`. */
  readNodesMax: number
  writeQueueMax: number
  /** Says why, as far as the client may know: added to the message of a denial. */
  explainDenial?: ExplainDenial
  /** Counts what rules are asked and answer, at ten times their cost: for developers. */
  countsCoverage?: boolean
  onGroup?(group: { writes: number; decideMs: number; flushMs: number; publishMs: number }): void
  onIndexProgress?(progress: IndexProgress): void
  /** Hears of each group on disk, before its patches go out. */
  onFlushed?(commits: readonly Commit[]): void
  /** Leads to the thread that writes, where that is another one: then this database only follows. */
  remoteLog?: CommitLog
  /** Something that cannot happen did; the process should say so loudly. */
  onBug(error: unknown): void
}

/** A denial with what decided it, for developers; the decision quotes rules, so it is not for everyone's eyes. */
export class DeniedError extends RequestError {
  readonly decision: Decision | null

  constructor(message: string, decision: Decision | null) {
    super('permissionDenied', message)
    this.decision = decision
  }
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

/** Rows of replaced subtrees removed in one group: about a millisecond of work. */
const GARBAGE_ROWS_PER_GROUP = 500
/** A transaction on more is refused: to hash this many holds the loop for about 150 ms. */
const HASHED_LEAVES_MAX = 50_000
const TIME_CHECK_MS = 1000

export class Database {
  readonly name: string
  readonly #options: DatabaseOptions
  readonly #store: Store
  readonly #log: CommitLog
  readonly #isFollower: boolean
  readonly #queries: LiveQueries
  readonly #indexes: IndexKeeper
  readonly #rights = new ReadRights()
  readonly #wires = new Set<Wire>()
  readonly #recent: RecentChanges
  readonly #resumes: Resumes
  /** Queries in the order of an index that were told before this may have been served whole, or may be now. */
  #indexesSince: number
  #ruleset: Ruleset
  #coverage: LiveCoverage | null
  #publishedRevision: number
  readonly #conflation: Conflation
  /** Listeners decided anew within the group under way. */
  #askedInGroup = new Set<Listener>()
  /** Listeners registered while a group was under way: they were not asked about its commits. */
  #askAfterGroup = new Set<Listener>()
  #timeCheck: NodeJS.Timeout | null = null
  #garbageTimer: NodeJS.Immediate | null = null
  #isClosed = false
  /** Stands for a slice of garbage collection in the log's queue. */
  readonly #garbageWrite: Write = {
    entries: [],
    identity: admin,
    expectedRevision: null,
    isCheckOnly: false,
    records: null,
    origin: { written: () => this.collectGarbage(), refused() {}, groupSettled() {} },
    id: 0,
  }
  listenerCount = 0

  constructor(options: DatabaseOptions) {
    this.name = options.name
    this.#options = options
    this.#store = options.store
    this.#ruleset = options.ruleset
    this.#coverage = this.#newCoverage()
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
      indexesAt: (path) => this.#ruleset.indexesAt(path),
    })
    this.#isFollower = options.remoteLog !== undefined
    this.#log = options.remoteLog ?? this.#localLog()
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
    return this.#ruleset
  }

  /** False only within the turn in which a flushed group is being published: try again in the next one. */
  get isReadable(): boolean {
    return this.#store.flushedRevision === this.#publishedRevision
  }

  /** What the rules in force were asked; null where nobody counts. */
  get coverage(): LiveCoverage | null {
    return this.#coverage
  }

  addWire(wire: Wire): void {
    this.#wires.add(wire)
  }

  /** @throws {RequestError} `permission_denied`, `too_large`, `no_index` */
  get(identity: Identity, path: Path, query: Query | null, nodesMax = Number.POSITIVE_INFINITY): ReadResult {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    this.#assertMayRead(identity, path, query, this.#store.flushed)
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
    this.#assertMayRead(identity, path, null, this.#store.flushed)
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

  /** @throws {RequestError} `permission_denied` */
  priority(identity: Identity, path: Path): Priority | null {
    assert(this.isReadable)
    this.#options.counters.reads += 1
    this.#assertMayRead(identity, path, null, this.#store.flushed)
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
    const grant = this.#grant(subscriber.identity, path, query, this.#store.flushed)
    if (!('sights' in grant)) throw this.#denied('read', path, subscriber.identity, grant)
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
    const grant = this.#grant(subscriber.identity, path, null, this.#store.flushed)
    if (!('sights' in grant)) throw this.#denied('read', path, subscriber.identity, grant)
    const listener = this.#register(subscriber, this.#queries.messages.open(path), grant)
    return { revision: this.#publishedRevision, listener }
  }

  #register(subscriber: Subscriber, live: LiveQuery, grant: Grant): Listener {
    const listener: Listener = { subscriber, live, grant, isRevoked: false, denial: null }
    live.listeners.add(listener)
    this.listenerCount += 1
    this.#rights.add(listener)
    if (this.#log.isBusy) this.#askAfterGroup.add(listener)
    this.#keepTimeCheck()
    return listener
  }

  unlisten(listener: Listener): void {
    if (!listener.live.listeners.delete(listener)) return
    this.listenerCount -= 1
    this.#rights.remove(listener)
    this.#askedInGroup.delete(listener)
    this.#askAfterGroup.delete(listener)
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
    for (const listener of [...listeners]) this.#askNow(listener)
  }

  /** New rules hold for every write and read from now on, and for live listeners at once. */
  replaceRuleset(ruleset: Ruleset): void {
    this.#ruleset = ruleset
    this.#coverage = this.#newCoverage()
    this.#indexesSince = this.#publishedRevision
    // A follower only learns which of them the writer has.
    if (this.#isFollower) this.#store.declareIndexes(ruleset.indexPatterns)
    else this.#indexes.declare(ruleset.indexPatterns)
    this.#queries.rulesChanged()
    for (const live of [...this.#queries.all()]) {
      for (const listener of [...live.listeners]) this.#askNow(listener)
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
      assert(this.#stage(entries) === revision, 'a follower counts as the writer does')
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
    this.#isClosed = true
    this.#resumes.close()
    if (this.#timeCheck !== null) clearInterval(this.#timeCheck)
    if (this.#garbageTimer !== null) clearImmediate(this.#garbageTimer)
    this.#indexes.close()
    await this.#log.idle()
    await this.#store.close()
  }

  /**
   * Removes what deleted and replaced subtrees left on disk: a slice a group, in the log's own order, when it is idle.
   * With the first one after opening the store notes that it was opened.
   */
  collectGarbage(): void {
    if (this.#garbageTimer !== null || this.#isClosed) return
    this.#garbageTimer = setImmediate(() => {
      this.#garbageTimer = null
      const isLeft = this.#store.hasGarbage || (this.#store.hasStaged && !this.#isFollower)
      if (isLeft && !this.#isClosed && !this.#log.isBusy) this.#log.submit(this.#garbageWrite)
    })
  }

  #newCoverage(): LiveCoverage | null {
    const { countsCoverage = false, nowMs } = this.#options
    return countsCoverage ? new LiveCoverage(this.#ruleset, nowMs()) : null
  }

  #decide(write: Write, nowMs: number): Commit | null {
    if (write === this.#garbageWrite) {
      this.#store.collectGarbage(GARBAGE_ROWS_PER_GROUP)
      return null
    }
    if (write === this.#indexes.write) {
      this.#indexes.decide()
      return null
    }
    const head = this.#store.head
    const resolved = resolveEntries(write.entries, head, nowMs)
    const entries = write.untouched === undefined ? resolved : entriesBeside(resolved, write.untouched, head)
    // Whether a guess about what is there was right is for those to know who may read it. That there is nothing may be asked
    // by anyone who may write: an app may claim a name by a transaction without reading names.
    if (write.expectedRevision !== null || (write.expectedHash ?? '') !== '') {
      const path = write.expectedAt ?? locationOf(entries[0]!)
      this.#assertMayRead(write.identity, path, null, head)
    }
    if (write.expectedRevision !== null) {
      const path = write.expectedAt ?? entries[0]!.path
      if (
        write.expectedRevision > this.#store.headRevision ||
        this.#recent.changedSince(path, write.expectedRevision)
      ) {
        throw new RequestError(
          'stale',
          `\`${formatPath(path)}\` may have changed since revision ${write.expectedRevision}`,
        )
      }
    }
    if (write.expectedHash !== undefined) {
      this.#assertHash(head, write.expectedAt ?? entries[0]!.path, write.expectedHash)
    }
    if (!write.identity.isAdmin) {
      this.#assertMayWrite(write, entries, head, nowMs)
      if (write.alsoAllowed !== undefined) this.#assertMayWrite(write, write.alsoAllowed, head, nowMs)
    }
    if (write.isMessage) {
      return { revision: this.#store.headRevision, timestampMs: nowMs, entries: [], messages: entries }
    }
    const isNothing = write.isCheckOnly || entries.length === 0 || isUnchanged(entries, head)
    // First, since a full store refuses here, and then nothing of the write may be staged.
    const ordered = isNothing ? entries : valuesFirst(entries)
    const revision = isNothing ? 0 : this.#stage(ordered)
    if (write.records !== null)
      for (const [key, value] of write.records) this.#store.records.stage(key, value)
    if (!write.isCheckOnly) write.entries = ordered
    if (isNothing) return null
    this.#options.counters.writes += 1
    this.#follow(ordered, revision)
    const commit: Commit = { revision, timestampMs: nowMs, entries: ordered }
    this.#store.changes.stage(commit)
    return commit
  }

  /** @throws {DeniedError} */
  #assertMayWrite(
    { identity, emptyAt }: Write,
    entries: readonly Entry[],
    head: TreeView,
    nowMs: number,
  ): void {
    const isEmpty = entries.length === 0
    // Records alone are the server's own affair.
    if (isEmpty && emptyAt === undefined) return
    const locations = isEmpty
      ? [emptyAt!]
      : entries.length === 1
        ? [locationOf(entries[0]!)]
        : entries.map(locationOf)
    const newData = isEmpty ? head : overlayView(head, entries)
    const decision = this.#ruleset.checkWrite({
      tracer: this.#coverage,
      locations,
      isEmpty,
      auth: identity.auth,
      nowMs,
      data: head,
      newData,
    })
    if (!decision.allowed) throw this.#denied('write', decision.path ?? locations[0]!, identity, decision)
  }

  /** What has to move with a staged commit. The commit stands, so a bug here must not have it called refused. */
  #follow(entries: readonly Entry[], revision: number): void {
    try {
      this.#queries.staged(entries)
      for (const { path } of entries) {
        this.#recent.add(path, revision)
        this.#rights.touchedBy(path, this.#store.head, (listener) => this.#askInGroup(listener))
      }
    } catch (error) {
      this.#options.onBug(error)
    }
  }

  /**
   * Before the rules: they may refuse what a client that does not know the value yet has guessed.
   * @throws {RequestError} `stale`; `too_large` for a value that is not hashed.
   */
  #assertHash(head: TreeView, path: Path, expected: string): void {
    if (expected === '' && head.valueAt(path) === null) return
    if (expected !== '' && isHashOf(expected, this.#readFrom(head, path, HASHED_LEAVES_MAX))) return
    throw new RequestError('stale', `the value at \`${formatPath(path)}\` is not the expected one`)
  }

  #stage(entries: readonly Entry[]): number {
    const first = entries.findIndex(({ path }) => isPriorityPath(path))
    if (first < 0) return this.#store.stage(entries)
    if (first > 0) this.#store.stage(entries.slice(0, first))
    for (const { path, value } of entries.slice(first)) {
      this.#store.stagePriority(path.slice(0, -1), value as Priority | null)
    }
    return this.#store.headRevision
  }

  #publish(commits: readonly Commit[]): void {
    const revision = commits[commits.length - 1]!.revision
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
    this.collectGarbage()
    this.#indexes.wake()
  }

  /** Brings the messages of a group to those who still may hear them. */
  #tell(commits: readonly Commit[], revision: number): void {
    const told = this.#queries.messages.toldBy(commits)
    if (told.size === 0) return
    for (const live of told.keys()) this.#askIfTimeHasCome(this.#rights.timeDependent.get(live))
    deliverMessages(told, revision, this.#wires)
  }

  /** What a group did to each query, after those who may no longer hear of it were told so. */
  #touchedBy(commits: readonly Commit[]): Touched {
    for (const listener of this.#askedInGroup) if (listener.isRevoked) this.#cancel(listener)
    this.#askedInGroup.clear()
    const registered = this.#askAfterGroup
    this.#askAfterGroup = new Set()
    for (const listener of registered) this.#askNow(listener)
    const touched = this.#queries.published(commits, (live, error) => this.#end(live, error))
    if (this.#rights.timeDependent.size > 0) {
      for (const live of touched.keys()) this.#askIfTimeHasCome(this.#rights.timeDependent.get(live))
    }
    return touched
  }

  /** The disk refused the group: what was decided about listeners within it never happened. */
  #discarded(): void {
    this.#store.discard()
    this.#queries.discarded()
    this.#recent.reset(this.#store.flushedRevision)
    const asked = this.#askedInGroup
    this.#askedInGroup = new Set()
    for (const listener of asked) {
      listener.isRevoked = false
      this.#askNow(listener)
    }
  }

  #askInGroup(listener: Listener): void {
    this.#askedInGroup.add(listener)
    // Once lost within a group it stays lost, even if a later write of the group would give it back.
    if (listener.isRevoked) return
    listener.isRevoked = !this.#renew(listener, this.#store.head)
  }

  #askNow(listener: Listener): void {
    if (listener.isRevoked) return
    if (!this.#renew(listener, this.#store.flushed)) {
      this.#cancel(listener)
      return
    }
    if (this.#log.isBusy) this.#askAfterGroup.add(listener)
  }

  /** Decides a listener's right anew and remembers what it now rests on. @returns Whether it may go on. */
  #renew(listener: Listener, data: TreeView): boolean {
    const { path, query } = listener.live
    const grant = this.#grant(listener.subscriber.identity, path, query, data)
    if (!('sights' in grant)) {
      listener.denial = grant
      return false
    }
    this.#rights.remove(listener)
    listener.grant = grant
    this.#rights.add(listener)
    this.#keepTimeCheck()
    return true
  }

  #cancel(listener: Listener): void {
    this.unlisten(listener)
    listener.isRevoked = true
    const { subscriber, live, denial } = listener
    assert(denial !== null)
    subscriber.canceled(live, this.#denied('read', live.path, subscriber.identity, denial))
  }

  /** A query shows more than one read may take: nobody can be kept up to date. */
  #end(live: LiveQuery, error: RequestError): void {
    for (const listener of [...live.listeners]) {
      this.unlisten(listener)
      listener.isRevoked = true
      listener.subscriber.canceled(live, error)
    }
  }

  /** @throws {DeniedError} */
  #assertMayRead(identity: Identity, path: Path, query: Query | null, data: TreeView): void {
    if (identity.isAdmin) return
    const decision = this.#ruleset.checkRead({
      tracer: this.#coverage,
      path,
      auth: identity.auth,
      nowMs: this.#options.nowMs(),
      data,
      query: ruleQuery(query),
      dependencies: null,
    })
    if (!decision.allowed) throw this.#denied('read', path, identity, decision)
  }

  #grant(identity: Identity, path: Path, query: Query | null, data: TreeView): Grant | Decision {
    if (identity.isAdmin) return UNCONDITIONAL
    const dependencies = new Dependencies()
    const decision = this.#ruleset.checkRead({
      tracer: this.#coverage,
      path,
      auth: identity.auth,
      nowMs: this.#options.nowMs(),
      data,
      query: ruleQuery(query),
      dependencies,
    })
    return decision.allowed ? grantFrom(dependencies) : decision
  }

  #denied(verb: 'read' | 'write', path: Path, identity: Identity, decision: Decision): RequestError {
    this.#options.counters.denials += 1
    if (decision.reason === 'budget') this.#options.counters.budgetOverruns += 1
    const why = this.#options.explainDenial?.({ database: this.name, verb, path, identity, decision }) ?? ''
    return new DeniedError(`no permission to ${verb} \`${formatPath(path)}\`${why}`, decision)
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

  #askIfTimeHasCome(listeners: Iterable<Listener> = []): void {
    const nowMs = this.#options.nowMs()
    for (const listener of [...listeners]) if (listener.grant.changesAtMs <= nowMs) this.#askNow(listener)
  }

  #keepTimeCheck(): void {
    if (this.#timeCheck !== null || this.#rights.timeDependent.size === 0) return
    this.#timeCheck = setInterval(() => {
      for (const onQuery of [...this.#rights.timeDependent.values()]) this.#askIfTimeHasCome(onQuery)
      if (this.#rights.timeDependent.size === 0 && this.#timeCheck !== null) {
        clearInterval(this.#timeCheck)
        this.#timeCheck = null
      }
    }, TIME_CHECK_MS)
    this.#timeCheck.unref()
  }
}

/** Whether a query's order takes an index of the rules'. */
function isIndexed({ orderBy }: Query): boolean {
  return orderBy !== 'key' && orderBy !== 'priority'
}

/** A single leaf that is already there, or a deletion of nothing: common enough to spare the disk and the listeners. */
function isUnchanged(entries: readonly Entry[], head: TreeView): boolean {
  if (entries.length !== 1) return false
  const { path, value } = entries[0]!
  if (isPriorityPath(path)) {
    const node = path.slice(0, -1)
    return head.valueAt(node) === null || head.priorityAt(node) === value
  }
  if (typeof value === 'object' && value !== null) return false
  return head.valueAt(path) === value && head.priorityAt(path) === null
}

/** A priority may be for a node that the same write makes: for the store, and for whoever applies the commit. */
function valuesFirst(entries: readonly Entry[]): readonly Entry[] {
  if (!entries.some(({ path }) => isPriorityPath(path))) return entries
  const isPriority = ({ path }: Entry): boolean => isPriorityPath(path)
  return [...entries.filter((entry) => !isPriority(entry)), ...entries.filter(isPriority)]
}

export type { LiveQuery }
