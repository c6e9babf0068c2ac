/**
 * Idle: memory of a subscribed connection on which nothing happens, and whether many of them make a busy path dearer.
 */
import { inRounds, medians } from '../rounds.ts'
import { pause } from '../server-process.ts'
import { subscribeAll } from '../subscribe-all.ts'
import { pickSystems } from '../systems/all.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { UpdateStream } from '../update-stream.ts'
import { measureWindow } from '../window.ts'

const BUSY = { subscribers: 100, bytes: 100, inFlight: 10 }
/** Until what the handshakes left behind is collected. */
const SETTLE_SECONDS = 3

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const connections = Number(flags['connections'] ?? 10_000)
  const usual = ['hearth', 'hearth-firebase', 'raw', 'redis', 'ws', 'socket.io']
  const { systems, notes } = pickSystems(flags['systems'], usual)
  const rounds = Number(flags['rounds'] ?? 1)
  const { measured, failures } = await inRounds(rounds, systems, (system) =>
    measure(system, connections, seconds),
  )
  return {
    title: `idle: ${connections} subscribed connections on which nothing happens, each on a topic of its own`,
    columns: [
      ...['system', 'KiB/connection', 'MiB without', 'MiB with'],
      ...['busy path us/delivery without', 'with', 'change %'],
    ],
    rows: measured.map(({ system, results }) => {
      const m = medians(results)
      return [
        ...[system.name, m.bytesPerConnection / 1024, m.bytesBefore / 2 ** 20, m.bytesAfter / 2 ** 20],
        ...[m.without, m.withIdle, m.changePercent],
      ]
    }),
    notes: [
      'KiB: resident memory of the server, kernel buffers not counted',
      `busy path: ${BUSY.subscribers} further subscribers of one topic, ${BUSY.inFlight} updates in flight`,
      `median of ${rounds} round${rounds === 1 ? '' : 's'}; change: of each round`,
      ...notes,
      ...failures,
    ],
  }
}

async function measure(system: System, connections: number, seconds: number) {
  const server = await system.start()
  const busy = await UpdateStream.open(system, server, BUSY)
  const costOfBusy = async (): Promise<number> => {
    busy.keepInFlight(BUSY.inFlight)
    const { cpuMicros } = await measureWindow(server, busy, seconds)
    await busy.drain()
    return cpuMicros
  }
  // Once unmeasured: code that is not yet compiled would make the first window the dear one.
  await costOfBusy()
  const without = await costOfBusy()
  await pause(SETTLE_SECONDS)
  const bytesBefore = server.residentBytes()
  const idle = await subscribeAll(system, server, connections, (n) => `idle-${n}`)
  for (const connection of idle) connection.onFrame = () => {}
  await pause(SETTLE_SECONDS)
  const bytesAfter = server.residentBytes()
  const withIdle = await costOfBusy()
  for (const connection of idle) connection.close()
  busy.close()
  await server.stop()
  return {
    ...{ bytesPerConnection: (bytesAfter - bytesBefore) / connections, bytesBefore, bytesAfter },
    ...{ without, withIdle, changePercent: (withIdle / without - 1) * 100 },
  }
}
