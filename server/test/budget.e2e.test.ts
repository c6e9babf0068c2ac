/**
 * Budgets: who floods is told to wait, then ended; everyone else notices nothing.
 */

import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { Encoder, encodeToServer, type ToClient } from '../../protocol/index.ts'
import { RawClient } from './firebase/raw-client.ts'
import { BareClient, OPEN, path, serve } from './harness.ts'

function name(answer: ToClient): string {
  return answer.type === 'error' ? answer.name : answer.type
}

test('a publisher past its budget is refused with a hint, in one piece, while others write on', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { messagesPerSecondMax: 100 } } })
  const flood = await BareClient.connect(t, server)
  const other = await BareClient.connect(t, server)

  const encoder = new Encoder()
  const ids = Array.from({ length: 150 }, (_, n) => n + 1)
  for (const id of ids) encodeToServer(encoder, { type: 'set', id, path: path('flood'), value: id - 1 })
  flood.sendBytes(encoder.take())
  const asked = ids.map((id) => flood.answer(id))
  const others = await Promise.all(
    Array.from({ length: 50 }, (_, n) => other.ask({ type: 'set', path: path(`other/${n}`), value: n })),
  )
  const answers = await Promise.all(asked)

  const names = answers.map(name)
  const firstRefused = names.indexOf('rate_limited')
  expect(firstRefused).toBeGreaterThanOrEqual(100)
  expect(new Set(names.slice(firstRefused))).toEqual(new Set(['rate_limited']))
  expect(answers[firstRefused]).toMatchObject({ retryAfterMs: expect.any(Number) })
  expect(await other.ask({ type: 'get', path: path('flood'), query: null })).toMatchObject({
    value: firstRefused - 1,
  })
  expect(new Set(others.map(name))).toEqual(new Set(['ack']))
})

test('a connection is told its budgets when it begins', async (t) => {
  const budgets = { messagesPerSecondMax: 50, messageBytesPerSecondMax: 0, readBytesPerSecondMax: 65_536 }
  const server = await serve(t, { rules: OPEN, config: { limits: budgets } })

  const client = await BareClient.connect(t, server)

  expect((await client.next('hello')).limits).toMatchObject(budgets)
})

test('requests that wait take a bounded memory over all connections; past it they are refused in one piece', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { workers: 1, limits: { waitingBytesMax: 65_536 } } })
  const greedy = await BareClient.connect(t, server)
  const other = await BareClient.connect(t, server)
  const encoder = new Encoder()
  encodeToServer(encoder, { type: 'set', id: 1, path: path('a'), value: 1 })
  const ids = Array.from({ length: 1000 }, (_, n) => n + 2)
  // Each waits for the write before it.
  for (const id of ids) encodeToServer(encoder, { type: 'get', id, path: path('a'), query: null })

  greedy.sendBytes(encoder.take())
  other.send({ type: 'set', path: path('b'), value: 1 })
  const read = await other.ask({ type: 'get', path: path('b'), query: null })
  const answers = await Promise.all(ids.map((id) => greedy.answer(id)))

  const names = answers.map(name)
  const firstRefused = names.indexOf('rate_limited')
  expect(firstRefused).toBeGreaterThan(100)
  expect(new Set(names.slice(0, firstRefused))).toEqual(new Set(['value']))
  expect(new Set(names.slice(firstRefused))).toEqual(new Set(['rate_limited']))
  expect(answers.at(-1)).toMatchObject({ retryAfterMs: expect.any(Number) })
  expect(read).toMatchObject({ type: 'value', value: 1 })
  const text = await (await fetch(`${server.url}/metrics`)).text()
  expect(text).toMatch(/^hearth_waiting_bytes 0$/m)
  expect(text).toMatch(new RegExp(`^hearth_rate_limited_total ${1000 - firstRefused}$`, 'm'))
})

test('what gives something back is not refused for want of room', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { workers: 1, limits: { waitingBytesMax: 65_536 } } })
  const client = await BareClient.connect(t, server)
  const encoder = new Encoder()
  encodeToServer(encoder, { type: 'listen', id: 1, path: path('b'), query: null })
  encodeToServer(encoder, { type: 'set', id: 2, path: path('a'), value: 1 })
  const ids = Array.from({ length: 1000 }, (_, n) => n + 3)
  for (const id of ids) encodeToServer(encoder, { type: 'get', id, path: path('a'), query: null })
  encodeToServer(encoder, { type: 'unlisten', id: 2001, path: path('b'), query: null })
  encodeToServer(encoder, { type: 'presenceEnd', id: 2002, path: path('p') })
  encodeToServer(encoder, { type: 'unauth', id: 2003 })
  encodeToServer(encoder, { type: 'ping', id: 2004 })
  encodeToServer(encoder, { type: 'set', id: 2005, path: path('a'), value: 2 })

  client.sendBytes(encoder.take())
  const answers = await Promise.all([2001, 2002, 2003, 2004, 2005].map((id) => client.answer(id)))

  expect(answers.map(name)).toEqual(['ack', 'ack', 'ack', 'pong', 'rate_limited'])
  expect(name(await client.answer(1002))).toBe('rate_limited')
})

