import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  parsePath,
  type Query,
  type ResumePoint,
  type Step,
  type ToClient,
  type Value,
  withValueAt,
} from '../../protocol/index.ts'
import { BareClient, type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

type Told = Extract<ToClient, { type: 'snapshot' | 'resumed' }>

async function epochOf(client: BareClient): Promise<string> {
  return (await client.next('hello')).epoch
}

/** Listens at `/room` and leaves: the state a client holds that was away since. */
async function stateOf(
  t: Cleanup,
  server: TestServer,
  at = 'room',
  query: Query | null = null,
): Promise<ResumePoint> {
  const client = await BareClient.connect(t, server)
  const { revision } = (await client.ask({ type: 'listen', path: path(at), query })) as Told
  client.socket.close()
  await client.closed
  return { epoch: await epochOf(client), revision }
}

async function resume(
  client: BareClient,
  resume: ResumePoint,
  at = 'room',
  query: Query | null = null,
): Promise<ToClient> {
  return client.ask({ type: 'listen', path: path(at), query, resume })
}

async function write(client: BareClient, at: string, value: Value): Promise<void> {
  expect(await client.ask({ type: 'set', path: path(at), value })).toMatchObject({ type: 'ack' })
}

test('who comes back gets the steps it missed, one for each write, and goes on from there', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { title: 'Lobby', text: 'x'.repeat(1000) })
  const held = await stateOf(t, server)
  await write(writer, 'room/seats', 1)
  await write(writer, 'elsewhere', 1)
  await writer.ask({
    type: 'update',
    path: ['room'],
    entries: [
      [['seats'], 2],
      [['title'], null],
    ],
  })

  const client = await BareClient.connect(t, server)
  const answer = await resume(client, held)
  await write(writer, 'room/seats', 3)

  expect(answer).toMatchObject({
    type: 'resumed',
    steps: [
      ['seats', 1],
      ['seats', 2, 'title', null],
    ],
  })
  const patch = await client.next('patch')
  expect(patch).toMatchObject({ queryId: (answer as Told).queryId, steps: [['seats', 3]] })
  expect(patch.revision).toBeGreaterThan((answer as Told).revision)
})

test('who missed nothing gets a few bytes, whatever the size of the value', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { text: 'x'.repeat(100_000) })
  const held = await stateOf(t, server)
  for (let i = 0; i < 20; i++) await write(writer, `elsewhere/k${i}`, i)
  const client = await BareClient.connect(t, server)
  let bytes = 0
  let frames = 0
  client.socket.on('message', (data: Buffer) => {
    bytes += data.length
    frames += 1
  })

  const answer = await resume(client, held)

  expect(answer).toMatchObject({ type: 'resumed', steps: [] })
  expect(frames).toBe(1)
  expect(bytes).toBeLessThan(16)
})

test('a change above what is listened to is a step that replaces it', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { title: 'Lobby', text: 'x'.repeat(1000) })
  const held = await stateOf(t, server)
  await write(writer, '', { room: { title: 'Hall' }, other: 1 })

  const answer = await resume(await BareClient.connect(t, server), held)

  expect(answer).toMatchObject({ steps: [['', { title: 'Hall' }]] })
})

test('a snapshot answers where the state is not one the server went through, or the log does not reach it', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { changeLogBytes: 1000 } })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', 1)
  const held = await stateOf(t, server)
  // The oldest rows go with later groups.
  for (let i = 0; i < 60; i++) await write(writer, `elsewhere/k${i}`, 'x'.repeat(50))
  const { epoch } = held
  const now = (await stateOf(t, server)).revision

  for (const point of [
    held,
    { epoch, revision: now + 1 },
    { epoch, revision: Number.MAX_SAFE_INTEGER },
    { epoch: 'another', revision: now },
    { epoch: '', revision: 0 },
  ]) {
    const answer = await resume(await BareClient.connect(t, server), point)
    expect(answer, JSON.stringify(point)).toMatchObject({ type: 'snapshot', value: 1, revision: now })
  }
  expect(await resume(await BareClient.connect(t, server), { epoch, revision: now })).toMatchObject({
    type: 'resumed',
  })
})

test('without a log a change is answered with a snapshot, no change with nothing', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { changeLogMinutes: 0 } })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { a: 1 })
  const held = await stateOf(t, server)
  expect(await resume(await BareClient.connect(t, server), held)).toMatchObject({
    type: 'resumed',
    steps: [],
  })

  await write(writer, 'room/a', 2)

  expect(await resume(await BareClient.connect(t, server), held)).toMatchObject({
    type: 'snapshot',
    value: { a: 2 },
  })
})

