/**
 * Storm: every session is gone at once, and within a second all of them are back and listen again.
 */
import type { Connection } from '../connection.ts'
import { Histogram } from '../histogram.ts'
import { inRounds } from '../rounds.ts'
import { pause, type ServerProcess } from '../server-process.ts'
import { subscribeAll } from '../subscribe-all.ts'
import { pickSystems } from '../systems/all.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { updateText } from '../update.ts'

const ROOMS = 100
const WITHIN_MS = 1000

export async function run({ flags }: ScenarioOptions): Promise<Table> {
  const sessions = Number(flags['sessions'] ?? 5000)
  /** What each room holds beside the one update that is missed: a snapshot is that long. */
  const bytes = Number(flags['bytes'] ?? 0)
  const { systems, notes } = pickSystems(flags['systems'], [
    'hearth',
    'hearth-resume',
    'hearth-firebase',
    'raw',
    'socket.io',
  ])
  const { measured, failures } = await inRounds(1, systems, (system) => measure(system, sessions, bytes))
  return {
    title: `storm: ${sessions} sessions reconnect within ${WITHIN_MS / 1000} s and listen in ${ROOMS} rooms`,
    columns: [
      'system',
      'all back after s',
      'p50 ms',
      'p99 ms',
      'server CPU us/session',
      'peak MiB',
      'MiB before',
    ],
    rows: measured.map(({ system, results }) => [system.name, ...results[0]!]),
    notes: ['p50 and p99: from connecting to the answer of the listen', ...notes, ...failures],
  }
}

async function measure(system: System, sessions: number, bytes: number): Promise<number[]> {
  const server = await system.start()
  const roomOf = (n: number): string => `r${n % ROOMS}`
  const publisher = await system.publisher(server)
  for (let room = 0; room < ROOMS && bytes > 0; room++) {
    system.publish(publisher, roomOf(room), updateText(room, bytes), 'history')
  }
  await pause(0.5)
  const before = await subscribeAll(system, server, sessions, roomOf)
  for (const connection of before) connection.onFrame = () => {}
  for (let room = 0; room < ROOMS; room++) {
    if (bytes > 0) system.publish(publisher, roomOf(room), updateText(room, 100), 'latest')
    else system.publish(publisher, roomOf(room), updateText(room, 100))
  }
  await pause(1)
  for (const connection of before) connection.close()
  await pause(0.2)

  const mibBefore = server.residentBytes() / 2 ** 20
  const peak = watchMemory(server)
  const latency = new Histogram()
  const cpuBefore = server.cpuMicros()
  const startMs = performance.now()
  const after = await Promise.all(
    Array.from({ length: sessions }, async (_, n): Promise<Connection> => {
      await pause(((n / sessions) * WITHIN_MS) / 1000)
      const beganMs = performance.now()
      const connection = await system.subscribe(server, roomOf(n))
      latency.record(performance.now() - beganMs)
      connection.onFrame = () => {}
      return connection
    }),
  )
  const seconds = (performance.now() - startMs) / 1000
  const cpu = server.cpuMicros() - cpuBefore
  const peakMib = peak.stop()
  for (const connection of [...after, publisher]) connection.close()
  await server.stop()
  return [seconds, latency.percentile(0.5), latency.percentile(0.99), cpu / sessions, peakMib, mibBefore]
}

function watchMemory(server: ServerProcess): { stop(): number } {
  let peak = 0
  const look = (): void => {
    peak = Math.max(peak, server.residentBytes() / 2 ** 20)
  }
  const timer = setInterval(look, 20)
  return {
    stop() {
      clearInterval(timer)
      look()
      return peak
    },
  }
}