test('what gives something back is served all the same', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { messagesPerSecondMax: 20 } } })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: path('a'), query: null })
  const refused = Array.from({ length: 25 }, () => client.ask({ type: 'set', path: path('b'), value: 1 }))

  const answers = [
    await client.ask({ type: 'ping' }),
    await client.ask({ type: 'unlisten', path: path('a'), query: null }),
    await client.ask({ type: 'presenceEnd', path: path('a') }),
  ]

  expect(answers.map(name)).toEqual(['pong', 'ack', 'ack'])
  expect((await Promise.all(refused)).map(name)).toContain('rate_limited')
})

test('a connection that goes on all the same is closed so that it comes back later', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { messagesPerSecondMax: 50 } } })
  const client = await BareClient.connect(t, server)
  const other = await BareClient.connect(t, server)

  for (let n = 0; n < 1000; n++) client.send({ type: 'set', path: path('a'), value: n })

  expect((await client.closed).code).toBe(4003)
  expect(name(await other.ask({ type: 'set', path: path('b'), value: 1 }))).toBe('ack')
})

test('what is always served is counted, too: who floods with it is closed', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { messagesPerSecondMax: 50 } } })
  const pinging = await BareClient.connect(t, server)
  const repeating = await BareClient.connect(t, server)
  const encoder = new Encoder()
  encodeToServer(encoder, { type: 'ping', id: 1 })
  const ping = encoder.take()

  for (let n = 0; n < 1000; n++) pinging.send({ type: 'ping' })
  for (let n = 0; n < 1000; n++) repeating.sendBytes(ping)

  expect((await pinging.closed).code).toBe(4003)
  expect((await repeating.closed).code).toBe(4003)
})

test('who never has nothing waiting is charged only for what waits', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { frameBytesMax: 65_536 } } })
  const client = await BareClient.connect(t, server)
  const value = 'x'.repeat(10_000)
  let left = 60
  // A write, and a read that waits for it: five of them at any time.
  const pair = async (): Promise<string[]> => {
    const names: string[] = []
    while (left-- > 0) {
      const asked = [
        client.ask({ type: 'set', path: path('a'), value }),
        client.ask({ type: 'get', path: path('b'), query: null }),
      ]
      for (const answer of asked) names.push(name(await answer))
    }
    return names
  }

  const names = await Promise.race([
    Promise.all(Array.from({ length: 5 }, pair)),
    client.closed.then(({ code }) => [[`closed ${code}`]]),
  ])

  expect(new Set(names.flat())).toEqual(new Set(['ack', 'value']))
})

test('who changes its identity again and again while it listens to much holds up nobody', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const flipping = await BareClient.connect(t, server)
  const other = await BareClient.connect(t, server)
  for (let n = 0; n < 300; n++) flipping.send({ type: 'listen', path: path(`a/${n}`), query: null })
  await flipping.ask({ type: 'ping' })
  const order: string[] = []
  const encoder = new Encoder()
  for (let n = 0; n < 1000; n++) encodeToServer(encoder, { type: 'unauth', id: 1000 + n })

  flipping.sendBytes(encoder.take())
  await Promise.all([
    flipping.answer(1999).then(() => order.push('flipping')),
    other.ask({ type: 'ping' }).then(() => order.push('other')),
  ])

  expect(order).toEqual(['other', 'flipping'])
})

test('a reader past its budget is refused by what it was sent', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { readBytesPerSecondMax: 65_536 } } })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('big'), value: 'x'.repeat(100_000) })

  const answers = [
    await client.ask({ type: 'get', path: path('big'), query: null }),
    await client.ask({ type: 'get', path: path('small'), query: null }),
    await client.ask({ type: 'listen', path: path('small'), query: null }),
    await client.ask({ type: 'set', path: path('small'), value: 1 }),
  ]

  expect(answers.map(name)).toEqual(['value', 'rate_limited', 'rate_limited', 'ack'])
})

test('a Firebase client is slowed down instead: its writes are done in order, later', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { messagesPerSecondMax: 20 } } })
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/.ws?v=5&ns=default`)
  t.onTestFinished(() => socket.terminate())
  await new Promise((resolve) => socket.once('open', resolve))
  const answered: number[] = []
  const last = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { t: string; d: { r?: number; b?: { s: string } } }
      if (message.t !== 'd' || message.d.r === undefined) return
      expect(message.d.b?.s).toBe('ok')
      answered.push(message.d.r)
      if (message.d.r === 30) resolve()
    })
  })

  for (let r = 1; r <= 30; r++) {
    socket.send(JSON.stringify({ t: 'd', d: { r, a: 'p', b: { p: '/a', d: r } } }))
  }
  await last

  expect(answered).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
})

test('a Firebase client that asks for a thousand things is served in turn with others', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const greedy = await RawClient.connect(t, server, { ns: null })
  const other = await BareClient.connect(t, server)
  for (let n = 0; n < 300; n++) greedy.send('q', { p: `/a/${n}`, h: '' })
  await greedy.ask('s', {})
  const order: string[] = []

  // Each has 300 rights asked again.
  for (let n = 1; n < 1000; n++) greedy.send('unauth', {})
  await Promise.all([
    greedy.ask('unauth', {}).then(() => order.push('greedy')),
    other.ask({ type: 'ping' }).then(() => order.push('other')),
  ])

  expect(order).toEqual(['other', 'greedy'])
})
