/**
 * Tree: the JSON tree over rows. Finds slots, stages writes, and turns a group into a batch of rows.
 *
 *   trunk (node id 0)
 *     ''  -> the root: packed, or Branch 16
 *                        users -> Branch 17          a row each, read when first asked for
 *                                   ada  -> {name: ..}    packed: one row, decoded once
 *                                   bob  -> {name: ..}
 *                        title -> 'x'
 *
 * INVARIANT: a branch has at least one child; one that loses its last vanishes, upward.
 * INVARIANT: staging never scans siblings: its cost is the depth, amortised over the group.
 */
import { strict as assert } from 'node:assert'
import {
  childKeys,
  childOf,
  hasOwn,
  isObject,
  KEY_BYTES_MAX,
  type Path,
  type Priority,
  priorityOf,
  utf8Length,
  type Value,
  type ValueObject,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import { Branch, type Slot, UNWRITTEN } from './branch.ts'
import { putGarbage } from './garbage.ts'
import { IndexRows } from './index-rows.ts'
import { decodeBranchMarker, decodePacked, isBranchMarker, putBranchMarker, putValue } from './row-codec.ts'
import { FIRST_NODE_ID, type RowBatch, type Rows, TRUNK_ID } from './rows.ts'

export interface TreeOptions {
  /** Objects whose msgpack is larger get a row for each child. 0 packs leaves only. */
  packedBytesMax: number
  /** Bytes of decoded rows kept in memory; when they are more, all are dropped. */
  cacheBytes: number
  /** Children a list may have for its priorities to be indexed in the group that brings the first; others take longer. */
  indexedAtOnce: number
}

/**
 * What a cached row takes in memory: its key, these many bytes for the map's entry, and `slotBytes`. Measured with
 * 100,000 rows, and what this says: a number 93 and 94 bytes, a 97-byte text 205 and 240, a message of three members
 * 269 and 360, one of eight keys that no other has 676 and 318.
 */
const CACHED_ROW_BYTES = 80
const CACHED_OBJECT_BYTES = 32
const CACHED_MEMBER_BYTES = 24
const CACHED_TEXT_FACTOR = 1.5
/** Where counting a value ends: what is packed is smaller, and what is larger becomes rows of its own. */
const COUNTED_BYTES_MAX = 64 * 1024
/**
 * Objects with more children are unpacked while a group writes into them: copying an object for each of 2,000
 * writes to it would be quadratic.
 */
const COPIED_CHILDREN_MAX = 64

/** A packed value that was not looked at. */
const SOME_PACKED = Symbol('packed')

export class Tree {
  readonly rows: Rows
  readonly trunk = new Branch(TRUNK_ID, null, '', null)
  readonly indexes: IndexRows
  /** The id the next new branch gets. */
  nextId = FIRST_NODE_ID
  readonly #options: TreeOptions
  #cachedBytes = 0

  /** Branches with staged slots or a staged priority. */
  #touched: Branch[] = []
  #unlinked: Branch[] = []
  /** Branches and packed values that staged ones become once the group is flushed. */
  #settled: { branch: Branch; key: string; slot: Slot }[] = []
  #nextIdInFlight = FIRST_NODE_ID
  #isInFlight = false

  constructor(rows: Rows, options: TreeOptions) {
    this.rows = rows
    this.#options = options
    this.indexes = new IndexRows(this, options.indexedAtOnce)
  }

  get hasStaged(): boolean {
    return this.#touched.length > 0
  }

  /** Call before a read from the top: only then nobody holds a branch. */
  trimCache(): void {
    if (this.#cachedBytes > this.#options.cacheBytes && this.#touched.length === 0) this.#dropCache()
  }

  #dropCache(): void {
    this.trunk.rows.clear()
    this.#cachedBytes = 0
  }

  /** The slot of a child in the flushed state. */
  flushedSlot(branch: Branch, key: string): Slot {
    const slot = branch.rows.get(key)
    return slot !== undefined ? slot : this.#load(branch, key)
  }

  /** The slot of a child in the head. */
  headSlot(branch: Branch, key: string): Slot {
    if (branch.staged !== null) {
      const slot = branch.staged.get(key)
      if (slot !== undefined) return slot
    }
    const slot = branch.rows.get(key)
    return slot !== undefined ? slot : this.#load(branch, key)
  }

  #load(branch: Branch, key: string): Slot {
    if (branch.id === UNWRITTEN) return null
    // Rules may ask for any text; what is too long for a key is absent and not worth remembering.
    if (key.length > KEY_BYTES_MAX / 3 && utf8Length(key) > KEY_BYTES_MAX) return null
    const bytes = this.rows.get(branch.id, key)
    let slot: Slot = null
    if (bytes !== null) slot = decodeSlot(bytes, branch, key)
    this.#cachedBytes += CACHED_ROW_BYTES + key.length + slotBytes(slot)
    branch.rows.set(key, slot)
    return slot
  }

  /**
   * The slot of a child in the head as far as replacing it needs to know: a packed value that isn't cached is only
   * said to be there. Most writes replace what nobody has read, and decoding it would be for nothing.
   */
  #replacedSlot(branch: Branch, key: string): Slot | typeof SOME_PACKED {
    let slot = branch.staged?.get(key)
    if (slot === undefined) slot = branch.rows.get(key)
    if (slot !== undefined) return slot
    if (branch.id === UNWRITTEN) return null
    const bytes = this.rows.get(branch.id, key)
    if (bytes === null) return null
    return isBranchMarker(bytes) ? this.#load(branch, key) : SOME_PACKED
  }

  /** Stages a value at a path; null deletes. */
  stage(path: Path, value: Value): void {
    assert(!this.#isInFlight, 'nothing is staged while a flush is under way')
    let branch = this.trunk
    let key = ''
    for (let depth = 0; ; depth++) {
      if (depth === path.length) {
        const slot = this.#replacedSlot(branch, key)
        if (slot !== value) this.#replace(branch, key, slot, value)
        return
      }
      const slot = this.headSlot(branch, key)
      if (slot instanceof Branch) branch = slot
      else if (isWideAlong(slot, path, depth)) branch = this.#unpack(branch, key, slot as ValueObject)
      else {
        const next = withValueAt(slot, path, value, depth)
        if (next !== slot) this.#replace(branch, key, slot, next)
        return
      }
      key = path[depth]!
    }
  }

  /** Sets or clears the priority of a node that exists. */
  stagePriority(path: Path, priority: Priority | null): void {
    assert(!this.#isInFlight, 'nothing is staged while a flush is under way')
    let branch = this.trunk
    let key = ''
    for (let depth = 0; ; depth++) {
      const slot = this.headSlot(branch, key)
      if (slot instanceof Branch) {
        if (depth === path.length) {
          this.#touch(slot)
          slot.stagedPriority = priority
          return
        }
        branch = slot
        key = path[depth]!
        continue
      }
      const node = valueAt(slot, path, depth)
      if (node === null) return
      const next = withValueAt(slot, path, withPriority(node, priority), depth)
      this.#replace(branch, key, slot, next)
      return
    }
  }

  #touch(branch: Branch): void {
    // An unwritten branch is staged in its parent and written with it.
    if (branch.id !== UNWRITTEN && branch.staged === null && branch.stagedPriority === undefined) {
      this.#touched.push(branch)
    }
  }

  #stageSlot(branch: Branch, key: string, slot: Slot): void {
    this.#touch(branch)
    branch.stage(key, slot)
  }

  #replace(branch: Branch, key: string, old: Slot | typeof SOME_PACKED, slot: Slot): void {
    if (old instanceof Branch) this.#unlink(old)
    this.#stageSlot(branch, key, slot)
    if (slot !== null) return
    let at = branch
    while (at !== this.trunk && this.#isEmptyInHead(at)) {
      this.#unlink(at)
      this.#stageSlot(at.parent!, at.key, null)
      at = at.parent!
    }
  }

  #unlink(branch: Branch): void {
    branch.isUnlinked = true
    this.#unlinked.push(branch)
  }

  /** Turns a packed object into a branch that exists in the head only. */
  #unpack(parent: Branch, key: string, value: ValueObject): Branch {
    const branch = new Branch(UNWRITTEN, parent, key, null)
    branch.stagedPriority = priorityOf(value)
    for (const childKey of childKeys(value)) branch.stage(childKey, value[childKey]!)
    this.#stageSlot(parent, key, branch)
    return branch
  }

  #isEmptyInHead(branch: Branch): boolean {
    if (branch.stagedPresent > 0) return false
    if (branch.id === UNWRITTEN) return true
    const staged = branch.staged!
    // From here on all that is staged is deletions, so a flushed key that isn't staged is a child.
    if (branch.witness !== null && !staged.has(branch.witness)) return false
    for (let limit = 4; ; limit *= 4) {
      const keys = this.rows.keys(branch.id, { after: branch.searchedTo, limit })
      for (const key of keys) {
        if (!staged.has(key)) {
          branch.witness = key
          return false
        }
        branch.searchedTo = key
      }
      if (keys.length < limit) return true
    }
  }

  /** Adds the group's rows to a batch. Until `settle` or `discard` nothing may be staged. */
  writeBatch(batch: RowBatch): void {
    this.#nextIdInFlight = this.nextId
    let within = this.trunk
    const split = {
      packedBytesMax: this.#options.packedBytesMax,
      allocateId: () => this.#nextIdInFlight++,
      branchMade: (rowId: number, key: string, id: number, value: ValueObject) =>
        this.indexes.branchMade(batch, within, rowId, key, id, value),
    }
    for (const branch of this.#touched) {
      if (!branch.isLinked) continue
      within = branch
      if (branch.stagedPriority !== undefined) {
        putBranchMarker(batch, branch.parent!.id, branch.key, {
          id: branch.id,
          priority: branch.stagedPriority,
        })
      }
      if (branch.staged === null) continue
      for (const [key, slot] of branch.staged) {
        if (slot === null) {
          // Known absence needs no row; a remove of what is not there does no harm.
          if (branch.rows.get(key) !== null) batch.remove(branch.id, key)
          continue
        }
        const value = slot instanceof Branch ? materialize(slot) : slot
        const id = putValue(batch, branch.id, key, value, split)
        if (id !== 0) {
          this.#settled.push({ branch, key, slot: new Branch(id, branch, key, priorityOf(value)) })
        } else if (slot !== value) this.#settled.push({ branch, key, slot: value })
      }
    }
    this.indexes.writeTouched(batch, this.#touched)
    for (const branch of this.#unlinked) {
      if (branch.id === UNWRITTEN) continue
      putGarbage(batch, branch.id)
      this.indexes.unlink(batch, branch.id)
    }
    this.#isInFlight = true
  }

  get nextIdInFlight(): number {
    return this.#nextIdInFlight
  }

  /** Whether the group leaves rows behind that no branch leads to. */
  get leavesGarbage(): boolean {
    return this.#unlinked.some((branch) => branch.id !== UNWRITTEN)
  }

  /** The batch is in: the head becomes the flushed state. */
  settle(): void {
    this.nextId = this.#nextIdInFlight
    for (const branch of this.#touched) {
      if (branch.stagedPriority !== undefined) branch.priority = branch.stagedPriority
      if (branch.staged !== null) {
        // Only what was read is kept: who writes a log that nobody reads must not push out what rules need.
        for (const [key, slot] of branch.staged) this.#refresh(branch, key, slot)
        if (branch.witness !== null && branch.staged.get(branch.witness) === null) branch.witness = null
      }
    }
    for (const { branch, key, slot } of this.#settled) this.#refresh(branch, key, slot)
    this.indexes.settle()
    this.#endGroup()
  }

  /**
   * What was staged is in rows that another thread has written: objects it touched may be rows of their own by now.
   * @returns Whether other indexes can be read than before.
   */
  settleFollowed(): boolean {
    for (const branch of this.#touched) {
      if (branch.stagedPriority !== undefined) branch.priority = branch.stagedPriority
      if (branch.staged === null) continue
      for (const [key, slot] of branch.staged) {
        if (typeof slot === 'object' && slot !== null) this.#forget(branch, key)
        else this.#refresh(branch, key, slot)
      }
      if (branch.witness !== null && branch.staged.get(branch.witness) === null) branch.witness = null
    }
    const isIndexChange = this.indexes.followWriter()
    this.#endGroup()
    return isIndexChange
  }

  #forget(branch: Branch, key: string): void {
    const old = branch.rows.get(key)
    if (old === undefined) return
    branch.rows.delete(key)
    this.#cachedBytes -= CACHED_ROW_BYTES + key.length + slotBytes(old)
  }

  #refresh(branch: Branch, key: string, slot: Slot): void {
    const old = branch.rows.get(key)
    if (old === undefined) return
    branch.rows.set(key, slot)
    // Not only what grows: an index looks at each place before something is put there, so it begins as absence.
    this.#cachedBytes += slotBytes(slot) - slotBytes(old)
  }

  /** Drops all that is staged. */
  discard(): void {
    this.indexes.discard()
    this.#endGroup()
  }

  #endGroup(): void {
    this.#isInFlight = false
    for (const branch of this.#touched) branch.clearStaged()
    for (const branch of this.#unlinked) branch.isUnlinked = false
    this.#touched = []
    this.#unlinked = []
    this.#settled = []
    this.trimCache()
  }
}

