import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeToClient,
  decodeToServer,
  Encoder,
  encodeToClient,
  encodeToServer,
  type ToClient,
  type ToServer,
} from '../protocol/index.ts'
import { decodeFrame, encodeMessage } from './wire.ts'

const key = fc
  .string({ minLength: 1, maxLength: 40, unit: 'grapheme' })
  .filter((text) => !/[.$#[\]/\p{Cc}]/u.test(text) && text !== '__proto__')
const path = fc.array(key, { maxLength: 5 })
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  fc.integer(),
  fc.constantFrom(
    0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    4_294_967_295,
    4_294_967_296,
    -1,
    -32,
    -33,
    -129,
    2 ** 53,
  ),
)
const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.nat(70_000).map((length) => 'x'.repeat(length)),
)
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false),
    number,
    text,
    fc.dictionary(key, tie('value'), { maxKeys: 20 }),
  ),
})).value
const query = fc.constantFrom(
  null,
  { orderBy: 'key' as const },
  { orderBy: { child: ['a', 'b'] }, limit: { count: 5, from: 'last' as const } },
  {
    orderBy: 'priority' as const,
    start: { value: 3, key: 'k', inclusive: true },
    end: { value: 'x', inclusive: false },
  },
)
const id = fc.integer({ min: 1, max: 2 ** 40 })
const entries = fc.uniqueArray(fc.tuple(fc.array(key, { minLength: 1, maxLength: 3 }), value), {
  selector: ([at]) => at.join('/'),
  maxLength: 20,
})
const revision = fc.nat(2 ** 30)

const toServer: fc.Arbitrary<ToServer> = fc.oneof(
  fc.record({ type: fc.constant('auth' as const), id, token: text }),
  fc.record({ type: fc.constantFrom('unauth' as const, 'ping' as const), id }),
  fc.record({
    type: fc.constantFrom('listen' as const, 'unlisten' as const, 'get' as const),
    id,
    path,
    query,
  }),
  fc.record({
    type: fc.constant('listen' as const),
    id,
    path,
    query,
    resume: fc.record({ epoch: text, revision }),
  }),
  fc.record({
    type: fc.constantFrom('set' as const, 'push' as const, 'onDisconnectSet' as const),
    id,
    path,
    value,
  }),
  fc.record({ type: fc.constantFrom('update' as const, 'onDisconnectUpdate' as const), id, path, entries }),
  fc.record({ type: fc.constantFrom('remove' as const, 'onDisconnectCancel' as const), id, path }),
  fc.record({ type: fc.constant('compareAndSet' as const), id, path, revision, value }),
  fc.record({
    type: fc.constant('listen' as const),
    id,
    path,
    query,
    delivery: fc.record({ maxHz: fc.constantFrom(0.5, 20, null) }),
  }),
  fc.record({ type: fc.constant('send' as const), id, path, value }),
  fc.record({
    type: fc.constantFrom('listenMessages' as const, 'unlistenMessages' as const, 'presenceEnd' as const),
    id,
    path,
  }),
  fc.record({
    type: fc.constant('presenceSet' as const),
    id,
    path,
    value,
    ttlMs: fc.option(id),
  }),
) as fc.Arbitrary<ToServer>

const toClient = fc.oneof(
  fc.record({
    type: fc.constant('hello' as const),
    version: id,
    serverTimeMs: number,
    sessionId: text,
    epoch: text,
    revision,
    pingIntervalMs: id,
    limits: fc.record({ frameBytesMax: id, listensMax: id }),
  }),
  fc.record({ type: fc.constant('ack' as const), revision, ids: fc.array(id, { maxLength: 40 }) }),
  fc.record({
    type: fc.constant('error' as const),
    id,
    code: id,
    name: text,
    message: text,
    retryAfterMs: fc.option(id),
  }),
  fc.record({ type: fc.constant('snapshot' as const), id, queryId: id, revision, value }),
  fc.record({ type: fc.constant('value' as const), id, revision, value }),
  fc.record({
    type: fc.constant('patch' as const),
    queryId: id,
    revision,
    steps: fc.array(fc.tuple(text, value), { maxLength: 20 }),
  }),
  fc.record({
    type: fc.constant('resumed' as const),
    id,
    queryId: id,
    revision,
    steps: fc.array(fc.tuple(text, value), { maxLength: 20 }),
  }),
  fc.record({ type: fc.constant('cancel' as const), queryId: id, code: id, name: text, message: text }),
  fc.record({ type: fc.constant('resync' as const), queryId: id, revision, value }),
  fc.record({ type: fc.constant('pong' as const), id, serverTimeMs: number }),
  fc.record({ type: fc.constant('pushed' as const), id, revision, key }),
  fc.record({ type: fc.constant('authRevoked' as const), code: id, name: text, message: text }),
  fc.record({ type: fc.constant('goingAway' as const), reason: text, delayMs: id }),
  fc.record({
    type: fc.constant('message' as const),
    queryId: id,
    revision,
    values: fc.array(value, { maxLength: 5 }),
  }),
) as fc.Arbitrary<ToClient>

test('what the client encodes is what the protocol decodes', () => {
  fc.assert(
    fc.property(toServer, (message) => {
      const encoder = new Encoder()
      encodeToServer(encoder, message)
      const [expected] = decodeToServer(encoder.take())

      const [decoded] = decodeToServer(encodeMessage(message))

      expect(decoded).toEqual(expected)
    }),
    { numRuns: 500 },
  )
})

test('what the protocol encodes the client decodes as the protocol does', () => {
  fc.assert(
    fc.property(fc.array(toClient, { minLength: 1, maxLength: 4 }), (messages) => {
      const encoder = new Encoder()
      for (const message of messages) encodeToClient(encoder, message)
      const frame = encoder.take()

      expect(decodeFrame(frame)).toEqual(decodeToClient(frame))
    }),
    { numRuns: 500 },
  )
})

test('a frame cut short, of unknown bytes or with a prototype in it is refused', () => {
  const encoder = new Encoder()
  encodeToClient(encoder, { type: 'value', id: 1, revision: 1, value: { abc: 'text' } })
  const frame = encoder.take()
  for (let length = 1; length < frame.length; length++) {
    expect(() => decodeFrame(frame.subarray(0, length))).toThrow()
  }
  expect(() => decodeFrame(new Uint8Array([0xc1]))).toThrow()

  const hostile = new Encoder()
  hostile.array(2)
  hostile.number(5)
  hostile.map(1)
  hostile.string('__proto__')
  hostile.map(0)

  expect(() => decodeFrame(hostile.take())).toThrow('reserved')

  // A patch whose one step is at a path that was never written out.
  expect(() => decodeFrame(new Uint8Array([0x94, 6, 1, 1, 0x91, 0x92, 0, 1]))).toThrow(
    'nothing has the number 0',
  )
})

test('a message of a type this client does not know is skipped', () => {
  const encoder = new Encoder()
  encoder.array(2)
  encoder.number(99)
  encoder.number(1)
  encodeToClient(encoder, { type: 'pong', id: 1, serverTimeMs: 2 })

  expect(decodeFrame(encoder.take())).toEqual([{ type: 'pong', id: 1, serverTimeMs: 2 }])
})
