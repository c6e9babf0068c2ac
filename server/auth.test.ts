import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose'
import { expect, test } from 'vitest'
import { RequestError, type RequestErrorKind } from '../protocol/index.ts'
import { createVerifier, signToken, type Verifier } from './auth.ts'
import type { ConfigValues } from './config.ts'
import { configFrom } from './config-load.ts'

const SECRET = 'a shared secret of more than 32 bytes'
const OTHER_SECRET = 'another secret of more than 32 bytes!'
const NOW_MS = 1_700_000_000_000
const NOW = NOW_MS / 1000

interface Clock {
  nowMs: number
}

function verifierOf(
  values: ConfigValues,
  clock: Clock = { nowMs: NOW_MS },
  fetch?: () => Promise<Response>,
): Verifier {
  const parts = { nowMs: () => clock.nowMs, ...(fetch === undefined ? {} : { fetch }) }
  return createVerifier(configFrom(values), parts)
}

const withSecret: ConfigValues = { auth: { secret: SECRET } }
const claims = (more: object = {}): JWTPayload => ({ sub: 'ada', iat: NOW, exp: NOW + 3600, ...more })

async function refusalOf(verifier: Verifier, token: string): Promise<[RequestErrorKind, string]> {
  const error = await verifier.verify(token).then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof RequestError)) throw new Error(`expected a RequestError, got ${String(error)}`)
  if (token.length > 8) expect(error.message).not.toContain(token)
  return [error.kind, error.message]
}

test('a token signed with the shared secret gives the auth that rules see', async () => {
  const token = await signToken(
    claims({ email: 'ada@example.org', roles: ['admin'], firebase: { sign_in_provider: 'password' } }),
    SECRET,
  )

  const verified = await verifierOf(withSecret).verify(token)

  expect(verified).toEqual({
    identity: {
      isAdmin: false,
      auth: {
        uid: 'ada',
        provider: 'password',
        token: {
          sub: 'ada',
          iat: NOW,
          exp: NOW + 3600,
          email: 'ada@example.org',
          roles: ['admin'],
          firebase: { sign_in_provider: 'password' },
        },
      },
    },
    expiresAtMs: NOW_MS + 3_605_000,
  })
})

test('user_id comes before sub; the provider falls back to provider_id, then custom', async () => {
  const verifier = verifierOf(withSecret)

  const first = await verifier.verify(
    await signToken(claims({ user_id: 'u1', provider_id: 'anonymous' }), SECRET),
  )
  const second = await verifier.verify(await signToken(claims(), SECRET))

  expect(first.identity.auth).toMatchObject({ uid: 'u1', provider: 'anonymous' })
  expect(second.identity.auth).toMatchObject({ uid: 'ada', provider: 'custom' })
})

test('claims have no properties but their own, and cannot be changed', async () => {
  const payload = JSON.parse(`{"sub":"ada","exp":${NOW + 9},"__proto__":{"isAdmin":true},"map":{"a":1}}`)
  const { identity } = await verifierOf(withSecret).verify(await signToken(payload, SECRET))
  const token = identity.auth!['token'] as Record<string, unknown>

  expect(token['isAdmin']).toBe(undefined)
  expect(token['constructor']).toBe(undefined)
  expect((token['map'] as Record<string, unknown>)['toString']).toBe(undefined)
  expect(identity.auth!['constructor']).toBe(undefined)
  expect(() => {
    token['sub'] = 'eve'
  }).toThrow(TypeError)
})

test.each<[string, object, RequestErrorKind, string]>([
  ['expired', { exp: NOW - 6 }, 'expiredToken', 'token has expired'],
  ['without expiry', { exp: undefined }, 'invalidToken', 'token has no `exp`'],
  ['with a text as expiry', { exp: 'soon' }, 'invalidToken', 'token claim `exp` is not accepted here'],
  ['not yet valid', { nbf: NOW + 6 }, 'invalidToken', 'token claim `nbf` lies in the future'],
  ['issued in the future', { iat: NOW + 6 }, 'invalidToken', 'token claim `iat` lies in the future'],
  ['issued at a text', { iat: '5' }, 'invalidToken', 'token claim `iat` is not accepted here'],
  ['without a user', { sub: undefined }, 'invalidToken', 'token names no user'],
  ['with a number as user', { user_id: 7 }, 'invalidToken', 'token names no user'],
  ['with an empty user', { sub: '' }, 'invalidToken', 'token names no user'],
  ['with a long user', { sub: 'x'.repeat(129) }, 'invalidToken', 'token names no user'],
])('a token %s is refused', async (_, wrong, kind, message) => {
  const refusal = await refusalOf(verifierOf(withSecret), await signToken(claims(wrong), SECRET))

  expect(refusal[0]).toBe(kind)
  expect(refusal[1]).toContain(message)
})

