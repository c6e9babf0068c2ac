/**
 * Bugs: what cannot happen, and did. Counted, and said loudly in the log, once each.
 */
import type { Logger } from './log.ts'

/** @returns What is told of each. */
export function bugReporter(counters: { bugs: number }, logger: Logger): (error: unknown) => void {
  const reported = new WeakSet<object>()
  return (error) => {
    // Many clients may meet the same one: all who wait for a database that cannot be opened.
    if (typeof error === 'object' && error !== null) {
      if (reported.has(error)) return
      reported.add(error)
    }
    counters.bugs += 1
    logger.error({ err: error }, 'internal error')
  }
}
