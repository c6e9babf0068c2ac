/**
 * Pending writes: what this client has written and the server has not yet answered. Laid over what the server told,
 * in their order, they give what the app sees. Kept in a tree of paths, so that only those that matter are looked at.
 */
import type { Path } from '../protocol/path.ts'
import type { Value } from '../protocol/value.ts'
import { Tree } from './tree.ts'

/** Paths from the root and what each becomes, server values already guessed. They do not contain each other. */
export type Entries = readonly (readonly [Path, Value])[]

export interface PendingWrite {
  entries: Entries
  /** Its place among all writes, given when it is added; 0 while it is not pending. */
  order?: number
}

/** What is known of a value: all of it, or only those children that are there. */
export interface Known {
  value: Value
  isWhole: boolean
}

interface Place {
  readonly children: Map<string, Place>
  /** By order of the write. */
  readonly written: Map<number, readonly [Path, Value]>
}

export class PendingWrites {
  readonly #root: Place = newPlace()
  #lastOrder = 0

  add(write: PendingWrite): void {
    const order = ++this.#lastOrder
    write.order = order
    for (const entry of write.entries) {
      let place = this.#root
      for (const key of entry[0]) {
        let next = place.children.get(key)
        if (next === undefined) {
          next = newPlace()
          place.children.set(key, next)
        }
        place = next
      }
      place.written.set(order, entry)
    }
  }

  /** @returns False when it was not pending. */
  remove(write: PendingWrite): boolean {
    const { order = 0 } = write
    write.order = 0
    if (order !== 0) for (const [path] of write.entries) removeFrom(this.#root, path, 0, order)
    return order !== 0
  }

  /** Whether a pending write is at or above a path. */
  covers(path: Path): boolean {
    let place: Place | undefined = this.#root
    for (let depth = 0; place !== undefined; depth++) {
      if (place.written.size > 0) return true
      place = depth < path.length ? place.children.get(path[depth]!) : undefined
    }
    return false
  }

  /** Lays all pending writes over what is known at a path. */
  overlay(path: Path, known: Known): Known {
    const found: [number, readonly [Path, Value]][] = []
    let place: Place | undefined = this.#root
    for (const key of path) {
      for (const entry of place.written) found.push(entry)
      place = place.children.get(key)
      if (place === undefined) break
    }
    if (place !== undefined) collect(place, found)
    if (found.length === 0) return known
    const tree = new Tree(path, known.value, known.isWhole, false)
    for (const [, [at, value]] of found.sort(([a], [b]) => a - b)) tree.lay(at, value)
    return { value: tree.at(path), isWhole: tree.isWhole }
  }
}

function newPlace(): Place {
  return { children: new Map(), written: new Map() }
}

function collect(place: Place, found: [number, readonly [Path, Value]][]): void {
  for (const item of place.written) found.push(item)
  for (const child of place.children.values()) collect(child, found)
}

/** @returns Whether nothing is left there. */
function removeFrom(place: Place, path: Path, depth: number, order: number): boolean {
  const key = path[depth]
  if (key === undefined) place.written.delete(order)
  else {
    const child = place.children.get(key)
    if (child !== undefined && removeFrom(child, path, depth + 1, order)) place.children.delete(key)
  }
  return place.children.size + place.written.size === 0
}
