/**
 * Slow consumers: sockets that stop reading. Nobody else waits for them, memory stays bounded, and they end in
 * exactly the server's state or are told to come back.
 */
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import {
  decodeToClient,
  Encoder,
  encodeToClient,
  encodeToServer,
  type ToClient,
} from '../../protocol/index.ts'
import type { Sink } from '../sessions/sink.ts'
import { listen, type UpgradeRequest } from '../transport/websocket.ts'
import { BareClient, type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

const MiB = 1024 * 1024
const CHUNK = 'x'.repeat(64 * 1024)

/** A listener over a plain socket, so that the test decides when bytes are read. */
class StallingClient {
  readonly socket: Socket
  /** The messages of each frame. */
  readonly frames: ToClient[][] = []
  /** Of the close frame, once there was one. */
  closeCode: number | null = null
  #bytes = Buffer.alloc(0)
  #hasHead = false
  #wake: (() => void) | null = null

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
  }

  get heard(): ToClient[] {
    return this.frames.flat()
  }

  static open(t: Cleanup, port: number): StallingClient {
    const socket = connect({ port, host: '127.0.0.1' })
    t.onTestFinished(() => socket.destroy())
    const client = new StallingClient(socket)
    socket.write(
      'GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    )
    return client
  }

  static async listen(t: Cleanup, server: TestServer, at: string): Promise<StallingClient> {
    const client = StallingClient.open(t, server.address.port)
    await client.until(({ type }) => type === 'hello')
    client.send({ type: 'listen', id: 1, path: path(at), query: null })
    await client.until(({ type }) => type === 'snapshot')
    return client
  }

  send(message: Parameters<typeof encodeToServer>[1]): void {
    const encoder = new Encoder()
    encodeToServer(encoder, message)
    const payload = encoder.take()
    this.socket.write(Buffer.concat([Buffer.from([0x82, 0x80 | payload.length, 0, 0, 0, 0]), payload]))
  }

  async until(matches: (message: ToClient) => boolean): Promise<ToClient> {
    for (;;) {
      const found = this.heard.find(matches)
      if (found !== undefined) return found
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    if (!this.#hasHead) {
      const end = this.#bytes.indexOf('\r\n\r\n')
      if (end < 0) return
      this.#bytes = this.#bytes.subarray(end + 4)
      this.#hasHead = true
    }
    for (;;) {
      if (this.#bytes.length < 2) return
      let length = this.#bytes[1]! & 0x7f
      let head = 2
      if (length === 126 && this.#bytes.length >= 4) {
        length = this.#bytes.readUInt16BE(2)
        head = 4
      } else if (length === 127 && this.#bytes.length >= 10) {
        length = Number(this.#bytes.readBigUInt64BE(2))
        head = 10
      } else if (length >= 126) return
      if (this.#bytes.length < head + length) return
      const opcode = this.#bytes[0]! & 0x0f
      if (opcode === 2) this.frames.push(decodeToClient(this.#bytes.subarray(head, head + length)))
      if (opcode === 8) this.closeCode = this.#bytes.readUInt16BE(head)
      this.#bytes = this.#bytes.subarray(head + length)
      this.#wake?.()
    }
  }
}

/** Makes the server's socket to a client full, without any change. */
async function stall(client: StallingClient, writer: BareClient, id: number): Promise<void> {
  // More than the kernel's buffers grow to: what they took later would count as reading.
  for (const half of ['a', 'b']) {
    await writer.ask({ type: 'set', path: path(`ballast/${half}`), value: 'x'.repeat(8 * MiB) })
  }
  client.socket.pause()
  client.send({ type: 'get', id, path: path('ballast'), query: null })
  // Once others see a later request of its, the answer is in the socket.
  await writer.ask({ type: 'listen', path: path('stalled'), query: null })
  client.send({ type: 'set', id: id + 1, path: path('stalled'), value: true })
  await writer.next('patch')
}

test('publishing alone loses messages to a socket that stops reading, and says so to nobody but the server', async (t) => {
  let drops = 0
  const transport = await listen({
    host: '127.0.0.1',
    port: 0,
    routes: [
      {
        path: '/v1',
        frames: 'binary',
        frameBytesMax: MiB,
        backpressureBytesMax: MiB,
        idleTimeoutSeconds: 60,
        refuse: () => null,
        connect: (_, sink) => ({
          open: () => {
            sink.subscribe('topic')
            sink.send(pong(0))
          },
          receive() {},
          drained() {},
          dropped: () => {
            drops += 1
          },
          closed() {},
        }),
      },
    ],
    http: () => expect.fail('nobody asks'),
    bodyBytesMax: 0,
    bodyDeadlineMs: 0,
    onBug: (error) => {
      throw error
    },
  })
  t.onTestFinished(() => transport.close())
  const stalled = StallingClient.open(t, transport.port)
  await stalled.until(({ type }) => type === 'pong')

  stalled.socket.pause()
  const rounds = 150
  for (let n = 1; n <= rounds; n++) {
    transport.publish('topic', Buffer.concat([pong(n), pong(n, CHUNK)]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  stalled.socket.resume()
  let last = rounds
  while (!stalled.heard.some((message) => message.type === 'pong' && message.id > rounds)) {
    transport.publish('topic', pong(++last))
    await new Promise((resolve) => setImmediate(resolve))
  }

  const ids = new Set(stalled.heard.flatMap((message) => (message.type === 'pong' ? [message.id] : [])))
  const lost = Array.from({ length: rounds }, (_, i) => i + 1).filter((n) => !ids.has(n))
  expect(lost.length).toBeGreaterThan(0)
  expect(drops).toBeGreaterThanOrEqual(lost.length)
})

/** A message as good as any. */
function pong(id: number, text = ''): Uint8Array {
  const encoder = new Encoder()
  if (text === '') encodeToClient(encoder, { type: 'pong', id, serverTimeMs: 0 })
  else encodeToClient(encoder, { type: 'goingAway', reason: text, delayMs: id })
  return encoder.take()
}

/** What the first step of a patch tells, by place. */
function told(patch: ToClient): Record<string, unknown> {
  const step = patch.type === 'patch' ? patch.steps[0]! : []
  return Object.fromEntries(step.flatMap((item, i) => (i % 2 ? [[step[i - 1], item]] : [])))
}

test('a slow consumer of a large value is sent the latest of each place that changed, in one frame', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { slowConsumerSoftBytes: MiB } } })
  const writer = await BareClient.connect(t, server)
  const large = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`k${n}`, CHUNK]))
  await writer.ask({ type: 'set', path: path('room'), value: { large, hot: 0, scores: { a: 0, b: 0 } } })
  const stalled = await StallingClient.listen(t, server, 'room')
  stalled.send({ type: 'listen', id: 2, path: path('other'), query: null })
  await stalled.until((message) => message.type === 'snapshot' && message.id === 2)
  stalled.send({ type: 'listen', id: 3, path: path('quiet'), query: null })
  await stalled.until((message) => message.type === 'snapshot' && message.id === 3)

  await stall(stalled, writer, 4)
  for (let n = 1; n <= 300; n++) writer.send({ type: 'set', path: path('room/hot'), value: n })
  writer.send({ type: 'set', path: path('room/scores/a'), value: 1 })
  writer.send({ type: 'set', path: path('room/scores'), value: { b: 2 } })
  writer.send({ type: 'set', path: path('room/large/k7'), value: null })
  await writer.ask({ type: 'set', path: path('other/n'), value: 1 })
  stalled.send({ type: 'ping', id: 6 })
  stalled.send({ type: 'set', id: 7, path: path('stalled'), value: 'asked' })
  await writer.next('patch', ({ steps }) => steps[0]?.[1] === 'asked')
  stalled.socket.resume()
  await stalled.until((message) => message.type === 'ack' && message.ids.includes(7))

  const last = stalled.frames.at(-1)!
  expect(last.map(({ type }) => type)).toEqual(['patch', 'patch', 'ack', 'pong', 'ack'])
  expect(told(last[0]!)).toMatchObject({ hot: 300, scores: { b: 2 }, 'large/k7': null })
  expect(told(last[1]!)).toEqual({ n: 1 })
  expect(stalled.heard.filter(({ type }) => type === 'resync')).toEqual([])

  await writer.ask({ type: 'set', path: path('room/hot'), value: 'after' })
  await stalled.until((message) => message.type === 'patch' && message.steps[0]?.[1] === 'after')
})

test('a slow consumer of a window is sent the children that came, changed or left', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { slowConsumerSoftBytes: MiB } } })
  const writer = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('list'), value: { a: 1, b: 2, c: { n: 1, m: 1 } } })
  const stalled = await StallingClient.listen(t, server, 'elsewhere')
  const query = { orderBy: 'key' as const, limit: { count: 2, from: 'last' as const } }
  stalled.send({ type: 'listen', id: 2, path: path('list'), query })
  await stalled.until((message) => message.type === 'snapshot' && message.id === 2)

  await stall(stalled, writer, 3)
  await writer.ask({ type: 'set', path: path('list/c/n'), value: 2 })
  await writer.ask({ type: 'set', path: path('list/d'), value: 3 })
  await writer.ask({ type: 'set', path: path('list/e'), value: 4 })
  await writer.ask({ type: 'set', path: path('list/e'), value: null })
  stalled.socket.resume()
  const patch = await stalled.until(({ type }) => type === 'patch')

  expect(told(patch)).toEqual({ b: null, c: { n: 2, m: 1 }, d: 3, e: null })
})