test('whoever missed more than the value holds gets the value', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { n: 0 })
  const held = await stateOf(t, server)
  for (let i = 1; i <= 30; i++) await write(writer, 'room/text', `${i}`.repeat(500))

  const answer = await resume(await BareClient.connect(t, server), held)

  expect(answer).toMatchObject({ type: 'snapshot', value: { n: 0, text: '30'.repeat(500) } })
})

test('a large write is in the log by its path alone: who missed it gets the value, who did not is spared it', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { a: 1 })
  const held = await stateOf(t, server)
  const elsewhere = await stateOf(t, server, 'elsewhere')
  const large = 'x'.repeat(200_000)
  await write(writer, 'room/text', large)

  const client = await BareClient.connect(t, server)

  expect(await resume(client, held)).toMatchObject({ type: 'snapshot', value: { a: 1, text: large } })
  expect(await resume(client, elsewhere, 'elsewhere')).toMatchObject({ type: 'resumed', steps: [] })
})

test('a right that was lost meanwhile is an error, not what was missed', async (t) => {
  const server = await serve(t, {
    rules: { '.write': true, room: { '.read': "root.child('open').val() === true" } },
  })
  const writer = await BareClient.connect(t, server)
  await write(writer, '', { open: true, room: 1 })
  const held = await stateOf(t, server)
  await write(writer, 'room', 2)
  await write(writer, 'open', false)

  const answer = await resume(await BareClient.connect(t, server), held)

  expect(answer).toMatchObject({ type: 'error', name: 'permission_denied' })
})

test('a window resumes as long as nothing in its list has changed', async (t) => {
  const server = await serve(t, { rules: { ...OPEN, list: { '.indexOn': 'n' } } })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'list', { a: { n: 1 }, b: { n: 2 }, c: { n: 3 } })
  const last: Query = { orderBy: 'key', limit: { count: 2, from: 'last' } }
  const held = await stateOf(t, server, 'list', last)
  await write(writer, 'elsewhere', 1)
  const client = await BareClient.connect(t, server)
  expect(await resume(client, held, 'list', last)).toMatchObject({ type: 'resumed', steps: [] })

  await write(writer, 'list/d', { n: 0 })

  expect(await client.next('patch')).toMatchObject({ steps: [['b', null, 'd', { n: 0 }]] })
  const answer = await resume(await BareClient.connect(t, server), held, 'list', last)
  expect(answer).toMatchObject({ type: 'snapshot', value: { c: { n: 3 }, d: { n: 0 } } })
})

test('the log outlives the process', async (t) => {
  const first = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, first)
  await write(writer, 'room', { a: 1, text: 'x'.repeat(1000) })
  const held = await stateOf(t, first)
  await write(writer, 'room/a', 2)
  await first.close()

  const second = await serve(t, { folder: first.folder })
  const client = await BareClient.connect(t, second)
  await write(client, 'room/a', 3)

  expect(await resume(client, held)).toMatchObject({
    type: 'resumed',
    steps: [
      ['a', 2],
      ['a', 3],
    ],
  })
  expect(await epochOf(client)).not.toBe(held.epoch)
})

test('a folder restored from a backup does not take its own revisions for those it had before', async (t) => {
  const first = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, first)
  await write(writer, 'room', { a: 0 })
  const before = await stateOf(t, first)
  await first.close()
  const backup = join(first.folder, 'backup')
  cpSync(join(first.folder, 'data'), backup, { recursive: true })
  const second = await serve(t, { folder: first.folder })
  const other = await BareClient.connect(t, second)
  for (let i = 1; i <= 3; i++) await write(other, 'room/lost', i)
  const lost = await stateOf(t, second)
  await second.close()
  rmSync(join(first.folder, 'data'), { recursive: true })
  cpSync(backup, join(first.folder, 'data'), { recursive: true })
  const third = await serve(t, { folder: first.folder })
  const client = await BareClient.connect(t, third)
  for (let i = 1; i <= 5; i++) await write(client, 'room/a', i)

  const value = { a: 5 }
  expect(await resume(client, lost)).toMatchObject({ type: 'snapshot', value })
  expect(await resume(client, before)).toMatchObject({ type: 'resumed' })
})