test('the clock of the issuer may be off by the tolerance', async () => {
  const verifier = verifierOf({ auth: { secret: SECRET, clockToleranceSeconds: 60 } })

  const late = await verifier.verify(await signToken(claims({ exp: NOW - 59 }), SECRET))
  const early = await verifier.verify(await signToken(claims({ iat: NOW + 59, nbf: NOW + 59 }), SECRET))

  expect(late.expiresAtMs).toBe(NOW_MS + 1000)
  expect(early.identity.auth!['uid']).toBe('ada')
})

test('a token without expiry counts where the configuration says so', async () => {
  const verifier = verifierOf({ auth: { secret: SECRET, expiryRequired: false } })

  const verified = await verifier.verify(await signToken({ sub: 'ada' }, SECRET))

  expect(verified.expiresAtMs).toBe(null)
})

test('issuer and audience are checked', async () => {
  const verifier = verifierOf({
    auth: { secret: SECRET, issuer: 'https://id.example', audience: ['chat', 'mail'] },
  })
  const sign = (more: JWTPayload) => signToken(claims(more), SECRET)

  const good = await verifier.verify(await sign({ iss: 'https://id.example', aud: ['other', 'mail'] }))
  const wrongIssuer = await refusalOf(verifier, await sign({ iss: 'https://evil.example', aud: 'chat' }))
  const noIssuer = await refusalOf(verifier, await sign({ aud: 'chat' }))
  const wrongAudience = await refusalOf(verifier, await sign({ iss: 'https://id.example', aud: 'bank' }))

  expect(good.identity.auth!['uid']).toBe('ada')
  expect(wrongIssuer).toEqual(['invalidToken', 'token claim `iss` is not accepted here'])
  expect(noIssuer).toEqual(['invalidToken', 'token claim `iss` is missing'])
  expect(wrongAudience).toEqual(['invalidToken', 'token claim `aud` is not accepted here'])
})

test('a forged or damaged token is refused', async () => {
  const verifier = verifierOf(withSecret)
  const good = await signToken(claims(), SECRET)
  const [header, , signature] = good.split('.')
  const eve = Buffer.from(JSON.stringify(claims({ sub: 'eve' }))).toString('base64url')

  expect(await refusalOf(verifier, await signToken(claims(), OTHER_SECRET))).toEqual([
    'invalidToken',
    'token signature is wrong',
  ])
  expect(await refusalOf(verifier, `${header}.${eve}.${signature}`)).toEqual([
    'invalidToken',
    'token signature is wrong',
  ])
  expect(await refusalOf(verifier, `${header}.${eve}.`)).toEqual(['invalidToken', 'token signature is wrong'])
  expect(await refusalOf(verifier, good.slice(0, -4))).toEqual(['invalidToken', 'token signature is wrong'])
  expect((await refusalOf(verifier, `${header}.${eve}`))[1]).toBe('token is not a JSON Web Token')
  for (const text of ['', 'x', '..', 'a.b.c', '{}', 'null', '\0', 'e30.e30.e30']) {
    expect((await refusalOf(verifier, text))[0]).toBe('invalidToken')
  }
})

test('a token larger than 16 KiB is refused before it is looked at', async () => {
  const token = await signToken(claims({ filler: 'x'.repeat(16 * 1024) }), SECRET)

  expect((await refusalOf(verifierOf(withSecret), token))[1]).toContain('tokens may have at most 16384')
})

test('claims nested deeper than data may be are refused', async () => {
  const deep = JSON.parse(`${'['.repeat(2000)}${']'.repeat(2000)}`)

  expect((await refusalOf(verifierOf(withSecret), await signToken(claims({ deep }), SECRET)))[1]).toContain(
    'nested deeper',
  )
})

