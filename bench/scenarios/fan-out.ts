/**
 * Fan-out: server CPU for each delivered update. One publisher with a number of updates in flight, many subscribers
 * as bare sockets that count every update and check that none is missing or out of order.
 * Hearth (rules on, flushed) against raw uWebSockets.js publishing every update as it comes, without storage.
 */
import { Decoder, decodeToClient, Encoder, encodeToServer } from '../../protocol/index.ts'
import { Histogram } from '../histogram.ts'
import { RawWebSocket } from '../raw-websocket.ts'
import { benchProgram, ServerProcess } from '../server-process.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { pause } from '../write-load.ts'

interface Measured {
  name: string
  inFlight: number
  deliveriesPerSecond: number
  cpuMicrosPerDelivery: number
  p50Ms: number
  p99Ms: number
  residentKiBPerSubscriber: number
}

/** One system under test: how to start it, subscribe, publish the n-th update, and count updates in a frame. */
interface System {
  name: string
  start(): Promise<ServerProcess>
  subscribe(server: ServerProcess): Promise<RawWebSocket>
  publisher(server: ServerProcess): Promise<RawWebSocket>
  publish(client: RawWebSocket, number: number, bytes: number): void
  /** Numbers of the updates in a subscriber's frame. */
  received(payload: Buffer): number[]
  /** Updates acknowledged by a publisher's frame. */
  acknowledged(payload: Buffer): number
}

const encoder = new Encoder()

const hearth: System = {
  name: 'hearth native',
  start: () => ServerProcess.hearth(),
  async subscribe(server) {
    const client = await RawWebSocket.connect(server.port, '/v1')
    await new Promise<void>((resolve) => {
      client.onFrame = (payload) => {
        for (const message of decodeToClient(payload)) if (message.type === 'snapshot') resolve()
      }
      encoder.reset()
      encodeToServer(encoder, { type: 'listen', id: 1, path: ['rooms', 'a'], query: null })
      client.send(encoder.view())
    })
    return client
  },
  publisher: (server) => RawWebSocket.connect(server.port, '/v1'),
  publish(client, number, bytes) {
    encoder.reset()
    encodeToServer(encoder, { type: 'set', id: number, path: ['rooms', 'a'], value: body(number, bytes) })
    client.send(encoder.view())
  },
  received(payload) {
    const decoder = new Decoder(payload)
    const numbers: number[] = []
    while (!decoder.isAtEnd) {
      decoder.array()
      if (decoder.value() !== 6) return numbers
      decoder.value()
      decoder.value()
      const steps = decoder.array()
      for (let i = 0; i < steps; i++) {
        decoder.array()
        decoder.value()
        numbers.push(Number.parseInt(decoder.value() as string, 10))
      }
    }
    return numbers
  },
  acknowledged(payload) {
    let count = 0
    for (const message of decodeToClient(payload)) {
      if (message.type === 'error') throw new Error(message.message)
      if (message.type === 'ack') count += message.ids.length
    }
    return count
  },
}

const rawUws: System = {
  name: 'raw uWebSockets.js',
  start: () => ServerProcess.start(benchProgram('raw-uws')),
  subscribe: (server) => RawWebSocket.connect(server.port, '/subscribe'),
  publisher: (server) => RawWebSocket.connect(server.port, '/publish'),
  publish: (client, number, bytes) => client.send(Buffer.from(body(number, bytes), 'latin1')),
  received: (payload) => [Number.parseInt(payload.toString('latin1', 0, 12), 10)],
  acknowledged: () => 1,
}

