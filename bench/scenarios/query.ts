/**
 * Query: what an index costs and gives on one list of a million children. Server CPU for each insert: without an
 * index, with one, with a live `limitToLast(50)` beside it; and for each get of the same 50 children, by key and by
 * the index. One server holds both lists, alike but for the index.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeToClient, Encoder, encodeToServer, type Query, type ToServer } from '../../protocol/index.ts'
import type { Connection } from '../connection.ts'
import { Histogram } from '../histogram.ts'
import { openWebSocket, sendBinary } from '../raw-websocket.ts'
import { pause, ServerProcess } from '../server-process.ts'
import type { ScenarioOptions, Table } from '../table.ts'

const CHILDREN = 1_000_000
const CHILDREN_PER_WRITE = 5000
const IN_FLIGHT = 64
const WARM_UP_SECONDS = 1
const LIMIT = 50

const RULES = {
  rules: {
    '.read': true,
    '.write': true,
    plain: {},
    indexed: { '.indexOn': 'at' },
    young: { '.indexOn': 'at' },
  },
}

const byChild: Query = { orderBy: { child: ['at'] }, limit: { count: LIMIT, from: 'last' } }
const byKey: Query = { orderBy: 'key', limit: { count: LIMIT, from: 'last' } }

interface Measured {
  name: string
  perSecond: number
  cpuMicros: number
  p50Ms: number
  p99Ms: number
}

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const children = Number(flags['children'] ?? CHILDREN)
  const server = await start()
  try {
    const client = await Client.connect(server)
    for (const list of ['plain', 'indexed']) await fill(client, list, children)
    const keys = await lastKeys(client, 'indexed')
    const rows: Measured[] = []
    rows.push(await measure(server, client, seconds, 'insert, no index, no listener', insertInto('plain')))
    rows.push(await measure(server, client, seconds, 'insert, index, no listener', insertInto('indexed')))
    const listener = await Client.connect(server)
    await listener.ask({ type: 'listen', id: 0, path: ['indexed'], query: byChild })
    rows.push(
      await measure(
        server,
        client,
        seconds,
        `insert, index, live limitToLast(${LIMIT})`,
        insertInto('indexed'),
      ),
    )
    listener.close()
    const gets: [string, Query][] = [
      [`get of ${LIMIT} by key`, byKey],
      [`get of ${LIMIT} by index`, byChild],
    ]
    for (const [name, query] of gets) {
      rows.push(
        await measure(server, client, seconds, name, () => ({
          type: 'get',
          id: 0,
          path: ['indexed'],
          query,
        })),
      )
    }
    client.close()
    const [bare, indexed, live, byKeys, byIndex] = rows.map(({ cpuMicros }) => cpuMicros) as [
      number,
      number,
      number,
      number,
      number,
    ]
    const compared = [1, indexed / bare, live / bare, 1, byIndex / byKeys]
    return {
      title: `query: a list of ${children.toLocaleString('en-US')}, ${IN_FLIGHT} requests in flight`,
      columns: ['request', 'requests/s', 'CPU us/request', 'x', 'p50 ms', 'p99 ms'],
      rows: rows.map((row, i) => [
        row.name,
        row.perSecond,
        row.cpuMicros,
        compared[i]!,
        row.p50Ms,
        row.p99Ms,
      ]),
      notes: [
        `live against index alone: ${(live / indexed).toPrecision(3)} x`,
        'x compares with the first insert and the first get',
        `the ${keys} children both gets return are the last in both orders`,
      ],
    }
  } finally {
    await server.stop()
  }
}

function start(): Promise<ServerProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
  const rules = join(folder, 'rules.json')
  writeFileSync(rules, JSON.stringify(RULES))
  const main = fileURLToPath(new URL('../../server/main.js', import.meta.url))
  const options = ['--port', '0', '--data', join(folder, 'data'), '--rules', rules]
  return ServerProcess.start([process.execPath, main, 'serve', ...options], {
    // One connection is the whole load, far above what one may ask for in a second.
    env: { HEARTH_LOG_LEVEL: 'warn', HEARTH_LIMITS_MESSAGES_PER_SECOND_MAX: '0' },
    cleanUp: () => rmSync(folder, { recursive: true, force: true }),
  })
}

let inserted = 0

function key(n: number): string {
  return `k${String(n).padStart(9, '0')}`
}

function insertInto(list: string): () => ToServer {
  return () => {
    const n = CHILDREN * 10 + inserted++
    return { type: 'set', id: 0, path: [list, key(n)], value: child(n) }
  }
}

function child(n: number): { at: number; from: string; text: string } {
  return { at: n, from: `user${n % 1000}`, text: 'x'.repeat(60) }
}

async function fill(client: Client, list: string, children: number): Promise<void> {
  for (let from = 0; from < children; from += CHILDREN_PER_WRITE) {
    const entries = Array.from({ length: Math.min(CHILDREN_PER_WRITE, children - from) }, (_, i) => {
      return [[key(from + i)], child(from + i)] as const
    })
    await client.ask({ type: 'update', id: 0, path: [list], entries })
  }
}

/** How many of the children that both gets return are the same. */
async function lastKeys(client: Client, list: string): Promise<number> {
  const keys = await Promise.all(
    [byKey, byChild].map(async (query) => {
      const answer = await client.ask({ type: 'get', id: 0, path: [list], query })
      return Object.keys((answer as { value: object }).value)
    }),
  )
  return keys[0]!.filter((at) => keys[1]!.includes(at)).length
}

