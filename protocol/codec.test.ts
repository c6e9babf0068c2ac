/**
 * Messages as facts: each survives the wire, each wrong shape gets its documented error, and no bytes get anything
 * but messages or a FrameError. A failing property test prints the seed that repeats it.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeToClient,
  decodeToServer,
  encodeToClient,
  encodeToServer,
  FrameError,
  type Rejected,
} from './codec.ts'
import { requestErrors } from './errors.ts'
import { FRAME_VALUES_MAX } from './msgpack.ts'
import { Encoder } from './msgpack-encoder.ts'
import type { Path } from './path.ts'
import type { Query } from './query.ts'
import { type Step, type ToClient, ToClientType } from './to-client.ts'
import { type ToServer, ToServerType, type UpdateEntries } from './to-server.ts'
import { anyValue } from './value.model.ts'
import type { Value } from './value.ts'
import { bytesOf, vectors } from './vectors.model.ts'

function encode(...values: unknown[]): Uint8Array {
  const encoder = new Encoder()
  for (const value of values) encoder.value(value)
  return encoder.take()
}

function frameError(frame: Uint8Array): string {
  try {
    decodeToServer(frame)
  } catch (error) {
    expect(error).toBeInstanceOf(FrameError)
    return (error as Error).message
  }
  throw new Error('the frame was accepted')
}

function rejection(items: unknown[]): Rejected {
  const [message, ...others] = decodeToServer(encode(items))
  expect(others).toEqual([])
  if (message?.type !== 'rejected') throw new Error(`accepted as ${JSON.stringify(message)}`)
  return message
}

const path: fc.Arbitrary<Path> = fc.array(
  fc.stringMatching(/^[a-z0-9é😀 _-]{1,20}$/u).filter((key) => key !== '__proto__'),
  {
    maxLength: 6,
  },
)
const id = fc.maxSafeInteger().map((number) => Math.max(1, Math.abs(number)))
const revision = fc.maxSafeInteger().map(Math.abs)
const query = fc.constantFrom<Query | null>(
  null,
  { orderBy: 'key' },
  {
    orderBy: { child: ['a', 'b'] },
    start: { value: 1, inclusive: true, key: 'k' },
    limit: { count: 2, from: 'last' },
  },
)
/** In the order in which an object holds its keys, since the wire form is a map. */
const entries: fc.Arbitrary<UpdateEntries> = fc
  .dictionary(fc.stringMatching(/^[a-z]{1,5}(\/[a-z]{1,5}){0,2}$/), anyValue, {
    maxKeys: 5,
    noNullPrototype: true,
  })
  .map((map) => Object.entries(map).map(([key, value]) => [key.split('/'), value] as const))

const delivery = fc.record({ maxHz: fc.constantFrom(0.1, 20, 1000, null) })
const resumePoint = fc.record({ epoch: fc.string({ unit: 'binary' }), revision })

const type = <T extends string>(name: T) => fc.constant(name)
const toServer: Record<ToServer['type'], fc.Arbitrary<ToServer>> = {
  auth: fc.record({ type: type('auth'), id, token: fc.string({ unit: 'binary' }) }),
  unauth: fc.record({ type: type('unauth'), id }),
  listen: fc.record(
    { type: type('listen'), id, path, query, delivery, resume: resumePoint },
    { requiredKeys: ['type', 'id', 'path', 'query'] },
  ),
  unlisten: fc.record({ type: type('unlisten'), id, path, query }),
  get: fc.record({ type: type('get'), id, path, query }),
  set: fc.record({ type: type('set'), id, path, value: anyValue }),
  update: fc.record({ type: type('update'), id, path, entries }),
  remove: fc.record({ type: type('remove'), id, path }),
  push: fc.record({ type: type('push'), id, path, value: anyValue }),
  compareAndSet: fc.record({ type: type('compareAndSet'), id, path, revision, value: anyValue }),
  onDisconnectSet: fc.record({ type: type('onDisconnectSet'), id, path, value: anyValue }),
  onDisconnectUpdate: fc.record({ type: type('onDisconnectUpdate'), id, path, entries }),
  onDisconnectCancel: fc.record({ type: type('onDisconnectCancel'), id, path }),
  ping: fc.record({ type: type('ping'), id }),
  send: fc.record({ type: type('send'), id, path, value: anyValue }),
  listenMessages: fc.record({ type: type('listenMessages'), id, path }),
  unlistenMessages: fc.record({ type: type('unlistenMessages'), id, path }),
  presenceSet: fc.record({
    type: type('presenceSet'),
    id,
    path,
    value: anyValue,
    ttlMs: fc.option(fc.integer({ min: 1 }), { nil: null }),
  }),
  presenceEnd: fc.record({ type: type('presenceEnd'), id, path }),
}

