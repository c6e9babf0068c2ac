/**
 * What bad input gets: its own error or close code, with the server and other clients untouched.
 */
import { expect, type TestContext, test } from 'vitest'
import { Encoder } from '../../protocol/index.ts'
import { BareClient, OPEN, path, SECRET, serve, type TestServer } from './harness.ts'

/** A message as an attacker would write it: any array, any id. */
function raw(...items: unknown[]): Uint8Array {
  const encoder = new Encoder()
  encoder.value(items)
  return encoder.take()
}

/** Another client, from before the attack, is served as if nothing had happened. */
async function withBystander(
  t: TestContext,
  attack: (server: TestServer, attacker: BareClient) => Promise<void>,
) {
  const server = await serve(t, { rules: OPEN, config: { limits: { listensMax: 100 } } })
  const bystander = await BareClient.connect(t, server)
  const attacker = await BareClient.connect(t, server)
  await bystander.ask({ type: 'listen', path: path('kept'), query: null })

  await attack(server, attacker)

  expect(await bystander.ask({ type: 'set', path: path('kept'), value: 1 })).toMatchObject({ type: 'ack' })
  expect((await bystander.next('patch')).steps).toEqual([['', 1]])
}

const brokenFrames: Record<string, Uint8Array> = {
  'an empty frame': new Uint8Array(0),
  'a truncated message': raw(6, 1, 'a', 'value').subarray(0, 5),
  'a message that is no array': new Uint8Array([0x01]),
  'a message without an id': raw(6),
  'an id that is not a whole number': raw(6, 1.5, 'a', 1),
  'an id of zero': raw(14, 0),
  'an extension type': new Uint8Array([0x94, 0x06, 0x01, 0xa1, 0x61, 0xd4, 0x01, 0x00]),
  'binary data': new Uint8Array([0x94, 0x06, 0x01, 0xa1, 0x61, 0xc4, 0x01, 0x00]),
  'a record definition as msgpackr writes it': new Uint8Array([
    0x94, 0x06, 0x01, 0xa1, 0x61, 0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61,
  ]),
  'an array that claims four billion items': new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff]),
  'a string that is not UTF-8': new Uint8Array([0x94, 0x06, 0x01, 0xa2, 0xc3, 0x28, 0x01]),
  'a map nested a thousand deep': new Uint8Array(2000).fill(0x81).map((_, i) => (i % 2 === 0 ? 0x81 : 0xa0)),
  'a key `__proto__`': raw(6, 1, 'a', JSON.parse('{"__proto__": {"polluted": true}}')),
}

for (const [name, frame] of Object.entries(brokenFrames)) {
  test(`${name} closes that connection with a code that says stop`, async (t) => {
    await withBystander(t, async (_server, attacker) => {
      attacker.sendBytes(frame)

      const { code, reason } = await attacker.closed
      expect(code, reason).toBe(4500)
      expect(reason).toMatch(/^invalid frame: /)
    })
  })
}

const refused: Record<string, { bytes: Uint8Array; name: string; code: number }> = {
  'an unknown message type': { bytes: raw(99, 1), name: 'invalid_message', code: 113 },
  'a missing field': { bytes: raw(6, 1, 'a'), name: 'invalid_message', code: 113 },
  'a path that is no text': { bytes: raw(6, 1, 7, 1), name: 'invalid_message', code: 113 },
  'a token that is no text': { bytes: raw(1, 1, 7), name: 'invalid_message', code: 113 },
  'an update that is no map': { bytes: raw(7, 1, 'a', [1]), name: 'invalid_message', code: 113 },
  'a key with a dot': { bytes: raw(6, 1, 'a/b.c', 1), name: 'invalid_path', code: 102 },
  'a key with a control character': { bytes: raw(6, 1, 'a\u0001', 1), name: 'invalid_path', code: 102 },
  'an empty key': { bytes: raw(6, 1, 'a//b', 1), name: 'invalid_path', code: 102 },
  'a path of 33 keys': {
    bytes: raw(6, 1, Array(33).fill('k').join('/'), 1),
    name: 'invalid_path',
    code: 102,
  },
  'a key of 769 bytes': { bytes: raw(6, 1, 'k'.repeat(769), 1), name: 'invalid_path', code: 102 },
  'a key of 769 bytes in 257 characters': {
    bytes: raw(6, 1, `${'€'.repeat(256)}k`, 1),
    name: 'invalid_path',
    code: 102,
  },
  'a listen at an invalid path': { bytes: raw(3, 1, 'a/$b', null), name: 'invalid_path', code: 102 },
  'a query with an unknown field': { bytes: raw(3, 1, 'a', { x: 1 }), name: 'invalid_query', code: 104 },
  'a value that reaches depth 33': {
    bytes: raw(6, 1, Array(30).fill('k').join('/'), { a: { b: { c: 1 } } }),
    name: 'invalid_value',
    code: 103,
  },
  'a value with a forbidden key': { bytes: raw(6, 1, 'a', { 'b#': 1 }), name: 'invalid_value', code: 103 },
  NaN: { bytes: raw(6, 1, 'a', Number.NaN), name: 'invalid_value', code: 103 },
  infinity: { bytes: raw(6, 1, 'a', { b: Number.NEGATIVE_INFINITY }), name: 'invalid_value', code: 103 },
  'an unknown server value': { bytes: raw(6, 1, 'a', { '.sv': 'random' }), name: 'invalid_value', code: 103 },
  'an increment of text': {
    bytes: raw(6, 1, 'a', { '.sv': { increment: '1' } }),
    name: 'invalid_value',
    code: 103,
  },
  'a priority that is an object': {
    bytes: raw(6, 1, 'a', { b: 1, '.priority': {} }),
    name: 'invalid_value',
    code: 103,
  },
  'a string of 10 MB and one byte': {
    bytes: raw(6, 1, 'a', 'x'.repeat(10 * 1024 * 1024 + 1)),
    name: 'too_large',
    code: 107,
  },
  'an update with a path inside another': {
    bytes: raw(7, 1, '', { a: 1, 'a/b': 2 }),
    name: 'invalid_path',
    code: 102,
  },
  'an update of the root and a child': {
    bytes: raw(7, 1, '', { '': 1, a: 2 }),
    name: 'invalid_path',
    code: 102,
  },
  'an update that goes too deep': {
    bytes: raw(7, 1, Array(31).fill('k').join('/'), { 'a/b': 1 }),
    name: 'invalid_path',
    code: 102,
  },
  'a compare-and-set against a future revision': {
    bytes: raw(10, 1, 'a', 1_000_000, 1),
    name: 'stale',
    code: 109,
  },
  'a compare-and-set against a negative revision': {
    bytes: raw(10, 1, 'a', -1, 1),
    name: 'invalid_message',
    code: 113,
  },
  'a token that is no token': { bytes: raw(1, 1, 'not a token'), name: 'invalid_token', code: 105 },
  'a token of 100 KB': { bytes: raw(1, 1, 'x'.repeat(100_000)), name: 'invalid_token', code: 105 },
}

