/**
 * What counts as a connection beside sockets: event streams, long polls, and requests as long as they are being served.
 */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { BareClient, type TestServer } from '../harness.ts'
import { AS_ADMIN, ask, askRaw, EventClient, errorOf, serveRest } from './rest-harness.ts'

const EVENTS = { Accept: 'text/event-stream' }

async function connections(server: TestServer): Promise<number> {
  const { text } = await ask(server, '/metrics')
  const counts = text.matchAll(/^hearth_connections(?:\{.*\})? (\d+)$/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

test('event streams and long polls count, and past the limit all but admins are refused', async (t) => {
  const server = await serveRest(t, { config: { limits: { connectionsMax: 3 } } })
  await BareClient.connect(t, server)
  const stream = await EventClient.open(t, server, '/a.json')
  const poll = await ask(server, '/.lp?start=t&ser=1&cb=1&v=5&ns=default')
  expect([stream.status, poll.status, await connections(server)]).toEqual([200, 200, 3])

  const refused = [
    await ask(server, '/a.json'),
    await ask(server, '/a.json', { headers: EVENTS }),
    await ask(server, '/a.json', { method: 'PUT', body: 1 }),
  ]
  const anotherPoll = await ask(server, '/.lp?start=t&ser=1&cb=1&v=5&ns=default')
  const [, socket] = (await once(
    new WebSocket(`${server.url.replace('http', 'ws')}/v1`),
    'unexpected-response',
  )) as [unknown, IncomingMessage]
  socket.resume()
  const admin = await ask(server, '/a.json', { headers: AS_ADMIN })
  stream.close()

  expect(refused.map(errorOf)).toEqual(Array(3).fill('too many connections'))
  expect(refused.map(({ status, headers }) => [status, headers.get('retry-after')])).toEqual(
    Array(3).fill([503, '5']),
  )
  expect([anotherPoll.status, socket.statusCode, admin.status]).toEqual([503, 503, 200])
  await expect.poll(async () => (await ask(server, '/a.json')).status).toBe(200)
})

test('a request counts while its body is awaited', async (t) => {
  const server = await serveRest(t, { config: { limits: { connectionsMax: 2 } } })
  const sockets = [0, 1].map(() => {
    const socket = connect(server.address.port, '127.0.0.1')
    t.onTestFinished(() => void socket.destroy())
    socket.on('error', () => {})
    socket.write('PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n1')
    return socket
  })
  await expect.poll(() => connections(server)).toBe(2)

  const refused = await ask(server, '/a.json')
  for (const socket of sockets) socket.write('23')
  await expect.poll(() => connections(server)).toBe(0)
  const { status, body } = await ask(server, '/a.json')

  expect([refused.status, status, body]).toEqual([503, 200, 123])
})

test('a request sent before the write before it was answered ends the connection; that write is done', async (t) => {
  const server = await serveRest(t)
  const put = (at: string): string => `PUT /${at}.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1`

  const answer = await askRaw(server, put('a') + put('b'))

  expect(answer).toBe('')
  await expect.poll(async () => (await ask(server, '/.json')).body).toEqual({ a: 1 })
})

test('bodies that are sent slowly are ended for others once they have had their time', async (t) => {
  const limits = { bodyBytesMax: 64 * 1024, slowConsumerDeadlineMs: 1000 }
  const server = await serveRest(t, { config: { workers: 1, limits } })
  const length = limits.bodyBytesMax
  const slow = [0, 1].map(() =>
    askRaw(
      server,
      `PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n"${'x'.repeat(length - 100)}`,
    ),
  )
  await expect.poll(() => connections(server)).toBe(2)
  const body = JSON.stringify('y'.repeat(10_000))

  const statuses: number[] = []
  const put = async (): Promise<number> => {
    const { status } = await ask(server, '/b.json', { method: 'PUT', body })
    statuses.push(status)
    return status
  }
  await expect.poll(put, { timeout: 8000 }).toBe(200)
  const ended = await Promise.race(slow)

  expect(new Set(statuses.slice(0, -1))).toEqual(new Set([503]))
  expect(ended).toMatch(/^HTTP\/1.1 503 .*\r\nRetry-After: 1\r\n/s)
})
