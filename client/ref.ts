/**
 * Refs and queries: handles on a path, and on an ordered window of its children. Plain immutable values: making one
 * sends nothing.
 */
import { type Path, parsePath, samePath } from '../protocol/path.ts'
import { type Query as QuerySpec, queryKey } from '../protocol/query.ts'
import type { Database } from './client.ts'
import { HearthError, refusing } from './errors.ts'
import { wholeValue } from './window.ts'

/**
 * The types of an app's tree. `ref<Room>(db, 'rooms/a')` gives snapshots whose `val()` is `Room | null`; without a
 * type everything is `any`, as in Firebase.
 */
// biome-ignore lint/suspicious/noExplicitAny: an untyped tree is `any` by design.
export type Untyped = any

export class Query<T = Untyped> {
  /** @internal */ readonly db: Database
  /** @internal */ readonly path: Path
  /** @internal */ readonly spec: QuerySpec
  /** For TypeScript only: keeps queries of different types apart. */
  declare readonly type?: T

  constructor(db: Database, path: Path, spec: QuerySpec) {
    this.db = db
    this.path = path
    this.spec = spec
  }

  get ref(): DatabaseReference<T> {
    return new DatabaseReference(this.db, this.path)
  }

  isEqual(other: Query | null): boolean {
    return (
      other instanceof Query &&
      this.db === other.db &&
      samePath(this.path, other.path) &&
      queryKey(this.spec) === queryKey(other.spec)
    )
  }

  /** The place as an address: what the app connects to, then the path. */
  toString(): string {
    return `${this.db.url}/${this.path.map(encodeURIComponent).join('/')}`
  }

  toJSON(): string {
    return this.toString()
  }
}

export class DatabaseReference<T = Untyped> extends Query<T> {
  constructor(db: Database, path: Path) {
    super(db, path, wholeValue)
  }

  /** The last key of the path; null at the root. */
  get key(): string | null {
    return this.path.at(-1) ?? null
  }

  get parent(): DatabaseReference | null {
    return this.path.length === 0 ? null : new DatabaseReference(this.db, this.path.slice(0, -1))
  }

  get root(): DatabaseReference {
    return new DatabaseReference(this.db, [])
  }
}

/** @param path Keys with slashes between them; the root when left out. */
export function ref(db: Database, path?: string): DatabaseReference
export function ref<T>(db: Database, path?: string): DatabaseReference<T>
export function ref(db: Database, path = ''): DatabaseReference {
  const keys = refusing('ref', () => clientPath(path))
  // The first use of a database connects it, so that one that is only configured costs nothing.
  db.start()
  return new DatabaseReference(db, keys)
}

export function child<T, K extends keyof T & string>(
  parent: DatabaseReference<T>,
  key: K,
): DatabaseReference<NonNullable<T[K]>>
export function child(parent: DatabaseReference, path: string): DatabaseReference
export function child<C>(parent: DatabaseReference, path: string): DatabaseReference<C>
export function child(parent: DatabaseReference, path: string): DatabaseReference {
  const keys = refusing('child', () => {
    const all = [...parent.path, ...clientPath(path)]
    // Only the whole path shows whether it is too deep.
    if (!isInfo(all)) parsePath(all.join('/'))
    return all
  })
  return new DatabaseReference(parent.db, keys)
}

const INFO = '.info'

/** `.info` is kept by the client itself and the one path that has a dot. */
export function isInfo(path: Path): boolean {
  return path[0] === INFO
}

/** Firebase reads `a//b` as `a/b`. */
function clientPath(text: string): Path {
  if (typeof text !== 'string') throw new HearthError('invalid_path', 'a path is a string')
  const clean = text.replace(/\/{2,}/g, '/').replace(/^\//, '')
  if (clean !== INFO && !clean.startsWith(`${INFO}/`)) return parsePath(clean)
  return [INFO, ...parsePath(clean.slice(INFO.length))]
}

/** @throws {HearthError} when one path is given twice or contains another: then their order would matter. */
export function assertDisjoint(operation: string, paths: readonly Path[]): void {
  // With a slash at the end, what lies below a path sorts right behind it.
  const sorted = paths.map((path) => [...path, ''].join('/')).sort()
  sorted.forEach((path, i) => {
    const before = sorted[i - 1]
    if (before !== undefined && path.startsWith(before)) {
      throw new HearthError(
        'invalid_path',
        `${operation} failed: paths \`${before}\` and \`${path}\` overlap`,
      )
    }
  })
}
