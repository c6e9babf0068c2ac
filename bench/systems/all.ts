/**
 * Every system, and how one picks among them.
 */
import { acebase } from './acebase.ts'
import { deepstream } from './deepstream.ts'
import { firebaseServer, hearthFirebase } from './firebase-wire.ts'
import { hearth, hearthLatest, hearthResuming, hearthWithDeaf, hearthWithWorkers } from './hearth.ts'
import { mosquitto } from './mosquitto.ts'
import { nats } from './nats.ts'
import { rawFlushed, rawUws } from './raw-uws.ts'
import { redis } from './redis.ts'
import { socketIo } from './socket-io.ts'
import type { System } from './system.ts'
import { wsRooms } from './ws.ts'

const all: readonly System[] = [
  ...[hearth, hearthWithWorkers, hearthFirebase, hearthLatest, hearthResuming, hearthWithDeaf],
  ...[rawUws, rawFlushed, redis, nats, mosquitto],
  ...[wsRooms, socketIo, firebaseServer, acebase, deepstream],
]

/**
 * @param ids Comma-separated, or undefined for the usual ones.
 * @returns Those that run here, and a note for each that does not.
 */
export function pickSystems(
  ids: string | undefined,
  // One that resumes differs in how it joins only.
  usual: readonly string[] = all
    .filter(({ id, isConflated }) => !isConflated && id !== hearthResuming.id)
    .map(({ id }) => id),
): { systems: System[]; notes: string[] } {
  const systems: System[] = []
  const missing: string[] = []
  const versions: string[] = []
  for (const id of ids?.split(',') ?? usual) {
    const system = all.find((known) => known.id === id)
    if (system === undefined) {
      throw new Error(`\`${id}\` is no system; expected some of ${all.map((known) => known.id).join(', ')}`)
    }
    const version = system.version()
    if (version === null)
      missing.push(`not measured, as it is not installed: ${system.name} (${system.install})`)
    else {
      systems.push(system)
      if (!system.name.startsWith('Hearth')) versions.push(`${system.name} ${version}`)
    }
  }
  return { systems, notes: versions.length > 0 ? [`versions: ${versions.join(', ')}`, ...missing] : missing }
}