for (const [name, { bytes, name: error, code }] of Object.entries(refused)) {
  test(`${name} is answered with \`${error}\` and the connection lives on`, async (t) => {
    await withBystander(t, async (_server, attacker) => {
      attacker.sendBytes(bytes)

      expect(await attacker.next('error')).toMatchObject({ id: 1, code, name: error })
      attacker.sendBytes(raw(14, 2))
      expect(await attacker.next('pong')).toMatchObject({ id: 2 })
    })
  })
}

test('an id that was used before is refused, and the first answer stands alone', async (t) => {
  await withBystander(t, async (_server, attacker) => {
    attacker.sendBytes(raw(14, 5))
    await attacker.next('pong')

    attacker.sendBytes(raw(14, 5))

    expect(await attacker.next('error')).toMatchObject({ id: 5, name: 'duplicate_id' })
  })
})

test('a text frame closes the connection', async (t) => {
  await withBystander(t, async (_server, attacker) => {
    attacker.sendBytes('{"hello": true}')

    expect(await attacker.closed).toMatchObject({ code: 4502 })
  })
})

test('a frame of 100 MB closes the connection', async (t) => {
  await withBystander(t, async (_server, attacker) => {
    attacker.sendBytes(new Uint8Array(100 * 1024 * 1024))

    expect((await attacker.closed).code).not.toBe(1000)
  })
})

test('listens past the limit of a connection are refused, those before are kept', async (t) => {
  await withBystander(t, async (_server, attacker) => {
    const answers = await Promise.all(
      Array.from({ length: 110 }, (_, n) =>
        attacker.ask({ type: 'listen', path: path(`l/${n}`), query: null }),
      ),
    )

    expect(answers.filter(({ type }) => type === 'snapshot')).toHaveLength(100)
    expect(answers.at(-1)).toMatchObject({ type: 'error', name: 'too_many_listens' })
  })
})

test('an expired and a forged token are refused by name', async (t) => {
  const { SignJWT } = await import('jose')
  const sign = (secret: string, exp: number): Promise<string> =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('ann')
      .setExpirationTime(exp)
      .sign(Buffer.from(secret))
  const server = await serve(t, { rules: OPEN, config: { auth: { secret: SECRET } } })
  const client = await BareClient.connect(t, server)
  const nowSeconds = Math.floor(Date.now() / 1000)

  const expired = await client.ask({ type: 'auth', token: await sign(SECRET, nowSeconds - 3600) })
  const forged = await client.ask({
    type: 'auth',
    token: await sign(SECRET.replace('a', 'b'), nowSeconds + 3600),
  })
  const valid = await client.ask({ type: 'auth', token: await sign(SECRET, nowSeconds + 3600) })

  expect(expired).toMatchObject({ type: 'error', name: 'expired_token' })
  expect(forged).toMatchObject({ type: 'error', name: 'invalid_token' })
  expect(valid.type).toBe('ack')
})

test('keys named like object members are ordinary data', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  for (const key of ['constructor', 'toString', 'hasOwnProperty', 'valueOf']) {
    expect(await client.ask({ type: 'get', path: path(`a/${key}/${key}`), query: null })).toMatchObject({
      value: null,
    })

    await client.ask({ type: 'set', path: path(`a/${key}`), value: { [key]: key } })

    expect(await client.ask({ type: 'get', path: path(`a/${key}/${key}`), query: null })).toMatchObject({
      value: key,
    })
  }
})
