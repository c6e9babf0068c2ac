/**
 * `ws` with rooms written by hand: the usual way to begin.
 */
import { sendText } from '../raw-websocket.ts'
import { benchProgram, ServerProcess } from '../server-process.ts'
import { dependencyVersion } from './installed.ts'
import { openRoom } from './raw-uws.ts'
import type { System } from './system.ts'

export const wsRooms: System = {
  id: 'ws',
  name: 'ws',
  version: () => dependencyVersion('ws'),
  install: 'npm ci',
  start: () => ServerProcess.start(benchProgram('servers/ws-rooms')),
  subscribe: (server, topic) => openRoom(server.port, topic),
  publisher: (server) => openRoom(server.port, 'of-nobody'),
  publish: (connection, topic, text) => sendText(connection, `${topic} ${text}`),
}
