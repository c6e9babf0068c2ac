/**
 * Indexes as the rules declare them: which orders of a list have one, what a client is told where there is none, and
 * the keeper who has the store build what is new and drop what is no longer declared.
 */
import { indexName, type Path, type Query, RequestError } from '../protocol/index.ts'
import type { IndexPattern } from '../rules/index.ts'
import { emptyWrite, type Write } from './log/log.ts'
import { orderOfIndex } from './store/index-order.ts'
import type { IndexProgress, Store } from './store/store.ts'

/** Whether a query's order can be served: keys and priorities always, anything else by its `.indexOn`. */
export function declares(indexOn: readonly string[], { orderBy }: Query): boolean {
  if (orderBy === 'key' || orderBy === 'priority') return true
  const name = indexName(orderBy)
  return indexOn.some((text) => {
    const order = text === name ? orderBy : orderOfIndex(text)
    return order !== null && indexName(order) === name
  })
}

/** Firebase's text: its tools and its users know it. */
export function noIndex(path: Path, { orderBy }: Query): RequestError {
  return new RequestError(
    'noIndex',
    `Index not defined, add ".indexOn": "${indexName(orderBy)}", for path "/${path.join('/')}", to the rules`,
  )
}

/** Building holds the loop that serves sockets: about two milliseconds of it. */
const ROWS_PER_GROUP = 500
const RETRY_MS = 1000
const REPORT_EVERY_CHILDREN = 100_000

export interface IndexKeeperOptions {
  store: Store
  /** Puts the keeper's write into the log. */
  submit(write: Write): void
  /** Hears when the number of indexes being built changes, and now and then while they are. */
  report?: ((progress: IndexProgress) => void) | undefined
}

/** Works on indexes a slice a group, in the log's own order, beside writes as well as when there are none. */
export class IndexKeeper {
  /** Stands for a slice in the log's queue; whoever decides writes hands it to `decide`. */
  readonly write: Write
  readonly #options: IndexKeeperOptions
  /** Declared, but not yet to the store. */
  #patterns: readonly IndexPattern[] | null = null
  #isQueued = false
  #isClosed = false
  #reported: IndexProgress = { building: 0, childrenIndexed: 0, refused: 0 }

  constructor(options: IndexKeeperOptions) {
    this.#options = options
    this.write = emptyWrite({
      written: () => this.#again(0),
      refused: () => this.#again(RETRY_MS),
      groupSettled() {},
    })
  }

  /** The indexes to keep from now on. */
  declare(patterns: readonly IndexPattern[]): void {
    this.#patterns = patterns
    this.wake()
  }

  /** Goes on if there is anything to do. */
  wake(): void {
    const { store, submit } = this.#options
    if (this.#isQueued || this.#isClosed || (this.#patterns === null && !store.hasIndexWork)) return
    this.#isQueued = true
    submit(this.write)
  }

  decide(): void {
    const { store } = this.#options
    if (this.#patterns !== null) store.declareIndexes(this.#patterns)
    this.#patterns = null
    store.workOnIndexes(ROWS_PER_GROUP)
  }

  close(): void {
    this.#isClosed = true
  }

  #again(delayMs: number): void {
    this.#isQueued = false
    this.#report()
    // Not within the group that is being settled: whoever waits for the log to be idle would wait for all of it.
    if (delayMs === 0) setImmediate(() => this.wake())
    else setTimeout(() => this.wake(), delayMs).unref()
  }

  #report(): void {
    const { store, report } = this.#options
    const progress = store.indexProgress
    const { building, childrenIndexed, refused } = this.#reported
    if (
      progress.building === building &&
      progress.refused === refused &&
      progress.childrenIndexed - childrenIndexed < REPORT_EVERY_CHILDREN
    ) {
      return
    }
    this.#reported = progress
    report?.(progress)
  }
}
