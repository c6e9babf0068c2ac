/**
 * Index rows: for each list with an index, one row for each child, ordered by what the index looks at. They are
 * written in the batch that changes the children, so an index is right whenever its data is.
 *
 *   slot     the number of a declared index: pattern of paths and what it looks at
 *   table    the rows of one list in one index, under the node id slot * 2^39 + id of the list's branch
 *   INDEX_ID ':slots'        the declared indexes: [slot, fingerprint, state]
 *            's<slot>/<id>'  a table is there: nil once it is whole, else the child key it is built up to
 *            'p/<id>'        path of a list whose table of priorities is being built
 *
 * Lists packed in one row need none of this: they are small enough to sort when asked. A table of priorities is made
 * for a list when its first child gets one; lists without priorities are in order by their keys.
 *
 * INVARIANT: a whole table has exactly one row for each child of its list, at the child's place.
 * INVARIANT: a table that is being built has that row for each child up to its key, and for each one written since.
 */
import { strict as assert } from 'node:assert'
import {
  childKeys,
  Decoder,
  indexName,
  type Order,
  orderedValue,
  type Path,
  priorityOf,
  type ValueObject,
} from '../../protocol/index.ts'
import { type IndexPattern, matchesPattern } from '../../rules/index-patterns.ts'
import { Branch, type Slot } from './branch.ts'
import { putGarbage } from './garbage.ts'
import { placeKey } from './index-keys.ts'
import { orderedSlot, orderOfIndex } from './index-order.ts'
import { INDEX_ID, type RowBatch, type Rows, TRUNK_ID } from './rows.ts'
import type { Tree } from './tree.ts'

/** Ids of branches stay below; the bits above are the slot. At 10,000 new branches a second it takes 20 months. */
const BRANCH_IDS = 2 ** 39
export const PRIORITY_SLOT = 1
const SLOTS_MAX = 511
export type SlotState = 'building' | 'built' | 'dropping'

/** A declared index. */
export interface Definition {
  slot: number
  order: Order
  pattern: IndexPattern
}

/** The rows of one list in one index. */
export interface Table {
  slot: number
  order: Order
  name: string
  rowId: number
  isWhole: boolean
}

/** What a branch remembers of its tables, as long as none is made or finished. */
export interface BranchTables {
  generation: number
  tables: readonly Table[]
}

export class IndexRows {
  readonly #tree: Tree
  readonly #rows: Rows
  /** A list up to this long gets its table of priorities in the batch that gives the first one. */
  readonly #builtAtOnce: number
  readonly #slots = new Map<number, { fingerprint: string; state: SlotState }>()
  readonly #priorityBuilds = new Map<number, Path>()
  #definitions: Definition[] = []
  #generation = 0
  #none: BranchTables = { generation: 0, tables: [] }
  #isDirty = false
  /** For the batch under way: paths of new branches, tables it begins by branch id, whether known tables change. */
  readonly #madePaths = new Map<number, Path>()
  readonly #begun = new Map<number, Table[]>()
  #mustForget = false
  /** Of a follower: declared indexes, whether the writer has them or not. */
  #followed: WantedIndexes = new Map()
  /** Declared indexes beyond what a store can hold. */
  refusedCount = 0

