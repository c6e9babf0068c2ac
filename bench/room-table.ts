/**
 * The table of the scenarios made of rooms.
 */
import { RoomLoad, type RoomOptions } from './room-load.ts'
import { inRounds, medians } from './rounds.ts'
import { pickSystems } from './systems/all.ts'
import type { System } from './systems/system.ts'
import type { ScenarioOptions, Table } from './table.ts'
import { type Measured, measureWindow } from './window.ts'

/** What talks in rooms; the brokers run too when `--systems` names them. */
const USUAL = ['hearth', 'hearth-firebase', 'raw', 'ws', 'socket.io', 'firebase-server', 'acebase']

interface Row extends Measured {
  keptShare: number
}

/** @param further Systems that fit this scenario only. */
export async function roomTable(
  title: string,
  room: RoomOptions,
  options: ScenarioOptions,
  further: readonly string[] = [],
): Promise<Table> {
  const { systems, notes } = pickSystems(options.flags['systems'], [...further, ...USUAL])
  const rounds = Number(options.flags['rounds'] ?? 1)
  const { measured, failures } = await inRounds(rounds, systems, (system) =>
    measure(system, room, options.seconds),
  )
  return {
    title: `${title}: ${room.rooms} rooms x ${room.members} members, ${room.hz} messages of ${room.bytes} bytes a second each`,
    columns: [
      ...['system', 'deliveries/CPU s', 'CPU us/delivery', 'deliveries/s', 'rate kept %'],
      ...['p50 ms', 'p99 ms', 'client busy %'],
    ],
    rows: measured.map(({ system, results }) => {
      const m = medians(results)
      return [
        ...[system.name, Math.round(1e6 / m.cpuMicros), m.cpuMicros, m.deliveriesPerSecond],
        ...[Math.round(m.keptShare * 100), m.p50Ms, m.p99Ms, Math.round(m.clientBusy * 100)],
      ]
    }),
    notes: [
      'every member hears every message of its room, its own too; deliveries/CPU s: of the server, the higher the better',
      'rate kept: messages sent, of those due; a system that falls a second behind is not fed further',
      'client busy: of the one process that is all members',
      ...(systems.some(({ isConflated }) => isConflated)
        ? [
            'with a delivery policy an update counts as delivered once it or a newer one of its sender has arrived',
          ]
        : []),
      ...notes,
      ...failures,
    ],
  }
}

async function measure(system: System, room: RoomOptions, seconds: number): Promise<Row> {
  const server = await system.start()
  const load = await RoomLoad.open(system, server, room)
  load.start()
  const publishedBefore = load.published
  const startMs = performance.now()
  const measured = await measureWindow(server, load, seconds)
  const due = (room.rooms * room.members * room.hz * (performance.now() - startMs)) / 1000
  const keptShare = (load.published - publishedBefore) / due
  await load.drain()
  load.close()
  await server.stop()
  return { ...measured, keptShare }
}
