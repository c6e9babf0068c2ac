/**
 * Sessions and sockets that fill and empty at awkward moments: over a sink that the test fills and empties, and a
 * database in a folder.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import {
  decodeToClient,
  Encoder,
  encodeToServer,
  type ToClient,
  type ToServer,
} from '../../protocol/index.ts'
import { Database } from '../database.ts'
import { openLmdbStore } from '../store/store-lmdb.ts'
import { rulesets } from '../test/random-groups.ts'
import { FirebaseSession, type FirebaseSessionContext } from './firebase-session.ts'
import { FirebaseSnapshots } from './firebase-snapshots.ts'
import { FirebaseWire } from './firebase-wire.ts'
import { NativeSession, type NativeSessionContext } from './native-session.ts'
import { NativeSnapshots } from './native-snapshots.ts'
import { NativeWire } from './native-wire.ts'
import type { Publisher, Sink } from './sink.ts'
import { Turns } from './turns.ts'
import { WaitingRoom } from './waiting-room.ts'

const FULL_BYTES = 1e6
const LIMITS = {
  ...{ frameBytesMax: 1 << 25, listensMax: 1000, pingIntervalMs: 25_000 },
  ...{ slowConsumerSoftBytes: 1000, slowConsumerHardBytes: 1 << 20, slowConsumerDeadlineMs: 60_000 },
  ...{ messagesPerSecondMax: 0, messageBytesPerSecondMax: 0, readBytesPerSecondMax: 0 },
}

/** A connection that takes all it is sent, and says it holds as much as the test wants. */
class FakeSink implements Sink {
  readonly frames: Buffer[] = []
  readonly topics = new Set<string>()
  bufferedBytes = 0
  closed = (): void => {}

  send(bytes: Uint8Array): boolean {
    this.frames.push(Buffer.from(bytes))
    return true
  }

  cork(call: () => void): void {
    call()
  }

  subscribe(topic: string): void {
    this.topics.add(topic)
  }

  unsubscribe(topic: string): void {
    this.topics.delete(topic)
  }

  close(): void {
    this.closed()
  }

  get native(): ToClient[] {
    return this.frames.flatMap((frame) => decodeToClient(frame))
  }
}

interface Parts {
  native(limits?: object): { session: NativeSession; sink: FakeSink; send(message: ToServer): void }
  firebase(limits?: object): {
    session: FirebaseSession
    sink: FakeSink
    send(number: number, action: string, body: object): void
  }
  database: Database
  turns: Turns
}

