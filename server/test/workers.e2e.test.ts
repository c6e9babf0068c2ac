/**
 * Worker threads: what holds beyond that a server of several does what one of one thread does, which the suites of
 * whole servers show by running with both.
 */
import { expect, test } from 'vitest'
import { getDatabase, onValue, ref, set, terminate } from '../../client/index-node.ts'
import type { Query, Step, Value } from '../../protocol/index.ts'
import { withValueAt } from '../../protocol/index.ts'
import { BareClient, type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

const SEED = Number(process.env['TEST_SEED'] ?? Math.floor(Math.random() * 1e9))

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** A metric of each worker. */
async function metric(server: TestServer, name: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const found = [...text.matchAll(new RegExp(`^${name}\\{worker="(\\d)"\\} (\\S+)$`, 'gm'))]
  return Object.fromEntries(found.map((match) => [match[1]!, Number(match[2])]))
}

/** The kernel deals connections out by their addresses: some are made until each worker has one. */
async function clientOnEach(
  t: Cleanup,
  server: TestServer,
): Promise<{ writer: BareClient; other: BareClient }> {
  const on: Record<string, BareClient> = {}
  for (let tries = 0; tries < 100 && Object.keys(on).length < 2; tries++) {
    const before = await metric(server, 'hearth_connections')
    const client = await BareClient.connect(t, server)
    const after = await metric(server, 'hearth_connections')
    const worker = Object.keys(after).find((name) => after[name]! > before[name]!)
    // A worker that has no time to answer is missing from the metrics: then nobody knows whose client this is.
    if (worker !== undefined) on[worker] = client
  }
  return { writer: on['0']!, other: on['1']! }
}

/** What a client's listen shows, from all it has heard. */
class Mirror {
  value: Value = null
  revision = 0
  readonly #client: BareClient
  readonly #path: string[]
  readonly #query: Query | null
  #queryId = 0
  #at = 0

  constructor(client: BareClient, at: string[] = [], query: Query | null = null) {
    this.#client = client
    this.#path = at
    this.#query = query
  }

  async listen(): Promise<void> {
    const request = { type: 'listen' as const, path: this.#path, query: this.#query }
    const snapshot = (await this.#client.ask(request)) as { queryId: number }
    this.#queryId = snapshot.queryId
  }

  /** What a get says it shows. */
  async expected(): Promise<Value> {
    const request = { type: 'get' as const, path: this.#path, query: this.#query }
    return ((await this.#client.ask(request)) as { value: Value }).value
  }

  /** Follows up to all that was heard. */
  now(): Value {
    this.#apply()
    return this.value
  }

  async until(revision: number): Promise<Value> {
    for (;;) {
      this.#apply()
      if (this.revision >= revision) return this.value
      const known = this.#client.heard.length
      await this.#client.next('patch', (message) => this.#client.heard.indexOf(message) >= known)
    }
  }

  #apply(): void {
    for (; this.#at < this.#client.heard.length; this.#at++) {
      const message = this.#client.heard[this.#at]!
      if (!('queryId' in message) || message.queryId !== this.#queryId) continue
      if (message.type === 'snapshot') this.value = message.value
      else if (message.type === 'patch') for (const step of message.steps) this.#step(step)
      else continue
      expect(message.revision, `seed ${SEED}: patches come in order`).toBeGreaterThan(this.revision - 1)
      this.revision = message.revision
    }
  }

  #step(step: Step): void {
    for (let i = 0; i < step.length; i += 2) {
      const keys = step[i] === '' ? [] : (step[i] as string).split('/')
      this.value = withValueAt(this.value, keys, step[i + 1] as Value)
    }
  }
}

const TWO = { workers: 2, adminKey: 'a key of at least thirty-two bytes, or so' }

test('clients of one port are dealt out to all workers, and each hears what others write', async (t) => {
  const server = await serve(t, { rules: OPEN, config: TWO })
  const { writer, other } = await clientOnEach(t, server)
  await writer.ask({ type: 'listen', path: path('a'), query: null })
  await other.ask({ type: 'listen', path: path('a'), query: null })

  await other.ask({ type: 'set', path: path('a/b'), value: 1 })
  await writer.ask({ type: 'set', path: path('a/c'), value: 2 })

  for (const client of [writer, other]) {
    await client.next('patch', ({ steps }) => steps.some(([at]) => at === 'c'))
    const steps = client.heard.flatMap((message) => (message.type === 'patch' ? message.steps : []))
    expect(steps).toEqual([
      ['b', 1],
      ['c', 2],
    ])
  }
  expect(Object.keys(await metric(server, 'hearth_listeners'))).toEqual(['0', '1'])
})

test('clients of all workers that write and listen at random see the same in the end', async (t) => {
  const random = randomFrom(SEED)
  const pick = (count: number): number => Math.floor(random() * count)
  const keys = ['a', 'b', 'c', '1']
  const server = await serve(t, { rules: OPEN, config: { ...TWO, workers: 3 } })
  const clients = await Promise.all(Array.from({ length: 12 }, () => BareClient.connect(t, server)))
  const mirrors = clients.map((client) => new Mirror(client))
  const query: Query = { orderBy: 'key', limit: { from: 'last', count: 2 } }
  const windows = clients.map((client, i) => new Mirror(client, i % 2 === 0 ? ['a'] : ['b', 'c'], query))

  const listening = mirrors.map(async (mirror, i) => {
    // Some from the start, the others somewhere in between.
    for (let wait = i % 4; wait > 0; wait--) await clients[i]!.ask({ type: 'get', path: [], query: null })
    await mirror.listen()
    await windows[i]!.listen()
  })
  const writing = clients.map(async (client) => {
    for (let round = 0; round < 30; round++) {
      const asked = Array.from({ length: 1 + pick(5) }, () => {
        const at = Array.from({ length: 1 + pick(3) }, () => keys[pick(keys.length)]!)
        const kind = pick(5)
        if (kind === 0) return client.ask({ type: 'remove', path: at })
        if (kind === 1) return client.ask({ type: 'set', path: at, value: 'x'.repeat(pick(900)) })
        if (kind === 2)
          return client.ask({ type: 'set', path: at, value: { a: pick(9), b: { c: 'y'.repeat(pick(900)) } } })
        if (kind === 3) return client.ask({ type: 'push', path: at, value: pick(100) })
        return client.ask({ type: 'set', path: at, value: { '.sv': 'timestamp' } })
      })
      const answers = await Promise.all(asked)
      expect(
        answers.filter(({ type }) => type === 'error'),
        `seed ${SEED}`,
      ).toEqual([])
      if (pick(4) === 0) await client.ask({ type: 'get', path: [], query: null })
    }
  })
  await Promise.all([...listening, ...writing])

  // One more write, so that everybody has something of the end to wait for.
  const last = (await clients[0]!.ask({ type: 'set', path: path('end'), value: true })) as {
    revision: number
  }
  const { value } = (await clients[0]!.ask({ type: 'get', path: [], query: null })) as { value: Value }
  for (const mirror of mirrors) expect(await mirror.until(last.revision), `seed ${SEED}`).toEqual(value)
  for (const mirror of [...mirrors, ...windows]) {
    // The answer comes after the patches of all it shows.
    const expected = await mirror.expected()
    expect(mirror.now(), `seed ${SEED}`).toEqual(expected)
  }
}, 60_000)

test('a worker that dies is replaced; what its clients left for their end is done, other clients go on', async (t) => {
  const server = await serve(t, { rules: OPEN, config: TWO })
  const { writer, other } = await clientOnEach(t, server)
  await writer.ask({ type: 'listen', path: path('status'), query: null })
  await other.ask({ type: 'onDisconnectSet', path: path('status'), value: 'gone' })
  await other.ask({ type: 'set', path: path('status'), value: 'here' })
  const acked = await other.ask({ type: 'set', path: path('kept'), value: 1 })

  server.failWorker!(1)

  expect(acked.type).toBe('ack')
  // Its own close code where it still could send one: a client comes back after either.
  expect([4000, 1006]).toContain((await other.closed).code)
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'gone'))
  const again = await untilServedBy(t, server, '1')
  expect(await again.ask({ type: 'get', path: path('kept'), query: null })).toMatchObject({ value: 1 })
  await again.ask({ type: 'set', path: path('status'), value: 'back' })
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'back'))
  const text = await (await fetch(`${server.url}/metrics`)).text()
  expect(text).toMatch(/^hearth_worker_restarts_total\{worker="0"\} 1$/m)
}, 30_000)

test('a worker whose memory is nearly used up ends in good order and is replaced; the others go on', async (t) => {
  const server = await serve(t, { rules: OPEN, config: TWO, parts: { workerHeapMiBMax: 64 } })
  const { writer, other } = await clientOnEach(t, server)
  await writer.ask({ type: 'listen', path: path('status'), query: null })
  await other.ask({ type: 'onDisconnectSet', path: path('status'), value: 'gone' })

  server.fillWorker!(1)

  expect((await other.closed).code).toBe(4000)
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'gone'))
  const again = await untilServedBy(t, server, '1')
  expect(await again.ask({ type: 'set', path: path('status'), value: 'back' })).toMatchObject({ type: 'ack' })
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'back'))
  const text = await (await fetch(`${server.url}/metrics`)).text()
  expect(text).toMatch(/^hearth_worker_restarts_total\{worker="0"\} 1$/m)
}, 30_000)

