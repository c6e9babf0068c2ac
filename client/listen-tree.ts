/**
 * Listen tree: the places of one client's data, with the views the app follows there and the listens the server is asked
 * for there. Data alone; what is asked for and shown is the replica's affair.
 */
import { formatPath, type Path } from '../protocol/path.ts'
import type { Query } from '../protocol/query.ts'
import { EVERY } from './delivery.ts'
import type { Tree } from './tree.ts'
import type { View } from './view.ts'

export interface Listen {
  readonly node: PathNode
  readonly path: Path
  /** As on the wire: null for the whole value. */
  readonly query: Query | null
  /** `waiting` to be sent; `sent`; `live` once the server answered; `ended`. */
  status: 'waiting' | 'sent' | 'live' | 'ended'
  queryId: number
  revision: number
  /** What the revision counts in; null where the tree is no longer what the server told. */
  epoch: string | null
  /** What the server told, if it has; outlives a lost connection. */
  tree: Tree | null
  /** Patches a second it wants at most; see `hzOf`. */
  hz: number
  /** Called after its next message. */
  owed: (() => void)[]
  /** The app was told that this query has no index: not again after each reconnect. */
  isWarned: boolean
}

/** A listen that has data. */
export type Source = Listen & { tree: Tree }

export interface PathNode {
  readonly path: Path
  readonly parent: PathNode | null
  readonly children: Map<string, PathNode>
  readonly views: Map<string, View>
  /** By query key; the whole value's is the empty text. */
  readonly listens: Map<string, Listen>
}

/** The key of the default query's view, and of the whole value's listen. */
export const WHOLE = ''

export function nodeAt(root: PathNode, path: Path): PathNode {
  let node = root
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

export function findNode(root: PathNode, path: Path): PathNode | null {
  let node: PathNode | undefined = root
  for (const key of path) {
    node = node.children.get(key)
    if (node === undefined) return null
  }
  return node
}

/** Nodes above a path, at it and below it. */
export function* along(root: PathNode, path: Path): Iterable<PathNode> {
  let node: PathNode | undefined = root
  for (const key of path) {
    yield node
    node = node.children.get(key)
    if (node === undefined) return
  }
  yield* below(node)
}

export function* below(node: PathNode): Iterable<PathNode> {
  yield node
  for (const child of node.children.values()) yield* below(child)
}

export function newNode(path: Path, parent: PathNode | null): PathNode {
  return { path, parent, children: new Map(), views: new Map(), listens: new Map() }
}

export function newListen(node: PathNode, query: Query | null, hz = EVERY): Listen {
  return {
    node,
    path: node.path,
    query,
    status: 'waiting',
    queryId: -1,
    revision: -1,
    epoch: null,
    tree: null,
    hz,
    owed: [],
    isWarned: false,
  }
}

export function* listensAt(nodes: Iterable<PathNode>): Iterable<Listen> {
  for (const { listens } of nodes) yield* listens.values()
}

export function* viewsAt(nodes: Iterable<PathNode>): Iterable<View> {
  for (const { views } of nodes) yield* views.values()
}

/** Takes out what holds nothing, from a node up. */
export function prune(node: PathNode): void {
  let at = node
  while (
    at.parent !== null &&
    at.children.size + at.views.size + at.listens.size === 0 &&
    at.parent.children.get(at.path.at(-1)!) === at
  ) {
    at.parent.children.delete(at.path.at(-1)!)
    at = at.parent
  }
}

/** Nothing is wrong in what is shown, so that only this tells of all that is downloaded for it. */
export function warnOfNoIndex(listen: Listen): void {
  if (listen.isWarned) return
  listen.isWarned = true
  const { path, query } = listen
  const order = query?.orderBy
  const index = typeof order === 'object' ? order.child.join('/') : `.${order}`
  console.warn(
    `hearth: add ".indexOn": "${index}" at \`${formatPath(path)}\` to the rules; until then all of it is downloaded and filtered here`,
  )
}

/** Its message has come: calls what waited for it. */
export function settle(listen: Listen): void {
  for (const call of listen.owed.splice(0)) call()
}

export function hasData(listen: Listen | undefined): listen is Source {
  return listen !== undefined && listen.tree !== null
}
