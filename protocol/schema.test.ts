/**
 * The wire schema as a hash for each version. It covers what two sides of different age must agree on: the numbers of
 * messages, the order and form of their fields, error and close codes, limits. Further vectors do not move it.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { closeReasons, requestErrors } from './errors.ts'
import { FRAME_VALUES_MAX, NESTING_MAX, NUMBERED_TEXTS_MAX } from './msgpack.ts'
import { KEY_BYTES_MAX, PATH_DEPTH_MAX } from './path.ts'
import { BOUND_BYTES_MAX } from './query.ts'
import { ToClientType } from './to-client.ts'
import { ToServerType } from './to-server.ts'
import { STRING_BYTES_MAX } from './value.ts'
import { vectors } from './vectors.model.ts'
import { PROTOCOL_VERSION } from './version.ts'

/** INVARIANT: a line is added with each version and, once a version is released, never changed. */
const hashes: Record<number, string> = {
  1: '3010a3da19444d2e',
}

/** Bytes of one message stand for its form: the type's number, the fields' order, the names within maps. */
function frameOf(direction: string, type: string): unknown {
  const { message, hex } = vectors.messages.find(
    (vector) => vector.direction === direction && vector.message.type === type,
  )!
  return { fields: Object.keys(message), hex }
}

function schema(): unknown {
  const messages = (direction: string, types: Record<string, number>): unknown =>
    Object.entries(types).map(([type, number]) => [number, type, frameOf(direction, type)])
  // One query shows every field a query has.
  const query = vectors.messages.find(({ name }) => name === 'listen to the last 50 messages')!
  return {
    toServer: messages('toServer', ToServerType),
    toClient: messages('toClient', ToClientType),
    query: query.hex,
    errors: Object.values(requestErrors).map(({ code, name, retry }) => [code, name, retry]),
    closeCodes: Object.entries(closeReasons).map(([name, { code }]) => [code, name]),
    limits: {
      PATH_DEPTH_MAX,
      KEY_BYTES_MAX,
      STRING_BYTES_MAX,
      BOUND_BYTES_MAX,
      NESTING_MAX,
      FRAME_VALUES_MAX,
      NUMBERED_TEXTS_MAX,
    },
  }
}

test('the wire is that of this version', () => {
  const hash = createHash('sha256').update(JSON.stringify(schema())).digest('hex').slice(0, 16)

  expect(
    hash,
    [
      'The wire schema changed. If what is released no longer understands it: raise PROTOCOL_VERSION, add a history',
      'line in version.ts, and mark the line in CHANGELOG.md with a star. If it is compatible (a new message type to',
      `clients, a new error code) or the version is not released yet: say so in the commit. Then set the hash of`,
      `version ${PROTOCOL_VERSION} in schema.test.ts to ${hash}, and bring docs/protocol.md up to date.`,
    ].join('\n'),
  ).toBe(hashes[PROTOCOL_VERSION])
})

test('every version has a hash and a line of history, up to the present one', () => {
  const source = readFileSync(new URL('version.ts', import.meta.url), 'utf8')
  const history = [...source.matchAll(/^ \* {3}(\d+) {2}\S/gm)].map((match) => Number(match[1]))

  expect(history).toEqual(Object.keys(hashes).map(Number))
  expect(history.at(-1)).toBe(PROTOCOL_VERSION)
})
