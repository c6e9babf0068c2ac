/**
 * What REST readers may ask for: so much a second for each client, and so much under way for all of them. Who is refused
 * is told when to come back; admins are not refused.
 */
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { signToken } from '../../auth.ts'
import { type Cleanup, SECRET, type TestServer } from '../harness.ts'
import { type Answer, AS_ADMIN, ask, errorOf, serveRest } from './rest-harness.ts'

const MiB = 1024 * 1024

function serveWith(t: Cleanup, limits: object): Promise<TestServer> {
  // Each thread counts for itself.
  return serveRest(t, { config: { workers: 1, auth: { secret: SECRET }, limits } })
}

async function asUser(sub: string): Promise<Record<string, string>> {
  const token = await signToken({ sub, exp: Math.floor(Date.now() / 1000) + 3600 }, SECRET)
  return { Authorization: `Bearer ${token}` }
}

/** Asks for something and does not read what comes. */
function askWithoutReading(
  t: Cleanup,
  server: TestServer,
  path: string,
  header = '',
  method = 'GET',
): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(server.address.port, '127.0.0.1')
    t.onTestFinished(() => socket.destroy())
    socket.on('error', () => {})
    socket.pause()
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${header}\r\n`, () => resolve(socket))
  })
}

async function metric(server: TestServer, name: string): Promise<number> {
  const { text } = await ask(server, '/metrics')
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

function refusal(answer: Answer): [number, boolean] {
  return [answer.status, Number(answer.headers.get('retry-after')) >= 1]
}

/** More than sockets take. */
async function putLarge(server: TestServer): Promise<void> {
  for (let n = 0; n < 32; n++) {
    await ask(server, `/large/${n}.json?print=silent`, {
      method: 'PUT',
      body: JSON.stringify('x'.repeat(MiB)),
    })
  }
}

test('a client that has read a second’s worth is told when to come back; others read on', async (t) => {
  const server = await serveWith(t, { readBytesPerSecondMax: 64 * 1024 })
  await ask(server, '/a.json', { method: 'PUT', body: JSON.stringify('x'.repeat(300_000)) })

  const first = await ask(server, '/a.json')
  const second = await ask(server, '/a.json')
  const user = await ask(server, '/a.json', { headers: await asUser('ann') })
  const sameUser = await ask(server, '/a.json', { headers: await asUser('ann') })
  const admin = [await ask(server, '/a.json', { headers: AS_ADMIN })]
  admin.push(await ask(server, '/a.json', { headers: AS_ADMIN }))

  expect(first.status).toBe(200)
  expect([...refusal(second), errorOf(second)]).toEqual([
    429,
    true,
    'more than one client may read in a second',
  ])
  expect([user.status, sameUser.status]).toEqual([200, 429])
  expect(admin.map(({ status }) => status)).toEqual([200, 200])
  expect(await metric(server, 'hearth_rate_limited_total')).toBe(2)
  // Writes are no reads.
  expect((await ask(server, '/b.json', { method: 'PUT', body: 1 })).status).toBe(200)
})

test('answers that nobody reads are held up to a limit, past which reads are refused until they have gone', async (t) => {
  const server = await serveWith(t, { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0 })
  await putLarge(server)
  await ask(server, '/small.json', { method: 'PUT', body: 1 })

  const socket = await askWithoutReading(t, server, '/large.json')
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(32 * MiB)
  const same = await ask(server, '/small.json')
  const other = await ask(server, '/small.json', { headers: await asUser('ann') })
  const admin = await ask(server, '/small.json', { headers: AS_ADMIN })
  socket.destroy()
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBe(0)
  const later = await ask(server, '/small.json', { headers: await asUser('ann') })

  expect(refusal(same)).toEqual([429, true])
  expect(refusal(other)).toEqual([503, true])
  expect([admin.status, later.status]).toEqual([200, 200])
  // Who left without reading is counted for as long again.
  const status = async (): Promise<number> => (await ask(server, '/small.json')).status
  await expect.poll(status, { timeout: 8000 }).toBe(200)
})

test('an answer that nobody reads is ended for others once it has had its time', async (t) => {
  const limits = { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0, slowConsumerDeadlineMs: 1000 }
  const server = await serveWith(t, limits)
  await putLarge(server)
  await ask(server, '/small.json', { method: 'PUT', body: 1 })

  const socket = await askWithoutReading(t, server, '/large.json')
  const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(32 * MiB)
  const headers = await asUser('ann')
  const before = await ask(server, '/small.json', { headers })
  const status = async (): Promise<number> => (await ask(server, '/small.json', { headers })).status
  await expect.poll(status, { timeout: 8000 }).toBe(200)
  socket.resume()
  await ended

  expect(refusal(before)).toEqual([503, true])
  expect(await metric(server, 'hearth_rest_answer_bytes')).toBe(0)
})

test('one large text counts as any other large value, and so does the echo of a write', async (t) => {
  const server = await serveWith(t, { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0 })
  const text = JSON.stringify('é'.repeat(4.5 * MiB))
  const put = await ask(server, '/text.json', { method: 'PUT', body: text })
  const read = await ask(server, '/text.json')
  expect([put.text === text, read.text === text]).toEqual([true, true])
  expect(await metric(server, 'hearth_rest_answer_bytes')).toBe(0)

  const reader = await askWithoutReading(t, server, '/text.json')
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(4 * MiB)
  const again = await ask(server, '/text.json')
  const echo = await ask(server, '/text.json', { method: 'PUT', body: text })
  const silent = await ask(server, '/text.json?print=silent', { method: 'PUT', body: text })
  reader.destroy()
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBe(0)
  const { Authorization } = await asUser('ann')
  const head = `Authorization: ${Authorization}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n`
  const writer = await askWithoutReading(t, server, '/text.json', head, 'PUT')
  writer.write(text)
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(4 * MiB)

  expect([refusal(again), refusal(echo), silent.status]).toEqual([[429, true], [429, true], 204])
})

test('a large write that is answered shortly is taken while there is no room for large answers', async (t) => {
  const server = await serveWith(t, { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0 })
  const body = JSON.stringify('x'.repeat(4.5 * MiB))
  await ask(server, '/text.json', { method: 'PUT', body })
  await askWithoutReading(t, server, '/text.json')
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(4 * MiB)

  const echoed = await ask(server, '/text.json', { method: 'PUT', body })
  const posted = await ask(server, '/list.json', { method: 'POST', body })
  const silent = await ask(server, '/list.json?print=silent', { method: 'POST', body })
  const patched = await ask(server, '/text.json?print=silent', { method: 'PATCH', body: `{"a":${body}}` })

  expect(refusal(echoed)).toEqual([429, true])
  expect([posted.status, silent.status, patched.status]).toEqual([200, 204, 204])
  expect(posted.body).toEqual({ name: expect.any(String) })
})

test('a client that asks on and on for little and reads nothing is closed', async (t) => {
  const server = await serveWith(t, { readBytesPerSecondMax: 0 })
  await ask(server, '/a.json', { method: 'PUT', body: JSON.stringify('x'.repeat(60_000)) })
  const socket = await askWithoutReading(t, server, '/a.json')
  let isClosed = false
  socket.on('close', () => {
    isClosed = true
  })

  // More than the kernel takes for one connection.
  for (let n = 0; n < 2000 && !isClosed; n++) {
    socket.write('GET /a.json HTTP/1.1\r\nHost: x\r\n\r\n')
    await ask(server, '/health/live')
  }

  expect(isClosed).toBe(true)
})

test('answers that are short wait for a client that reads late, and then follow one another', async (t) => {
  const server = await serveWith(t, { readBytesPerSecondMax: 0 })
  await ask(server, '/a.json', { method: 'PUT', body: JSON.stringify('é'.repeat(30_000)) })
  const socket = await askWithoutReading(t, server, '/a.json')
  for (let n = 0; n < 5; n++) {
    socket.resume()
    const body = await new Promise<string>((resolve) => {
      let text = ''
      const take = (chunk: Buffer): void => {
        text += chunk.toString('latin1')
        const [head, rest = ''] = text.split('\r\n\r\n')
        if (rest.length < Number(/content-length: (\d+)/i.exec(head!)?.[1] ?? Infinity)) return
        socket.off('data', take)
        resolve(rest)
      }
      socket.on('data', take)
    })
    expect(body).toHaveLength(60_002)
    socket.pause()
    socket.write('GET /a.json HTTP/1.1\r\nHost: x\r\n\r\n')
  }
})

test('a large answer that is read to its end is held no longer', async (t) => {
  const server = await serveWith(t, { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0 })
  await putLarge(server)

  const answers = [await ask(server, '/large.json'), await ask(server, '/large.json')]

  expect(answers.map(({ text }) => text.length > 32 * MiB)).toEqual([true, true])
  expect(await metric(server, 'hearth_rest_answer_bytes')).toBe(0)
})

test('the first value of an event stream that nobody reads counts as an answer does', async (t) => {
  const server = await serveWith(t, { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0 })
  await putLarge(server)

  const socket = await askWithoutReading(t, server, '/large.json', 'Accept: text/event-stream\r\n')
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(32 * MiB)
  const stream = await ask(server, '/large.json', { headers: { Accept: 'text/event-stream' } })
  socket.destroy()

  expect(refusal(stream)).toEqual([429, true])
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBe(0)
})

test('a stream that has read all it was sent is not ended for want of memory for the rest', async (t) => {
  const limits = { answerBytesMax: 8 * MiB, readBytesPerSecondMax: 0, slowConsumerDeadlineMs: 2000 }
  const server = await serveWith(t, limits)
  await putLarge(server)
  const { Authorization } = await asUser('ann')
  const header = `Accept: text/event-stream\r\nAuthorization: ${Authorization}\r\n`
  const waiting = await askWithoutReading(t, server, '/a.json', header)
  await askWithoutReading(t, server, '/b.json', header)
  await expect.poll(() => metric(server, 'hearth_listeners')).toBe(2)
  const putMuch = async (at: string): Promise<void> => {
    for (let n = 0; n < 10; n++) {
      const body = JSON.stringify(String(n).repeat(MiB))
      await ask(server, `/${at}.json?print=silent`, { method: 'PUT', body })
    }
    await ask(server, `/${at}.json`, { method: 'PUT', body: '"last"' })
  }

  const socket = await askWithoutReading(t, server, '/large.json')
  await expect.poll(() => metric(server, 'hearth_rest_answer_bytes')).toBeGreaterThan(32 * MiB)
  await putMuch('a')
  let heard = ''
  waiting.on('data', (bytes) => {
    heard = (heard + bytes.toString('latin1')).slice(-1000)
  })
  waiting.resume()
  // As long as one that does not read may take.
  await putMuch('b')
  await expect.poll(() => metric(server, 'hearth_listeners'), { timeout: 8000 }).toBeLessThan(2)
  socket.destroy()

  await expect.poll(() => heard, { timeout: 8000 }).toContain('"last"')
})
