/**
 * Slow transfers: which of many answers or bodies under way is ended, where they take all the memory there is for them and
 * others would be refused.
 */

export interface Transfer {
  /** About; 0 where it is not known. */
  readonly bytes: number
  readonly sinceMs: number
  /** Bytes that have gone over. */
  readonly taken: number
  /** When it last was fast enough, and how far it was then; at first when it began, and 0. */
  fastAtMs: number
  fastAtTaken: number
}

/**
 * The one that would be held longest: of those that have had their time and, at their latest rate, would take as much again.
 * One that stops short of its end is fast enough for once only.
 * @param oldestFirst Looked at up to the first that has not had its time.
 */
export function slowestOf<T extends Transfer>(
  oldestFirst: Iterable<T>,
  nowMs: number,
  deadlineMs: number,
  mayEnd: (transfer: T) => boolean = () => true,
): T | null {
  let slowest: T | null = null
  let longestMs = deadlineMs
  for (const transfer of oldestFirst) {
    const { bytes, sinceMs, taken, fastAtMs, fastAtTaken } = transfer
    if (nowMs - sinceMs < deadlineMs) break
    const spanMs = nowMs - fastAtMs
    if (spanMs < deadlineMs || !mayEnd(transfer)) continue
    // Of a length nobody said, or longer than was thought, as a text of control characters is: as much again is left.
    const left = taken > bytes ? taken : bytes - taken
    const leftMs = taken === fastAtTaken ? Number.POSITIVE_INFINITY : (left / (taken - fastAtTaken)) * spanMs
    if (leftMs <= deadlineMs) {
      transfer.fastAtMs = nowMs
      transfer.fastAtTaken = taken
    } else if (leftMs > longestMs) {
      slowest = transfer
      longestMs = leftMs
    }
  }
  return slowest
}
