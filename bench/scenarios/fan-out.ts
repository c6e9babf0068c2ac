/**
 * Fan-out: server CPU for each delivered update. One publisher with a number of updates in flight, many subscribers
 * as bare sockets that count every update and check that none is missing or out of order; the same stream through
 * Hearth (rules on, flushed) and through the systems one could take instead, most of which store nothing.
 *
 *   --shape place,chat   where updates go in a tree: `place` (default), one place again and again; `chat`, new children
 */
import { inRounds, medians } from '../rounds.ts'
import { pause } from '../server-process.ts'
import { pickSystems } from '../systems/all.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { type Shape, UpdateStream } from '../update-stream.ts'
import { type Measured, measureWindow } from '../window.ts'

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const subscribers = Number(flags['subscribers'] ?? 1000)
  const bytes = Number(flags['bytes'] ?? 100)
  const rounds = Number(flags['rounds'] ?? 1)
  const inFlights = (flags['in-flight'] ?? '1,50').split(',').map(Number)
  const shapes = shapesOf(flags['shape'] ?? 'place')
  const windows = shapes.flatMap((shape) => inFlights.map((inFlight) => ({ shape, inFlight })))
  const { systems, notes } = pickSystems(flags['systems'])
  const { measured: turns, failures } = await inRounds(rounds, systems, (system) =>
    measureFanOut(system, { subscribers, bytes, windows, seconds }),
  )
  const rows = windows.flatMap(({ shape, inFlight }, i) => {
    const measured = turns.map(({ system, results }) => ({
      system,
      ...medians(results.map((round) => round[i]!)),
    }))
    const floor = measured.find(({ system }) => system.id === 'raw')?.cpuMicros ?? Number.NaN
    return measured.map((m) => [
      m.system.name,
      shape,
      inFlight,
      m.cpuMicros,
      m.cpuMicros / floor,
      m.deliveriesPerSecond,
      m.p50Ms,
      m.p99Ms,
      m.kibPerSubscriber,
      Math.round(m.clientBusy * 100),
    ])
  })
  return {
    title: `fan-out: one publisher, ${subscribers} subscribers, ${bytes}-byte updates`,
    columns: [
      ...['system', 'shape', 'in flight', 'CPU us/delivery', 'x raw', 'deliveries/s'],
      ...['p50 ms', 'p99 ms', 'KiB/subscriber', 'client busy %'],
    ],
    rows,
    notes: [
      `CPU: of the server's process, user and system; median of ${rounds} round${rounds === 1 ? '' : 's'} of ${seconds} s`,
      'in flight: sent and not yet at every subscriber; p50 and p99: from sending to arrival at the last subscriber',
      'shape: `place` updates one place again and again, `chat` adds a child each time; systems without a tree know no difference',
      'client busy: of the one process that publishes and receives; near 100 % it, not the server, limits deliveries/s and latency',
      'Hearth: rules on, each update flushed to disk before it is delivered; of the others `flushed` alone stores anything',
      ...notes,
      ...failures,
    ],
  }
}

interface Window {
  shape: Shape
  inFlight: number
}

function shapesOf(flag: string): Shape[] {
  return flag.split(',').map((shape) => {
    if (shape === 'place' || shape === 'chat') return shape
    throw new Error(`--shape \`${shape}\` is neither \`place\` nor \`chat\``)
  })
}

interface Row extends Measured {
  kibPerSubscriber: number
}

export async function measureFanOut(
  system: System,
  options: { subscribers: number; bytes: number; windows: readonly Window[]; seconds: number },
): Promise<Row[]> {
  const server = await system.start()
  const bytesBefore = server.residentBytes()
  const stream = await UpdateStream.open(system, server, options)
  const kibPerSubscriber = (server.residentBytes() - bytesBefore) / 1024 / options.subscribers
  const measured: Row[] = []
  await warmUp(stream, options.seconds)
  for (const { shape, inFlight } of options.windows) {
    stream.shape = shape
    stream.keepInFlight(inFlight)
    measured.push({ ...(await measureWindow(server, stream, options.seconds)), kibPerSubscriber })
    await stream.drain()
  }
  stream.close()
  await server.stop()
  return measured
}

/**
 * With many updates in flight what a server runs is compiled within moments; with one it takes longer than a window
 * (1.25 to 1.35 times raw uWebSockets.js instead of 1.12). What is asked is the cost of a server that has run for a while.
 */
async function warmUp(stream: UpdateStream, seconds: number): Promise<void> {
  stream.keepInFlight(50)
  await pause(Math.min(3, seconds))
  await stream.drain()
}