test('a listener that stops reading delays nobody and is later brought to the latest value', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { slowConsumerSoftBytes: MiB } } })
  const writer = await BareClient.connect(t, server)
  const reader = await BareClient.connect(t, server)
  await reader.ask({ type: 'listen', path: path('a'), query: null })
  const stalled = await StallingClient.listen(t, server, 'a')

  stalled.socket.pause()
  const rounds = 150
  for (let n = 1; n <= rounds; n++)
    await writer.ask({ type: 'set', path: path('a'), value: { n, text: CHUNK } })
  await reader.ask({ type: 'ping' })
  const seen = reader.heard.flatMap((message) => (message.type === 'patch' ? message.steps : [])).length
  stalled.socket.resume()
  await stalled.until((message) => message.type === 'resync' && (message.value as { n: number }).n === rounds)
  await writer.ask({ type: 'set', path: path('a/after'), value: true })
  await stalled.until(
    (message) => message.type === 'patch' && message.steps.some((step) => step[0] === 'after'),
  )

  expect(seen).toBe(rounds)
  const patches = stalled.heard.filter(({ type }) => type === 'patch').length
  // Some of 10 MB went into kernel buffers and the soft limit; the rest was never queued for it.
  expect(patches).toBeLessThan(rounds)
})

test('after a resync a slow consumer hears every later change, in order, none from before it', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { slowConsumerSoftBytes: 64 * 1024 } } })
  const writer = await BareClient.connect(t, server)
  const stalled = await StallingClient.listen(t, server, 'a')

  stalled.socket.pause()
  for (let n = 1; n <= 300; n++) writer.send({ type: 'set', path: path('a'), value: `${n} ${CHUNK}` })
  await writer.ask({ type: 'ping' })
  stalled.socket.resume()
  for (let n = 301; n <= 400; n++) writer.send({ type: 'set', path: path('a'), value: `${n} small` })
  const isLast = (value: unknown): boolean => value === '400 small'
  await stalled.until(
    (message) =>
      (message.type === 'patch' && message.steps.some((step) => isLast(step[1]))) ||
      (message.type === 'resync' && isLast(message.value)),
  )

  let at = 0
  let revision = 0
  for (const message of stalled.heard) {
    if (message.type === 'resync') {
      at = Number.parseInt(String(message.value), 10)
      revision = message.revision
    } else if (message.type === 'patch') {
      expect(message.revision).toBeGreaterThan(revision)
      for (const step of message.steps) {
        expect(Number.parseInt(String(step[1]), 10)).toBe(at + 1)
        at += 1
      }
      revision = message.revision
    }
  }
  expect(at).toBe(400)
})

