/**
 * Recent changes: whether anything at, above or below a path changed after a revision. Bounded memory; what it
 * no longer knows counts as changed, and the client reads again.
 */
import { isAtOrAbove, type Path } from '../protocol/index.ts'

/** Covers about a tenth of a second at full write load and minutes of an ordinary one. */
const CHANGES_MAX = 8192

export class RecentChanges {
  readonly #paths: Path[] = []
  readonly #revisions: number[] = []
  /** Everything after this revision is known. */
  #floor: number
  #next = 0

  constructor(revision: number) {
    this.#floor = revision
  }

  add(path: Path, revision: number): void {
    if (this.#paths.length < CHANGES_MAX) {
      this.#paths.push(path)
      this.#revisions.push(revision)
      return
    }
    this.#floor = this.#revisions[this.#next]!
    this.#paths[this.#next] = path
    this.#revisions[this.#next] = revision
    this.#next = (this.#next + 1) % CHANGES_MAX
  }

  /** Forgets a discarded group: a stale entry would only cause a needless re-read, a reused revision a missed one. */
  reset(revision: number): void {
    this.#paths.length = 0
    this.#revisions.length = 0
    this.#next = 0
    this.#floor = revision
  }

  changedSince(path: Path, revision: number): boolean {
    if (revision < this.#floor) return true
    const count = this.#paths.length
    for (let i = 1; i <= count; i++) {
      const at = (this.#next - i + count * 2) % count
      if (this.#revisions[at]! <= revision) return false
      const changed = this.#paths[at]!
      if (isAtOrAbove(changed, path) || isAtOrAbove(path, changed)) return true
    }
    return false
  }
}
