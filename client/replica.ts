/**
 * Replica: what the server told this client, its pending writes laid over it, and the views the app listens through.
 *
 *   tree of paths ─┬─ views     what the app follows here: one for each query
 *                  └─ listens   what the server is asked for: none where a listen above already covers the place
 *
 *   listen.server ── pending writes ──▶ listen.local ── window of the query ──▶ view ──▶ events
 *
 * INVARIANT: a view is fed by one listen: the topmost whole-value listen at or above it that has data, else its own.
 * INVARIANT: views move first, all of them; only then are the app's callbacks called, and calls made from within a
 * callback come after those already owed.
 */
import type { Path } from '../protocol/path.ts'
import { type Query, queryKey } from '../protocol/query.ts'
import type { Step, ToClient } from '../protocol/to-client.ts'
import {
  childOf,
  isObject,
  priorityOf,
  sameValue,
  type Value,
  valueAt,
  withValueAt,
} from '../protocol/value.ts'
import type { Connection, RequestBody } from './connection.ts'
import { type HearthError, requestFailed } from './errors.ts'
import { type Entries, type Known, laidOver, type PendingWrite, PendingWrites } from './pending-writes.ts'
import { type Call, type Registration, View } from './view.ts'
import { showsAll, windowOf, wireQuery } from './window.ts'

interface Listen {
  readonly node: PathNode
  readonly path: Path
  /** As on the wire: null for the whole value. */
  readonly query: Query | null
  /** `waiting` to be sent; `sent`; `live` once the server answered; `ended`. */
  status: 'waiting' | 'sent' | 'live' | 'ended'
  queryId: number
  revision: number
  /** Whether `server` and `local` mean anything yet; they outlive a lost connection. */
  hasData: boolean
  server: Value
  local: Value
}

interface PathNode {
  readonly path: Path
  readonly parent: PathNode | null
  readonly children: Map<string, PathNode>
  readonly views: Map<string, View>
  /** By query key; the whole value's is the empty text. */
  readonly listens: Map<string, Listen>
  /**
   * Listens no longer wanted that feed the views below until the server confirms their end. Those views have asked
   * for listens of their own by then, so they are never without a source.
   */
  readonly leaving: Set<Listen>
}

const WHOLE = ''
const NOTHING_KNOWN: Known = { value: null, isWhole: false }

export class Replica {
  readonly #connection: Pick<Connection, 'isReady' | 'send'>
  readonly #root = newNode([], null)
  readonly #pending = new PendingWrites()
  readonly #byQueryId = new Map<number, Listen>()
  readonly #owed: Call[] = []
  #nextOwed = 0

  constructor(connection: Pick<Connection, 'isReady' | 'send'>) {
    this.#connection = connection
  }

  /** Follows a query. What is already known is told before this returns. */
  register(path: Path, query: Query, registration: Registration): void {
    const node = this.#nodeAt(path)
    const key = viewKey(query)
    let view = node.views.get(key)
    if (view === undefined) {
      view = new View(path, query, NOTHING_KNOWN)
      view.known = this.#known(view)
      node.views.set(key, view)
      this.#ask(node, wireQuery(query))
    }
    this.#call(view.add(registration))
  }

  /** Ends registrations. The default query's `off` reaches every query of its path, as in Firebase. */
  unregister(path: Path, query: Query, matches: (registration: Registration) => boolean): void {
    const node = this.#find(path)
    if (node === null) return
    const key = viewKey(query)
    for (const [otherKey, view] of [...node.views]) {
      if (key !== WHOLE && key !== otherKey) continue
      if (!view.remove(matches)) this.#removeView(node, otherKey)
    }
    this.#prune(node)
  }

  /** Shows a write at once. */
  add(write: PendingWrite): void {
    this.#pending.add(write)
    this.#lay(write)
    this.#round(write.entries.map(([path]) => path))
  }

