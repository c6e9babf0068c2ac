/**
 * Connections to a database that has to be opened first: they are open meanwhile, and what their clients send waits.
 */
import { once } from 'node:events'
import { request } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import WebSocket from 'ws'
import {
  decodeToClient,
  Encoder,
  encodeToServer,
  type ToClient,
  type ToServer,
} from '../../protocol/index.ts'
import { openLmdbStore } from '../store/store-lmdb.ts'
import { type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

interface Opening {
  server: TestServer
  /** Lets the databases be opened that wait for it, or fails to open them. */
  settle(error?: Error): void
  connect(path: string): Promise<WebSocket>
}

/** A server whose databases take their time, but for `default`. */
async function serveSlowly(t: Cleanup, connectionsMax = 1000): Promise<Opening> {
  let settle: (error?: Error) => void = () => {}
  const settled = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === undefined ? resolve() : reject(error))
  })
  settled.catch(() => {})
  const server = await serve(t, {
    rules: OPEN,
    config: { databases: { mode: 'open' }, limits: { connectionsMax } },
    parts: {
      openStore: async (folder) => {
        if (!folder.endsWith('default')) await settled
        return openLmdbStore({ folder })
      },
    },
  })
  return {
    server,
    settle,
    connect: async (place) => {
      const socket = new WebSocket(server.url.replace('http', 'ws') + place)
      socket.binaryType = 'nodebuffer'
      t.onTestFinished(() => socket.terminate())
      await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
      return socket
    },
  }
}

function frame(message: ToServer): Uint8Array {
  const encoder = new Encoder()
  encodeToServer(encoder, message)
  return encoder.take()
}

async function connections(server: TestServer): Promise<number> {
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  return Number(/^hearth_connections (\d+)$/m.exec(metrics)![1])
}

function closeOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => socket.on('close', resolve))
}

test('what a client sends while its database is opened is done then, in order', async (t) => {
  const { settle, connect } = await serveSlowly(t)
  const socket = await connect('/v1?database=late')
  const heard: ToClient[] = []
  const last = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      heard.push(...decodeToClient(data))
      if (heard.some(({ type }) => type === 'value')) resolve()
    })
  })
  for (let n = 1; n <= 100; n++) socket.send(frame({ type: 'set', id: n, path: path('a'), value: n }))
  socket.send(frame({ type: 'get', id: 101, path: path('a'), query: null }))
  await new Promise((resolve) => socket.once('pong', resolve).ping())

  settle()
  await last

  expect(heard[0]).toMatchObject({ type: 'hello' })
  expect(heard.find(({ type }) => type === 'value')).toMatchObject({ id: 101, value: 100 })
})

test('a Firebase client hears the handshake once its database is open', async (t) => {
  const { settle, connect } = await serveSlowly(t)
  const socket = await connect('/.ws?v=5&ns=late')
  const first = new Promise<string>((resolve) => socket.once('message', (data) => resolve(String(data))))

  settle()

  expect(JSON.parse(await first)).toMatchObject({ t: 'c', d: { t: 'h' } })
})

test.each([
  ['one large frame', [2 * 1024 * 1024]],
  ['many small ones', Array.from({ length: 10_000 }, () => 1)],
])('a client that sends too much before its database is open is sent away for now: %s', async (_, sizes) => {
  const { settle, connect } = await serveSlowly({
    onTestFinished: (call) => onTestFinished(async () => void (await call())),
  })
  const socket = await connect('/v1?database=late')

  for (const size of sizes) socket.send(new Uint8Array(size))

  expect(await closeOf(socket)).toBe(4003)
  settle()
})

test.each(['/v1?database=late', '/.ws?v=5&ns=late'])(
  'a client of %s that leaves meanwhile leaves nothing behind',
  async (place) => {
    const { server, settle, connect } = await serveSlowly({
      onTestFinished: (call) => onTestFinished(async () => void (await call())),
    })
    const leaves = await connect(place)
    const stays = await connect(place)
    const first = new Promise((resolve) => stays.once('message', resolve))
    leaves.close()
    await closeOf(leaves)

    settle()
    await first

    expect(await connections(server)).toBe(1)
  },
)

test('a page that polls and leaves meanwhile leaves nothing behind', async (t) => {
  const { server, settle, connect } = await serveSlowly(t)
  const stays = await connect('/v1?database=late')
  const first = new Promise((resolve) => stays.once('message', resolve))
  const poll = request(`${server.url}/.lp?start=t&ser=1&cb=1&v=5&ns=late`).on('error', () => {})
  poll.end()
  await expect.poll(() => connections(server)).toBe(2)
  poll.destroy()
  // Its end was under way before this connection was opened.
  await once(request(`${server.url}/health/live`, { agent: false }).end(), 'response')

  settle()
  await first

  expect(await connections(server)).toBe(1)
})

test('a server that ends does not wait for a database before it closes who waits for that', async (t) => {
  const { server, settle, connect } = await serveSlowly(t)
  const sockets = await Promise.all(['/v1?database=late', '/.ws?v=5&ns=late'].map(connect))
  const codes = Promise.all(sockets.map(closeOf))

  const drained = server.drain()

  expect(await codes).toEqual([1006, 1006])
  settle()
  await drained
})

test('a database that cannot be opened ends its connections so that they come back, and is logged once for all', async (t) => {
  const { server, settle, connect } = await serveSlowly(t)
  const places = ['/v1?database=late', '/.ws?v=5&ns=late', '/v1?database=late']
  const sockets = await Promise.all(places.map(connect))
  const codes = Promise.all(sockets.map(closeOf))
  const rest = fetch(`${server.url}/a.json?ns=late`)

  settle(new Error('input/output error'))

  expect(await codes).toEqual([1011, 1011, 1011])
  expect((await rest).status).toBe(500)
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  expect(metrics).toContain('hearth_bugs_total 1\n')
})

test('connections that wait for their database count, until they leave', async (t) => {
  const { server, settle, connect } = await serveSlowly(t, 3)
  const [first, ...rest] = await Promise.all(
    ['/v1?database=late', '/.ws?v=5&ns=late', '/v1?database=late'].map(connect),
  )

  await expect(connect('/v1?database=late')).rejects.toThrow('503')
  await expect(connect('/.ws?v=5&ns=late')).rejects.toThrow('503')
  first!.close()
  await closeOf(first!)
  const next = await connect('/v1?database=late')
  const heard = [...rest, next].map((socket) => new Promise((resolve) => socket.once('message', resolve)))
  settle()
  await Promise.all(heard)

  await expect(connect('/v1?database=late')).rejects.toThrow('503')
  expect(await connections(server)).toBe(3)
})

test('what clients send early takes a bounded memory together, given back when they leave', async (t) => {
  const { settle, connect } = await serveSlowly(t)
  const send = async (): Promise<WebSocket> => {
    const socket = await connect('/v1?database=late')
    socket.send(new Uint8Array(1_000_000))
    return socket
  }
  const held = await Promise.all(Array.from({ length: 33 }, send))
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('pong', resolve).ping())))

  expect(await closeOf(await send())).toBe(4003)
  for (const socket of held) socket.terminate()
  const late = await send()
  settle()

  // What it sent is no message.
  expect(await closeOf(late)).toBe(4500)
})
