/**
 * Index work: builds what has been declared anew and drops what no longer is, a slice with each group. Where a slice
 * ends is written with it, so a crash costs no more than looking at the lists again.
 *
 *   a declared index   walk the paths its pattern holds for; each list there without a whole table is built
 *   a list             its children in key order, so many rows a slice, each at its place in the head
 *   a dropped slot     its tables, so many rows a slice; then the slot is free
 */
import type { Path } from '../../protocol/index.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import { Branch } from './branch.ts'
import {
  type Definition,
  type IndexRows,
  markerKey,
  PRIORITY_SLOT,
  tableOf,
  tableRowId,
} from './index-rows.ts'
import { INDEX_ID, type RowBatch } from './rows.ts'
import type { IndexProgress } from './store.ts'
import { decodeSlot, type Tree } from './tree.ts'

/** A list whose table is to be built further. */
interface Target {
  definition: Pick<Definition, 'slot' | 'order'>
  path: Path
  branchId: number
}

interface Search {
  definition: Definition
  /** Paths of lists, and null for each other one looked at. */
  paths: Iterator<Path | null>
}

const TABLES_PER_SLICE = 64
const KEYS_PER_CHUNK = 256

export class IndexWork {
  readonly #tree: Tree
  readonly #indexes: IndexRows
  #search: Search | null = null
  #target: Target | null = null
  #rowsMax = 0
  /** What the slice under way removes. */
  #removes: { id: number; key: string }[] = []
  /** How the slice under way leaves its target. */
  #outcome: 'more' | 'done' | null = null
  #indexedInBatch = 0
  #childrenIndexed = 0

  constructor(tree: Tree, indexes: IndexRows) {
    this.#tree = tree
    this.#indexes = indexes
  }