test('a server that closes while a worker starts takes nobody with it', async (t) => {
  for (const afterMs of [120, 200, 280, 360]) {
    const server = await serve(t, { rules: OPEN, config: TWO })
    server.failWorker!(1)

    // Nothing tells how far the start of the next one has come: these times lie before, within and behind it.
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await server.close()
  }
}, 30_000)

test('a worker that follows nothing is given up and replaced once it can be; nobody waits for it', async (t) => {
  // Long enough for one that does follow: on a busy machine the next one would be given up, too, and take its client with it.
  const server = await serve(t, { rules: OPEN, config: TWO, parts: { workerLagMsMax: 1000 } })
  const { writer, other } = await clientOnEach(t, server)
  await writer.ask({ type: 'listen', path: path('status'), query: null })
  await other.ask({ type: 'onDisconnectSet', path: path('status'), value: 'gone' })
  await other.ask({ type: 'listen', path: path('a'), query: null })

  const goOn = server.stallWorker!(1)
  t.onTestFinished(goOn)
  await writer.ask({ type: 'set', path: path('a'), value: 1 })
  // While it stands still: its sessions count as ended.
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'gone'))
  await writer.ask({ type: 'set', path: path('a'), value: 2 })
  goOn()

  expect([4000, 1006]).toContain((await other.closed).code)
  const again = await untilServedBy(t, server, '1')
  expect(await again.ask({ type: 'get', path: path('a'), query: null })).toMatchObject({ value: 2 })
  await again.ask({ type: 'set', path: path('status'), value: 'back' })
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'back'))
}, 30_000)