test.each(['RS256', 'PS384', 'ES256', 'ES384', 'EdDSA'])(
  'a PEM and a JWK public key verify %s',
  async (alg) => {
    const pair = await generateKeyPair(alg, { extractable: true })
    const token = await new SignJWT(claims()).setProtectedHeader({ alg }).sign(pair.privateKey)
    const algorithms = alg.startsWith('PS') ? { algorithms: [alg as 'PS384'] } : {}

    for (const publicKey of [
      await exportSPKI(pair.publicKey),
      JSON.stringify(await exportJWK(pair.publicKey)),
    ]) {
      const verified = await verifierOf({ auth: { publicKey, ...algorithms } }).verify(token)
      expect(verified.identity.auth!['uid']).toBe('ada')
    }
  },
)

test('a public key is never taken for a shared secret', async () => {
  const pair = await generateKeyPair('RS256', { extractable: true })
  const publicKey = await exportSPKI(pair.publicKey)
  const verifier = verifierOf({ auth: { publicKey } })

  const refusal = await refusalOf(verifier, await signToken(claims(), publicKey))

  expect(refusal).toEqual(['invalidToken', 'token algorithm `HS256` is not one of RS256'])
})

test('with a secret and a public key each algorithm keeps to its own key', async () => {
  const pair = await generateKeyPair('ES256', { extractable: true })
  const publicKey = await exportSPKI(pair.publicKey)
  const verifier = verifierOf({ auth: { secret: SECRET, publicKey } })

  const bySecret = await verifier.verify(await signToken(claims(), SECRET))
  const byKey = await verifier.verify(
    await new SignJWT(claims()).setProtectedHeader({ alg: 'ES256' }).sign(pair.privateKey),
  )
  const confused = await refusalOf(verifier, await signToken(claims(), publicKey))

  expect([bySecret.identity.auth!['uid'], byKey.identity.auth!['uid']]).toEqual(['ada', 'ada'])
  expect(confused[1]).toBe('token signature is wrong')
})

test('an algorithm outside the pinned ones is refused, with the right key too', async () => {
  const pair = await generateKeyPair('RS512', { extractable: true })
  const token = await new SignJWT(claims()).setProtectedHeader({ alg: 'RS512' }).sign(pair.privateKey)
  const publicKey = await exportSPKI(pair.publicKey)

  const refusal = await refusalOf(verifierOf({ auth: { publicKey } }), token)
  const pinned = await verifierOf({ auth: { publicKey, algorithms: ['RS512'] } }).verify(token)

  expect(refusal[1]).toBe('token algorithm `RS512` is not one of RS256')
  expect(pinned.identity.auth!['uid']).toBe('ada')
})

test('a key or an algorithm that cannot work refuses the start', async () => {
  const pair = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(pair.privateKey)
  const publicKey = await exportSPKI(pair.publicKey)
  const start = (auth: ConfigValues['auth']) => () => verifierOf({ auth: auth! })

  expect(start({ publicKey: 'no key' })).toThrow(
    'auth.publicKeyFile: is neither a public key in PEM nor a JWK',
  )
  expect(start({ publicKey: JSON.stringify(jwk) })).toThrow('auth.publicKeyFile: holds a private key')
  expect(start({ publicKey: '{"kty":"oct","k":"AAAA"}' })).toThrow(
    'auth.publicKeyFile: holds a shared secret',
  )
  expect(start({ publicKey, algorithms: ['RS256'] })).toThrow('the public key is for ES256, not for RS256')
  expect(start({ algorithms: ['HS256'] })).toThrow('HS256 needs auth.secret')
  expect(start({ algorithms: ['RS256'] })).toThrow('RS256 needs auth.publicKeyFile or auth.jwksUrl')
  expect(start({ secret: SECRET, algorithms: ['HS512'] })).toThrow('HS512 needs 64')
})

test('without any key a signed token is refused', async () => {
  expect(await refusalOf(verifierOf({}), await signToken(claims(), SECRET))).toEqual([
    'invalidToken',
    'this server has no key to verify tokens with',
  ])
})