const queryId = fc.integer({ min: 1 })
const text = fc.string()
const code = fc.constantFrom(...Object.values(requestErrors).map(({ code }) => code))
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc
    .array(
      fc.tuple(
        path.map((keys) => keys.join('/')),
        anyValue,
      ),
      { minLength: 1, maxLength: 3 },
    )
    .map((pairs) => pairs.flat() as (string | Value)[]),
  { maxLength: 20 },
)
const toClient: Record<ToClient['type'], fc.Arbitrary<ToClient>> = {
  hello: fc.record({
    type: type('hello'),
    version: fc.nat(),
    serverTimeMs: revision,
    sessionId: text,
    epoch: text,
    revision,
    pingIntervalMs: fc.nat(),
    limits: fc.record({ frameBytesMax: fc.nat(), listensMax: fc.nat() }, { noNullPrototype: true }),
  }),
  ack: fc.record({ type: type('ack'), revision, ids: fc.array(id, { minLength: 1, maxLength: 100 }) }),
  error: fc.record({
    type: type('error'),
    id,
    code,
    name: text,
    message: text,
    retryAfterMs: fc.option(fc.nat(), { nil: null }),
  }),
  snapshot: fc.record({ type: type('snapshot'), id, queryId, revision, value: anyValue }),
  value: fc.record({ type: type('value'), id, revision, value: anyValue }),
  patch: fc.record({ type: type('patch'), queryId, revision, steps }),
  cancel: fc.record({ type: type('cancel'), queryId, code, name: text, message: text }),
  resync: fc.record({ type: type('resync'), queryId, revision, value: anyValue }),
  pong: fc.record({ type: type('pong'), id, serverTimeMs: revision }),
  pushed: fc.record({ type: type('pushed'), id, revision, key: text }),
  authRevoked: fc.record({ type: type('authRevoked'), code, name: text, message: text }),
  goingAway: fc.record({ type: type('goingAway'), reason: text, delayMs: fc.nat() }),
  message: fc.record({ type: type('message'), queryId, revision, values: fc.array(anyValue) }),
  resumed: fc.record({ type: type('resumed'), id, queryId, revision, steps }),
}

test.each(Object.entries(toServer))('%s to the server survives the wire', (_, message) => {
  fc.assert(
    fc.property(message, (sent) => {
      const encoder = new Encoder()
      encodeToServer(encoder, sent)

      expect(decodeToServer(encoder.view())).toEqual([sent])
    }),
  )
})

test.each(Object.entries(toClient))('%s to the client survives the wire', (_, message) => {
  fc.assert(
    fc.property(message, (sent) => {
      const encoder = new Encoder()
      encodeToClient(encoder, sent)

      expect(decodeToClient(encoder.view())).toEqual([sent])
    }),
  )
})

test('a frame holds messages back to back, decoded in order', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(...Object.values(toServer)), { minLength: 1, maxLength: 8 }), (sent) => {
      const encoder = new Encoder(16)
      for (const message of sent) encodeToServer(encoder, message)

      expect(decodeToServer(encoder.view())).toEqual(sent)
    }),
  )
})

test('message types are numbered from 1, each once', () => {
  for (const types of [ToServerType, ToClientType]) {
    const numbers: number[] = Object.values(types)
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
    expect(numbers[0]).toBe(1)
  }
})