/** A row's bytes as a slot. */
export function decodeSlot(bytes: Uint8Array, parent: Branch, key: string): Slot {
  if (!isBranchMarker(bytes)) return decodePacked(bytes)
  const { id, priority } = decodeBranchMarker(bytes)
  return new Branch(id, parent, key, priority)
}

/** What a slot takes beside its row. The same for equal slots, so that what was counted is what is taken off again. */
function slotBytes(slot: Slot): number {
  if (typeof slot === 'string') return slot.length * CACHED_TEXT_FACTOR
  if (typeof slot !== 'object' || slot === null || slot instanceof Branch) return 0
  let bytes = CACHED_OBJECT_BYTES
  for (const key in slot) {
    bytes += CACHED_MEMBER_BYTES + slotBytes(slot[key]!)
    if (bytes > COUNTED_BYTES_MAX) break
  }
  return bytes
}

/** An unwritten branch as the value it stands for. */
function materialize(branch: Branch): Value {
  const object: ValueObject = {}
  for (const [key, slot] of branch.staged!) {
    if (slot !== null) object[key] = slot instanceof Branch ? materialize(slot) : slot
  }
  const priority = branch.headPriority()
  if (priority !== null) object['.priority'] = priority
  return object
}

/** Whether writing at the path would copy an object with many children on the way. */
function isWideAlong(value: Value, path: Path, depth: number): boolean {
  let at = value
  for (let i = depth; i < path.length; i++) {
    if (typeof at !== 'object' || at === null || !isObject(at)) return false
    let children = 0
    for (const key in at) if (hasOwn(at, key) && ++children > COPIED_CHILDREN_MAX) return true
    at = childOf(at, path[i]!)
  }
  return false
}
