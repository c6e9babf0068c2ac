/**
 * NATS core: subjects without storage.
 */
import { Connection } from '../connection.ts'
import { ServerProcess } from '../server-process.ts'
import { programVersion } from './installed.ts'
import { cutLines, drainInto } from './lines.ts'
import type { System } from './system.ts'

export const nats: System = {
  id: 'nats',
  name: 'NATS',
  version: () => programVersion('nats-server', '--version'),
  install: 'apt-get install nats-server',
  start: () =>
    ServerProcess.startOn((port) => [
      ...['nats-server', '--addr', '127.0.0.1', '--port', `${port}`, '--log', '/dev/null'],
    ]),
  async subscribe(server, topic) {
    const connection = await connect(server.port)
    connection.write(`SUB ${topic} 1\r\nPING\r\n`)
    await connection.until((payload) => payload.includes('PONG'))
    return connection
  },
  async publisher(server) {
    const connection = await connect(server.port)
    drainInto(connection, (reply) => reply.startsWith('-ERR'))
    return connection
  },
  publish: (connection, topic, text) => connection.write(`PUB ${topic} ${text.length}\r\n${text}\r\n`),
}

async function connect(port: number): Promise<Connection> {
  const connection = await Connection.open(port, cutLines)
  await connection.until((payload) => payload.includes('INFO'))
  connection.write('CONNECT {"verbose":false,"pedantic":false}\r\n')
  return connection
}
