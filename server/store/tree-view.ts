/**
 * Tree view: reads the flushed state or the head of a tree. Rules ask `valueAt` for the same few paths with every
 * write, so that walk is plain map look-ups and allocates nothing.
 */
import {
  childOf,
  compareKeys,
  formatPath,
  hasOwn,
  type Leaf,
  orderedKeys,
  type Path,
  type Priority,
  priorityOf,
  type Value,
  type ValueObject,
} from '../../protocol/index.ts'
import { OBJECT } from '../../rules/data-view.ts'
import { Branch, type Slot, UNWRITTEN } from './branch.ts'
import { TooLargeError, type TreeView } from './store.ts'
import { decodeSlot, type Tree } from './tree.ts'

type KeyRange = NonNullable<Parameters<TreeView['keys']>[1]>

/** Keys fetched at once: few at first, since a caller often wants only to know whether there is one. */
const KEYS_CHUNK_MIN = 16
const KEYS_CHUNK_MAX = 1024
const DOT = 46

interface Budget {
  leaves: number
}

export class StoreView implements TreeView {
  readonly #tree: Tree
  readonly #isHead: boolean

  constructor(tree: Tree, isHead: boolean) {
    this.#tree = tree
    this.#isHead = isHead
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    const node = this.#find(path)
    if (typeof node !== 'object') return node
    if (node === null) return null
    if (node instanceof Branch) return OBJECT
    return hasOwn(node, '.value') ? (node['.value'] as Leaf) : OBJECT
  }

  priorityAt(path: Path): Priority | null {
    const node = this.#find(path)
    if (typeof node !== 'object' || node === null) return null
    return node instanceof Branch ? this.#priorityOf(node) : priorityOf(node)
  }

  childKeysAt(path: Path): Iterable<string> {
    return this.keys(path)
  }

  read(path: Path, nodesMax = Number.POSITIVE_INFINITY): Value {
    const node = this.#find(path)
    if (typeof node !== 'object' || node === null) return node
    return this.#read(node, { leaves: nodesMax })
  }

  keys(path: Path, options: KeyRange = {}): Iterable<string> {
    const node = this.#find(path)
    if (typeof node !== 'object' || node === null || (options.limit ?? 1) <= 0) return []
    if (node instanceof Branch) return this.#branchKeys(node, options)
    return packedKeys(node, options)
  }

  rankedAbove(paths: readonly Path[]): Path[] {
    const tree = this.#tree
    tree.trimCache()
    const ranked = new Map<string, Path>()
    let before: Path = []
    /** At the places above the path before, from the root on, as far as there is something. */
    const slots: Slot[] = []
    for (const path of paths) {
      let depth = 0
      while (depth < slots.length && depth < before.length && before[depth] === path[depth]) depth += 1
      slots.length = Math.min(slots.length, depth + 1)
      before = path
      for (depth = slots.length; depth < path.length; depth++) {
        const slot =
          depth === 0 ? this.#below(tree.trunk, '') : this.#below(slots[depth - 1]!, path[depth - 1]!)
        if (typeof slot !== 'object' || slot === null) break
        slots.push(slot)
        const priority = slot instanceof Branch ? this.#priorityOf(slot) : priorityOf(slot)
        if (priority !== null) ranked.set(formatPath(path.slice(0, depth)), path.slice(0, depth))
      }
    }
    return [...ranked.values()]
  }