const toServerVectors = vectors.messages.filter(({ direction }) => direction === 'toServer')

test.each(toServerVectors)(
  'a field more or less than $name has is invalid_message, for that id only',
  ({ items }) => {
    const [, sentId] = items
    // A listen may have one more, its options; fewer or more are wrong for it, too.
    const isListen = items[0] === ToServerType.listen
    const count = isListen ? 4 : items.length
    const shorter = items.slice(0, count - 1)
    const longer = [...items.slice(0, count), null, ...(isListen ? [null] : [])]

    for (const wrong of items.length > 2 ? [shorter, longer] : [longer]) {
      const { id, error } = rejection(wrong)
      expect(id).toBe(sentId)
      expect(error.kind).toBe('invalidMessage')
      expect(error.message).toMatch(new RegExp(`has ${wrong.length} fields; it takes ${count}$`))
    }
  },
)

test('a wrong message in a frame fails alone', () => {
  const frame = encode([14, 1], [6, 2, 'a'], [99, 3], [14, 4])

  expect(decodeToServer(frame).map(({ type, id }) => [type, id])).toEqual([
    ['ping', 1],
    ['rejected', 2],
    ['rejected', 3],
    ['ping', 4],
  ])
})

/** Of each message, the fields that the codec itself checks, by their place in the array. */
const checked: Record<
  string,
  Partial<Record<number, 'token' | 'path' | 'query' | 'entries' | 'revision' | 'ttlMs'>>
> = {
  auth: { 2: 'token' },
  listen: { 2: 'path', 3: 'query' },
  unlisten: { 2: 'path', 3: 'query' },
  get: { 2: 'path', 3: 'query' },
  set: { 2: 'path' },
  update: { 2: 'path', 3: 'entries' },
  remove: { 2: 'path' },
  push: { 2: 'path' },
  compareAndSet: { 2: 'path', 3: 'revision' },
  onDisconnectSet: { 2: 'path' },
  onDisconnectUpdate: { 2: 'path', 3: 'entries' },
  onDisconnectCancel: { 2: 'path' },
  send: { 2: 'path' },
  listenMessages: { 2: 'path' },
  unlistenMessages: { 2: 'path' },
  presenceSet: { 2: 'path', 4: 'ttlMs' },
  presenceEnd: { 2: 'path' },
}
const hostile = { toString: 1, valueOf: 2, toJSON: 3, length: 4 }
const wrongTypes = {
  token: [null, true, 5, ['a'], hostile],
  path: [null, true, 5, ['a'], hostile],
  query: [true, 5, 'a', ['a'], hostile],
  entries: [null, true, 5, 'a', ['a']],
  revision: [null, true, 'a', ['a'], hostile, -1, 0.5, 2 ** 53, Number.NaN, Infinity],
  ttlMs: [true, 'a', ['a'], hostile, 0, -1, 0.5, 2 ** 53, Number.NaN, Infinity],
}

test.each(Object.keys(checked))('%s with a field of the wrong type is refused for that id', (name) => {
  const { items } = toServerVectors.find(({ message }) => message.type === name)!
  for (const [at, kind] of Object.entries(checked[name]!)) {
    for (const wrong of wrongTypes[kind!]) {
      const { id, error } = rejection(items.map((item, i) => (i === Number(at) ? wrong : item)))
      expect(id).toBe(items[1])
      expect(error.kind).toBe(kind === 'query' ? 'invalidQuery' : 'invalidMessage')
    }
  }
})

test('an unknown type is refused for that id, whatever it is', () => {
  for (const type of [0, 20, 99, -1, 1.5, Number.NaN, null, true, 'set', [6], hostile, {}]) {
    const { id, error } = rejection([type, 7])
    expect(id).toBe(7)
    expect(error.kind).toBe('invalidMessage')
    expect(error.message).toContain('is unknown')
  }
})

