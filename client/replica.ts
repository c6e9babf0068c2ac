/**
 * Replica: what the server told this client, its pending writes laid over it, and the views the app listens through.
 *
 *   tree of paths ─┬─ views     what the app follows here: one for each query
 *                  └─ listens   what the server is asked for: none where a listen above already covers the place
 *
 *   tree of a listen ── pending writes laid over it ── window of the query ──▶ view ──▶ events
 *
 * INVARIANT: a view is fed by one listen: the topmost whole-value listen at or above it that has data, else its own.
 * INVARIANT: views move first, all of them; only then are the app's callbacks called, and calls made from within a
 * callback come after those already owed.
 */
import type { Path } from '../protocol/path.ts'
import { type Query, queryKey } from '../protocol/query.ts'
import type { Step } from '../protocol/to-client.ts'
import type { Value } from '../protocol/value.ts'
import { type Call, CallQueue } from './calls.ts'
import type { Connection, Pushed } from './connection.ts'
import { EVERY, LATEST } from './delivery.ts'
import type { Environment } from './environment.ts'
import { type HearthError, requestFailed } from './errors.ts'
import {
  along,
  below,
  findNode,
  hasData,
  type Listen,
  listensAt,
  newListen,
  newNode,
  nodeAt,
  type PathNode,
  prune,
  type Source,
  settle,
  viewsAt,
  WHOLE,
  warnOfNoIndex,
} from './listen-tree.ts'
import { type Entries, type Known, type PendingWrite, PendingWrites } from './pending-writes.ts'
import { Tree } from './tree.ts'
import { type Registration, View } from './view.ts'
import { showsAll, windowOf, wireQuery } from './window.ts'

const NOTHING_KNOWN: Known = { value: null, isWhole: false }

export class Replica {
  readonly #connection: Pick<Connection, 'isReady' | 'send' | 'epoch'>
  readonly #environment: Pick<Environment, 'schedule'>
  readonly #root = newNode([], null)
  readonly #pending = new PendingWrites()
  readonly #byQueryId = new Map<number, Listen>()
  readonly #calls = new CallQueue()

  constructor(
    connection: Pick<Connection, 'isReady' | 'send' | 'epoch'>,
    environment: Pick<Environment, 'schedule'>,
  ) {
    this.#connection = connection
    this.#environment = environment
  }

