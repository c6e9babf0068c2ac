/** vectors.json against the codec, both ways, and against msgpackr: what another language may rely on. */
import { Packr } from 'msgpackr'
import { expect, test } from 'vitest'
import { decodeToClient, decodeToServer, encodeToClient, encodeToServer, FrameError } from './codec.ts'
import { closeReasons, RequestError, requestErrors } from './errors.ts'
import { Encoder } from './msgpack-encoder.ts'
import { ToClientType } from './to-client.ts'
import { ToServerType } from './to-server.ts'
import { parseValue } from './value.ts'
import { bytesOf, vectors } from './vectors.model.ts'

const packr = new Packr({ useRecords: false })

test.each(vectors.messages)('$direction: $name', ({ direction, message, items, hex }) => {
  const bytes = bytesOf(hex)
  const encoder = new Encoder()

  if (direction === 'toServer') encodeToServer(encoder, message)
  else encodeToClient(encoder, message)

  expect(Buffer.from(encoder.view()).toString('hex')).toBe(hex)
  expect(direction === 'toServer' ? decodeToServer(bytes) : decodeToClient(bytes)).toEqual([message])
  expect(packr.unpack(bytes)).toEqual(items)
})

test('every message of both directions has a vector, and no name occurs twice', () => {
  const types = (direction: string): string[] =>
    vectors.messages.filter((vector) => vector.direction === direction).map(({ message }) => message.type)

  expect(new Set(types('toServer'))).toEqual(new Set(Object.keys(ToServerType)))
  expect(new Set(types('toClient'))).toEqual(new Set(Object.keys(ToClientType)))
  for (const list of [vectors.messages, vectors.invalid]) {
    expect(new Set(list.map(({ name }) => name)).size).toBe(list.length)
  }
})

test.each(vectors.invalid)('$name is refused with $outcome', ({ hex, outcome }) => {
  expect(outcomeOf(bytesOf(hex))).toBe(outcome)
})

test('the name of an error follows from its kind', () => {
  for (const [kind, { name }] of Object.entries(requestErrors)) {
    expect(new RequestError(kind as keyof typeof requestErrors, '').codeName).toBe(name)
  }
})

test('outcomes are codes and names that exist', () => {
  const names: string[] = Object.values(requestErrors).map(({ name }) => name)
  const codes: number[] = Object.values(closeReasons).map(({ code }) => code)

  for (const { outcome } of vectors.invalid) {
    expect(typeof outcome === 'number' ? codes : names).toContain(outcome)
  }
})

/** What a server does with a frame: the codec's part, then the value's. */
function outcomeOf(frame: Uint8Array): number | string {
  try {
    const [message] = decodeToServer(frame)
    if (message?.type === 'rejected') return message.error.codeName
    if (message !== undefined && 'value' in message) parseValue(message.value, message.path.length)
    return 'accepted'
  } catch (error) {
    if (error instanceof FrameError) return closeReasons.invalidFrame.code
    if (error instanceof RequestError) return error.codeName
    throw error
  }
}
