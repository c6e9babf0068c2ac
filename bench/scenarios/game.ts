/**
 * Game: few large rooms whose players each replace their own state many times a second.
 */
import { roomTable } from '../room-table.ts'
import type { ScenarioOptions, Table } from '../table.ts'

export function run(options: ScenarioOptions): Promise<Table> {
  const { flags } = options
  const room = {
    rooms: Number(flags['rooms'] ?? 20),
    members: Number(flags['members'] ?? 50),
    hz: Number(flags['hz'] ?? 20),
    bytes: Number(flags['bytes'] ?? 60),
    keyOf: (sender: number) => `p${sender}`,
  }
  // With the policy a game would use, and, as for the others, without.
  return roomTable('game', room, options, ['hearth-latest'])
}
