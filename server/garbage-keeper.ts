/**
 * Garbage keeper: has the store remove what deleted and replaced subtrees left on disk, a slice a group, in the log's
 * own order, when it is idle.
 */
import { type CommitLog, emptyWrite, type Write } from './log/log.ts'
import type { Store } from './store/store.ts'

/** Rows of replaced subtrees removed in one group: about a millisecond of work. */
const ROWS_PER_GROUP = 500

export class GarbageKeeper {
  /** Stands for a slice in the log's queue; whoever decides writes hands it to `decide`. */
  readonly write: Write = emptyWrite({ written: () => this.wake(), refused() {}, groupSettled() {} })
  readonly #store: Store
  readonly #log: CommitLog
  readonly #isFollower: boolean
  #timer: NodeJS.Immediate | null = null
  #isClosed = false

  /** @param isFollower Whether the store only follows that of another thread, which does the work. */
  constructor(store: Store, log: CommitLog, isFollower: boolean) {
    this.#store = store
    this.#log = log
    this.#isFollower = isFollower
  }

  /** Goes on if there is anything to do. With the first slice after opening the store notes that it was opened. */
  wake(): void {
    if (this.#timer !== null || this.#isClosed) return
    this.#timer = setImmediate(() => {
      this.#timer = null
      const isLeft = this.#store.hasGarbage || (this.#store.hasStaged && !this.#isFollower)
      if (isLeft && !this.#isClosed && !this.#log.isBusy) this.#log.submit(this.write)
    })
  }

  decide(): void {
    this.#store.collectGarbage(ROWS_PER_GROUP)
  }

  close(): void {
    this.#isClosed = true
    if (this.#timer !== null) clearImmediate(this.#timer)
  }
}
