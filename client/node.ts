/**
 * The client on Node: before Node 22 there is no WebSocket, so package `ws` is loaded. A file of its own, reached by
 * the `node` condition of the package's exports, so that no browser bundle meets `ws`.
 */
import { type Database, type DatabaseOptions, getDatabase as getDatabaseAnywhere } from './client.ts'
import { type OpenSocket, openWith } from './socket.ts'

export const openNodeSocket: OpenSocket = openWith(async (url) => {
  if (globalThis.WebSocket !== undefined) return new globalThis.WebSocket(url)
  const { WebSocket } = await import('ws')
  // Frames are small and mostly binary: compressing them costs more than it saves.
  return new WebSocket(url, { perMessageDeflate: false }) as unknown as WebSocket
})

/** @see getDatabase in client.ts */
export function getDatabase(address: string, options: DatabaseOptions = {}): Database {
  return getDatabaseAnywhere(address, {
    ...options,
    environment: { openSocket: openNodeSocket, ...options.environment },
  })
}
