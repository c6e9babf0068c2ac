/**
 * Redis pub/sub: nothing stored, nothing acknowledged by subscribers.
 */
import { Connection } from '../connection.ts'
import { ServerProcess } from '../server-process.ts'
import { programVersion } from './installed.ts'
import { cutLines, drainInto } from './lines.ts'
import type { System } from './system.ts'

export const redis: System = {
  id: 'redis',
  name: 'Redis pub/sub',
  publishesApart: true,
  version: () => programVersion('redis-server', '--version'),
  install: 'apt-get install redis-server',
  start: () =>
    ServerProcess.startOn((port) => [
      // Subscribers come from 127.0.0.2 too, which protected mode takes for a stranger.
      ...['redis-server', '--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
      ...['--protected-mode', 'no'],
      ...['--maxclients', '16000', '--client-output-buffer-limit', 'pubsub 0 0 0'],
    ]),
  async subscribe(server, topic) {
    const connection = await Connection.open(server.port, cutLines)
    connection.write(`SUBSCRIBE ${topic}\r\n`)
    await connection.until((payload) => payload.includes(`${topic}\r\n:1`))
    return connection
  },
  async publisher(server) {
    const connection = await Connection.open(server.port, cutLines)
    drainInto(connection, (reply) => reply.startsWith('-'))
    return connection
  },
  publish(connection, topic, text) {
    connection.write(`*3\r\n$7\r\nPUBLISH\r\n$${topic.length}\r\n${topic}\r\n$${text.length}\r\n${text}\r\n`)
  },
}
