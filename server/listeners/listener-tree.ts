/**
 * Listener tree: finds every query a changed path touches. Pure memory: no sockets, no store.
 *
 *   root ── rooms ── a ── messages      a node holds the queries on its path,
 *              └──── b                  and children towards deeper ones
 *
 * INVARIANT: a node with no queries and no children is removed at once, so idle paths cost nothing.
 */
import { strict as assert } from 'node:assert'
import { type Path, type Query, queryKey } from '../../protocol/index.ts'
import type { ChangedPaths } from './conflation.ts'
import type { Listener } from './listener.ts'
import type { QueryWindow } from './query-window.ts'

/** One distinct query with at least one listener. Equal queries share it, so they share bytes. */
export interface LiveQuery {
  /** Unique for the life of the process; names the query on the wire. */
  id: number
  path: Path
  /** The path as text, as it travels. */
  pathText: string
  query: Query | null
  listeners: Set<Listener>
  /** What the server keeps of a query with a range or a limit; null for one that is served whole. */
  window: QueryWindow | null
  /** What is listened to are the messages sent to the path, not its value. */
  isMessages?: boolean
  /** What changed, for listeners that are not told of each change; null while all are. */
  changed: ChangedPaths | null
}

/** Where trees of one database take their ids from: a query's id names it on the wire, whichever tree it is in. */
export interface QueryIds {
  next: number
}

interface Node {
  parent: Node | null
  key: string
  children: Map<string, Node> | null
  queries: Map<string, LiveQuery> | null
}

export class ListenerTree {
  readonly #root: Node = { parent: null, key: '', children: null, queries: null }
  readonly #ids: QueryIds
  /** Distinct live queries. */
  size = 0

  constructor(ids: QueryIds = { next: 1 }) {
    this.#ids = ids
  }

  find(path: Path, query: Query | null): LiveQuery | undefined {
    let node: Node | undefined = this.#root
    for (const key of path) {
      node = node.children?.get(key)
      if (node === undefined) return undefined
    }
    return node.queries?.get(queryKey(query))
  }

  /** The live query, made if it is the first of its kind. */
  add(path: Path, query: Query | null): LiveQuery {
    const queries = this.#queriesAt(path)
    const key = queryKey(query)
    let live = queries.get(key)
    if (live === undefined) {
      const id = this.#ids.next++
      live = {
        id,
        path,
        pathText: path.join('/'),
        query,
        listeners: new Set(),
        window: null,
        changed: null,
      }
      queries.set(key, live)
      this.size += 1
    }
    return live
  }

  /** Takes over a live query that another tree had. */
  adopt(live: LiveQuery): void {
    const queries = this.#queriesAt(live.path)
    assert(!queries.has(queryKey(live.query)), 'a live query is in one tree')
    queries.set(queryKey(live.query), live)
    this.size += 1
  }

  #queriesAt(path: Path): Map<string, LiveQuery> {
    let node = this.#root
    for (const key of path) {
      node.children ??= new Map()
      let child = node.children.get(key)
      if (child === undefined) {
        child = { parent: node, key, children: null, queries: null }
        node.children.set(key, child)
      }
      node = child
    }
    node.queries ??= new Map()
    return node.queries
  }

  remove(live: LiveQuery): void {
    let node: Node | undefined = this.#root
    for (const key of live.path) {
      node = node.children?.get(key)
      if (node === undefined) return
    }
    if (!node.queries?.delete(queryKey(live.query))) return
    this.size -= 1
    if (node.queries.size === 0) node.queries = null
    while (node.parent !== null && node.queries === null && node.children === null) {
      const parent: Node = node.parent
      parent.children!.delete(node.key)
      if (parent.children!.size === 0) parent.children = null
      node = parent
    }
  }

  /**
   * Visits the queries a write at `path` touches: those at or above it, then those below it.
   * Costs the depth of the path plus the queries below it.
   */
  touched(path: Path, atOrAbove: (live: LiveQuery) => void, below: (live: LiveQuery) => void): void {
    let node = this.#root
    for (let depth = 0; ; depth++) {
      if (node.queries !== null) for (const live of node.queries.values()) atOrAbove(live)
      if (depth === path.length) break
      const child = node.children?.get(path[depth]!)
      if (child === undefined) return
      node = child
    }
    if (node.children !== null) visitBelow(node.children, below)
  }

  *all(): Iterable<LiveQuery> {
    const nodes: Node[] = [this.#root]
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      if (node.queries !== null) yield* node.queries.values()
      if (node.children !== null) for (const child of node.children.values()) nodes.push(child)
    }
  }
}

function visitBelow(children: Map<string, Node>, below: (live: LiveQuery) => void): void {
  for (const node of children.values()) {
    if (node.queries !== null) for (const live of node.queries.values()) below(live)
    if (node.children !== null) visitBelow(node.children, below)
  }
}
