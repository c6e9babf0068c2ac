/**
 * deepstream.io, its events: nothing stored. Its messages are protobuf: an envelope of topic and message, and few
 * enough of them are needed here to write them by hand.
 */
import type { Connection } from '../connection.ts'
import { openWebSocket, sendBinary } from '../raw-websocket.ts'
import { ServerProcess } from '../server-process.ts'
import { PEERS, peerVersion } from './installed.ts'
import type { System } from './system.ts'

const TOPIC = { connection: 2, auth: 3, event: 4 }

export const deepstream: System = {
  id: 'deepstream',
  name: 'deepstream.io',
  skipsSender: true,
  version: () => peerVersion('@deepstream/server'),
  install: 'npm run bench:peers',
  start: () => ServerProcess.startOn((port) => [process.execPath, `${PEERS}/deepstream.mjs`, `${port}`]),
  async subscribe(server, topic) {
    const connection = await connect(server.port)
    const [subscribe, correlationId, names] = [3, 3, 7]
    await ask(connection, message(TOPIC.event, subscribe, [correlationId, '1'], [names, topic]))
    return connection
  },
  async publisher(server) {
    const connection = await connect(server.port)
    connection.onFrame = () => {}
    return connection
  },
  publish(connection, topic, text) {
    const [emit, data, name] = [2, 2, 6]
    sendBinary(connection, message(TOPIC.event, emit, [data, `"${text}"`], [name, topic]))
  },
}

async function connect(port: number): Promise<Connection> {
  const connection = await openWebSocket(port, '/deepstream')
  const [challenge, version, signIn, data] = [5, 6, 2, 2]
  await ask(connection, message(TOPIC.connection, challenge, [version, '0.1']))
  await ask(connection, message(TOPIC.auth, signIn, [data, '{}']))
  return connection
}

function ask(connection: Connection, bytes: Buffer): Promise<void> {
  sendBinary(connection, bytes)
  return connection.until(() => true)
}

function message(topic: number, action: number, ...fields: [tag: number, text: string][]): Buffer {
  const body = Buffer.concat([
    Buffer.from([0x08, action]),
    ...fields.map(([tag, text]) =>
      Buffer.concat([Buffer.from([(tag << 3) | 2]), delimited(Buffer.from(text))]),
    ),
  ])
  return delimited(Buffer.concat([Buffer.from([0x10, topic, 0x1a]), delimited(body)]))
}

function delimited(bytes: Buffer): Buffer {
  const { length } = bytes
  const head = length < 128 ? [length] : [(length & 127) | 128, length >> 7]
  return Buffer.concat([Buffer.from(head), bytes])
}