async function prepare(t: { onTestFinished(call: () => unknown): void }): Promise<Parts> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  const onBug = (error: unknown): void => expect.fail(String(error))
  const database = new Database({
    ...{
      name: 'test',
      store: await openLmdbStore({ folder }),
      ruleset: rulesets.bare,
      nowMs: Date.now,
      onBug,
    },
    ...{
      counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
      readNodesMax: 1e6,
      writeQueueMax: 1000,
    },
  } as ConstructorParameters<typeof Database>[0])
  t.onTestFinished(async () => {
    await database.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const sinks: FakeSink[] = []
  const publisher: Publisher = {
    publish(topic, bytes) {
      for (const sink of sinks) if (sink.topics.has(topic)) sink.send(bytes)
    },
  }
  const counted = { deliveries: 0, deliveredBytes: 0 }
  const wires = {
    native: new NativeWire('test', publisher, counted, { view: database.view, isReadable: true }),
    firebase: new FirebaseWire('test', publisher, counted as never),
  }
  const snapshots = new NativeSnapshots()
  const firebaseSnapshots = new FirebaseSnapshots()
  for (const wire of [wires.native, wires.firebase, snapshots, firebaseSnapshots]) database.addWire(wire)
  const turns = new Turns({ bytesInFlightMax: 1e9, onBug })
  const shared = {
    ...{
      database,
      snapshots,
      turns,
      waitingRoom: new WaitingRoom(1e9),
      onBug,
      isDev: false,
      nowMs: Date.now,
    },
    onDisconnect: { settling: null, run() {} },
    presence: { leave() {} },
    counters: { errors: 0, slowConsumers: 0, rateLimited: 0 },
    ended() {},
  }
  return {
    ...{ database, turns },
    native(limits = {}) {
      const sink = new FakeSink()
      sinks.push(sink)
      const context = { ...shared, wire: wires.native, limits: { ...LIMITS, ...limits } }
      const session = new NativeSession('n', context as unknown as NativeSessionContext, sink)
      sink.closed = () => session.closed()
      t.onTestFinished(() => session.closed())
      const send = (message: ToServer): void => {
        const encoder = new Encoder()
        encodeToServer(encoder, message)
        session.receive(encoder.take())
      }
      return { session, sink, send }
    },
    firebase(limits = {}) {
      const sink = new FakeSink()
      sinks.push(sink)
      const context = {
        ...shared,
        snapshots: firebaseSnapshots,
        wire: wires.firebase,
        limits: { ...LIMITS, ...limits },
      }
      const options = { id: 'f', sink, host: 'test', isBack: false, afterwards: null }
      const session = new FirebaseSession(context as unknown as FirebaseSessionContext, options)
      sink.closed = () => session.closed()
      t.onTestFinished(() => session.closed())
      const send = (number: number, action: string, body: object): void => {
        session.receive(Buffer.from(JSON.stringify({ t: 'd', d: { r: number, a: action, b: body } })))
      }
      return { session, sink, send }
    },
  }
}

/** What a Firebase client was sent, put together from its frames. */
function messagesOf({ frames }: FakeSink): string {
  return frames.map(String).join('')
}

test('who hears of what was dropped when the socket is empty again is brought up to date at once', async (t) => {
  const { native, firebase, database } = await prepare(t)
  const [first, second] = [native(), firebase()]
  first.send({ type: 'listen', id: 1, path: ['a'], query: null })
  second.send(1, 'q', { p: '/a', h: '' })
  await expect.poll(() => first.sink.topics.size + second.sink.topics.size).toBe(2)

  for (const { session } of [first, second]) session.dropped()
  first.send({ type: 'set', id: 2, path: ['a'], value: 'later' })
  await database.idle()

  expect(first.sink.native.map(({ type }) => type)).toEqual(['snapshot', 'patch', 'ack'])
  expect(messagesOf(second.sink)).toContain('"later"')
})

test('a listen that is answered once the client reads is charged for its own value, not for what was sent before', async (t) => {
  const { native, database } = await prepare(t)
  const { sink, send, session } = native({ readBytesPerSecondMax: 100_000 })
  send({ type: 'set', id: 1, path: ['large'], value: 'x'.repeat(60_000) })
  await database.idle()

  send({ type: 'listen', id: 2, path: ['large'], query: null })
  sink.bufferedBytes = FULL_BYTES
  for (let id = 3; id < 10; id++) send({ type: 'listen', id, path: [`small${id}`], query: null })
  await new Promise((resolve) => setImmediate(resolve))
  sink.bufferedBytes = 0
  session.drained()

  await expect.poll(() => sink.native.filter(({ type }) => type === 'snapshot').length).toBe(8)
  expect(sink.native.filter(({ type }) => type === 'error')).toEqual([])
})

test('a session that is closed by its own answer leaves nothing in flight', async (t) => {
  const { firebase, database, turns } = await prepare(t)
  const { sink, send } = firebase({ slowConsumerHardBytes: 10_000 })
  send(1, 'p', { p: '/large', d: 'x'.repeat(60_000) })
  await database.idle()

  sink.bufferedBytes = FULL_BYTES
  send(2, 'g', { p: '/large' })
  await new Promise((resolve) => setImmediate(resolve))

  expect(turns.bytesInFlight).toBe(0)
})

test('updates of very many places by a client that does not read are answered like any others', async (t) => {
  const { firebase, database } = await prepare(t)
  const { sink, send, session } = firebase()
  send(1, 'q', { p: '/other', h: '' })
  await expect.poll(() => sink.topics.size).toBe(1)

  sink.bufferedBytes = FULL_BYTES
  session.dropped()
  // All in one group.
  const update = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`k${n}`, 1]))
  for (let number = 2; number <= 26; number++) send(number, 'm', { p: '/', d: update })
  await database.idle()
  sink.bufferedBytes = 0
  session.drained()

  expect(messagesOf(sink)).toContain('{"r":26,"b":{"s":"ok"')
})

test('a window is told what its client missed before a part of a child is told to be gone', async (t) => {
  const { firebase, database } = await prepare(t)
  const [{ sink, send, session }, writer] = [firebase(), firebase()]
  writer.send(1, 'p', { p: '/rooms/a/open', d: 1 })
  await database.idle()
  send(2, 'q', { p: '/rooms/a/open', h: '' })
  send(3, 'q', { p: '/rooms', q: { i: '.key', l: 2, vf: 'r' }, t: 7, h: '' })
  await expect.poll(() => sink.topics.size).toBe(2)

  sink.bufferedBytes = FULL_BYTES
  session.dropped()
  writer.send(4, 'm', { p: '/rooms/a', d: { open: null, closed: 1 } })
  await database.idle()
  sink.frames.length = 0
  sink.bufferedBytes = 0
  session.drained()

  const pushes = sink.frames.map((frame) => JSON.parse(String(frame)).d).filter(({ a }) => a !== undefined)
  expect(pushes.map(({ b }) => b.p)).toEqual(['rooms', 'rooms/a/open'])
})