test('without an id that could be answered, the frame is refused', () => {
  for (const wrong of [
    undefined,
    0,
    -1,
    1.5,
    2 ** 53,
    Number.NaN,
    Infinity,
    null,
    true,
    '1',
    [1],
    {},
    hostile,
  ]) {
    const frame = encode(wrong === undefined ? [14] : [14, wrong])
    expect(frameError(frame)).toBe('a message id is not a positive integer')
  }
})

test('a bad path is refused for that id with the path’s own words', () => {
  const { id, error } = rejection([8, 5, 'a/b.c'])

  expect(id).toBe(5)
  expect(error.kind).toBe('invalidPath')
  expect(error.message).toContain('key `b.c` contains a forbidden character')
})

test('a bad path among the children of an update is refused', () => {
  expect(rejection([7, 5, 'a', { 'b.c': 1 }]).error.kind).toBe('invalidPath')
  expect(rejection([12, 5, 'a', { 'b//c': 1 }]).error.kind).toBe('invalidPath')
  expect(rejection([7, 5, 'a', { '/': 1 }]).error.message).toBe('a child path of an update is empty')
})

test('an empty frame from a client is refused', () => {
  expect(frameError(new Uint8Array(0))).toBe('the frame is empty')
})

test('a frame of more values than may come is refused, however they are split into messages', () => {
  const lists = new Uint8Array(2 * FRAME_VALUES_MAX).fill(0x90)
  // An array of one value more than may come.
  new DataView(lists.buffer).setUint32(5, FRAME_VALUES_MAX + 1)
  const pings = new Uint8Array(3 * FRAME_VALUES_MAX)
  for (let i = 0; i < pings.length; i += 3) pings.set([0x92, 14, 1], i)
  lists.set([0x94, 6, 1, 0xa0, 0xdd])

  expect(frameError(lists)).toContain('too many values')
  expect(frameError(pings)).toContain('too many values')
})

test('every prefix of every valid frame is refused as a frame or, between messages, decoded', () => {
  for (const { direction, hex } of vectors.messages) {
    const bytes = bytesOf(hex)
    for (let length = 0; length < bytes.length; length++) {
      const decode = () =>
        (direction === 'toServer' ? decodeToServer : decodeToClient)(bytes.subarray(0, length))
      if (direction === 'toClient' && length === 0) expect(decode()).toEqual([])
      else expect(decode).toThrow(FrameError)
    }
  }
})

test('a client skips messages of types it does not know and fields it does not know', () => {
  const frame = encode([99, 'new'], [9, 1, 5, 'new'], [2, 7, 1, 2])

  expect(decodeToClient(frame)).toEqual([
    { type: 'pong', id: 1, serverTimeMs: 5 },
    { type: 'ack', revision: 7, ids: [1, 2] },
  ])
})

test('a client refuses a frame that is not arrays', () => {
  expect(() => decodeToClient(encode({ a: 1 }))).toThrow(FrameError)
  expect(() => decodeToClient(encode([9, 1, 5], 5))).toThrow(FrameError)
})

const frames = vectors.messages.map(({ hex }) => bytesOf(hex))

/** Pure noise rarely gets past its first byte; frames with some bytes changed get far. */
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc
    .tuple(
      fc.constantFrom(...frames),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    )
    .map(([frame, changes]) => {
      const bytes = frame.slice()
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      return bytes
    }),
  fc
    .tuple(fc.constantFrom(...frames), fc.constantFrom(...frames), fc.nat(), fc.nat())
    .map(([head, tail, i, j]) =>
      Uint8Array.of(...head.subarray(0, i % head.length), ...tail.subarray(j % tail.length)),
    ),
  fc
    .array(fc.oneof(fc.constant(hostile), fc.nat(20), fc.string(), anyValue), { maxLength: 6 })
    .map((items) => encode(items)),
)

test('whatever bytes come, decodeToServer returns messages or throws a FrameError', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      try {
        const messages = decodeToServer(bytes)

        expect(messages.length).toBeGreaterThan(0)
        for (const { id } of messages) expect(Number.isSafeInteger(id) && id > 0).toBe(true)
      } catch (error) {
        if (!(error instanceof FrameError)) throw error
        // It becomes the reason of a close frame: ASCII, and short enough with the words before it.
        expect(error.message).toMatch(/^[ -~]{1,105}$/)
      }
    }),
    { numRuns: 8000 },
  )
})

