/**
 * Slow consumers: sockets that stop reading. Nobody else waits for them, memory stays bounded, and they end in
 * exactly the server's state or are told to come back.
 */
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { decodeToClient, Encoder, encodeToServer, type ToClient } from '../../protocol/index.ts'
import { BareClient, type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

const MiB = 1024 * 1024
const CHUNK = 'x'.repeat(64 * 1024)

/** A listener over a plain socket, so that the test decides when bytes are read. */
class StallingClient {
  readonly socket: Socket
  readonly heard: ToClient[] = []
  #bytes = Buffer.alloc(0)
  #hasHead = false
  #wake: (() => void) | null = null

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
  }

  static async listen(t: Cleanup, server: TestServer, at: string): Promise<StallingClient> {
    const socket = connect({ port: server.address.port, host: '127.0.0.1' })
    t.onTestFinished(() => socket.destroy())
    const client = new StallingClient(socket)
    socket.write(
      'GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    )
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
      if (opcode === 2) this.heard.push(...decodeToClient(this.#bytes.subarray(head, head + length)))
      this.#bytes = this.#bytes.subarray(head + length)
      this.#wake?.()
    }
  }
}

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
  const resync = await stalled.until(({ type }) => type === 'resync')
  await writer.ask({ type: 'set', path: path('a/after'), value: true })
  await stalled.until(
    (message) => message.type === 'patch' && message.steps.some((step) => step[0] === 'after'),
  )

  expect(seen).toBe(rounds)
  expect(resync).toMatchObject({ value: { n: rounds } })
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

test('answers to a client that does not read are held to a budget, then its connection is closed', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: {
      limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerHardBytes: 4 * MiB, frameBytesMax: 2 * MiB },
    },
  })
  const writer = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('big'), value: 'x'.repeat(MiB) })
  const greedy = await StallingClient.listen(t, server, 'small')
  const closed = new Promise((resolve) => greedy.socket.on('close', resolve))

  greedy.socket.pause()
  for (let id = 2; id <= 100; id++) greedy.send({ type: 'get', id, path: path('big'), query: null })
  await writer.ask({ type: 'set', path: path('small'), value: 1 })
  greedy.socket.resume()
  await closed

  expect(greedy.heard.filter(({ type }) => type === 'value').length).toBeLessThan(99)
  expect(await writer.ask({ type: 'ping' })).toMatchObject({ type: 'pong' })
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
