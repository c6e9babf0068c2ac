/**
 * uWebSockets.js alone, publishing every update as it comes: the floor of one update in flight. And the same with each
 * update flushed to a file before it is published, as Hearth's are: the floor of one that is durable.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openWebSocket, sendText } from '../raw-websocket.ts'
import { benchProgram, ServerProcess } from '../server-process.ts'
import { dependencyVersion } from './installed.ts'
import type { System } from './system.ts'

export const rawUws: System = {
  id: 'raw',
  name: 'raw uWebSockets.js',
  version: () => dependencyVersion('uWebSockets.js'),
  install: 'npm ci',
  start: () => ServerProcess.start(benchProgram('servers/raw-uws')),
  subscribe: (server, topic) => openRoom(server.port, topic),
  publisher: (server) => openRoom(server.port, 'of-nobody'),
  publish: (connection, topic, text) => sendText(connection, `${topic} ${text}`),
}

export const rawFlushed: System = {
  ...rawUws,
  id: 'raw-flushed',
  name: 'raw uWebSockets.js, flushed',
  start: () => {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    return ServerProcess.start(benchProgram('servers/raw-uws', join(folder, 'updates')), {
      cleanUp: () => rmSync(folder, { recursive: true, force: true }),
    })
  },
}

/** The servers of `raw` and `ws` speak alike: `/topic` joins, `topic text` publishes. */
export async function openRoom(port: number, topic: string) {
  const connection = await openWebSocket(port, `/${topic}`)
  // The server says `joined`, so that no update passes between the upgrade and the join.
  await connection.until((payload) => payload.toString('latin1') === 'joined')
  return connection
}
