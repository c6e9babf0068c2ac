/**
 * Mosquitto: MQTT 3.1.1 over TCP, QoS 0.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection } from '../connection.ts'
import { ServerProcess } from '../server-process.ts'
import { programVersion } from './installed.ts'
import type { System } from './system.ts'

const CONNACK = 2
const SUBACK = 9
let clients = 0

export const mosquitto: System = {
  id: 'mosquitto',
  name: 'Mosquitto (QoS 0)',
  version: () => programVersion('mosquitto', '-h'),
  install: 'apt-get install mosquitto',
  start: () => {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    const file = join(folder, 'mosquitto.conf')
    return ServerProcess.startOn(
      (port) => {
        // Without the two limits it drops what a subscriber does not take at once.
        const lines = ['allow_anonymous true', 'max_queued_messages 0', 'max_inflight_messages 0']
        lines.push('set_tcp_nodelay true', 'log_dest none')
        writeFileSync(file, `listener ${port} 127.0.0.1\n${lines.join('\n')}\n`)
        return ['mosquitto', '-c', file]
      },
      () => rmSync(folder, { recursive: true, force: true }),
    )
  },
  async subscribe(server, topic) {
    const connection = await connect(server.port)
    connection.write(packet(0x82, [Buffer.from([0, 1]), text(topic), Buffer.from([0])]))
    await connection.until((payload) => payload[0]! >> 4 === SUBACK)
    return connection
  },
  async publisher(server) {
    const connection = await connect(server.port)
    connection.onFrame = () => {}
    return connection
  },
  publish: (connection, topic, body) =>
    connection.write(packet(0x30, [text(topic), Buffer.from(body, 'latin1')])),
}

async function connect(port: number): Promise<Connection> {
  const connection = await Connection.open(port, cutPacket)
  // Clean session, and no keep-alive, so that no pings are owed.
  const variableHeader = Buffer.from([4, 2, 0, 0])
  connection.write(packet(0x10, [text('MQTT'), variableHeader, text(`bench-${process.pid}-${++clients}`)]))
  await connection.until((payload) => payload[0]! >> 4 === CONNACK)
  return connection
}

function text(value: string): Buffer {
  const bytes = Buffer.from(`\0\0${value}`)
  bytes.writeUInt16BE(bytes.length - 2)
  return bytes
}

function packet(type: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const head = [type]
  let length = body.length
  do {
    head.push((length & 127) | (length > 127 ? 128 : 0))
    length >>= 7
  } while (length > 0)
  return Buffer.concat([Buffer.from(head), body])
}

function cutPacket(connection: Connection, data: Buffer): number {
  let length = 0
  let at = 1
  for (let shift = 0; ; shift += 7) {
    if (at >= data.length) return 0
    const byte = data[at++]!
    length += (byte & 127) << shift
    if (byte < 128) break
  }
  if (data.length < at + length) return 0
  connection.emit(data.subarray(0, at + length))
  return at + length
}
