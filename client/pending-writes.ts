/**
 * Pending writes: what this client has written and the server has not yet answered, in order. Laid over what the
 * server told, they give what the app sees.
 */
import { isAtOrAbove, type Path } from '../protocol/path.ts'
import { childOf, type Value, valueAt, withValueAt } from '../protocol/value.ts'

/** Paths from the root and what each becomes, server values already guessed. They do not contain each other. */
export type Entries = readonly (readonly [Path, Value])[]

export interface PendingWrite {
  entries: Entries
}

/**
 * How much of a value is known: all of it, or only those children that are there. A query's window, and a place
 * the server has not told of yet, know only some children.
 */
export interface Known {
  value: Value
  isWhole: boolean
}

export class PendingWrites {
  readonly #writes = new Set<PendingWrite>()

  get size(): number {
    return this.#writes.size
  }

  add(write: PendingWrite): void {
    this.#writes.add(write)
  }

  /** @returns False when it was not pending. */
  remove(write: PendingWrite): boolean {
    return this.#writes.delete(write)
  }

  clear(): PendingWrite[] {
    const writes = [...this.#writes]
    this.#writes.clear()
    return writes
  }

  /** Lays all pending writes over what is known at a path. */
  overlay(path: Path, base: Known): Known {
    let known = base
    for (const { entries } of this.#writes) {
      for (const [at, value] of entries) known = laidOver(known, path, at, value)
    }
    return known
  }
}

/** What is known at `path` once `value` was written at `at`. */
export function laidOver(known: Known, path: Path, at: Path, value: Value): Known {
  if (isAtOrAbove(at, path)) return { value: valueAt(value, path, at.length), isWhole: true }
  if (!isAtOrAbove(path, at)) return known
  if (!known.isWhole && at.length > path.length + 1 && childOf(known.value, at[path.length]!) === null) {
    // Part of a child that is not known here: showing it would show a child without the rest of it.
    return known
  }
  return { value: withValueAt(known.value, at, value, path.length), isWhole: known.isWhole }
}