  constructor(tree: Tree, builtAtOnce: number) {
    this.#tree = tree
    this.#builtAtOnce = builtAtOnce
    this.#rows = tree.rows
    this.#readSlots()
    this.#rows.scan(INDEX_ID, { from: 'p/', to: 'p/\uffff' }, (key, path) => {
      this.#priorityBuilds.set(Number(key.slice(2)), new Decoder(path).value() as Path)
    })
  }

  #readSlots(): void {
    this.#slots.clear()
    const bytes = this.#rows.get(INDEX_ID, ':slots')
    const slots = bytes === null ? [] : (new Decoder(bytes).value() as [number, string, SlotState][])
    for (const [slot, fingerprint, state] of slots) this.#slots.set(slot, { fingerprint, state })
  }

  get definitions(): readonly Definition[] {
    return this.#definitions
  }

  get priorityBuilds(): ReadonlyMap<number, Path> {
    return this.#priorityBuilds
  }

  get slots(): ReadonlyMap<number, { state: SlotState }> {
    return this.#slots
  }

  /** Whether what is declared differs from what is on disk. */
  get isDirty(): boolean {
    return this.#isDirty
  }

  /** Reads what another thread keeps: of these indexes those that it has. */
  follow(patterns: readonly IndexPattern[]): void {
    this.#followed = wantedIndexes(patterns)
    this.followWriter()
  }

  /** The writer may have built, begun or dropped tables. @returns Whether it has other indexes than before. */
  followWriter(): boolean {
    this.#forgetTables()
    if (this.#followed.size + this.#definitions.length === 0) return false
    const before = JSON.stringify([...this.#slots])
    this.#readSlots()
    this.#definitions = []
    for (const [slot, { fingerprint, state }] of this.#slots) {
      const wanted = this.#followed.get(fingerprint)
      if (wanted !== undefined && state !== 'dropping') this.#definitions.push({ slot, ...wanted })
    }
    return before !== JSON.stringify([...this.#slots])
  }

  /** Keeps the tables of these indexes from now on. */
  declare(patterns: readonly IndexPattern[]): void {
    const wanted = wantedIndexes(patterns)
    const known = new Map<string, number>()
    for (const [slot, entry] of this.#slots) {
      if (entry.state === 'dropping') continue
      if (wanted.has(entry.fingerprint)) known.set(entry.fingerprint, slot)
      else this.setState(slot, 'dropping')
    }
    this.#definitions = []
    this.#begun.clear()
    this.refusedCount = 0
    for (const [fingerprint, definition] of wanted) {
      // A slot being dropped holds rows that were not kept up: one declared again starts over in another.
      const slot = known.get(fingerprint) ?? this.#takeSlot(fingerprint)
      if (slot === null) this.refusedCount += 1
      else this.#definitions.push({ slot, ...definition })
    }
    this.#forgetTables()
  }

  #takeSlot(fingerprint: string): number | null {
    for (let slot = PRIORITY_SLOT + 1; slot <= SLOTS_MAX; slot++) {
      if (this.#slots.has(slot)) continue
      this.#slots.set(slot, { fingerprint, state: 'building' })
      this.#isDirty = true
      return slot
    }
    return null
  }

  setState(slot: number, state: SlotState): void {
    this.#slots.get(slot)!.state = state
    this.#isDirty = true
  }

  freeSlot(slot: number): void {
    this.#slots.delete(slot)
    this.#isDirty = true
  }

  #forgetTables(): void {
    this.#generation += 1
    this.#none = { generation: this.#generation, tables: [] }
  }

  /** The tables of a branch, whole or being built. */
  tablesOf(branch: Branch): readonly Table[] {
    if (branch.tables === null || branch.tables.generation !== this.#generation) {
      const tables = this.#findTables(branch)
      branch.tables = tables.length === 0 ? this.#none : { generation: this.#generation, tables }
    }
    return branch.tables.tables
  }

  #findTables(branch: Branch): Table[] {
    const tables: Table[] = []
    if (branch.id < BRANCH_IDS && branch.id > TRUNK_ID) {
      this.#addTable(tables, branch, PRIORITY_SLOT, 'priority')
      if (this.#definitions.length > 0) {
        for (const { slot, order } of this.definitionsAt(pathOf(branch))) {
          this.#addTable(tables, branch, slot, order)
        }
      }
    }
    return tables
  }

  #addTable(tables: Table[], branch: Branch, slot: number, order: Order): void {
    const builtTo = this.builtTo(slot, branch.id)
    if (builtTo !== undefined) tables.push(tableOf(slot, branch.id, order, builtTo === null))
  }

  definitionsAt(path: Path): Definition[] {
    return this.#definitions.filter(({ pattern }) => matchesPattern(pattern, path))
  }

  /** null for a whole table, else the key it is built up to; undefined where there is none. */
  builtTo(slot: number, branchId: number): string | null | undefined {
    const bytes = this.#rows.get(INDEX_ID, markerKey(slot, branchId))
    return bytes === null ? undefined : (new Decoder(bytes).value() as string | null)
  }

  /** A value became a branch, within the row of a touched one: its tables are written whole. */
  branchMade(
    batch: RowBatch,
    within: Branch,
    rowId: number,
    key: string,
    id: number,
    value: ValueObject,
  ): void {
    assert(id < BRANCH_IDS, 'a branch id leaves room for the slot')
    const tables: Table[] = []
    if (this.#definitions.length > 0) {
      const parent = this.#madePaths.get(rowId) ?? pathOf(within)
      const path = rowId === TRUNK_ID ? [] : [...parent, key]
      this.#madePaths.set(id, path)
      for (const { slot, order } of this.definitionsAt(path)) tables.push(tableOf(slot, id, order, true))
    }
    if (hasPriorityBelow(value)) tables.push(tableOf(PRIORITY_SLOT, id, 'priority', true))
    if (tables.length === 0) return
    const keys = childKeys(value)
    for (const table of tables) {
      for (const child of keys)
        putPlace(batch, table, placeKey(orderedValue(table.order, value[child]!), child))
      this.putMarker(batch, table.slot, id, null)
    }
  }

  /** Brings the tables of all lists the group has touched up to date. @param touched Branches with staged slots or priority. */
  writeTouched(batch: RowBatch, touched: readonly Branch[]): void {
    for (const branch of touched) {
      if (!branch.isLinked || branch.id === TRUNK_ID) continue
      if (branch.staged !== null) {
        if (this.#priorityTable(branch) === null && hasPriority(branch.staged))
          this.#beginPriorities(batch, branch)
        for (const table of this.#maintained(branch)) {
          for (const key of branch.staged.keys()) this.#move(batch, table, branch, key)
        }
        if (this.#definitions.length > 0) this.#moveAbove(batch, branch)
      }
      if (branch.stagedPriority !== undefined) this.#moveByPriority(batch, branch)
    }
  }

  #priorityTable(branch: Branch): Table | null {
    return this.#maintained(branch).find(({ slot }) => slot === PRIORITY_SLOT) ?? null
  }

  #maintained(branch: Branch): readonly Table[] {
    const begun = this.#begun.get(branch.id)
    return begun === undefined ? this.tablesOf(branch) : [...this.tablesOf(branch), ...begun]
  }

  /** From this batch on the table is kept up with what is written, though it has no marker yet. */
  begin(branchId: number, table: Table): void {
    const begun = this.#begun.get(branchId)
    if (begun === undefined) this.#begun.set(branchId, [table])
    else begun.push(table)
  }

  /** The first child with a priority: from now on the list has a table of them. */
  #beginPriorities(batch: RowBatch, branch: Branch): void {
    const keys = this.#rows.keys(branch.id, { limit: this.#builtAtOnce + 1 })
    const isWhole = keys.length <= this.#builtAtOnce
    const table = tableOf(PRIORITY_SLOT, branch.id, 'priority', isWhole)
    this.begin(branch.id, table)
    if (!isWhole) {
      const path = pathOf(branch)
      this.#priorityBuilds.set(branch.id, path)
      this.putMarker(batch, PRIORITY_SLOT, branch.id, '')
      putValueRow(batch, `p/${branch.id}`, path)
      return
    }
    for (const key of keys) this.putChild(batch, table, key, this.#tree.headSlot(branch, key))
    // Children that are new in this group may have been looked at before there was a table to put them in.
    for (const [key, slot] of branch.staged ?? []) this.putChild(batch, table, key, slot)
    this.putMarker(batch, PRIORITY_SLOT, branch.id, null)
  }

  /** A branch's own priority moves it in its parent's table. */
  #moveByPriority(batch: RowBatch, branch: Branch): void {
    const parent = branch.parent!
    if (parent.id === TRUNK_ID || parent.staged?.has(branch.key)) return
    if (this.#priorityTable(parent) === null) {
      if (branch.stagedPriority === null) return
      this.#beginPriorities(batch, parent)
    }
    this.#move(batch, this.#priorityTable(parent)!, parent, branch.key)
  }

  /** What was staged in a branch may be what a list above it is ordered by. */
  #moveAbove(batch: RowBatch, branch: Branch): void {
    const rest: string[] = []
    let child = branch
    for (let list = branch.parent!; list.id !== TRUNK_ID; list = list.parent!) {
      for (const table of this.#maintained(list)) {
        if (looksInto(table.order, rest, branch.staged!) && !list.staged?.has(child.key)) {
          this.#move(batch, table, list, child.key)
        }
      }
      rest.unshift(child.key)
      child = list
    }
  }

  /** Moves a child to its place in the head. */
  #move(batch: RowBatch, table: Table, branch: Branch, key: string): void {
    const tree = this.#tree
    const before = orderedSlot(tree, tree.flushedSlot(branch, key), table.order, false)
    const after = orderedSlot(tree, tree.headSlot(branch, key), table.order, true)
    const from = before === undefined ? null : placeKey(before, key)
    const to = after === undefined ? null : placeKey(after, key)
    // In a table being built the row may not be there yet: it is put by whoever builds it, from the head.
    if (from === to) return
    if (from !== null) batch.remove(table.rowId, from)
    if (to !== null) putPlace(batch, table, to)
  }

  /** Puts a child's row as the head has it. */
  putChild(batch: RowBatch, table: Table, key: string, slot: Slot): void {
    const ordered = orderedSlot(this.#tree, slot, table.order, true)
    if (ordered !== undefined) putPlace(batch, table, placeKey(ordered, key))
  }

  /** @param builtTo null once the table is whole. */
  putMarker(batch: RowBatch, slot: number, branchId: number, builtTo: string | null): void {
    putValueRow(batch, markerKey(slot, branchId), builtTo)
    this.#mustForget = true
  }

  endPriorityBuild(batch: RowBatch, branchId: number): void {
    batch.remove(INDEX_ID, `p/${branchId}`)
    this.#priorityBuilds.delete(branchId)
  }

  /** A branch is gone: so are its tables. */
  unlink(batch: RowBatch, branchId: number): void {
    if (branchId >= BRANCH_IDS) return
    this.#unlinkTable(batch, PRIORITY_SLOT, branchId)
    for (const slot of this.#slots.keys()) this.#unlinkTable(batch, slot, branchId)
  }

  #unlinkTable(batch: RowBatch, slot: number, branchId: number): void {
    if (this.builtTo(slot, branchId) === undefined) return
    batch.remove(INDEX_ID, markerKey(slot, branchId))
    putGarbage(batch, tableRowId(slot, branchId))
  }

  writeSlots(batch: RowBatch): void {
    if (!this.#isDirty) return
    putValueRow(
      batch,
      ':slots',
      [...this.#slots].map(([slot, { fingerprint, state }]) => [slot, fingerprint, state]),
    )
  }

  settle(): void {
    this.#isDirty = false
    this.#endBatch()
  }

  discard(): void {
    this.#endBatch()
    // Builds that were begun or ended in this batch were not, after all.
    this.#priorityBuilds.clear()
    this.#rows.scan(INDEX_ID, { from: 'p/', to: 'p/\uffff' }, (key, path) => {
      this.#priorityBuilds.set(Number(key.slice(2)), new Decoder(path).value() as Path)
    })
  }

  #endBatch(): void {
    if (this.#mustForget) this.#forgetTables()
    this.#mustForget = false
    this.#madePaths.clear()
    this.#begun.clear()
  }
}

