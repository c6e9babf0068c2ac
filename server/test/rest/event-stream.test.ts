/**
 * Event streams: what a client hears from its first event to its last.
 */
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { signToken } from '../../auth.ts'
import { AS_ADMIN, ask, EventClient, errorOf, serveRest } from './rest-harness.ts'

const put = (server: { url: string }, path: string, body: unknown, headers = {}) =>
  ask(server, path, { method: 'PUT', body: JSON.stringify(body), headers })

describe('a stream', () => {
  test('begins with the value and goes on with what changes, each place by its path', async (t) => {
    const server = await serveRest(t)
    await put(server, '/room.json', { list: ['a'], ranked: { '.value': 1, '.priority': 2 } })
    const client = await EventClient.open(t, server, '/room.json')
    await client.first(1)

    await put(server, '/room/list/1.json', 'b')
    await put(server, '/elsewhere.json', 1)
    await ask(server, '/.json', { method: 'PATCH', body: { 'room/x': 1, 'room/y/z': [0], other: 2 } })
    await put(server, '/.json', { room: 'new' })
    await ask(server, '/room.json', { method: 'DELETE' })

    const events = await client.first(5)
    expect(client.status).toBe(200)
    expect(client.response.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    expect(client.response.headers['cache-control']).toBe('no-cache')
    expect(events.map(({ event, data }) => [event, data])).toEqual([
      ['put', { path: '/', data: { list: ['a'], ranked: 1 } }],
      ['put', { path: '/list/1', data: 'b' }],
      ['patch', { path: '/', data: { x: 1, 'y/z': [0] } }],
      ['put', { path: '/', data: 'new' }],
      ['put', { path: '/', data: null }],
    ])
  })

  test('begins with null where nothing is', async (t) => {
    const server = await serveRest(t)

    const client = await EventClient.open(t, server, '/none.json')

    expect((await client.first(1))[0]).toMatchObject({ event: 'put', data: { path: '/', data: null } })
  })

  test('of an export has priorities, and their changes', async (t) => {
    const server = await serveRest(t)
    await put(server, '/a.json', { '.value': 1, '.priority': 2 })
    const exported = await EventClient.open(t, server, '/a.json?format=export')
    const plain = await EventClient.open(t, server, '/a.json')

    await exported.first(1)
    await plain.first(1)
    await put(server, '/a/.priority.json', 3)
    await put(server, '/a.json', 5)

    expect((await exported.first(3)).map(({ data }) => data)).toEqual([
      { path: '/', data: { '.value': 1, '.priority': 2 } },
      { path: '/.priority', data: 3 },
      { path: '/', data: 5 },
    ])
    expect((await plain.first(2)).map(({ data }) => data)).toEqual([
      { path: '/', data: 1 },
      { path: '/', data: 5 },
    ])
  })

  test('sends a large value whole, and what changes meanwhile', async (t) => {
    const server = await serveRest(t)
    const value = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`k${i}`, 'x'.repeat(1000)]))
    await put(server, '/big.json', value)

    const client = await EventClient.open(t, server, '/big.json')
    await put(server, '/big/k0.json', 'changed')

    const last = await client.next(({ data }) => JSON.stringify(data).includes('changed'))
    const first = client.heard[0]!.data as { path: string; data: Record<string, string> }
    expect(first.path).toBe('/')
    expect({ ...first.data, k0: '' }).toEqual({ ...value, k0: '' })
    expect(['/k0', '/']).toContain((last.data as { path: string }).path)
  })

  test('is refused before it begins where nothing may be read', async (t) => {
    const server = await serveRest(t, { rules: {} })

    const client = await EventClient.open(t, server, '/a.json')

    expect(client.status).toBe(401)
  })

  test('of a priority, or with parameters that a stream cannot have, is refused', async (t) => {
    const server = await serveRest(t)
    const headers = { Accept: 'text/event-stream' }

    const priority = await ask(server, '/a/.priority.json', { headers })
    const query = await ask(server, '/a.json?limitToFirst=1', { headers })

    expect([priority.status, errorOf(priority)]).toEqual([400, 'a priority cannot be streamed'])
    expect(query.status).toBe(400)
  })

  test('frees its listener when the client goes', async (t) => {
    const server = await serveRest(t)
    // Of all workers, where there are several.
    const listeners = async (): Promise<number> => {
      const { text } = await ask(server, '/metrics')
      const counts = [...text.matchAll(/^hearth_listeners(?:\{.*\})? (\d+)$/gm)]
      return counts.reduce((sum, match) => sum + Number(match[1]), 0)
    }
    const client = await EventClient.open(t, server, '/a.json')
    await client.first(1)
    expect(await listeners()).toBe(1)

    client.close()
    await client.ended

    await expect.poll(listeners).toBe(0)
  })
})

