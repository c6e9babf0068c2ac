/**
 * Firebase's wire protocol, spoken to Hearth and to firebase-server 1.1.0, which stands for Firebase's own emulator.
 */
import type { Connection } from '../connection.ts'
import { openWebSocket, sendText } from '../raw-websocket.ts'
import { ServerProcess } from '../server-process.ts'
import { hearthVersion } from './hearth.ts'
import { PEERS, peerVersion } from './installed.ts'
import type { System } from './system.ts'

const wire = {
  async subscribe(server: ServerProcess, topic: string): Promise<Connection> {
    const connection = await connectFirebase(server)
    request(connection, 'q', { p: `/rooms/${topic}`, h: '' })
    await connection.until((payload) => hasStatus(payload.toString()))
    return connection
  },
  async publisher(server: ServerProcess): Promise<Connection> {
    const connection = await connectFirebase(server)
    connection.onFrame = (payload) => void hasStatus(payload.toString('latin1', 0, 200))
    return connection
  },
}

export const hearthFirebase: System = {
  ...wire,
  id: 'hearth-firebase',
  name: "Hearth, Firebase's wire",
  version: hearthVersion,
  install: 'npm run build',
  start: () => ServerProcess.hearth(),
  publish: (connection, topic, text, key) =>
    request(connection, 'p', {
      p: key === undefined ? `/rooms/${topic}` : `/rooms/${topic}/${key}`,
      d: text,
    }),
}

export const firebaseServer: System = {
  ...wire,
  id: 'firebase-server',
  name: 'firebase-server',
  version: () => peerVersion('firebase-server'),
  install: 'npm run bench:peers',
  start: () => ServerProcess.start([process.execPath, `${PEERS}/firebase-server.cjs`]),
  // Without the key: it sends a listener the whole value for each change below it, so that all of a room's earlier
  // updates would come again with each.
  publish: (connection, topic, text) => request(connection, 'p', { p: `/rooms/${topic}`, d: text }),
}

export async function connectFirebase(server: ServerProcess): Promise<Connection> {
  const connection = await openWebSocket(server.port, '/.ws?v=5&ns=default')
  await connection.until((payload) => payload.includes('"t":"h"'))
  return connection
}

export function request(connection: Connection, action: string, body: object): void {
  const id = ++connection.lastRequest
  sendText(connection, JSON.stringify({ t: 'd', d: { r: id, a: action, b: body } }))
}

/** Whether a frame answers a request; an error is thrown. */
export function hasStatus(frame: string): boolean {
  const status = /"s":"(\w+)"/.exec(frame)?.[1]
  if (status !== undefined && status !== 'ok') throw new Error(`firebase wire: ${frame}`)
  return status === 'ok'
}