type WantedIndexes = ReadonlyMap<string, Omit<Definition, 'slot'>>

/** By fingerprint. */
function wantedIndexes(patterns: readonly IndexPattern[]): WantedIndexes {
  const wanted = new Map<string, Omit<Definition, 'slot'>>()
  for (const pattern of patterns) {
    const order = orderOfIndex(pattern.indexOn)
    // What rules call a priority index needs no declaration.
    if (order === null || order === 'priority') continue
    wanted.set(JSON.stringify([pattern.steps, indexName(order)]), { order, pattern })
  }
  return wanted
}

export function tableOf(slot: number, branchId: number, order: Order, isWhole: boolean): Table {
  return { slot, order, name: indexName(order)!, rowId: tableRowId(slot, branchId), isWhole }
}

export function tableRowId(slot: number, branchId: number): number {
  return slot * BRANCH_IDS + branchId
}

export function markerKey(slot: number, branchId: number | ''): string {
  return `s${slot}/${branchId}`
}

export function pathOf(branch: Branch): Path {
  const path: string[] = []
  for (let at = branch; at.parent !== null && at.parent.id !== TRUNK_ID; at = at.parent) path.unshift(at.key)
  return path
}

/** Whether an order looks at something that is staged in the branch at `rest` below a child, or below that. */
function looksInto(order: Order, rest: readonly string[], staged: ReadonlyMap<string, Slot>): boolean {
  if (typeof order === 'string' || order.child.length <= rest.length) return false
  return rest.every((key, i) => order.child[i] === key) && staged.has(order.child[rest.length]!)
}

function hasPriorityBelow(value: ValueObject): boolean {
  for (const key of Object.keys(value)) {
    const child = value[key]!
    if (typeof child === 'object' && key !== '.priority' && priorityOf(child) !== null) return true
  }
  return false
}

function hasPriority(staged: ReadonlyMap<string, Slot>): boolean {
  for (const slot of staged.values()) {
    if (typeof slot !== 'object' || slot === null) continue
    if ((slot instanceof Branch ? slot.headPriority() : priorityOf(slot)) !== null) return true
  }
  return false
}

function putPlace(batch: RowBatch, { rowId }: Table, place: string): void {
  const start = batch.encoder.length
  batch.encoder.nil()
  batch.put(rowId, place, start, batch.encoder.length)
}

function putValueRow(batch: RowBatch, key: string, value: unknown): void {
  const start = batch.encoder.length
  batch.encoder.value(value)
  batch.put(INDEX_ID, key, start, batch.encoder.length)
}