  /** Follows a query. What is already known is told before this returns. */
  register(path: Path, query: Query, registration: Registration): void {
    const node = nodeAt(this.#root, path)
    const key = viewKey(query)
    let view = node.views.get(key)
    view ??= new View(path, query)
    view.hz = Math.max(view.hz, registration.hz)
    const known = this.#look(view)
    node.views.set(key, view)
    this.#ask(node, view)
    this.#calls.run(view.add(registration, known))
  }

  /** Ends registrations. The default query's `off` reaches every query of its path, as in Firebase. */
  unregister(path: Path, query: Query, matches: (registration: Registration) => boolean): void {
    const node = findNode(this.#root, path)
    if (node === null) return
    const key = viewKey(query)
    for (const [otherKey, view] of [...node.views]) {
      if (key !== WHOLE && key !== otherKey) continue
      if (view.remove(matches)) continue
      node.views.delete(otherKey)
      this.#release(node, wireQuery(view.query))
    }
    prune(node)
  }

  /** Shows a write at once. */
  add(write: PendingWrite): void {
    this.#change(pathsOf(write.entries), () => this.#pending.add(write))
  }

  /** The server has answered a write, or it is given up: from here on the server's state speaks. */
  remove(write: PendingWrite): void {
    this.#change(pathsOf(write.entries), () => this.#pending.remove(write))
  }

  /**
   * The server has done a write. A listen that hears late has yet to hear of it: until its next message the write stays
   * laid over it, else its value would go back to what it was and forth again. One that the write did not touch hears
   * nothing, so this ends by itself.
   */
  done(write: PendingWrite, revision: number): void {
    const late = new Set<Listen>()
    for (const [path] of write.entries) {
      for (const listen of listensAt(along(this.#root, path))) {
        if (listen.hz < LATEST && listen.status === 'live' && listen.revision < revision) late.add(listen)
      }
    }
    const remove = (): void => this.remove(write)
    if (late.size === 0) return remove()
    let hz = EVERY
    for (const listen of late) {
      hz = Math.min(hz, listen.hz)
      listen.owed.push(() => {
        late.delete(listen)
        if (late.size === 0) remove()
      })
    }
    this.#environment.schedule(2000 / hz + 500, remove)
  }

  /** Another guess in place of a write that is tried again; it counts as made now. */
  replace(write: PendingWrite, entries: Entries): void {
    this.#change(pathsOf([...write.entries, ...entries]), () => {
      this.#pending.remove(write)
      write.entries = entries
      this.#pending.add(write)
    })
  }

  /** What the app sees at a path, if a listen has told it. */
  peek(path: Path, query: Query): Value | undefined {
    const source = this.#source(path, wireQuery(query))
    return source === null ? undefined : windowOf(this.#seen(source, path).value, query)
  }

  /** What the app sees once `value`, read from the server, has the pending writes laid over it. */
  overlaid(path: Path, query: Query, value: Value): Value {
    return windowOf(this.#pending.overlay(path, { value, isWhole: showsAll(query) }).value, query)
  }

  /** The server's own state at a path with the revision that vouches for it, if a live listen has it. */
  confirmed(path: Path): { value: Value; revision: number } | null {
    const source = this.#source(path, null)
    return source?.status === 'live' ? { value: source.tree.at(path), revision: source.revision } : null
  }

  /** What is known at a path with pending writes: for guessing increments. Undefined when nothing is. */
  base(path: Path): Value | undefined {
    const source = this.#source(path, null)
    const known = source === null ? this.#pending.overlay(path, NOTHING_KNOWN) : this.#seen(source, path)
    return known.isWhole ? known.value : undefined
  }

  /** The connection is there: every listen is asked for anew. */
  relisten(): void {
    for (const listen of listensAt(below(this.#root))) if (listen.status === 'waiting') this.#send(listen)
  }

  /** The connection is gone: what was told stays until the server tells anew. */
  lost(): void {
    this.#byQueryId.clear()
    for (const listen of listensAt(below(this.#root))) listen.status = 'waiting'
  }

  /** Ends every listener. Pending writes are left to whoever made them. */
  failAll(error: HearthError): void {
    this.#byQueryId.clear()
    const views = [...viewsAt(below(this.#root))]
    this.#root.children.clear()
    this.#root.views.clear()
    this.#root.listens.clear()
    this.#calls.run(views.flatMap((view) => view.fail(error)))
  }

  pushed(message: Pushed): void {
    const listen = this.#byQueryId.get(message.queryId)
    // A listen just ended may still have messages on their way.
    if (listen === undefined) return
    switch (message.type) {
      case 'patch':
        // A listener ignores what its snapshot already holds.
        if (message.revision <= listen.revision) return
        listen.revision = message.revision
        for (const step of message.steps) this.#step(listen, step)
        return settle(listen)
      case 'resync':
        listen.revision = message.revision
        return this.#setServer(listen, message.value)
      case 'cancel':
        this.#byQueryId.delete(message.queryId)
        return this.#ended(listen, requestFailed(listen.path, message.name, message.message))
    }
  }

  /** What the server would now say, as far as this client can guess: replaced by its next message. */
  assume(entries: Entries): void {
    this.#change(pathsOf(entries), () => {
      for (const [path, value] of entries) {
        for (const listen of listensAt(along(this.#root, path))) {
          listen.tree?.lay(path, value)
          listen.epoch = null
        }
      }
    })
  }

  /** Serves a place from within the client; the server is never asked for it. */
  serve(path: Path, value: Value): void {
    const node = nodeAt(this.#root, path)
    node.listens.set(WHOLE, {
      ...newListen(node, null),
      status: 'live',
      tree: new Tree(path, value, true, true),
    })
  }

  // Asking the server

  /** Makes sure that a view is listened for as often as it wants, by a listen above or one of its own. */
  #ask(node: PathNode, { query, hz }: View): void {
    const wire = wireQuery(query)
    const key = queryKey(wire)
    for (let at: PathNode | null = node; at !== null; at = at.parent) {
      const listen = at.listens.get(WHOLE) ?? (at === node ? at.listens.get(key) : undefined)
      if (listen === undefined) continue
      if (hz <= listen.hz) return
      listen.hz = hz
      if (listen.status !== 'waiting') this.#send(listen)
      return
    }
    const listen = newListen(node, wire, hz || EVERY)
    // It will feed the views below it as well.
    if (key === WHOLE) {
      for (const view of viewsAt(below(node))) listen.hz = Math.max(listen.hz, view.hz)
    }
    node.listens.set(key, listen)
    if (this.#connection.isReady) this.#send(listen)
  }

  #send(listen: Listen): void {
    listen.status = 'sent'
    const { path, query, hz, epoch, revision } = listen
    // Where the server knows what was missed since then, it is all that it sends.
    const held = epoch !== null && { resume: { epoch, revision } }
    this.#connection.send({
      body: {
        type: 'listen',
        path,
        query,
        ...held,
        ...(hz < EVERY && { delivery: { maxHz: hz === LATEST ? null : hz } }),
      },
      kind: 'live',
      done: (answer) => {
        // One that was asked for again is answered twice.
        if (listen.status === 'ended' || !('queryId' in answer)) return
        listen.status = 'live'
        this.#byQueryId.delete(listen.queryId)
        listen.queryId = answer.queryId
        listen.revision = answer.revision
        listen.epoch = this.#connection.epoch
        this.#byQueryId.set(answer.queryId, listen)
        if (answer.type === 'resumed') {
          for (const step of answer.steps) this.#step(listen, step)
          return settle(listen)
        }
        if (answer.warning === 'no_index') warnOfNoIndex(listen)
        this.#setServer(listen, answer.value)
      },
      failed: (error) => {
        if (listen.status === 'sent') this.#ended(listen, error)
      },
    })
  }

  /** A whole value has arrived: listens at and below its path have nothing to add. */
  #dropCovered(listen: Listen): void {
    for (const node of below(listen.node)) {
      for (const [key, covered] of [...node.listens]) {
        if (covered === listen) continue
        node.listens.delete(key)
        this.#end(covered)
      }
      prune(node)
    }
  }

  /** The last view of a query is gone: its listen goes too, and views it covered ask for their own first. */
  #release(node: PathNode, query: Query | null): void {
    const key = queryKey(query)
    const listen = node.listens.get(key)
    if (listen === undefined) return
    for (const view of node.views.values()) if (queryKey(wireQuery(view.query)) === key) return
    this.#drop(listen)
    this.#end(listen)
  }

  /** Takes a listen out; views it fed keep what they know until listens of their own are answered. */
  #drop({ node, query }: Listen): void {
    for (const view of viewsAt(below(node))) view.kept = this.#look(view)
    node.listens.delete(queryKey(query))
    if (query === null) this.#askBelow(node)
    prune(node)
  }

  #askBelow(node: PathNode): void {
    for (const view of node.views.values()) this.#ask(node, view)
    if (!node.listens.has(WHOLE)) for (const child of node.children.values()) this.#askBelow(child)
  }

  /** Ends a listen nobody needs any more. */
  #end(listen: Listen): void {
    const { path, query, status } = listen
    listen.status = 'ended'
    if (this.#byQueryId.get(listen.queryId) === listen) this.#byQueryId.delete(listen.queryId)
    if (status === 'waiting' || status === 'ended') return
    this.#connection.send({ body: { type: 'unlisten', path, query }, kind: 'live', done() {}, failed() {} })
  }

  /** The server ended or refused a listen. */
  #ended(listen: Listen, error: HearthError): void {
    const { node, query } = listen
    const key = queryKey(query)
    if (node.listens.get(key) !== listen) return
    if (!this.#connection.isReady) {
      // The token is being renewed: asked again with the new one, it may well be granted.
      listen.status = 'waiting'
      return
    }
    const calls: Call[] = []
    for (const [otherKey, view] of [...node.views]) {
      if (queryKey(wireQuery(view.query)) !== key) continue
      node.views.delete(otherKey)
      calls.push(...view.fail(error))
    }
    listen.status = 'ended'
    this.#drop(listen)
    this.#calls.run(calls)
  }

  // What the server tells

  #setServer(listen: Listen, value: Value): void {
    this.#change([listen.path], () => {
      listen.tree = new Tree(listen.path, value, listen.query === null, true)
      if (listen.query === null) this.#dropCovered(listen)
    })
    settle(listen)
  }

  /** One write of the server's: all its places change, then one round of events. */
  #step({ path, tree }: Listen, step: Step): void {
    const entries: [Path, Value][] = []
    for (let i = 0; i < step.length; i += 2) {
      const text = step[i] as string
      entries.push([text === '' ? path : [...path, ...text.split('/')], step[i + 1] as Value])
    }
    this.#change(pathsOf(entries), () => {
      for (const [at, value] of entries) tree?.put(at, value)
    })
  }

