/**
 * Rooms: the shape of a chat. Many small rooms, each message a child of its own.
 */
import { roomTable } from '../room-table.ts'
import type { ScenarioOptions, Table } from '../table.ts'

export function run(options: ScenarioOptions): Promise<Table> {
  const { flags } = options
  const room = {
    rooms: Number(flags['rooms'] ?? 1000),
    members: Number(flags['members'] ?? 10),
    hz: Number(flags['hz'] ?? 1),
    bytes: Number(flags['bytes'] ?? 100),
    keyOf: (sender: number, count: number) => `m${sender}-${count}`,
  }
  return roomTable('rooms', room, options)
}
