/**
 * Opens many subscribers, some at a time.
 */
import type { Connection } from './connection.ts'
import type { ServerProcess } from './server-process.ts'
import type { System } from './systems/system.ts'

/** A server's listen queue may hold no more than 128. */
const OPENED_AT_ONCE = 50

/** @param topicOf Topic of the n-th subscriber. */
export async function subscribeAll(
  system: System,
  server: ServerProcess,
  count: number,
  topicOf: (n: number) => string,
): Promise<Connection[]> {
  const connections: Connection[] = []
  while (connections.length < count) {
    const from = connections.length
    const wave = Array.from({ length: Math.min(OPENED_AT_ONCE, count - from) }, (_, i) =>
      system.subscribe(server, topicOf(from + i)),
    )
    connections.push(...(await Promise.all(wave)))
  }
  return connections
}
