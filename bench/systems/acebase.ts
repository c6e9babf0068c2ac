/**
 * acebase-server: a JSON tree on disk with events by path. Events come over Socket.IO, writes go over HTTP, as its
 * own client does it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection } from '../connection.ts'
import { sendText } from '../raw-websocket.ts'
import { ServerProcess } from '../server-process.ts'
import { PEERS, peerVersion } from './installed.ts'
import { cutLines, drainInto } from './lines.ts'
import { connectEngine } from './socket-io.ts'
import type { System } from './system.ts'

export const acebase: System = {
  id: 'acebase',
  name: 'acebase-server',
  // An event holds the previous value too.
  textBefore: '"current":"',
  publishesApart: true,
  version: () => peerVersion('acebase-server'),
  install: 'npm run bench:peers',
  start: () => {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    return ServerProcess.startOn(
      (port) => [process.execPath, `${PEERS}/acebase.mjs`, folder, `${port}`],
      () => rmSync(folder, { recursive: true, force: true }),
    )
  },
  async subscribe(server, topic) {
    const connection = await connectEngine(server.port)
    const request = { event: 'value', path: `rooms/${topic}`, req_id: '1' }
    sendText(connection, `42${JSON.stringify(['subscribe', request])}`)
    await connection.until((payload) => payload.includes('"success":true'))
    return connection
  },
  async publisher(server) {
    const connection = await Connection.open(server.port, cutLines)
    drainInto(connection, (reply) => /^HTTP\/1.1 [45]/.test(reply))
    return connection
  },
  publish(connection, topic, text) {
    const body = JSON.stringify({ val: text })
    connection.write(
      `PUT /data/bench/rooms/${topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    )
  },
}
