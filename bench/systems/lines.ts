/**
 * Protocols made of lines (Redis, NATS): all whole lines that have arrived are one frame.
 */
import type { Connection } from '../connection.ts'

export function cutLines(connection: Connection, data: Buffer): number {
  const end = data.lastIndexOf(10) + 1
  if (end > 0) connection.emit(data.subarray(0, end))
  return end
}

/** Reads answers nobody waits for, and fails on one that is an error. */
export function drainInto(connection: Connection, isError: (reply: string) => boolean): void {
  connection.onFrame = (payload) => {
    const reply = payload.toString('latin1', 0, 200)
    if (isError(reply)) throw new Error(reply)
  }
}
