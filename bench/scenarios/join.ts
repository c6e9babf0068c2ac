/**
 * Join: listens a second, each answered with a snapshot of 10 KB or 1 MB. A number of connections listen, get the value,
 * unlisten, and listen again.
 */
import { decodeToClient } from '../../protocol/index.ts'
import type { Connection } from '../connection.ts'
import { Histogram } from '../histogram.ts'
import { openWebSocket } from '../raw-websocket.ts'
import { inRounds } from '../rounds.ts'
import { pause, type ServerProcess } from '../server-process.ts'
import { pickSystems } from '../systems/all.ts'
import { connectFirebase, hasStatus, request } from '../systems/firebase-wire.ts'
import { listenTo, sendMessage } from '../systems/hearth.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'

const CONNECTIONS = 16
const MESSAGE = 'x'.repeat(90)

/** What this scenario needs of a system beyond publishing. */
interface Joining {
  connect(server: ServerProcess): Promise<Connection>
  put(connection: Connection, name: string, value: object): Promise<void>
  listen(connection: Connection, name: string): Promise<void>
  unlisten(connection: Connection, name: string): Promise<void>
}

const native: Joining = {
  connect: (server) => openWebSocket(server.port, '/v1'),
  put(connection, name, value) {
    sendMessage(connection, { type: 'set', id: ++connection.lastRequest, path: ['join', name], value })
    return acked(connection)
  },
  async listen(connection, name) {
    await listenTo(connection, ['join', name])
  },
  unlisten(connection, name) {
    const id = ++connection.lastRequest
    sendMessage(connection, { type: 'unlisten', id, path: ['join', name], query: null })
    return acked(connection)
  },
}

function acked(connection: Connection): Promise<void> {
  return connection.until((payload) =>
    decodeToClient(payload).some((message) => {
      if (message.type === 'error') throw new Error(`hearth: ${message.message}`)
      return message.type === 'ack'
    }),
  )
}

const firebase: Joining = {
  connect: connectFirebase,
  put: (connection, name, d) => answered(connection, 'p', { p: `/join/${name}`, d }),
  listen: (connection, name) => answered(connection, 'q', { p: `/join/${name}`, h: '' }),
  unlisten: (connection, name) => answered(connection, 'n', { p: `/join/${name}` }),
}

function answered(connection: Connection, action: string, body: object): Promise<void> {
  request(connection, action, body)
  // A frame of the value itself is large; looking into it would measure this process.
  return connection.until((payload) => payload.length < 1000 && hasStatus(payload.toString('latin1')))
}

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const sizes = (flags['bytes'] ?? '10000,1000000').split(',').map(Number)
  const { systems, notes } = pickSystems(flags['systems'], ['hearth', 'hearth-firebase'])
  const { measured, failures } = await inRounds(1, systems, async (system) => {
    const rows: number[][] = []
    for (const bytes of sizes) rows.push(await measure(system, bytes, seconds))
    return rows
  })
  return {
    title: `join: ${CONNECTIONS} connections listen, get a snapshot, unlisten and listen again`,
    columns: ['system', 'bytes', 'listens/s', 'CPU us/listen', 'MB/s', 'p50 ms', 'p99 ms', 'client busy %'],
    rows: sizes.flatMap((bytes, i) =>
      measured.map(({ system, results }) => [system.name, bytes, ...results[0]![i]!]),
    ),
    notes: [
      'the value: a list of 90-byte messages, as many as make up the bytes; rules are asked for each listen',
      ...notes,
      ...failures,
    ],
  }
}

async function measure(system: System, bytes: number, seconds: number): Promise<number[]> {
  const joining = system.id === 'hearth' ? native : firebase
  const server = await system.start()
  const name = `of-${bytes}`
  const messages = Array.from({ length: Math.round(bytes / 100) }, (_, i) => [`message-${i}`, MESSAGE])
  const writer = await joining.connect(server)
  await joining.put(writer, name, Object.fromEntries(messages))
  writer.close()
  const latency = new Histogram()
  let isRunning = true
  let listens = 0
  const loops = Array.from({ length: CONNECTIONS }, async () => {
    const connection = await joining.connect(server)
    while (isRunning) {
      const atMs = performance.now()
      await joining.listen(connection, name)
      latency.record(performance.now() - atMs)
      listens += 1
      await joining.unlisten(connection, name)
    }
    connection.close()
  })
  await pause(Math.min(1, seconds / 4))
  latency.reset()
  const cpuBefore = server.cpuMicros()
  const ownCpuBefore = process.cpuUsage()
  const listensBefore = listens
  const startMs = performance.now()
  await pause(seconds)
  const elapsed = (performance.now() - startMs) / 1000
  const count = listens - listensBefore
  const cpu = server.cpuMicros() - cpuBefore
  const ownCpu = process.cpuUsage(ownCpuBefore)
  isRunning = false
  await Promise.all(loops)
  await server.stop()
  return [
    ...[count / elapsed, cpu / count, (count * bytes) / elapsed / 1e6],
    ...[latency.percentile(0.5), latency.percentile(0.99)],
    Math.round((ownCpu.user + ownCpu.system) / elapsed / 1e4),
  ]
}
