/**
 * Slow disk: what happens to the loop that serves sockets, to throughput and to the size of commit groups when every
 * flush takes 20 ms, against flushes at the disk's own speed. Writes stream in from 8 connections.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Histogram } from '../histogram.ts'
import { benchProgram, pause, ServerProcess } from '../server-process.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { streamWrites } from '../write-load.ts'

export async function run({ seconds }: ScenarioOptions): Promise<Table> {
  const rows: (string | number)[][] = []
  for (const [delayMs, inFlight] of [
    [0, 64],
    [20, 64],
    [20, 512],
  ] as const) {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    const server = await ServerProcess.start(benchProgram('slow-disk-server', folder, String(delayMs)), {
      cleanUp: () => rmSync(folder, { recursive: true, force: true }),
    })
    const latency = new Histogram()
    const load = await streamWrites(server.port, { connections: 8, inFlight, latency })
    await pause(1)
    server.lines.length = 0
    const before = load.acks
    const startMs = performance.now()
    await pause(seconds)
    const acksPerSecond = ((load.acks - before) / (performance.now() - startMs)) * 1000
    const p99s = server.lines.map((line) => (JSON.parse(line) as { p99: number }).p99).sort((a, b) => a - b)
    load.stop()
    await server.stop()
    rows.push([
      `flush +${delayMs} ms, 8 x ${inFlight} in flight`,
      acksPerSecond,
      latency.percentile(0.5),
      latency.percentile(0.99),
      p99s[Math.floor(p99s.length / 2)] ?? Number.NaN,
    ])
  }
  return {
    title: 'slow disk: the serving loop while flushes take long, rules on, 100-byte values',
    columns: ['system', 'acks/s', 'p50 ms', 'p99 ms', 'loop late p99 ms'],
    rows,
    notes: [
      'loop late: how late a 1 ms timer in the server fired; the median over the seconds of each second’s p99',
    ],
  }
}
