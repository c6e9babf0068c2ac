/**
 * DataView: the read-only window the server lends to rules. Rules see stored data through nothing else,
 * so whoever lends the view decides which state is seen, how deep it is read and what is recorded.
 * A path is absolute: the keys from the database root.
 */
import type { Leaf, Path, Priority } from '../protocol/index.ts'

/** What `valueAt` answers for a node that has children: rules see it as one opaque, non-null value. */
export const OBJECT: unique symbol = Symbol('object')

export interface DataView {
  /** The leaf at a path, `OBJECT` for a node with children, null for absence. Keys not allowed in data are simply absent. */
  valueAt(path: Path): Leaf | typeof OBJECT | null
  /** The priority at a path, null for none or absence. */
  priorityAt(path: Path): Priority | null
  /** Keys of the children at a path, unordered. Rules walk it only below a write's own locations. */
  childKeysAt(path: Path): Iterable<string>
}
