/**
 * Branch: a node in memory whose children have rows of their own. It caches rows that were read and holds what the
 * group being built changes, so the flushed state and the head are two ways to read one structure:
 *
 *   flushed   rows                (a key that is not in the map has not been read yet; null is known absence)
 *   head      staged, else rows
 *
 * INVARIANT: cached values are never changed in place; whoever changes one copies the path to it.
 */
import type { Priority, Value } from '../../protocol/index.ts'
import type { BranchTables } from './index-rows.ts'

/** What a row holds, in memory: a packed value, null for absence, or a branch. */
export type Slot = Value | Branch

/** The id of a branch that exists in the head only: a wide object being written to, encoded anew at flush. */
export const UNWRITTEN = -1

export class Branch {
  readonly id: number
  readonly parent: Branch | null
  /** Its key in the parent. */
  readonly key: string
  priority: Priority | null
  /** undefined: not changed by this group. */
  stagedPriority: Priority | null | undefined = undefined
  readonly rows = new Map<string, Slot>()
  staged: Map<string, Slot> | null = null
  /** Staged slots that are not null: while there is one, the branch isn't empty. */
  stagedPresent = 0
  /** Replaced or deleted by this group; the tree takes it back when the group ends. */
  isUnlinked = false
  /** A key that was found to exist in the flushed state. */
  witness: string | null = null
  /** Its tables in indexes, as far as they have been looked up. */
  tables: BranchTables | null = null
  /** INVARIANT: every flushed key before this one is staged for deletion by this group. */
  searchedTo: string | undefined = undefined

  constructor(id: number, parent: Branch | null, key: string, priority: Priority | null) {
    this.id = id
    this.parent = parent
    this.key = key
    this.priority = priority
  }

  headPriority(): Priority | null {
    return this.stagedPriority === undefined ? this.priority : this.stagedPriority
  }

  stage(key: string, slot: Slot): void {
    this.staged ??= new Map()
    const before = this.staged.get(key)
    if (before !== undefined && before !== null) this.stagedPresent -= 1
    if (slot !== null) this.stagedPresent += 1
    this.staged.set(key, slot)
  }

  /** Forgets the group: as if it had never staged anything here. */
  clearStaged(): void {
    this.staged = null
    this.stagedPresent = 0
    this.stagedPriority = undefined
    this.searchedTo = undefined
  }

  /** Whether no branch on the way up was replaced or deleted by this group. */
  get isLinked(): boolean {
    for (let branch: Branch | null = this; branch !== null; branch = branch.parent) {
      if (branch.isUnlinked) return false
    }
    return true
  }
}
