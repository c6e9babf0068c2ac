/**
 * What no client should send: each gets a status that says so, nothing crashes, and nothing counts as a bug.
 */
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { type Answer, ask, askRaw, errorOf, serveRest } from './rest-harness.ts'

const MiB = 1024 * 1024

/** The server still serves, and blames itself for nothing. */
async function expectUnharmed(server: { url: string }): Promise<void> {
  const alive = await ask(server, '/alive.json', { method: 'PUT', body: true })
  const metrics = await ask(server, '/metrics')
  expect(alive.status).toBe(200)
  expect(metrics.text).toContain('hearth_bugs_total 0\n')
}

const put = (server: { url: string }, body: string | Uint8Array, path = '/a.json'): Promise<Answer> =>
  ask(server, path, { method: 'PUT', body })

test('a string of 10 MB is stored, and one more byte is refused', async (t) => {
  const server = await serveRest(t)

  const fits = await put(server, JSON.stringify('x'.repeat(10 * MiB)), '/a.json?print=silent')
  const tooLong = await put(server, JSON.stringify('x'.repeat(10 * MiB + 1)))

  expect(fits.status).toBe(204)
  expect(tooLong.status).toBe(400)
  expect(errorOf(tooLong)).toContain('strings may have at most 10485760')
  await expectUnharmed(server)
})

test('a body past the server’s limit is refused before it is read, and while it comes', async (t) => {
  const server = await serveRest(t, { config: { limits: { bodyBytesMax: 64 * 1024 } } })
  const error = 'Data to write exceeds the maximum size that can be modified with a single request.'

  const declared = await askRaw(
    server,
    'PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"',
  )
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const chunked = await askRaw(
    server,
    `PUT /a.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"\r\n${chunk}${chunk}`,
  )

  for (const answer of [declared, chunked]) {
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toContain(error)
  }
  await expectUnharmed(server)
})

test('a body past the limit its sender set is refused with Firebase’s text', async (t) => {
  const server = await serveRest(t)

  const answer = await put(server, `"${'x'.repeat(5 * MiB)}"`, '/a.json?writeSizeLimit=tiny')

  expect([answer.status, errorOf(answer)]).toEqual([
    400,
    'Data to write exceeds the maximum size that can be modified with a single request.',
  ])
  await expectUnharmed(server)
})

test('who may not write is told so at once, and need not send the body', async (t) => {
  const server = await serveRest(t)

  const answer = await askRaw(
    server,
    'PUT /a.json?auth=nonsense HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"',
  )

  expect(answer).toMatch(/^HTTP\/1\.1 401 /)
  expect(answer).toContain('Connection: close')
})

test('a client that goes in the middle of its body leaves nothing behind', async (t) => {
  const server = await serveRest(t)
  const { hostname, port } = new URL(server.url)

  for (let i = 0; i < 20; i++) {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    const head = `PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n`
    await new Promise<void>((resolve) => socket.write(`${head}"${'x'.repeat(i * 1000)}`, () => resolve()))
    if (i % 2 === 0) socket.destroy()
    else socket.resetAndDestroy()
  }

  await expectUnharmed(server)
  expect((await ask(server, '/a.json')).body).toBe(null)
})

test('a client that goes in the middle of its answer does no harm', async (t) => {
  const server = await serveRest(t)
  const value = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`k${i}`, 'x'.repeat(200_000)]))
  await put(server, JSON.stringify(value))

  for (let i = 0; i < 5; i++) {
    const answer = await askRaw(
      server,
      'GET /a.json HTTP/1.1\r\nHost: x\r\n\r\n',
      (text) => text.length > 1000,
    )

    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  }
  await expectUnharmed(server)
})

