/**
 * Socket.IO 4, WebSocket transport only. Its subscribers are bare sockets too, that speak engine.io's text frames:
 * `4` a message, of which `0` connects, `2` is an event; `2` alone is a ping, answered by `3`.
 */
import type { Connection } from '../connection.ts'
import { openWebSocket, sendText } from '../raw-websocket.ts'
import { ServerProcess } from '../server-process.ts'
import { PEERS, peerVersion } from './installed.ts'
import type { System } from './system.ts'

export const socketIo: System = {
  id: 'socket.io',
  name: 'Socket.IO',
  version: () => peerVersion('socket.io'),
  install: 'npm run bench:peers',
  start: () => ServerProcess.start([process.execPath, `${PEERS}/socket-io.mjs`]),
  async subscribe(server, topic) {
    const connection = await connectEngine(server.port)
    sendText(connection, `42["join",${JSON.stringify(topic)}]`)
    await connection.until((payload) => payload.toString('latin1') === '42["joined"]')
    return connection
  },
  publisher: (server) => connectEngine(server.port),
  publish: (connection, topic, text) => sendText(connection, `42["publish","${topic}","${text}"]`),
}

/** A connection of Socket.IO's default namespace. */
export async function connectEngine(port: number): Promise<Connection> {
  const connection = await openWebSocket(port, '/socket.io/?EIO=4&transport=websocket')
  await connection.until((payload) => payload[0] === 0x30)
  connection.answerPing = (payload) => {
    const isPing = payload.length === 1 && payload[0] === 0x32
    if (isPing) sendText(connection, '3')
    return isPing
  }
  sendText(connection, '40')
  await connection.until((payload) => payload.toString('latin1', 0, 2) === '40')
  return connection
}