  #below(slot: Slot, key: string): Slot {
    if (slot instanceof Branch) {
      return this.#isHead ? this.#tree.headSlot(slot, key) : this.#tree.flushedSlot(slot, key)
    }
    return key.charCodeAt(0) === DOT ? null : childOf(slot, key)
  }

  /** The packed node or the branch at a path. */
  slotAt(path: Path): Slot {
    return this.#find(path)
  }

  #find(path: Path): Slot {
    const tree = this.#tree
    tree.trimCache()
    const isHead = this.#isHead
    let slot = isHead ? tree.headSlot(tree.trunk, '') : tree.flushedSlot(tree.trunk, '')
    for (let i = 0; i < path.length; i++) {
      if (slot instanceof Branch) {
        slot = isHead ? tree.headSlot(slot, path[i]!) : tree.flushedSlot(slot, path[i]!)
      } else {
        if (typeof slot !== 'object' || slot === null) return null
        // `.priority` and `.value` are parts of a node, not children.
        if (path[i]!.charCodeAt(0) === DOT) return null
        slot = childOf(slot, path[i]!)
      }
    }
    return slot
  }

  #priorityOf(branch: Branch): Priority | null {
    return this.#isHead ? branch.headPriority() : branch.priority
  }

  #read(slot: Slot, budget: Budget): Value {
    if (slot instanceof Branch) return this.#readBranch(slot, budget)
    if (budget.leaves !== Number.POSITIVE_INFINITY) spend(slot, budget)
    return slot
  }

  #readBranch(branch: Branch, budget: Budget): Value {
    const object: ValueObject = {}
    const staged = this.#isHead ? branch.staged : null
    if (branch.id !== UNWRITTEN) {
      this.#tree.rows.scan(branch.id, {}, (key, bytes) => {
        if (staged?.has(key)) return
        // What a scan reads isn't cached: one large read would drop everything that rules need.
        object[key] = this.#read(branch.rows.get(key) ?? decodeSlot(bytes, branch, key), budget)
      })
    }
    if (staged !== null) {
      for (const [key, slot] of staged) if (slot !== null) object[key] = this.#read(slot, budget)
    }
    const priority = this.#priorityOf(branch)
    if (priority !== null) object['.priority'] = priority
    return object
  }

  *#branchKeys(branch: Branch, { from, to, reverse = false, limit = Infinity }: KeyRange): Iterable<string> {
    const staged = this.#isHead ? branch.staged : null
    const overlay = staged === null ? [] : stagedKeys(staged, from, to, reverse)
    let overlayAt = 0
    let left = limit
    let after: string | undefined
    for (let chunk = KEYS_CHUNK_MIN; ; chunk = Math.min(chunk * 4, KEYS_CHUNK_MAX)) {
      const wanted = Math.min(chunk, left + 1)
      const range = { from, to, after, reverse, limit: wanted }
      const rows = branch.id === UNWRITTEN ? [] : this.#tree.rows.keys(branch.id, range)
      for (const key of rows) {
        while (overlayAt < overlay.length && comesBefore(overlay[overlayAt]!, key, reverse)) {
          if (left-- <= 0) return
          yield overlay[overlayAt++]!
        }
        if (staged?.has(key)) continue
        if (left-- <= 0) return
        yield key
      }
      if (rows.length < wanted) break
      after = rows[rows.length - 1]
    }
    while (overlayAt < overlay.length && left-- > 0) yield overlay[overlayAt++]!
  }
}

function comesBefore(a: string, b: string, reverse: boolean): boolean {
  const order = compareKeys(a, b)
  return reverse ? order >= 0 : order <= 0
}

function isWithin(key: string, from: string | undefined, to: string | undefined): boolean {
  return (
    (from === undefined || compareKeys(key, from) >= 0) && (to === undefined || compareKeys(key, to) <= 0)
  )
}

/** Keys that the group sets, in the direction of the walk. */
function stagedKeys(
  staged: ReadonlyMap<string, Slot>,
  from: string | undefined,
  to: string | undefined,
  reverse: boolean,
): string[] {
  const keys: string[] = []
  for (const [key, slot] of staged) if (slot !== null && isWithin(key, from, to)) keys.push(key)
  keys.sort(compareKeys)
  return reverse ? keys.reverse() : keys
}

function packedKeys(value: Value, { from, to, reverse, limit }: KeyRange): string[] {
  const keys = orderedKeys(value).filter((key) => isWithin(key, from, to))
  if (reverse) keys.reverse()
  return limit === undefined ? keys : keys.slice(0, limit)
}

function spend(value: Value, budget: Budget): void {
  if (typeof value === 'object' && value !== null && !hasOwn(value, '.value')) {
    for (const key of Object.keys(value)) if (key !== '.priority') spend(value[key]!, budget)
    return
  }
  budget.leaves -= 1
  if (budget.leaves < 0) throw new TooLargeError('more leaves than one read may take')
}