test('whatever bytes come, decodeToClient returns messages or throws a FrameError', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      try {
        decodeToClient(bytes)
      } catch (error) {
        if (!(error instanceof FrameError)) throw error
      }
    }),
    { numRuns: 2000 },
  )
})

test('a listen may carry options that this server does not know', () => {
  const encoder = new Encoder()
  encoder.value([3, 1, 'a', null, { later: true }])
  encoder.value([3, 2, 'a', null, null])
  encoder.value([3, 3, 'a', null, 'later'])

  const messages = decodeToServer(encoder.take())

  expect(messages).toMatchObject([{ type: 'listen' }, { type: 'listen' }, { type: 'rejected', id: 3 }])
})

test.each([[7], ['e'], [['e']], [['e', -1]], [['e', 1.5]], [['e', '1']], [[null, 1]], [['e', 1, 1]], [null]])(
  'a listen that resumes from %j fails alone',
  (r) => {
    const encoder = new Encoder()
    encoder.value([3, 1, 'a', null, { r }])
    encoder.value([3, 2, 'a', null, { r: ['e', 1], later: true }])

    const messages = decodeToServer(encoder.take())

    expect(messages).toMatchObject([
      { type: 'rejected', id: 1, error: { kind: 'invalidMessage' } },
      { type: 'listen', id: 2, resume: { epoch: 'e', revision: 1 } },
    ])
  },
)

test('paths and keys that repeat are written once in a message, and anew in the next', () => {
  const at = { x: 1, y: 2 }
  const twice: ToClient = {
    type: 'patch',
    queryId: 1,
    revision: 2,
    steps: [
      ['players/ann', at],
      ['players/ann', at, 'players/bob', at],
    ],
  }
  const encoder = new Encoder()
  encodeToClient(encoder, twice)
  const once = encoder.length
  encodeToClient(encoder, twice)

  const text = Buffer.from(encoder.view()).toString('latin1')

  expect(encoder.length).toBe(2 * once)
  expect(text.match(/players\/ann/g)).toHaveLength(2)
  expect(text.match(/x/g)).toHaveLength(2)
  expect(decodeToClient(encoder.view())).toEqual([twice, twice])
})

test('messages of more keys and paths than have numbers come out as they went in', () => {
  const long = 'a key that is longer than most names'
  const value = Object.fromEntries(
    Array.from({ length: 400 }, (_, i) => [`k${i}`, { name: i, [long]: i, [`n${i % 150}`]: true }]),
  )
  const steps = Array.from({ length: 400 }, (_, i) => [`list/${i % 180}`, value[`k${i}`]!, '', null])
  const sent: ToClient[] = [
    { type: 'resync', queryId: 1, revision: 2, value },
    { type: 'resumed', id: 3, queryId: 1, revision: 2, steps },
  ]
  const encoder = new Encoder()
  for (const message of sent) encodeToClient(encoder, message)

  expect(decodeToClient(encoder.view())).toEqual(sent)
})

test('a number that names no path or key ends the frame, and clients may not send one', () => {
  const patch = (path: number, key: number): Uint8Array =>
    Uint8Array.from([0x94, 6, 1, 1, 0x91, 0x94, 0xa1, 0x61, 0x81, 0xa1, 0x6b, 1, path, 0x81, key, 1])

  expect(decodeToClient(patch(0, 0))).toMatchObject([{ steps: [['a', { k: 1 }, 'a', { k: 1 }]] }])
  expect(() => decodeToClient(patch(1, 0))).toThrow('no path has the number `1`')
  expect(() => decodeToClient(patch(0, 1))).toThrow('no key has the number 1')
  expect(() => decodeToServer(Uint8Array.from([0x94, 6, 1, 0xa1, 0x61, 0x81, 0, 1]))).toThrow('not a string')
})