test('many who come back at once, from different states, all end up with what there is', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(
    writer,
    '',
    Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`r${i}`, { n: 0, t: 'x'.repeat(300) }])),
  )
  const states: ResumePoint[] = []
  for (let i = 0; i < 10; i++) {
    states.push(await stateOf(t, server, `r${i}`))
    for (let room = 0; room < 10; room++) await write(writer, `r${room}/n`, i + 1)
  }
  const clients = await Promise.all(Array.from({ length: 30 }, () => BareClient.connect(t, server)))

  const answers = await Promise.all(
    clients.flatMap((client, i) => {
      writer.send({ type: 'set', path: ['r0', 'm'], value: i })
      return states.map((state, room) => resume(client, state, `r${room}`))
    }),
  )

  answers.forEach((answer, i) => {
    const room = i % 10
    const steps = (answer as Extract<ToClient, { type: 'resumed' }>).steps.filter((step) => step[0] === 'n')
    expect(steps).toEqual(Array.from({ length: 10 - room }, (_, k) => ['n', room + k + 1]))
  })
})

test('whatever is written while connections come and go, each ends with what the server holds', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { changeLogBytes: 4000 } })
  const writer = await BareClient.connect(t, server)
  const key = fc.constantFrom('a', 'b', 'c', '1')
  const leaf = fc.oneof(fc.constant(null), fc.nat(9), fc.string({ maxLength: 40 }))
  const place = fc.array(key, { minLength: 1, maxLength: 3 })
  const action = fc.oneof(
    { arbitrary: fc.record({ at: place, value: fc.oneof(leaf, fc.dictionary(key, leaf)) }), weight: 4 },
    { arbitrary: fc.constantFrom('leave' as const, 'return' as const), weight: 2 },
  )
  let resumed = 0
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 20, maxLength: 40 }), place, async (actions, at) => {
      const follower = new Follower(t, server, at.slice(0, 2))
      await follower.comeBack()
      for (const step of actions) {
        if (step === 'leave') follower.leave()
        else if (step === 'return') await follower.comeBack()
        else await writer.ask({ type: 'set', path: step.at, value: step.value })
      }
      await follower.comeBack()
      const { value } = (await writer.ask({ type: 'get', path: at.slice(0, 2), query: null })) as {
        value: Value
      }
      await follower.client!.ask({ type: 'ping' })
      expect(follower.value).toEqual(value)
      resumed += follower.resumed
      follower.leave()
    }),
    { numRuns: 40 },
  )
  expect(resumed).toBeGreaterThan(10)
}, 60_000)

/** Holds one value, as a client would. */
class Follower {
  value: Value = null
  client: BareClient | null = null
  resumed = 0
  #held: ResumePoint | null = null
  readonly #t: Cleanup
  readonly #server: TestServer
  readonly #path: string[]

  constructor(t: Cleanup, server: TestServer, at: string[]) {
    this.#t = t
    this.#server = server
    this.#path = at
  }

  async comeBack(): Promise<void> {
    if (this.client !== null) return
    const client = await BareClient.connect(this.#t, this.#server)
    this.client = client
    const options = this.#held === null ? {} : { resume: this.#held }
    const epoch = await epochOf(client)
    const told = (await client.ask({ type: 'listen', path: this.#path, query: null, ...options })) as Told
    if (told.type === 'resumed') this.resumed += 1
    const apply = (message: ToClient): void => {
      if (message.type === 'snapshot') this.value = message.value
      else if (message.type === 'resumed' || message.type === 'patch') message.steps.forEach(this.#apply)
      else return
      this.#held = { epoch, revision: message.revision }
    }
    client.heard.forEach(apply)
    client.onMessage = apply
  }

  readonly #apply = (step: Step): void => {
    for (let i = 0; i < step.length; i += 2) {
      this.value = withValueAt(this.value, parsePath(step[i] as string), step[i + 1] as Value)
    }
  }

  leave(): void {
    this.client?.socket.terminate()
    if (this.client !== null) this.client.onMessage = () => {}
    this.client = null
  }
}

test('who comes back from ever further away is told what it missed a few times, then the value', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const writer = await BareClient.connect(t, server)
  await write(writer, 'room', { text: 'x'.repeat(10_000) })
  const held = await stateOf(t, server)
  const revisions: number[] = [held.revision]
  for (let n = 0; n < 14; n++) {
    const ack = (await writer.ask({ type: 'set', path: path('room/n'), value: n })) as { revision: number }
    revisions.push(ack.revision)
  }
  const client = await BareClient.connect(t, server)

  const answers: string[] = []
  for (const revision of revisions.slice(0, -1).reverse()) {
    answers.push((await resume(client, { ...held, revision })).type)
  }
  const again = await resume(client, { ...held, revision: revisions.at(-2)! })

  // Each made all who resume this query wait for the log to be read anew.
  expect(answers).toEqual([...Array(9).fill('resumed'), ...Array(5).fill('snapshot')])
  expect(again).toMatchObject({ type: 'resumed', steps: [['n', 13]] })
})