  get isLeft(): boolean {
    if (this.#indexes.isDirty || this.#indexes.priorityBuilds.size > 0) return true
    for (const { state } of this.#indexes.slots.values()) if (state !== 'built') return true
    return false
  }

  get hasStaged(): boolean {
    return this.#removes.length > 0 || (this.#target !== null && this.#rowsMax > 0)
  }

  get progress(): IndexProgress {
    let building = 0
    for (const { state } of this.#indexes.slots.values()) if (state === 'building') building += 1
    return {
      building,
      childrenIndexed: this.#childrenIndexed,
      refused: this.#indexes.refusedCount,
    }
  }

  /** Other indexes are declared: what was being looked for may be no more. */
  restart(): void {
    this.#search = null
    if (this.#target?.definition.slot !== PRIORITY_SLOT) this.#target = null
  }

  /** Decides what this group's slice does, from the flushed state. */
  stage(rowsMax: number): void {
    if (this.hasStaged) return
    this.#tree.trimCache()
    this.#dropSome(rowsMax)
    if (this.#removes.length > 0) return
    this.#target ??= this.#nextTarget(rowsMax)
    if (this.#target === null) return
    this.#rowsMax = rowsMax
    const { definition, branchId } = this.#target
    const { slot, order } = definition
    if (this.#indexes.builtTo(slot, branchId) === undefined) {
      this.#indexes.begin(branchId, tableOf(slot, branchId, order, false))
    }
  }

  #dropSome(rowsMax: number): void {
    const { rows } = this.#tree
    for (const [slot, { state }] of this.#indexes.slots) {
      if (state !== 'dropping') continue
      const prefix = markerKey(slot, '')
      const range = { from: prefix, to: `${prefix}\uffff`, limit: TABLES_PER_SLICE }
      const markers = rows.keys(INDEX_ID, range)
      if (markers.length === 0) {
        this.#indexes.freeSlot(slot)
        continue
      }
      for (const marker of markers) {
        const id = tableRowId(slot, Number(marker.slice(prefix.length)))
        const limit = rowsMax - this.#removes.length
        if (limit <= 0) return
        const places = rows.keys(id, { limit })
        for (const key of places) this.#removes.push({ id, key })
        if (places.length === limit) return
        this.#removes.push({ id: INDEX_ID, key: marker })
      }
      return
    }
  }

  /** The next list to build, or null when this slice has looked at enough paths. */
  #nextTarget(pathsMax: number): Target | null {
    for (const [branchId, path] of this.#indexes.priorityBuilds) {
      return { definition: { slot: PRIORITY_SLOT, order: 'priority' }, path, branchId }
    }
    for (let left = pathsMax; left > 0; left--) {
      if (this.#search === null) {
        const isBuilding = ({ slot }: Definition): boolean =>
          this.#indexes.slots.get(slot)!.state === 'building'
        const definition = this.#indexes.definitions.find(isBuilding)
        if (definition === undefined) return null
        this.#search = { definition, paths: this.#branchesBelow(definition.pattern.steps, []) }
      }
      const { definition, paths } = this.#search
      const next = paths.next()
      if (next.done) {
        this.#indexes.setState(definition.slot, 'built')
        this.#search = null
        continue
      }
      const branch = next.value === null ? null : this.#branchAt(next.value)
      if (branch === null || this.#indexes.builtTo(definition.slot, branch.id) === null) continue
      return { definition, path: next.value!, branchId: branch.id }
    }
    return null
  }

  /** Paths of branches on the way along a pattern, the lists it holds for among them; may be left and taken up again. */
  *#branchesBelow(steps: IndexPattern['steps'], path: Path): Generator<Path | null> {
    if (this.#branchAt(path) === null) return
    const step = steps[path.length]
    if (step === undefined) {
      yield path
      return
    }
    if (typeof step === 'string') {
      yield* this.#branchesBelow(steps, [...path, step])
      return
    }
    let after: string | undefined
    for (;;) {
      const branch = this.#branchAt(path)
      if (branch === null) return
      const keys = this.#tree.rows.keys(branch.id, { after, limit: KEYS_PER_CHUNK })
      for (const key of keys) {
        yield null
        if (!step.except.includes(key)) yield* this.#branchesBelow(steps, [...path, key])
      }
      if (keys.length < KEYS_PER_CHUNK) return
      after = keys[keys.length - 1]
    }
  }

  #branchAt(path: Path): Branch | null {
    const tree = this.#tree
    let slot = tree.flushedSlot(tree.trunk, '')
    for (const key of path) {
      if (!(slot instanceof Branch)) return null
      slot = tree.flushedSlot(slot, key)
    }
    return slot instanceof Branch ? slot : null
  }

  /** After the group's own changes: they are in the head that is built from. */
  writeBatch(batch: RowBatch): void {
    for (const { id, key } of this.#removes) batch.remove(id, key)
    if (this.#target !== null && this.#rowsMax > 0) this.#outcome = this.#build(batch, this.#target)
  }

  #build(batch: RowBatch, { definition: { slot, order }, path, branchId }: Target): 'more' | 'done' {
    const tree = this.#tree
    const branch = this.#branchAt(path)
    if (branch === null || branch.id !== branchId || !branch.isLinked) {
      if (slot === PRIORITY_SLOT) this.#indexes.endPriorityBuild(batch, branchId)
      return 'done'
    }
    const table = tableOf(slot, branchId, order, false)
    const after = this.#indexes.builtTo(slot, branchId) || undefined
    let count = 0
    let last = ''
    tree.rows.scan(branchId, { after, limit: this.#rowsMax }, (key, bytes) => {
      const known = branch.staged?.get(key) ?? branch.rows.get(key)
      const isDeleted = branch.staged?.get(key) === null
      // Read past the cache: building must not push out what rules need.
      if (!isDeleted) this.#indexes.putChild(batch, table, key, known ?? decodeSlot(bytes, branch, key))
      last = key
      count += 1
    })
    this.#indexedInBatch = count
    const isWhole = count < this.#rowsMax
    this.#indexes.putMarker(batch, slot, branchId, isWhole ? null : last)
    if (isWhole && slot === PRIORITY_SLOT) this.#indexes.endPriorityBuild(batch, branchId)
    return isWhole ? 'done' : 'more'
  }

  settle(): void {
    this.#childrenIndexed += this.#indexedInBatch
    if (this.#outcome === 'done') this.#target = null
    this.discard()
  }

  discard(): void {
    this.#removes = []
    this.#outcome = null
    this.#rowsMax = 0
    this.#indexedInBatch = 0
  }
}