test('what a client reads is not read before it takes the answers it has, and then all of it is', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: {
      limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerHardBytes: 4 * MiB, frameBytesMax: 2 * MiB },
    },
  })
  const writer = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('big'), value: 'x'.repeat(MiB) })
  const greedy = await StallingClient.listen(t, server, 'small')

  greedy.socket.pause()
  for (let id = 2; id <= 60; id++) greedy.send({ type: 'get', id, path: path('big'), query: null })
  await writer.ask({ type: 'set', path: path('small'), value: 1 })
  greedy.socket.resume()
  await greedy.until((message) => message.type === 'value' && message.id === 60)

  const values = greedy.heard.flatMap((message) => (message.type === 'value' ? [message.id] : []))
  expect(values).toEqual(Array.from({ length: 59 }, (_, i) => i + 2))
})

test('answers to a client that does not read are held to a budget, then its connection is closed', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: {
      limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerHardBytes: MiB, frameBytesMax: MiB },
    },
  })
  const writer = await BareClient.connect(t, server)
  for (let n = 0; n < 16; n++) {
    await writer.ask({ type: 'set', path: path(`ballast/${n}`), value: 'x'.repeat(MiB / 2) })
  }
  const greedy = await StallingClient.listen(t, server, 'small')
  const closed = new Promise((resolve) => greedy.socket.on('close', resolve))

  greedy.socket.pause()
  greedy.send({ type: 'get', id: 2, path: path('ballast'), query: null })
  // Small answers: what each takes beside its bytes is counted, too.
  for (let id = 3; id <= 10_000; id++) greedy.send({ type: 'ping', id })
  const isOpen = async (): Promise<boolean> => {
    const text = await (await fetch(`${server.url}/metrics`)).text()
    const counts = text.matchAll(/^hearth_connections(?:\{.*\})? (\d+)$/gm)
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0) > 1
  }
  while (await isOpen());
  greedy.socket.resume()
  await closed

  expect(greedy.heard.filter(({ type }) => type === 'pong')).toEqual([])
  // The reason comes behind all that was in the socket already.
  expect(greedy.closeCode).toBe(4001)
})