test('values that hide something are refused', async (t) => {
  const server = await serveRest(t)
  const deep = (open: string, close: string): string => open.repeat(100_000) + close.repeat(100_000)
  const bodies = [
    deep('[', ']'),
    `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
    '{"__proto__": {"admin": true}}',
    '{"a": {"__proto__": 1}}',
    '{"constructor.prototype": 1}',
    '{"a": {".value": {"b": 1}}}',
    '{"a": {".sv": {"increment": "1"}}}',
    '{"a": {".sv": "timestamp", "b": 1}}',
    '{".priority": {"a": 1}, "b": 1}',
    `{"${'k'.repeat(769)}": 1}`,
    '{"a\\u0000b": 1}',
  ]

  for (const body of bodies) {
    const answer = await put(server, body)

    expect([body.slice(0, 40), answer.status]).toEqual([body.slice(0, 40), 400])
    expect(answer.text.length).toBeLessThan(300)
  }
  const stored = await ask(server, '/a.json')
  expect(stored.body).toBe(null)
  await expectUnharmed(server)
})

test('documents of patches that are no documents are refused', async (t) => {
  const server = await serveRest(t)
  const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`
  const patches: [type: string, body: string][] = [
    ['json-patch', 'null'],
    ['json-patch', '[null]'],
    ['json-patch', '[{"op": "add"}]'],
    ['json-patch', '[{"op": "add", "path": "/a"}]'],
    ['json-patch', `[{"op": "add", "path": "/a", "value": ${deep}}]`],
    ['json-patch', JSON.stringify(Array.from({ length: 10_001 }, () => ({ op: 'remove', path: '/a' })))],
    ['merge-patch', deep],
    ['merge-patch', '{"a.b": 1}'],
    ['merge-patch', '{"__proto__": {"a": 1}}'],
  ]

  for (const [type, body] of patches) {
    const headers = { 'Content-Type': `application/${type}+json` }
    const answer = await ask(server, '/a.json', { method: 'PATCH', body, headers })

    expect([body.slice(0, 40), answer.status]).toEqual([body.slice(0, 40), 400])
  }
  expect(({} as Record<string, unknown>)['a']).toBe(undefined)
  await expectUnharmed(server)
})

test('requests that are no HTTP end their connection only', async (t) => {
  const server = await serveRest(t)
  const requests = [
    'nonsense\r\n\r\n',
    'GET /a.json HTTP/9.9\r\nHost: x\r\n\r\n',
    'PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
    'PUT /a.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'PUT /a.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    `GET /a.json HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(600_000)}\r\n\r\n`,
  ]

  for (const request of requests) {
    const answer = await askRaw(server, request, (text) => text.includes('\r\n\r\n'))

    expect([request.slice(0, 60), answer.slice(0, 12)]).toEqual([
      request.slice(0, 60),
      expect.stringMatching(/^(HTTP\/1\.1 [45]\d\d|)$/),
    ])
  }
  await expectUnharmed(server)
})

test('headers are taken for no more than they are', async (t) => {
  const server = await serveRest(t, { rules: {} })

  const twice = await askRaw(
    server,
    'GET /a.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\nConnection: close\r\n\r\n',
    (text) => text.includes('}'),
  )
  const odd = await ask(server, '/a.json', { headers: { Authorization: 'Basic abc' } })
  const split = await ask(server, '/a.json', {
    method: 'OPTIONS',
    headers: { Origin: 'https://a.example', 'Access-Control-Request-Headers': 'a\tb' },
  })

  expect(twice).toContain('Could not parse auth token.')
  expect([odd.status, errorOf(odd)]).toEqual([401, 'Permission denied'])
  expect(split.headers.get('access-control-allow-headers')).toBe(null)
})

test('a long token arrives whole, in however many packets', async (t) => {
  const server = await serveRest(t)
  const { hostname, port } = new URL(server.url)
  const request = `GET /a.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${'x'.repeat(12_000)}\r\n\r\n`

  const answer = await new Promise<string>((resolve) => {
    const socket = connect(Number(port), hostname)
    socket.setNoDelay(true)
    socket.on('data', (bytes) => {
      socket.destroy()
      resolve(bytes.toString())
    })
    const sendFrom = (at: number): void => {
      if (at < request.length)
        socket.write(request.slice(at, at + 1400), () => setImmediate(sendFrom, at + 1400))
    }
    sendFrom(0)
  })

  expect(answer).toContain('Could not parse auth token.')
})

test('a request that does not wait for the answer to the one before ends its connection only', async (t) => {
  const server = await serveRest(t)
  const request = (n: number): string =>
    `PUT /n/${n}.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n${n}`

  await askRaw(server, request(1) + request(2) + request(3))

  await expectUnharmed(server)
})

test('a header full of blanks costs no more time than another', async (t) => {
  const server = await serveRest(t)
  const headers = `Authorization: Bearer a${' '.repeat(19_000)}b\r\nConnection: close`
  const startMs = performance.now()

  for (let n = 0; n < 10; n++) {
    const answer = await askRaw(server, `GET /a.json HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n`)
    expect(answer).toContain('401 Unauthorized')
  }

  // Tried at each blank, ten took 9 s.
  expect(performance.now() - startMs).toBeLessThan(3000)
})

test('a script of another page is answered as that page would be', async (t) => {
  const server = await serveRest(t, { config: { allowedOrigins: ['https://app.example'] } })
  const from = async (referer: string): Promise<number> =>
    (await ask(server, '/a.json?callback=f', { headers: { referer } })).status

  expect(await from('https://app.example/page')).toBe(200)
  expect(await from(`${server.url}/page`)).toBe(200)
  expect(await from('https://other.example/')).toBe(403)
  expect((await ask(server, '/a.json?callback=f')).status).toBe(403)
  expect((await ask(server, '/a.json')).status).toBe(200)
})