describe('losing the right to read', () => {
  const MEMBERS = {
    rooms: { $room: { '.read': `root.child('members').child($room).child(auth.uid).exists()` } },
  }
  const SECRET = 'a secret of at least thirty-two bytes!'
  const tokenOf = (uid: string, exp = 4e9): Promise<string> => signToken({ sub: uid, exp }, SECRET)

  test('by a write ends the stream with a cancel, and nothing after it', async (t) => {
    const server = await serveRest(t, { rules: MEMBERS, config: { auth: { secret: SECRET } } })
    await put(server, '/.json', { members: { r: { ann: true } }, rooms: { r: { m: 'old' } } }, AS_ADMIN)
    const client = await EventClient.open(t, server, `/rooms/r.json?auth=${await tokenOf('ann')}`)
    await client.first(1)

    await ask(server, '/.json', {
      method: 'PATCH',
      body: { 'members/r/ann': null, 'rooms/r/m': 'secret' },
      headers: AS_ADMIN,
    })

    await client.ended
    expect(client.heard.map(({ event, data }) => [event, data])).toEqual([
      ['put', { path: '/', data: { m: 'old' } }],
      ['cancel', 'Permission denied.'],
    ])
  })

  test('by new rules ends it, too', async (t) => {
    const server = await serveRest(t)
    const client = await EventClient.open(t, server, '/a.json')
    await client.first(1)

    const answer = await ask(server, '/.settings/rules.json', {
      method: 'PUT',
      body: '{"rules": {}}',
      headers: AS_ADMIN,
    })

    await client.ended
    expect(answer.status).toBe(200)
    expect(client.heard.at(-1)).toMatchObject({ event: 'cancel' })
  })

  test('by a token that expires ends it with auth_revoked', async (t) => {
    const server = await serveRest(t, {
      config: { auth: { secret: SECRET, clockToleranceSeconds: 0 } },
    })
    const token = await tokenOf('ann', Math.ceil(Date.now() / 1000) + 1)
    const client = await EventClient.open(t, server, `/a.json?auth=${token}`)

    await client.ended

    expect(client.heard.map(({ event }) => event)).toEqual(['put', 'auth_revoked'])
    expect(client.heard[1]!.data).toBe('credential is no longer valid')
  })
})

describe('coming back', () => {
  test('with the latest id spares the value, if nothing there has changed', async (t) => {
    const server = await serveRest(t)
    await put(server, '/a.json', 1)
    const before = await EventClient.open(t, server, '/a.json')
    const id = (await before.first(1))[0]!.id!
    before.close()

    await put(server, '/b.json', 1)
    const back = await EventClient.open(t, server, '/a.json', { 'Last-Event-ID': id })
    await put(server, '/a.json', 2)

    expect(id).toMatch(/^[\w.-]+:\d+$/)
    expect((await back.first(2)).map(({ event, data }) => [event, data])).toEqual([
      ['keep-alive', null],
      ['put', { path: '/', data: 2 }],
    ])
  })

  test('gets what it missed, and goes on from there', async (t) => {
    const server = await serveRest(t)
    await put(server, '/a.json', { b: 1, c: 1 })
    const before = await EventClient.open(t, server, '/a.json')
    const id = (await before.first(1))[0]!.id!
    before.close()
    await put(server, '/a/b.json', 2)
    await put(server, '/elsewhere.json', 2)
    await put(server, '/a/c.json', 3)

    const back = await EventClient.open(t, server, '/a.json', { 'Last-Event-ID': id })
    const missed = await back.first(2)
    await put(server, '/a/b.json', 4)

    expect((await back.first(3)).map(({ event, data }) => [event, data])).toEqual([
      ['put', { path: '/b', data: 2 }],
      ['put', { path: '/c', data: 3 }],
      ['put', { path: '/b', data: 4 }],
    ])
    // A stream that broke after the first of them would be resumed from before both.
    expect(missed.map((event) => event.id !== null)).toEqual([false, true])
  })

  test('gets the value where the id says nothing, or nothing of this server', async (t) => {
    const server = await serveRest(t)
    await put(server, '/a/b.json', 1)
    const before = await EventClient.open(t, server, '/a.json')
    const id = (await before.first(1))[0]!.id!
    before.close()
    await put(server, '/a/b.json', 2)

    for (const stale of ['nonsense', `other:${id.split(':')[1]!}`, id.replace(/\d+$/, '999999')]) {
      const back = await EventClient.open(t, server, '/a.json', { 'Last-Event-ID': stale })

      expect((await back.first(1))[0]).toMatchObject({ event: 'put', data: { path: '/', data: { b: 2 } } })
      back.close()
    }
  })
})

test('a client that stops reading misses steps, never the state: it gets the whole value once it reads', async (t) => {
  const server = await serveRest(t)
  const { hostname, port } = new URL(server.url)
  const socket = connect(Number(port), hostname)
  t.onTestFinished(() => {
    socket.destroy()
  })
  socket.write('GET /log.json HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n')
  await new Promise((resolve) => socket.once('readable', resolve))

  for (let n = 1; n <= 30; n++) await put(server, '/log.json', { n, text: 'x'.repeat(500_000) })
  await put(server, '/log.json', { n: 'last' })
  let heard = ''
  socket.on('data', (bytes) => {
    heard += bytes.toString('latin1')
  })

  await expect
    .poll(() => heard.slice(-500), { timeout: 15_000 })
    .toContain('{"path":"/","data":{"n":"last"}}')
  const puts = heard.split('event: put').length - 1
  expect(puts).toBeLessThan(30)
})

test('a slow stream whose value has grown past what one read may take hears so and ends', async (t) => {
  const server = await serveRest(t, { config: { limits: { readNodesMax: 1000 } } })
  const client = await EventClient.open(t, server, '/a.json')
  await client.first(1)
  client.response.pause()
  const large = 'x'.repeat(1_000_000)
  for (let n = 0; n < 20; n++) await put(server, `/a/large/${n}.json`, large)
  const many = Object.fromEntries(Array.from({ length: 900 }, (_, n) => [`k${n}`, n]))
  await put(server, '/a/x.json', many)
  await put(server, '/a/y.json', many)

  client.response.resume()
  await client.ended

  expect(client.heard.at(-1)).toMatchObject({ event: 'cancel', data: expect.stringContaining('1000 values') })
  expect((await ask(server, '/b.json')).status).toBe(200)
})
