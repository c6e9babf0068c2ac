import { expect, onTestFinished, test } from 'vitest'
import WebSocket from 'ws'
import { plain } from './http.ts'
import { type Connection, listen, type WebSocketRoute } from './websocket.ts'

const BUG = new Error('cannot happen')

function fail(): never {
  throw BUG
}

const SILENT: Connection = { open() {}, receive() {}, drained() {}, dropped() {}, closed() {} }

async function connectTo(route: Partial<WebSocketRoute>): Promise<{ socket: WebSocket; bugs: unknown[] }> {
  const bugs: unknown[] = []
  const transport = await listen({
    host: '127.0.0.1',
    port: 0,
    routes: [
      {
        path: '/',
        refuse: () => null,
        connect: () => SILENT,
        frames: 'binary',
        frameBytesMax: 1000,
        backpressureBytesMax: 1000,
        idleTimeoutSeconds: 60,
        ...route,
      },
    ],
    http: async () => plain('404 Not Found', ''),
    bodyBytesMax: 1000,
    bodyDeadlineMs: 1000,
    onBug: (error) => bugs.push(error),
  })
  const socket = new WebSocket(`ws://127.0.0.1:${transport.port}/`)
  onTestFinished(() => {
    socket.terminate()
    transport.close()
  })
  return { socket, bugs }
}

test.each<[what: string, route: Partial<WebSocketRoute>]>([
  ['its database is asked for', { prepare: fail }],
  ['its session is made', { connect: fail }],
  ['its session is made later', { prepare: () => Promise.resolve(), connect: fail }],
  ['its session begins', { connect: () => ({ ...SILENT, open: fail }) }],
])('a bug while %s is reported and ends the connection', async (_, route) => {
  const { socket, bugs } = await connectTo(route)

  const code = await new Promise((resolve) => socket.on('close', resolve))

  expect(code).toBe(1011)
  expect(bugs).toEqual([BUG])
})

test('a bug in what one message does is reported, and the connection goes on', async () => {
  let received = 0
  const receive = (): void => {
    received += 1
    if (received === 1) fail()
  }
  const { socket, bugs } = await connectTo({ connect: () => ({ ...SILENT, receive }) })
  await new Promise((resolve) => socket.on('open', resolve))

  socket.send(new Uint8Array(1))
  socket.send(new Uint8Array(1))
  await new Promise((resolve) => socket.once('pong', resolve).ping())

  expect([received, bugs]).toEqual([2, [BUG]])
})