// A key server whose answers the test chooses, and which counts its visits.
async function keyServer() {
  const pairs = await Promise.all(
    ['k1', 'k2'].map(async (kid) => ({ kid, ...(await generateKeyPair('ES256', { extractable: true })) })),
  )
  const server = {
    visits: 0,
    kids: ['k1'],
    isDown: false,
    fetch: async (): Promise<Response> => {
      server.visits += 1
      if (server.isDown) return new Response('', { status: 503 })
      const keys = pairs.filter(({ kid }) => server.kids.includes(kid))
      return Response.json({
        keys: await Promise.all(keys.map(async (k) => ({ ...(await exportJWK(k.publicKey)), kid: k.kid }))),
      })
    },
    sign: (kid: string, more: JWTPayload = {}): Promise<string> => {
      const pair = pairs.find((known) => known.kid === kid) ?? pairs[0]!
      return new SignJWT(claims(more)).setProtectedHeader({ alg: 'ES256', kid }).sign(pair.privateKey)
    },
  }
  return server
}

const withKeySet: ConfigValues = { auth: { jwksUrl: 'https://keys.example/jwks' } }

test('a key set is fetched once for many tokens', async () => {
  const keys = await keyServer()
  const verifier = verifierOf(withKeySet, undefined, keys.fetch)
  const tokens = await Promise.all(['a', 'b', 'c'].map((sub) => keys.sign('k1', { sub })))

  const verified = await Promise.all(tokens.map((token) => verifier.verify(token)))

  expect(verified.map(({ identity }) => identity.auth!['uid'])).toEqual(['a', 'b', 'c'])
  expect(keys.visits).toBe(1)
})

test('a key that is not in the set is refused without asking for the set again and again', async () => {
  const keys = await keyServer()
  const verifier = verifierOf(withKeySet, undefined, keys.fetch)
  await verifier.verify(await keys.sign('k1'))

  const refusals = [
    await refusalOf(verifier, await keys.sign('k2')),
    await refusalOf(verifier, await keys.sign('k3')),
  ]

  expect(refusals.map(([, message]) => message)).toEqual(
    Array(2).fill('token is signed with a key that is not in the key set'),
  )
  expect(keys.visits).toBe(1)
})

test('while the key server is down tokens are answered unavailable, and it is not hammered', async () => {
  const keys = await keyServer()
  const clock = { nowMs: NOW_MS }
  const verifier = verifierOf(withKeySet, clock, keys.fetch)
  const token = await keys.sign('k1')
  keys.isDown = true

  const down = [await refusalOf(verifier, token), await refusalOf(verifier, token)]
  const visitsWhileDown = keys.visits
  keys.isDown = false
  clock.nowMs += 2000
  const up = await verifier.verify(token)

  expect(down.map(([kind]) => kind)).toEqual(['unavailable', 'unavailable'])
  expect(visitsWhileDown).toBe(1)
  expect(up.identity.auth!['uid']).toBe('ada')
})

test('a key set that is not one is answered unavailable', async () => {
  const verifier = verifierOf(withKeySet, undefined, async () => new Response('<html>'))

  expect((await refusalOf(verifier, await (await keyServer()).sign('k1')))[0]).toBe('unavailable')
})

test('a verified token is known at once until it expires', async () => {
  const clock = { nowMs: NOW_MS }
  const verifier = verifierOf(withSecret, clock)
  const token = await signToken(claims({ exp: NOW + 10 }), SECRET)

  const before = verifier.known(token)
  const verified = await verifier.verify(token)
  const after = verifier.known(token)
  clock.nowMs += 15_000

  expect(before).toBe(null)
  expect(after).toBe(verified)
  expect(verifier.known(token)).toBe(null)
  expect(await refusalOf(verifier, token)).toEqual(['expiredToken', 'token has expired'])
})

test('a withdrawn key counts for no longer than five minutes', async () => {
  const clock = { nowMs: NOW_MS }
  const verifier = verifierOf(withSecret, clock)
  const token = await signToken(claims(), SECRET)
  await verifier.verify(token)

  clock.nowMs += 5 * 60_000 - 1
  const before = verifier.known(token)
  clock.nowMs += 1

  expect(before).not.toBe(null)
  expect(verifier.known(token)).toBe(null)
})

test('the memory for verified tokens is bounded, the oldest go first', async () => {
  const verifier = verifierOf(withSecret)
  const tokens: string[] = []
  for (let i = 0; i < 900; i++)
    tokens.push(await signToken(claims({ sub: `u${i}`, filler: 'x'.repeat(7000) }), SECRET))
  for (const token of tokens) await verifier.verify(token)

  expect(verifier.known(tokens[0]!)).toBe(null)
  expect(verifier.known(tokens.at(-1)!)).not.toBe(null)
  const remembered = tokens.filter((token) => verifier.known(token) !== null)
  expect(remembered.join('').length).toBeLessThanOrEqual(8 * 1024 * 1024)
})