test('a client that is still full at its deadline is told why it is closed, once it reads', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerDeadlineMs: 1000 } },
  })
  const writer = await BareClient.connect(t, server)
  const slow = await StallingClient.listen(t, server, 'a')
  await writer.ask({ type: 'listen', path: path('gone'), query: null })
  slow.send({ type: 'onDisconnectSet', id: 2, path: path('gone'), value: 'gone' })
  await slow.until(({ type }) => type === 'ack')
  const closed = new Promise((resolve) => slow.socket.on('close', resolve))
  await stall(slow, writer, 3)

  // What it left for its end is done though it has not read yet.
  await writer.next('patch', ({ steps }) => steps.some((step) => step[1] === 'gone'))
  slow.socket.resume()
  await closed

  expect(slow.closeCode).toBe(4001)
})

/** Sockets of clients that never read, with no session behind them. */
async function deafSinks(
  t: Cleanup,
  count: number,
  farewellMs: number,
): Promise<{ sinks: Sink[]; endings(): number }> {
  let endings = 0
  const sinks: Sink[] = []
  let opened = (): void => {}
  const route = {
    ...{ path: '/v1', frames: 'binary' as const, frameBytesMax: MiB, backpressureBytesMax: 64 * 1024 },
    ...{ idleTimeoutSeconds: 120, farewellMs, refuse: () => null },
    connect: (_request: UpgradeRequest, sink: Sink) => ({
      open: () => {
        sinks.push(sink)
        opened()
      },
      ...{ receive() {}, drained() {}, dropped() {} },
      closed: () => {
        endings += 1
      },
    }),
  }
  const onBug = (error: unknown): void => {
    throw error
  }
  const http = (): Promise<never> => Promise.reject(new Error('not asked'))
  const bodies = { bodyBytesMax: MiB, bodyDeadlineMs: 1000 }
  const options = { host: '127.0.0.1', port: 0, routes: [route], http, ...bodies, onBug }
  const transport = await listen(options)
  t.onTestFinished(() => transport.close())
  for (let n = 0; n < count; n++) {
    const isOpen = new Promise<void>((resolve) => {
      opened = resolve
    })
    StallingClient.open(t, transport.port).socket.pause()
    await isOpen
  }
  return { sinks, endings: () => endings }
}