/** A connection to that worker, once there is such a worker. */
async function untilServedBy(t: Cleanup, server: TestServer, worker: string): Promise<BareClient> {
  for (;;) {
    const before = (await metric(server, 'hearth_connections'))[worker]
    const client = await BareClient.connect(t, server)
    const after = (await metric(server, 'hearth_connections'))[worker]
    if (before !== undefined && after !== undefined && after > before) return client
  }
}

test('rules that are uploaded hold in every worker, whichever took them', async (t) => {
  const server = await serve(t, { rules: OPEN, config: TWO })
  const { writer, other } = await clientOnEach(t, server)
  for (const client of [writer, other]) await client.ask({ type: 'listen', path: path('a'), query: null })

  for (let n = 1; n <= 6; n++) {
    // Connections of their own, so that both workers are asked.
    const answer = await fetch(`${server.url}/.settings/rules.json`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${TWO.adminKey}`, connection: 'close' },
      body: JSON.stringify({ rules: { a: { '.read': n < 6, '.write': true } } }),
    })
    expect(answer.status, await answer.text()).toBe(200)
  }

  for (const client of [writer, other]) {
    expect((await client.next('cancel')).name).toBe('permission_denied')
    expect(await client.ask({ type: 'get', path: path('a'), query: null })).toMatchObject({
      name: 'permission_denied',
    })
  }
})

test('connections are counted over all workers', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { ...TWO, limits: { connectionsMax: 4 } } })

  const clients = await Promise.all(Array.from({ length: 10 }, () => BareClient.connect(t, server)))

  const open = clients.filter((client) => client.heard.some(({ type }) => type === 'hello'))
  // Two threads may let one in at the same moment, each seeing room for it.
  expect(open.length).toBeGreaterThanOrEqual(4)
  expect(open.length).toBeLessThanOrEqual(5)
})

test('a second server gets neither the port of several workers nor a share of it', async (t) => {
  const first = await serve(t, { rules: OPEN, config: TWO })

  const second = serve(t, { rules: OPEN, config: { ...TWO, port: first.address.port } })

  await expect(second).rejects.toThrow(/is the port in use/)
})

test('clients of the SDK go on through the death of a worker: nothing acknowledged is lost, all see the end', async (t) => {
  const server = await serve(t, { rules: OPEN, config: TWO })
  const databases = Array.from({ length: 8 }, () => {
    const db = getDatabase(server.url)
    t.onTestFinished(() => terminate(db))
    return db
  })
  const shown = databases.map((db) => {
    const mirror: { value: unknown } = { value: null }
    onValue(ref(db, 'n'), (snapshot) => {
      mirror.value = snapshot.val()
    })
    return mirror
  })

  await Promise.all(
    databases.map(async (db, i) => {
      for (let n = 1; n <= 40; n++) {
        await set(ref(db, `n/c${i}`), n)
        if (i === 0 && n % 15 === 0) server.failWorker!(1)
      }
    }),
  )

  const end = Object.fromEntries(databases.map((_, i) => [`c${i}`, 40]))
  for (const mirror of shown) await expect.poll(() => mirror.value, { timeout: 15_000 }).toEqual(end)
}, 60_000)