test('a refused token is not remembered', async () => {
  const verifier = verifierOf(withSecret)
  const token = await signToken(claims(), OTHER_SECRET)
  await refusalOf(verifier, token)

  expect(verifier.known(token)).toBe(null)
})

test('the admin key makes an admin, and nothing near it does', async () => {
  const adminKey = 'an admin key of more than 32 bytes...'
  const verifier = verifierOf({ adminKey, ...withSecret })

  const verified = await verifier.verify(adminKey)

  expect(verified).toEqual({ identity: { isAdmin: true, auth: null }, expiresAtMs: null })
  expect(verifier.known(adminKey)?.identity.isAdmin).toBe(true)
  for (const near of [`${adminKey} `, adminKey.slice(1), adminKey.toUpperCase(), '']) {
    expect((await refusalOf(verifier, near))[0]).toBe('invalidToken')
  }
})

const emulatorToken = new UnsecuredJWT({
  sub: 'ada',
  user_id: 'ada',
  iat: 0,
  exp: 3600,
  firebase: { sign_in_provider: 'custom' },
}).encode()

test('with --dev an unsigned emulator token counts, though it expired in 1970, and owner is an admin', async () => {
  const verifier = verifierOf({ dev: true })

  const user = await verifier.verify(emulatorToken)
  const owner = await verifier.verify('owner')

  expect(user).toMatchObject({
    identity: { isAdmin: false, auth: { uid: 'ada', provider: 'custom' } },
    expiresAtMs: null,
  })
  expect(owner.identity.isAdmin).toBe(true)
})

test('without --dev unsigned tokens and owner are refused, with or without a key', async () => {
  for (const values of [{}, withSecret]) {
    const verifier = verifierOf(values)
    expect(await refusalOf(verifier, emulatorToken)).toEqual([
      'invalidToken',
      'token is not signed; unsigned tokens count with --dev only',
    ])
    expect(await refusalOf(verifier, 'owner')).toEqual([
      'invalidToken',
      'the `owner` token counts with --dev only; use the admin key',
    ])
  }
})

test('other spellings of none are no way around the signature', async () => {
  for (const alg of ['None', 'NONE', 'nOnE', '']) {
    const header = Buffer.from(JSON.stringify({ alg })).toString('base64url')
    const token = `${header}.${emulatorToken.split('.')[1]}.`
    expect((await refusalOf(verifierOf({ dev: true, ...withSecret }), token))[0]).toBe('invalidToken')
  }
})

test('with --dev a signed token still needs a right signature', async () => {
  const verifier = verifierOf({ dev: true, ...withSecret })

  expect((await refusalOf(verifier, await signToken(claims(), OTHER_SECRET)))[1]).toBe(
    'token signature is wrong',
  )
})

test('a legacy token puts its fields on auth; admin: true bypasses rules; it lives a day', async () => {
  const clock = { nowMs: NOW_MS }
  const verifier = verifierOf(withSecret, clock)
  const legacy = (more: JWTPayload) =>
    signToken({ v: 0, iat: NOW, d: { uid: 'ada', isStaff: true }, ...more }, SECRET)
  const token = await legacy({})

  const user = await verifier.verify(token)
  const admin = await verifier.verify(await legacy({ admin: true }))
  clock.nowMs += 24 * 3600 * 1000 + 5000

  expect(user.identity.auth).toEqual({
    uid: 'ada',
    provider: 'custom',
    isStaff: true,
    token: { uid: 'ada', isStaff: true },
  })
  expect(user.expiresAtMs).toBe(NOW_MS + 24 * 3600 * 1000 + 5000)
  expect(admin).toEqual({
    identity: { isAdmin: true, auth: null },
    expiresAtMs: NOW_MS + 24 * 3600 * 1000 + 5000,
  })
  expect((await refusalOf(verifier, token))[0]).toBe('expiredToken')
})

test('the legacy form counts for the shared secret only', async () => {
  const keys = await keyServer()
  const verifier = verifierOf(withKeySet, undefined, keys.fetch)

  const verified = await verifier.verify(await keys.sign('k1', { v: 0, d: { uid: 'eve' }, admin: true }))

  expect(verified.identity).toMatchObject({ isAdmin: false, auth: { uid: 'ada' } })
})