function body(number: number, bytes: number): string {
  return String(number).padStart(12, '0').padEnd(bytes, 'x')
}

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const subscribers = Number(flags['subscribers'] ?? 1000)
  const bytes = Number(flags['bytes'] ?? 100)
  const inFlights = (flags['in-flight'] ?? '1,50').split(',').map(Number)
  const measured: Measured[] = []
  for (const inFlight of inFlights) {
    for (const system of [rawUws, hearth])
      measured.push(await measure(system, { subscribers, bytes, inFlight, seconds }))
  }
  const floor = (m: Measured): Measured => measured.find((other) => other.inFlight === m.inFlight)!
  return {
    title: `fan-out: one publisher, ${subscribers} subscribers, ${bytes}-byte updates`,
    columns: [
      'system',
      'in flight',
      'deliveries/s',
      'CPU us/delivery',
      'x raw',
      'p50 ms',
      'p99 ms',
      'KiB/subscriber',
    ],
    rows: measured.map((m) => [
      m.name,
      m.inFlight,
      m.deliveriesPerSecond,
      m.cpuMicrosPerDelivery,
      m.cpuMicrosPerDelivery / floor(m).cpuMicrosPerDelivery,
      m.p50Ms,
      m.p99Ms,
      m.residentKiBPerSubscriber,
    ]),
    notes: [
      'p50 and p99: from sending an update to its arrival at the last subscriber',
      'hearth: rules on, durability flushed; raw: nothing stored',
    ],
  }
}

async function measure(
  system: System,
  options: { subscribers: number; bytes: number; inFlight: number; seconds: number },
): Promise<Measured> {
  const { subscribers, bytes, inFlight, seconds } = options
  const server = await system.start()
  const idleBytes = server.residentBytes()
  const clients: RawWebSocket[] = []
  for (let i = 0; i < subscribers; i += 50) {
    clients.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(50, subscribers - i) }, () => system.subscribe(server)),
      )),
    )
  }
  const residentKiB = (server.residentBytes() - idleBytes) / 1024 / subscribers
  const latency = new Histogram()
  const sentAt = new Map<number, { atMs: number; missing: number }>()
  let deliveries = 0
  let isMeasuring = false
  for (const client of clients) {
    let last = 0
    client.onFrame = (payload) => {
      for (const number of system.received(payload)) {
        if (number !== last + 1) throw new Error(`${system.name}: update ${number} came after ${last}`)
        last = number
        deliveries += 1
        const sent = sentAt.get(number)!
        sent.missing -= 1
        if (sent.missing === 0) {
          if (isMeasuring) latency.record(performance.now() - sent.atMs)
          sentAt.delete(number)
        }
      }
    }
  }
  const publisher = await system.publisher(server)
  let published = 0
  let isRunning = true
  const publishOne = (): void => {
    published += 1
    sentAt.set(published, { atMs: performance.now(), missing: subscribers })
    system.publish(publisher, published, bytes)
  }
  publisher.onFrame = (payload) => {
    const count = system.acknowledged(payload)
    if (!isRunning) return
    publisher.socket.cork()
    for (let i = 0; i < count; i++) publishOne()
    publisher.socket.uncork()
  }
  for (let i = 0; i < inFlight; i++) publishOne()
  await pause(1)
  isMeasuring = true
  const cpuBefore = server.cpuMicros()
  const before = deliveries
  const startMs = performance.now()
  await pause(seconds)
  const elapsedMs = performance.now() - startMs
  const count = deliveries - before
  const cpu = server.cpuMicros() - cpuBefore
  isRunning = false
  await drained(() => sentAt.size === 0, system.name)
  for (const client of [...clients, publisher]) client.close()
  await server.stop()
  return {
    name: system.name,
    inFlight,
    deliveriesPerSecond: (count / elapsedMs) * 1000,
    cpuMicrosPerDelivery: cpu / count,
    p50Ms: latency.percentile(0.5),
    p99Ms: latency.percentile(0.99),
    residentKiBPerSubscriber: residentKiB,
  }
}

/** Every update must reach every subscriber; a lost one fails the run. */
async function drained(isDone: () => boolean, name: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (isDone()) return
    await pause(0.1)
  }
  throw new Error(`${name}: updates were lost`)
}
