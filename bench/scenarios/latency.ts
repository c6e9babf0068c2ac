/**
 * Latency: from sending an update to its arrival at the last subscriber, while updates come at a steady rate.
 */
import { inRounds, medians } from '../rounds.ts'
import { pickSystems } from '../systems/all.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { UpdateStream } from '../update-stream.ts'
import { type Measured, measureWindow } from '../window.ts'

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const subscribers = Number(flags['subscribers'] ?? 100)
  const bytes = Number(flags['bytes'] ?? 100)
  const rounds = Number(flags['rounds'] ?? 1)
  const rates = (flags['rates'] ?? '20,200,2000').split(',').map(Number)
  const { systems, notes } = pickSystems(flags['systems'], ['hearth', 'raw', 'redis', 'ws', 'socket.io'])
  const { measured, failures } = await inRounds(rounds, systems, (system) =>
    measure(system, { subscribers, bytes, rates, seconds }),
  )
  return {
    title: `latency: one publisher, ${subscribers} subscribers, ${bytes}-byte updates at a steady rate`,
    columns: ['system', 'updates/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU us/delivery', 'client busy %'],
    rows: rates.flatMap((rate, i) =>
      measured.map(({ system, results }) => {
        const m = medians(results.map((round) => round[i]!))
        const busy = Math.round(m.clientBusy * 100)
        return [system.name, rate, m.p50Ms, m.p99Ms, m.p999Ms, m.cpuMicros, busy]
      }),
    ),
    notes: [
      'Hearth: rules on, and each update flushed to disk before it is delivered; the others store nothing',
      ...notes,
      ...failures,
    ],
  }
}

async function measure(
  system: System,
  options: { subscribers: number; bytes: number; rates: readonly number[]; seconds: number },
): Promise<Measured[]> {
  const server = await system.start()
  const stream = await UpdateStream.open(system, server, options)
  const measured: Measured[] = []
  for (const rate of options.rates) {
    stream.publishAt(rate)
    measured.push(await measureWindow(server, stream, options.seconds))
    await stream.drain()
  }
  stream.close()
  await server.stop()
  return measured
}