test('clients of Firebase’s wire that join at the same time are each sent the value of that moment, under their tags', async (t) => {
  const { firebase, database } = await prepare(t)
  const writer = firebase()
  const value = (text: string): object => ({ a: text.repeat(20_000), b: { '.priority': 1, '.value': text } })
  writer.send(1, 'p', { p: '/room', d: value('é') })
  await database.idle()
  const join = async (tag?: number): Promise<object> => {
    const { sink, send } = firebase()
    const query = { q: { i: '.key', l: 2, vf: 'r' }, t: tag }
    send(1, 'q', { p: '/room', h: '', ...(tag === undefined ? {} : query) })
    await expect.poll(() => sink.frames.length).toBe(4)
    const [count, ...pieces] = sink.frames.slice(0, -1).map(String)
    expect(count).toBe('2')
    return JSON.parse(pieces.join(''))
  }
  const pushOf = (text: string, tag: object): object => {
    return { t: 'd', d: { a: 'd', b: { p: 'room', d: value(text), ...tag } } }
  }

  for (const tag of [5, 5, 5, 6]) expect(await join(tag)).toEqual(pushOf('é', { t: tag }))
  for (let i = 0; i < 3; i++) expect(await join()).toEqual(pushOf('é', {}))
  writer.send(2, 'p', { p: '/room', d: value('ü') })
  await database.idle()
  expect(await join(5)).toEqual(pushOf('ü', { t: 5 }))
  expect(await join()).toEqual(pushOf('ü', {}))
})

test('what is left of a message that a full socket broke off is in flight, too', async (t) => {
  const { firebase, database, turns } = await prepare(t)
  const { sink, send } = firebase()
  send(1, 'p', { p: '/large', d: 'x'.repeat(100_000) })
  await database.idle()
  const take = sink.send.bind(sink)
  sink.send = (bytes) => {
    sink.bufferedBytes += bytes.length
    return take(bytes)
  }

  send(2, 'q', { p: '/large', h: '' })

  await expect.poll(() => turns.bytesInFlight).toBeGreaterThan(100_000)
})

test('clients of Firebase’s wire that have fallen behind are sent the same bytes of a whole value', async (t) => {
  const { firebase, database } = await prepare(t)
  const writer = firebase()
  const slow = [5, 5, 5].map((tag) => {
    const { send, sink, session } = firebase()
    send(1, 'q', { p: '/room', q: { i: '.key', l: 2, vf: 'r' }, t: tag, h: '' })
    return { sink, session, sent: [] as Uint8Array[] }
  })
  await expect.poll(() => slow.every(({ sink }) => sink.topics.size === 1)).toBe(true)
  for (const { sink, session, sent } of slow) {
    sink.bufferedBytes = FULL_BYTES
    session.dropped()
    sink.send = (bytes) => sent.push(bytes) > 0
  }

  for (const [number, text] of [
    [1, 'a'],
    [2, 'b'],
  ] as const) {
    writer.send(number, 'p', { p: '/room', d: { text: text.repeat(50_000) } })
    await database.idle()
    for (const { sink, session, sent } of slow) {
      sent.length = 0
      sink.bufferedBytes = 0
      session.drained()
      sink.bufferedBytes = FULL_BYTES
      session.dropped()
    }
    const [first, ...others] = slow.map(({ sent }) => sent)
    expect(JSON.parse(first!.slice(1).join('')).d.b).toEqual({
      p: 'room',
      d: { text: text.repeat(50_000) },
      t: 5,
    })
    for (const sent of others) expect(sent.every((bytes, i) => bytes === first![i])).toBe(true)
  }
})

test('a group that deletes much of what a client listens to does not look at all its listens for each deletion', async (t) => {
  const { firebase, database } = await prepare(t)
  const [{ sink, send, session }, writer] = [firebase(), firebase()]
  const COUNT = 200
  const update = (value: number | null): object =>
    Object.fromEntries(Array.from({ length: COUNT }, (_, i) => [`k${i}/part`, value]))
  writer.send(1, 'm', { p: '/room', d: update(1) })
  await database.idle()
  send(1, 'q', { p: '/room', q: { i: '.key', l: 2, vf: 'r' }, t: 5, h: '' })
  for (let i = 0; i < COUNT; i++) send(2 + i, 'q', { p: `/room/k${i}/part`, h: '' })
  await expect.poll(() => sink.topics.size).toBe(COUNT + 1)
  const looks = vi.spyOn(session, 'listens', 'get')

  writer.send(2, 'm', { p: '/room', d: update(null) })
  await database.idle()

  expect(messagesOf(sink)).toContain('"p":"room/k0/part","d":null')
  expect(looks.mock.calls.length).toBeLessThan(5)
})
