/**
 * Messages: told to who listens at exactly their path, under rules, in order, and stored nowhere.
 */
import { expect, test } from 'vitest'
import type { ToClient } from '../../protocol/index.ts'
import { signToken } from '../auth.ts'
import { BareClient, type Cleanup, OPEN, path, SECRET, serve, type TestServer } from './harness.ts'

async function listening(t: Cleanup, server: TestServer, at: string): Promise<BareClient> {
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listenMessages', path: path(at) })
  return client
}

function toldTo(client: BareClient): unknown[] {
  return client.heard.flatMap((message) => (message.type === 'message' ? message.values : []))
}

test('a message reaches every listener of its path once, in order, and nobody else', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [await listening(t, server, 'room/cursors'), await listening(t, server, 'room/cursors')]
  const [above, below] = [await listening(t, server, 'room'), await listening(t, server, 'room/cursors/x')]
  const value = await BareClient.connect(t, server)
  await value.ask({ type: 'listen', path: path('room/cursors'), query: null })
  const sender = await BareClient.connect(t, server)

  for (let n = 1; n <= 50; n++) sender.send({ type: 'send', path: path('room/cursors'), value: { n } })
  const answer = await sender.ask({ type: 'send', path: path('room/cursors'), value: 'last' })
  for (const client of [a, b, above, below, value]) await client.ask({ type: 'ping' })

  const all = [...Array.from({ length: 50 }, (_, i) => ({ n: i + 1 })), 'last']
  expect(answer.type).toBe('ack')
  expect([toldTo(a), toldTo(b)]).toEqual([all, all])
  expect([toldTo(above), toldTo(below), toldTo(value)]).toEqual([[], [], []])
  expect(value.heard.filter(({ type }) => type === 'patch')).toEqual([])
})

test('nothing of a message is stored, and it moves no revision', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('a'), value: 1 })
  const before = await client.ask({ type: 'get', path: [], query: null })

  await client.ask({ type: 'send', path: path('a'), value: { x: 1 } })
  const after = await client.ask({ type: 'get', path: [], query: null })

  expect(after).toMatchObject({ value: { a: 1 }, revision: (before as { revision: number }).revision })
})

test('a message comes after the patches of what its sender wrote before, and before the ack', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await listening(t, server, 'room')
  await client.ask({ type: 'listen', path: path('data'), query: null })

  for (let n = 1; n <= 20; n++) {
    client.send({ type: 'set', path: path('data/n'), value: n })
    client.send({ type: 'send', path: path('room'), value: n })
  }
  await client.ask({ type: 'ping' })
  await client.next('message', ({ values }) => values.includes(20))

  let written = 0
  for (const message of client.heard) {
    if (message.type === 'patch') written = message.steps.at(-1)![1] as number
    if (message.type === 'message') for (const n of message.values) expect(n).toBeLessThanOrEqual(written)
  }
  expect(toldTo(client)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
})

test('rules decide a message as a write of its value, and a listen as a read', async (t) => {
  const rules = {
    room: {
      '.read': 'auth != null',
      '.write': 'auth != null',
      '.validate': 'newData.isString() && newData.val().length <= 5',
    },
  }
  const server = await serve(t, { rules, config: { auth: { secret: SECRET } } })
  const client = await BareClient.connect(t, server)
  const denied = { type: 'error', name: 'permission_denied' }

  expect(await client.ask({ type: 'send', path: path('room'), value: 'hi' })).toMatchObject(denied)
  expect(await client.ask({ type: 'listenMessages', path: path('room') })).toMatchObject(denied)
  await client.ask({ type: 'auth', token: await signToken({ sub: 'ann', exp: 4e9 }, SECRET) })
  expect(await client.ask({ type: 'send', path: path('room'), value: 'too long' })).toMatchObject(denied)
  expect(await client.ask({ type: 'send', path: path('room'), value: 'hi' })).toMatchObject({ type: 'ack' })
  expect(await client.ask({ type: 'listenMessages', path: path('room') })).toMatchObject({
    type: 'snapshot',
    value: null,
  })
})

test('who loses the right to read hears a cancel, and no message sent after', async (t) => {
  const rules = {
    members: { '.write': true },
    room: { '.read': 'root.child("members").child("ann").exists()', '.write': true },
  }
  const server = await serve(t, { rules })
  const writer = await BareClient.connect(t, server)
  await writer.ask({ type: 'set', path: path('members/ann'), value: true })
  const member = await listening(t, server, 'room')

  writer.send({ type: 'send', path: path('room'), value: 'seen' })
  writer.send({ type: 'set', path: path('members/ann'), value: null })
  await writer.ask({ type: 'send', path: path('room'), value: 'secret' })
  const cancel = await member.next('cancel')
  await member.ask({ type: 'ping' })

  const { queryId } = member.heard.find((message) => message.type === 'snapshot') as Extract<
    ToClient,
    { type: 'snapshot' }
  >
  expect(cancel).toMatchObject({ queryId, name: 'permission_denied' })
  expect(toldTo(member)).not.toContain('secret')
})

test('an ended listen hears nothing more; one of the value at the same path is another', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await listening(t, server, 'room')
  await client.ask({ type: 'listen', path: path('room'), query: null })

  await client.ask({ type: 'unlistenMessages', path: path('room') })
  await client.ask({ type: 'send', path: path('room'), value: 1 })
  await client.ask({ type: 'set', path: path('room'), value: 2 })

  expect(toldTo(client)).toEqual([])
  expect(await client.next('patch')).toMatchObject({ steps: [['', 2]] })
  expect(await client.ask({ type: 'unlistenMessages', path: path('room') })).toMatchObject({ type: 'ack' })
})

test('what is no message is refused by name, and the connection lives on', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { limits: { listensMax: 2 } } })
  const client = await BareClient.connect(t, server)
  const send = async (value: unknown): Promise<unknown> => {
    const answer = await client.ask({ type: 'send', path: path('a'), value })
    return answer.type === 'error' ? answer.name : answer.type
  }

  expect(await send(null)).toBe('invalid_value')
  expect(await send({ 'a.b': 1 })).toBe('invalid_value')
  expect(await send('x'.repeat(65_537))).toBe('too_large')
  expect(await send(Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`k${i}`, i])))).toBe(
    'too_large',
  )
  expect(await send('x'.repeat(60_000))).toBe('ack')
  for (const at of ['a', 'b']) await client.ask({ type: 'listenMessages', path: path(at) })
  expect(await client.ask({ type: 'listenMessages', path: path('c') })).toMatchObject({
    name: 'too_many_listens',
  })
})