  // Sources and views

  /** What the app sees at a path, by a listen that has data. */
  #seen({ tree, query }: Source, path: Path): Known {
    return this.#pending.overlay(path, { value: tree.at(path), isWhole: query === null })
  }

  #look(view: View): Known {
    const { path, query } = view
    const source = this.#source(path, wireQuery(query))
    if (source !== null && showsAll(query)) {
      view.kept = null
      return this.#seen(source, path)
    }
    // Nothing told yet: what the client itself wrote is known, and what was known is kept until the server tells.
    const known =
      source === null
        ? this.#pending.overlay(path, view.kept ?? NOTHING_KNOWN)
        : { value: this.#seen(source, path).value, isWhole: true }
    view.kept = { value: windowOf(known.value, query), isWhole: known.isWhole }
    return view.kept
  }

  /** The topmost whole value at or above the path that has data, else the query's own. */
  #source(path: Path, query: Query | null): Source | null {
    let node: PathNode | undefined = this.#root
    for (let depth = 0; node !== undefined; depth++) {
      const whole = node.listens.get(WHOLE)
      if (hasData(whole)) return whole
      if (depth === path.length) {
        const own = node.listens.get(queryKey(query))
        return hasData(own) ? own : null
      }
      node = node.children.get(path[depth]!)
    }
    return null
  }

  /**
   * Makes a change at some paths, and brings the views at, above and below them from what was to what is; the
   * deepest first, as Firebase does. A view above costs what changed in it, not what it holds.
   */
  #change(paths: readonly Path[], make: () => void): void {
    // For each view the children that may have changed, or null for all of it.
    const touched = new Map<View, Set<string> | null>()
    for (const path of paths) {
      for (const { views, path: at } of along(this.#root, path)) {
        for (const view of views.values()) {
          const keys = touched.get(view)
          if (keys === null || at.length >= path.length || !this.#isSteady(view)) touched.set(view, null)
          else touched.set(view, (keys ?? new Set()).add(path[at.length]!))
        }
      }
    }
    const moves = [...touched]
      .sort(([a], [b]) => b.path.length - a.path.length)
      .map(([view, keys]) => {
        if (keys === null) {
          const before = view.kept ?? this.#look(view)
          return () => view.update(before, this.#look(view))
        }
        const before = [...keys].map((key) => ({ key, before: this.#child(view, key) }))
        return () => {
          const changes = before.map((child) => ({ ...child, after: this.#child(view, child.key) }))
          return view.updateChildren(changes, () => this.#look(view).value)
        }
      })
    make()
    this.#calls.run(moves.flatMap((move) => move()))
  }

  /** Whether a write below a view changes only children of it: there is no leaf or priority that could come back. */
  #isSteady({ path, query, kept }: View): boolean {
    const source = kept === null ? this.#source(path, wireQuery(query)) : null
    return source?.tree.hasOnlyChildren(path) === true && !this.#pending.covers(path)
  }

  /** One child of a view that a listen vouches for. */
  #child(view: View, key: string): Value {
    const source = this.#source(view.path, null)
    return source === null ? null : this.#seen(source, [...view.path, key]).value
  }
}

function pathsOf(entries: Entries): Path[] {
  return entries.map(([path]) => path)
}

/** Views of one path are told apart by order, range and limit; the default one has the empty key. */
function viewKey(query: Query): string {
  return showsAll(query) && query.orderBy === 'priority' ? WHOLE : queryKey(query)
}
