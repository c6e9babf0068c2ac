/**
 * Slow Firebase clients: sockets that stop reading end in exactly the server's state, or are told to come back;
 * nobody else waits for them.
 */
import { expect, test } from 'vitest'
import { type Value, withValueAt } from '../../../protocol/index.ts'
import { OPEN, serve } from '../harness.ts'
import { RawClient } from './raw-client.ts'

const SMALL = { limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerDeadlineMs: 10_000 } }
const MiB = 1024 * 1024
const CHUNK = 'é'.repeat(16_000)

/** What a client that applies all pushes holds: of the whole value, or of the window under a tag. */
function held(client: RawClient, tag?: number): Value {
  let value: Value = null
  for (const [action, body] of client.pushes) {
    if (body.t !== tag || (action !== 'd' && action !== 'm')) continue
    if (action === 'd') value = withValueAt(value, keysOf(body.p), body.d)
    else {
      for (const [path, child] of Object.entries(body.d)) {
        value = withValueAt(value, [...keysOf(body.p), ...keysOf(path)], child as Value)
      }
    }
  }
  return value
}

function keysOf(path: string): string[] {
  return path.split('/').filter((key) => key !== '')
}

/** As the server counts them. */
async function slowConsumers(server: { url: string }): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const counts = text.matchAll(/^hearth_slow_consumers_total\S* (\d+)$/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

test('a client that stops reading for a while ends in the server’s state, each message whole', async (t) => {
  const server = await serve(t, { rules: OPEN, config: SMALL })
  const [slow, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await slow.ask('q', { p: '/big', h: '' })
  await slow.ask('q', { p: '/small', h: '' })
  const q = { i: '.key', l: 2, vf: 'r' }
  await slow.ask('q', { p: '/list', q, t: 4, h: '' })

  slow.socket.pause()
  for (let n = 0; n < 400; n++) {
    writer.send('p', { p: `/big/${n % 50}`, d: `${n} ${CHUNK}` })
    writer.send('p', { p: '/small', d: n })
    writer.send('p', { p: `/list/${1000 + n}`, d: n })
  }
  await writer.ask('p', { p: '/done', d: true })
  slow.socket.resume()
  await slow.next(({ d }) => d.b?.p === 'small' && d.b.d === 399)
  await writer.ask('p', { p: '/list/9999', d: 'last' })
  await slow.next(({ d }) => JSON.stringify(d.b?.d ?? '').includes('last'))

  const { d: all } = await writer.ask('g', { p: '/', q: {} })
  expect(held(slow)).toEqual({ big: all.big, small: all.small })
  expect(held(slow, 4)).toEqual({ list: { 1399: 399, 9999: 'last' } })
  // Conflated: what a client cannot keep up with is not kept for it.
  expect(slow.heard.length).toBeLessThan(1200)
})

test('a slow client of a large value is sent the latest of each place that changed', async (t) => {
  const server = await serve(t, { rules: OPEN, config: SMALL })
  const [slow, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  const large = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`k${n}`, CHUNK]))
  await writer.ask('p', { p: '/room', d: { large, hot: 0, moved: { a: { n: 1 } } } })
  await slow.ask('q', { p: '/room', h: '' })
  const before = slow.pushes.length

  slow.socket.pause()
  for (let n = 0; n < 10; n++) slow.send('g', { p: '/room', q: {} })
  while ((await slowConsumers(server)) === 0);
  for (let n = 1; n <= 300; n++) writer.send('p', { p: '/room/hot', d: n })
  writer.send('p', { p: '/room/moved/a/n', d: null })
  writer.send('p', { p: '/room/moved/b', d: { '.value': 2, '.priority': 1 } })
  await writer.ask('p', { p: '/room/moved/.priority', d: 'p' })
  slow.socket.resume()
  await slow.ask('s', {})

  const pushes = slow.pushes.slice(before)
  // Of 303 changes; what was sent before the socket was seen to be full, and after it had drained, comes by itself.
  expect(pushes.length).toBeLessThanOrEqual(10)
  expect(JSON.stringify(pushes).length).toBeLessThan(1000)
  const { d: all } = await writer.ask('g', { p: '/room', q: {} })
  expect(held(slow)).toEqual({ room: all })
})

test('what a slow client asks is answered when it reads again, after the data the answers speak of', async (t) => {
  const server = await serve(t, { rules: OPEN, config: SMALL })
  const [slow, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await slow.ask('q', { p: '/big', h: '' })
  slow.socket.pause()
  for (let n = 0; n < 400; n++) writer.send('p', { p: '/big', d: `${n} ${CHUNK}` })
  await writer.ask('p', { p: '/other', d: 'there' })

  const listen = slow.send('q', { p: '/other', h: '' })
  const write = slow.send('p', { p: '/big', d: 'mine' })
  const stale = slow.send('p', { p: '/big', d: 'never', h: 'junk' })
  await writer.ask('s', {})
  slow.socket.resume()
  await slow.answer(stale)

  const { log } = slow
  expect(log.indexOf('d other')).toBeGreaterThan(-1)
  expect(log.indexOf('d other')).toBeLessThan(log.indexOf(`ok ${listen}`))
  const mine = slow.heard.findIndex(({ d }) => d.b?.p === 'big' && d.b.d === 'mine')
  const answered = slow.heard.findIndex(({ d }) => d.r === write)
  expect(mine).toBeGreaterThan(-1)
  expect(mine).toBeLessThan(answered)
  expect(log).toContain(`datastale ${stale}`)
})

test('what a client reads is not read before it takes the answers it has, and then all of it is', async (t) => {
  const limits = { ...SMALL.limits, slowConsumerHardBytes: 3 * MiB, frameBytesMax: 2 * MiB }
  const server = await serve(t, { rules: OPEN, config: { limits } })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/big', d: 'x'.repeat(MiB) })

  client.socket.pause()
  const gets = Array.from({ length: 40 }, () => client.send('g', { p: '/big', q: {} }))
  while ((await slowConsumers(server)) === 0);
  client.socket.resume()
  const answers = await Promise.race([
    Promise.all(gets.map((get) => client.answer(get))),
    client.closed.then(({ code }) => [{ s: `closed ${code}` }]),
  ])

  expect(answers.map(({ s }) => s)).toEqual(Array(40).fill('ok'))
})

test('others hear every change while one client does not read', async (t) => {
  const server = await serve(t, { rules: OPEN, config: SMALL })
  const [slow, good, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await slow.ask('q', { p: '/n', h: '' })
  await good.ask('q', { p: '/n', h: '' })
  slow.socket.pause()

  for (let n = 0; n < 200; n++) await writer.ask('p', { p: '/n', d: { n, CHUNK } })
  await good.next(({ d }) => d.b?.d?.n === 199)

  expect(good.pushes.map(([, { d: data }]) => data.n)).toEqual(Array.from({ length: 200 }, (_, n) => n))
})

test('a client that does not read again is closed after its deadline', async (t) => {
  const server = await serve(t, {
    rules: OPEN,
    config: { limits: { slowConsumerSoftBytes: 64 * 1024, slowConsumerDeadlineMs: 1000 } },
  })
  const [slow, writer] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await slow.ask('q', { p: '/n', h: '' })
  await slow.ask('o', { p: '/slow', d: 'gone' })
  await writer.ask('q', { p: '/slow', h: '' })
  slow.socket.pause()

  for (let n = 0; n < 400; n++) writer.send('p', { p: '/n', d: `${n} ${CHUNK}` })

  expect(await writer.push('d', ({ p: path }) => path === 'slow')).toEqual({ p: 'slow', d: 'gone' })
})
