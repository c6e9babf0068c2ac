/**
 * Write: acked, flushed writes a second with rules on, 8 connections with 64 writes in flight each, 100-byte values;
 * against raw LMDB committing the same rows in groups of 512, and Redis with `appendfsync always` where installed.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Histogram } from '../histogram.ts'
import { benchProgram, pause, ServerProcess } from '../server-process.ts'
import { programVersion } from '../systems/installed.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { streamWrites } from '../write-load.ts'

const CONNECTIONS = 8
const IN_FLIGHT = 64
const VALUE = 'x'.repeat(100)
const WARM_UP_SECONDS = 1
/** Distinct keys each connection writes in turn, so that rows are both made and replaced. */
const KEYS = 20_000

interface Measured {
  name: string
  acksPerSecond: number
  cpuMicrosPerAck: number
  p50Ms: number
  p99Ms: number
}

export async function run({ seconds }: ScenarioOptions): Promise<Table> {
  const raw = await rawLmdb(seconds)
  const withoutLog = { HEARTH_CHANGE_LOG_BYTES: '0' }
  const measured = [
    raw,
    await hearth(seconds, IN_FLIGHT),
    { ...(await hearth(seconds, IN_FLIGHT, CONNECTIONS, withoutLog)), name: 'hearth without a change log' },
    await hearth(seconds, 1, 1),
    { ...(await hearth(seconds, 1, 1, withoutLog)), name: 'hearth without a change log, 1 in flight' },
  ]
  const notes: string[] = []
  if (programVersion('redis-server', '--version') !== null) measured.push(await redis(seconds))
  else notes.push('redis-server is not installed: no Redis row')
  return {
    title: 'write: acked writes, flushed, rules on, 100-byte values',
    columns: ['system', 'acks/s', 'x raw LMDB', 'CPU us/ack', 'p50 ms', 'p99 ms'],
    rows: measured.map((m) => [
      m.name,
      m.acksPerSecond,
      m.acksPerSecond / raw.acksPerSecond,
      m.cpuMicrosPerAck,
      m.p50Ms,
      m.p99Ms,
    ]),
    notes,
  }
}

async function hearth(
  seconds: number,
  inFlight: number,
  connections = CONNECTIONS,
  env: Record<string, string> = {},
): Promise<Measured> {
  return measureWrites(await ServerProcess.hearth(env), { seconds, inFlight, connections })
}

/** @param server Is stopped afterwards. */
export async function measureWrites(
  server: ServerProcess,
  options: { seconds: number; inFlight: number; connections?: number },
): Promise<Measured> {
  const { seconds, inFlight, connections = CONNECTIONS } = options
  const latency = new Histogram()
  const load = await streamWrites(server.port, { connections, inFlight, latency })
  await pause(WARM_UP_SECONDS)
  latency.reset()
  const acksBefore = load.acks
  const cpuBefore = server.cpuMicros()
  const startMs = performance.now()
  await pause(seconds)
  const cpu = server.cpuMicros() - cpuBefore
  const count = load.acks - acksBefore
  const elapsedMs = performance.now() - startMs
  load.stop()
  await server.stop()
  return {
    name: `hearth, ${connections} x ${inFlight} in flight`,
    acksPerSecond: (count / elapsedMs) * 1000,
    cpuMicrosPerAck: cpu / count,
    p50Ms: latency.percentile(0.5),
    p99Ms: latency.percentile(0.99),
  }
}

/** The same rows put by one program with nothing else to do. */
async function rawLmdb(seconds: number): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
  const [program, ...args] = benchProgram('raw-lmdb', folder, String(seconds))
  const result = spawnSync(program!, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  rmSync(folder, { recursive: true, force: true })
  return JSON.parse(result.stdout) as Measured
}

async function redis(seconds: number): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
  const server = await ServerProcess.startOn(
    (port) => [
      ...['redis-server', '--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder],
      ...['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
    ],
    () => rmSync(folder, { recursive: true, force: true }),
  )
  let acks = 0
  let isRunning = true
  const latency = new Histogram()
  const sockets = Array.from({ length: CONNECTIONS }, (_, n) => {
    const socket = createConnection({ port: server.port, host: '127.0.0.1', noDelay: true })
    let sent = 0
    const sentAt: number[] = []
    const send = (count: number): void => {
      let commands = ''
      for (let i = 0; i < count; i++) {
        const key = `bench/c${n}/key${sent++ % KEYS}`
        commands += `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${VALUE.length}\r\n${VALUE}\r\n`
        sentAt.push(performance.now())
      }
      socket.write(commands)
    }
    socket.on('data', (chunk: Buffer) => {
      let answered = 0
      for (const byte of chunk) if (byte === 43) answered += 1
      acks += answered
      const nowMs = performance.now()
      for (const at of sentAt.splice(0, answered)) if (Math.random() < 0.05) latency.record(nowMs - at)
      if (isRunning && answered > 0) send(answered)
    })
    socket.once('connect', () => send(IN_FLIGHT))
    return socket
  })
  await pause(WARM_UP_SECONDS)
  const acksBefore = acks
  const cpuBefore = server.cpuMicros()
  const startMs = performance.now()
  await pause(seconds)
  const cpu = server.cpuMicros() - cpuBefore
  const count = acks - acksBefore
  const elapsedMs = performance.now() - startMs
  isRunning = false
  for (const socket of sockets) socket.destroy()
  await server.stop()
  return {
    name: `redis, appendfsync always, ${CONNECTIONS} x ${IN_FLIGHT}`,
    acksPerSecond: (count / elapsedMs) * 1000,
    cpuMicrosPerAck: cpu / count,
    p50Ms: latency.percentile(0.5),
    p99Ms: latency.percentile(0.99),
  }
}
