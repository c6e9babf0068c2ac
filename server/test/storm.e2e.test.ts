import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import WebSocket from 'ws'
import type { ToClient } from '../../protocol/index.ts'
import { BareClient, OPEN, serve } from './harness.ts'

test('a storm of sessions with a small budget for answers: each ends with what there is', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { limits: { snapshotBytesInFlightMax: 1024 * 1024 } },
  })
  const writer = await BareClient.connect(t, server)
  const text = 'x'.repeat(300_000)
  for (let room = 0; room < 5; room++) {
    await writer.ask({ type: 'set', path: [`r${room}`], value: { n: 0, text } })
  }
  const clients = await Promise.all(Array.from({ length: 200 }, () => BareClient.connect(t, server)))

  const answers = clients.map((client, i) => client.ask({ type: 'listen', path: [`r${i % 5}`], query: null }))
  for (let room = 0; room < 5; room++) {
    await writer.ask({ type: 'set', path: [`r${room}`, 'n'], value: 1 })
  }

  await Promise.all(
    answers.map(async (answer, i) => {
      const { value } = (await answer) as Extract<ToClient, { type: 'snapshot' }>
      expect((value as { text: string }).text).toBe(text)
      const last = (value as { n: number }).n
      if (last === 0) await clients[i]!.next('patch', ({ steps }) => steps.some((step) => step[1] === 1))
    }),
  )
}, 60_000)

test('a connection beyond what the server takes is told when to come back', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { connectionsMax: 1 } } })
  await BareClient.connect(t, server)
  const refused = new WebSocket(`${server.url.replace('http', 'ws')}/v1`)

  const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage]
  response.resume()

  expect(response.statusCode).toBe(503)
  expect(Number(response.headers['retry-after'])).toBeGreaterThan(0)
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  expect(metrics).toMatch(/^hearth_connections_refused_total(\{worker="\d"\})? 1$/m)
})