  /** The server has answered a write, or it is given up: from here on the server's state speaks. */
  remove(write: PendingWrite): void {
    if (this.#pending.remove(write)) this.#restore(write)
  }

  /** Another guess in place of a write that is tried again; it counts as made now. */
  replace(write: PendingWrite, entries: Entries): void {
    this.#pending.remove(write)
    const before = write.entries
    for (const [path] of before) this.#refreshAt(path)
    write.entries = entries
    this.#pending.add(write)
    this.#lay(write)
    this.#round([...before, ...entries].map(([path]) => path))
  }

  /** What the app sees at a path, if a listen has told it. */
  peek(path: Path, query: Query): Value | undefined {
    const listen = this.#source(path, wireQuery(query), false)
    return listen === null ? undefined : windowOf(valueAt(listen.local, path, listen.path.length), query)
  }

  /** What the app sees once `value`, read from the server, has the pending writes laid over it. */
  overlaid(path: Path, query: Query, value: Value): Value {
    const known = this.#pending.overlay(path, { value, isWhole: showsAll(query) })
    return windowOf(known.value, query)
  }

  /** The server's own state at a path with the revision that vouches for it, if a live listen has it. */
  confirmed(path: Path): { value: Value; revision: number } | null {
    const listen = this.#source(path, null, false)
    if (listen?.status !== 'live') return null
    return { value: valueAt(listen.server, path, listen.path.length), revision: listen.revision }
  }

  /** What is known at a path with pending writes: for guessing increments. Undefined when nothing is. */
  base(path: Path): Value | undefined {
    const listen = this.#source(path, null, true)
    if (listen !== null) return valueAt(listen.local, path, listen.path.length)
    const known = this.#pending.overlay(path, NOTHING_KNOWN)
    return known.isWhole ? known.value : undefined
  }

  /** The connection is there: every listen is asked for anew. */
  relisten(): void {
    for (const { listens } of below(this.#root)) {
      for (const listen of listens.values()) if (listen.status === 'waiting') this.#send(listen)
    }
    // The server of this connection never heard of listens no longer wanted; they feed views until it has answered.
    for (const { leaving } of below(this.#root)) {
      for (const listen of leaving) this.#forgetAfter(listen, { type: 'ping' })
    }
  }

  /** The connection is gone: what was told stays until the server tells anew. */
  lost(): void {
    this.#byQueryId.clear()
    for (const { listens } of below(this.#root)) {
      for (const listen of listens.values()) listen.status = 'waiting'
    }
  }

  /** Ends every listener. Pending writes are left to whoever made them. */
  failAll(error: HearthError): void {
    this.#byQueryId.clear()
    const views = [...below(this.#root)].flatMap(({ views }) => [...views.values()])
    this.#root.children.clear()
    this.#root.views.clear()
    this.#root.listens.clear()
    this.#root.leaving.clear()
    this.#call(views.flatMap((view) => view.fail(error)))
  }

  pushed(message: Extract<ToClient, { type: 'patch' | 'cancel' | 'resync' }>): void {
    const listen = this.#byQueryId.get(message.queryId)
    // A listen just ended may still have messages on their way.
    if (listen === undefined) return
    switch (message.type) {
      case 'patch':
        // A listener ignores what its snapshot already holds.
        if (message.revision <= listen.revision) return
        listen.revision = message.revision
        for (const step of message.steps) this.#step(listen, step)
        return
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
    for (const [path, value] of entries) {
      this.#eachListen(path, (listen) => {
        listen.server = laidOver(
          { value: listen.server, isWhole: listen.query === null },
          listen.path,
          path,
          value,
        ).value
        this.#refresh(listen, path)
      })
    }
    this.#round(entries.map(([path]) => path))
  }

  /** Serves a place from within the client; the server is never asked for it. */
  serve(path: Path, value: Value): void {
    const node = this.#nodeAt(path)
    const listen = newListen(node, null)
    Object.assign(listen, { status: 'live', hasData: true, server: value, local: value })
    node.listens.set(WHOLE, listen)
  }

  // Asking the server

  /** Makes sure that a place is listened to, by a listen above or one of its own. */
  #ask(node: PathNode, query: Query | null): void {
    const key = queryKey(query)
    if (node.listens.has(key) || (query !== null && node.listens.has(WHOLE))) return
    for (let above = node.parent; above !== null; above = above.parent) {
      if (above.listens.has(WHOLE)) return
    }
    const listen = newListen(node, query)
    node.listens.set(key, listen)
    if (this.#connection.isReady) this.#send(listen)
  }

  #send(listen: Listen): void {
    listen.status = 'sent'
    this.#connection.send({
      body: { type: 'listen', path: listen.path, query: listen.query },
      kind: 'live',
      done: (answer) => {
        if (listen.status !== 'sent' || answer.type !== 'snapshot') return
        listen.status = 'live'
        listen.queryId = answer.queryId
        listen.revision = answer.revision
        this.#byQueryId.set(answer.queryId, listen)
        this.#setServer(listen, answer.value)
        if (listen.query === null) this.#dropCovered(listen)
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
      this.#prune(node)
    }
  }

  /** The last view of a query is gone: its listen goes too, and views it covered ask for their own first. */
  #release(node: PathNode, query: Query | null): void {
    const key = queryKey(query)
    const listen = node.listens.get(key)
    if (listen === undefined) return
    for (const view of node.views.values()) if (queryKey(wireQuery(view.query)) === key) return
    node.listens.delete(key)
    if (query === null && this.#askBelow(node) && listen.hasData) this.#leave(listen)
    else this.#end(listen)
  }

  /** Ends a listen that goes on feeding the views below it until the server has answered theirs. */
  #leave(listen: Listen): void {
    listen.status = 'ended'
    listen.node.leaving.add(listen)
    this.#forgetAfter(listen, { type: 'unlisten', path: listen.path, query: listen.query })
  }

  /** @returns Whether anything at or below the node had to be asked for. */
  #askBelow(node: PathNode): boolean {
    let hasAsked = false
    for (const view of node.views.values()) {
      this.#ask(node, wireQuery(view.query))
      hasAsked = true
    }
    if (node.listens.has(WHOLE)) return true
    for (const child of node.children.values()) if (this.#askBelow(child)) hasAsked = true
    return hasAsked
  }

  /** Requests are answered in order: with this answer, those of the listens sent before it have come. */
  #forgetAfter(listen: Listen, body: RequestBody): void {
    const { node, queryId } = listen
    const forget = (): void => {
      if (this.#byQueryId.get(queryId) === listen) this.#byQueryId.delete(queryId)
      node.leaving.delete(listen)
      this.#prune(node)
    }
    this.#connection.send({ body, kind: 'live', done: forget, failed: forget })
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
    if (!this.#connection.isReady && node.listens.get(key) === listen) {
      // The token is being renewed: asked again with the new one, it may well be granted.
      listen.status = 'waiting'
      return
    }
    listen.status = 'ended'
    if (node.leaving.has(listen) || node.listens.get(key) !== listen) return
    node.listens.delete(key)
    const calls: Call[] = []
    for (const [otherKey, view] of [...node.views]) {
      if (queryKey(wireQuery(view.query)) !== key) continue
      node.views.delete(otherKey)
      calls.push(...view.fail(error))
    }
    if (query === null && this.#askBelow(node) && listen.hasData) this.#leave(listen)
    this.#prune(node)
    this.#call(calls)
  }

  // What the server tells

  #setServer(listen: Listen, value: Value): void {
    listen.server = value
    listen.local = this.#overlay(listen, listen.path, value)
    listen.hasData = true
    this.#round([listen.path])
  }

  /** One write of the server's: all its places change, then one round of events. */
  #step(listen: Listen, step: Step): void {
    const paths: Path[] = []
    for (let i = 0; i < step.length; i += 2) {
      const text = step[i] as string
      const path = text === '' ? listen.path : [...listen.path, ...text.split('/')]
      listen.server = withValueAt(listen.server, path, step[i + 1] as Value, listen.path.length)
      this.#refresh(listen, path)
      paths.push(path)
    }
    this.#round(paths)
  }

  #lay(write: PendingWrite): void {
    // The newest write: laid over what is shown, no older one needs another look.
    for (const [path, value] of write.entries) {
      this.#eachListen(path, (listen) => {
        listen.local = laidOver(
          { value: listen.local, isWhole: listen.query === null },
          listen.path,
          path,
          value,
        ).value
      })
    }
  }

  #restore(write: PendingWrite): void {
    for (const [path] of write.entries) this.#refreshAt(path)
    this.#round(write.entries.map(([path]) => path))
  }

  #refreshAt(path: Path): void {
    this.#eachListen(path, (listen) => this.#refresh(listen, path))
  }

  /**
   * Works out `local` anew where the server's state or the pending writes changed at `path`, and only there. Above
   * that place both must be objects with the same priority, else putting a child into what is shown would not give
   * back what a leaf, a removal or another priority had replaced.
   */
  #refresh(listen: Listen, path: Path): void {
    let { server, local, path: place } = listen
    // Which children a window knows is only seen from its own path.
    if (listen.query === null) {
      while (place.length < path.length && isObject(server) && isObject(local)) {
        if (priorityOf(server) !== priorityOf(local)) break
        place = path.slice(0, place.length + 1)
        server = childOf(server, place.at(-1)!)
        local = childOf(local, place.at(-1)!)
      }
    }
    const value = this.#overlay(listen, place, server)
    if (!sameValue(value, local)) {
      listen.local = withValueAt(listen.local, place, value, listen.path.length)
    }
  }

  #overlay(listen: Listen, place: Path, server: Value): Value {
    return this.#pending.overlay(place, { value: server, isWhole: listen.query === null }).value
  }

  // Sources and views

  #known(view: View): Known {
    const { path, query } = view
    const listen = this.#source(path, wireQuery(query), true)
    if (listen !== null) {
      return { value: windowOf(valueAt(listen.local, path, listen.path.length), query), isWhole: true }
    }
    // Nothing told yet: what the client itself wrote is known, and kept after its ack until the server tells.
    const known = this.#pending.overlay(path, view.known)
    return { value: windowOf(known.value, query), isWhole: known.isWhole }
  }

  #source(path: Path, query: Query | null, mayBeLeaving: boolean): Listen | null {
    let node: PathNode | null = this.#root
    let leaving: Listen | null = null
    for (let depth = 0; ; depth++) {
      const whole = node.listens.get(WHOLE)
      if (whole?.hasData) return whole
      for (const listen of node.leaving) leaving ??= listen
      if (depth === path.length) break
      const next = node.children.get(path[depth]!)
      if (next === undefined) return mayBeLeaving ? leaving : null
      node = next
    }
    const own = query === null ? undefined : node.listens.get(queryKey(query))
    if (own?.hasData) return own
    return mayBeLeaving ? leaving : null
  }

  /** Every listen that holds something at, above or below a path. */
  #eachListen(path: Path, visit: (listen: Listen) => void): void {
    for (const { listens, leaving } of this.#along(path)) {
      for (const listen of listens.values()) if (listen.hasData) visit(listen)
      for (const listen of leaving) visit(listen)
    }
  }

  /** Brings the views at, above and below the paths to what is known now; deepest first, as Firebase does. */
  #round(paths: readonly Path[]): void {
    const touched = new Set<View>()
    for (const path of paths) {
      for (const { views } of this.#along(path)) for (const view of views.values()) touched.add(view)
    }
    const views = [...touched].sort((a, b) => b.path.length - a.path.length)
    this.#call(views.flatMap((view) => view.update(this.#known(view))))
  }

  #call(calls: Call[]): void {
    for (const call of calls) this.#owed.push(call)
    while (this.#nextOwed < this.#owed.length) {
      const call = this.#owed[this.#nextOwed++]!
      try {
        call()
      } catch (error) {
        // The app's own error: it must surface, but not keep other listeners from their events.
        queueMicrotask(() => {
          throw error
        })
      }
    }
    this.#owed.length = 0
    this.#nextOwed = 0
  }

  // The tree

  #removeView(node: PathNode, key: string): void {
    const view = node.views.get(key)!
    node.views.delete(key)
    this.#release(node, wireQuery(view.query))
  }

  #nodeAt(path: Path): PathNode {
    let node = this.#root
    for (const key of path) {
      let next = node.children.get(key)
      if (next === undefined) {
        next = newNode([...node.path, key], node)
        node.children.set(key, next)
      }
      node = next
    }
    return node
  }

  #find(path: Path): PathNode | null {
    let node: PathNode | undefined = this.#root
    for (const key of path) {
      node = node.children.get(key)
      if (node === undefined) return null
    }
    return node
  }

  /** Nodes above a path, at it and below it. */
  *#along(path: Path): Iterable<PathNode> {
    let node: PathNode | undefined = this.#root
    for (const key of path) {
      yield node
      node = node.children.get(key)
      if (node === undefined) return
    }
    yield* below(node)
  }

  #prune(node: PathNode): void {
    let at = node
    while (
      at.parent !== null &&
      at.children.size + at.views.size + at.listens.size + at.leaving.size === 0 &&
      at.parent.children.get(at.path.at(-1)!) === at
    ) {
      at.parent.children.delete(at.path.at(-1)!)
      at = at.parent
    }
  }
}

function* below(node: PathNode): Iterable<PathNode> {
  yield node
  for (const child of node.children.values()) yield* below(child)
}

function newNode(path: Path, parent: PathNode | null): PathNode {
  return { path, parent, children: new Map(), views: new Map(), listens: new Map(), leaving: new Set() }
}

function newListen(node: PathNode, query: Query | null): Listen {
  return {
    node,
    path: node.path,
    query,
    status: 'waiting',
    queryId: -1,
    revision: -1,
    hasData: false,
    server: null,
    local: null,
  }
}

/** Views of one path are told apart by order, range and limit; the default one has the empty key. */
function viewKey(query: Query): string {
  return showsAll(query) && query.orderBy === 'priority' ? WHOLE : queryKey(query)
}