const SLOW = { code: 4001, reason: 'slow consumer' }

test('a client that never reads does not keep its socket', async (t) => {
  const { sinks, endings } = await deafSinks(t, 1, 50)
  const sink = sinks[0]!
  while (sink.send(new Uint8Array(MiB)));

  sink.close(SLOW)
  const endingsAtOnce = endings()
  await expect.poll(() => sink.bufferedBytes, { timeout: 10_000 }).toBe(0)

  expect([endingsAtOnce, endings()]).toEqual([1, 1])
})

test('clients that are to read on up to the reason of their end hold no more than 64 MiB together', async (t) => {
  const { sinks, endings } = await deafSinks(t, 3, 60_000)
  for (const sink of sinks) sink.send(new Uint8Array(40 * MiB))

  for (const sink of sinks) sink.close(SLOW)

  expect(sinks.map((sink) => sink.bufferedBytes > 0)).toEqual([true, false, false])
  expect(endings()).toBe(3)
})

test('a listen asked for by a client that does not read takes nothing from those who do', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { slowConsumerSoftBytes: 64 * 1024 } } })
  const writer = await BareClient.connect(t, server)
  const reader = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('big'), value: 'x'.repeat(8 * MiB) })
  await reader.ask({ type: 'listen', path: path('shared'), query: null })
  const stalled = await StallingClient.listen(t, server, 'other')

  stalled.socket.pause()
  stalled.send({ type: 'get', id: 2, path: path('big'), query: null })
  stalled.send({ type: 'listen', id: 3, path: path('shared'), query: null })
  await writer.ask({ type: 'set', path: path('shared'), value: 1 })
  const patch = await reader.next('patch')
  stalled.socket.resume()
  const snapshot = await stalled.until((message) => message.type === 'snapshot' && message.id === 3)
  await writer.ask({ type: 'set', path: path('shared'), value: 2 })
  await stalled.until((message) => message.type === 'patch' && message.steps[0]?.[1] === 2)

  expect(patch.steps).toEqual([['', 1]])
  const revision = snapshot.type === 'snapshot' ? snapshot.revision : -1
  const about = stalled.heard.filter(
    (message) => 'queryId' in message && snapshot.type === 'snapshot' && message.queryId === snapshot.queryId,
  )
  expect(about[0]).toBe(snapshot)
  expect(about.slice(1).every((message) => 'revision' in message && message.revision > revision)).toBe(true)
})

test('a slow consumer whose value has outgrown one read loses that listen alone', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { limits: { slowConsumerSoftBytes: 64 * 1024, readNodesMax: 100 } },
  })
  const writer = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('big'), value: 'x'.repeat(8 * MiB) })
  const stalled = await StallingClient.listen(t, server, 'list')
  stalled.send({ type: 'listen', id: 2, path: path('other'), query: null })
  await stalled.until((message) => message.type === 'snapshot' && message.id === 2)

  stalled.socket.pause()
  stalled.send({ type: 'get', id: 3, path: path('big'), query: null })
  stalled.send({ type: 'ping', id: 4 })
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`k${n}`, n]))
  await writer.ask({ type: 'set', path: path('list'), value: many })
  stalled.socket.resume()
  await stalled.until(({ type }) => type === 'pong')
  await writer.ask({ type: 'set', path: path('other'), value: 'still heard' })
  await stalled.until((message) => message.type === 'patch' && message.steps[0]?.[1] === 'still heard')

  expect(await stalled.until(({ type }) => type === 'cancel')).toMatchObject({ name: 'too_large' })
})
