/**
 * Rounds: every system is measured once a round, in turn, and the median over the rounds counts. A machine's other work
 * comes and goes; in turn it meets every system alike. A system that fails is named and left out, so that one of
 * them does not cost the figures of all.
 */
import { Connection } from './connection.ts'
import { stopServers } from './server-process.ts'
import type { System } from './systems/system.ts'

export interface Turns<Result> {
  measured: { system: System; results: Result[] }[]
  /** One line for each system that failed. */
  failures: string[]
}

export async function inRounds<Result>(
  rounds: number,
  systems: readonly System[],
  measure: (system: System) => Promise<Result>,
): Promise<Turns<Result>> {
  const left = new Map<System, Result[]>(systems.map((system) => [system, []]))
  const failures: string[] = []
  for (let round = 1; round <= rounds; round++) {
    for (const [system, results] of left) {
      try {
        results.push(await guarded(() => measure(system)))
      } catch (error) {
        failures.push(`failed, and left out: ${system.name}: ${(error as Error).message}`)
        left.delete(system)
      }
    }
  }
  // A mistake in Hearth or in this benchmark must not pass for a short table.
  if (failures.some((failure) => failure.includes('Hearth'))) throw new Error(failures.join('\n'))
  return { measured: [...left].map(([system, results]) => ({ system, results })), failures }
}

/** Fails with what a socket's callback throws, too, and leaves no server and no connection behind. */
async function guarded<Result>(measure: () => Promise<Result>): Promise<Result> {
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  process.on('uncaughtException', fail)
  try {
    return await Promise.race([measure(), failed])
  } finally {
    Connection.closeAll()
    await stopServers()
    process.off('uncaughtException', fail)
  }
}

/** The median of each number of equal records. */
export function medians<R extends Record<string, number>>(records: readonly R[]): R {
  const keys = Object.keys(records[0]!) as (keyof R)[]
  return Object.fromEntries(keys.map((key) => [key, median(records.map((record) => record[key]!))])) as R
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}