async function measure(
  server: ServerProcess,
  client: Client,
  seconds: number,
  name: string,
  request: () => ToServer,
): Promise<Measured> {
  client.start(request)
  await pause(WARM_UP_SECONDS)
  const latency = client.measure()
  const cpuBefore = server.cpuMicros()
  const answersBefore = client.answers
  const startMs = performance.now()
  await pause(seconds)
  const cpu = server.cpuMicros() - cpuBefore
  const count = client.answers - answersBefore
  const elapsedMs = performance.now() - startMs
  await client.stop()
  return {
    name,
    perSecond: (count / elapsedMs) * 1000,
    cpuMicros: cpu / count,
    p50Ms: latency.percentile(0.5),
    p99Ms: latency.percentile(0.99),
  }
}

/** One connection that keeps a number of requests in flight. */
class Client {
  readonly #socket: Connection
  readonly #encoder = new Encoder()
  readonly #sentAt = new Map<number, number>()
  readonly #waiting = new Map<number, (answer: unknown) => void>()
  #request: (() => ToServer) | null = null
  #latency = new Histogram()
  #nextId = 1
  #inFlight = 0
  #stopped: (() => void) | null = null
  answers = 0

  private constructor(socket: Connection) {
    this.#socket = socket
    socket.onFrame = (payload) => this.#receive(payload)
  }

  static async connect(server: ServerProcess): Promise<Client> {
    return new Client(await openWebSocket(server.port, '/v1'))
  }

  ask(message: ToServer): Promise<unknown> {
    return new Promise((resolve) => this.#waiting.set(this.#send(message), resolve))
  }

  start(request: () => ToServer): void {
    this.#request = request
    this.#socket.corked(() => {
      for (let i = 0; i < IN_FLIGHT; i++) this.#sendNext()
    })
  }

  measure(): Histogram {
    this.#latency = new Histogram()
    return this.#latency
  }

  stop(): Promise<void> {
    this.#request = null
    return new Promise((resolve) => {
      this.#stopped = resolve
    })
  }

  close(): void {
    this.#socket.close()
  }

  #sendNext(): void {
    const id = this.#send(this.#request!())
    this.#inFlight += 1
    if (id % 16 === 0) this.#sentAt.set(id, performance.now())
  }

  #send(message: ToServer): number {
    const id = this.#nextId++
    this.#encoder.reset()
    encodeToServer(this.#encoder, { ...message, id } as ToServer)
    sendBinary(this.#socket, this.#encoder.view())
    return id
  }

  #receive(payload: Buffer): void {
    let answered = 0
    for (const message of decodeToClient(payload)) {
      if (message.type === 'error') throw new Error(message.message)
      const ids = message.type === 'ack' ? message.ids : 'id' in message ? [message.id] : []
      for (const id of ids) {
        const waiting = this.#waiting.get(id)
        if (waiting !== undefined) {
          this.#waiting.delete(id)
          waiting(message)
          continue
        }
        answered += 1
        const at = this.#sentAt.get(id)
        if (at !== undefined) this.#latency.record(performance.now() - at)
        this.#sentAt.delete(id)
      }
    }
    this.answers += answered
    this.#inFlight -= answered
    if (this.#request === null) {
      if (this.#inFlight === 0) this.#stopped?.()
      return
    }
    this.#socket.corked(() => {
      for (let i = 0; i < answered; i++) this.#sendNext()
    })
  }
}
