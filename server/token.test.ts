import { expect, test } from 'vitest'
import { createVerifier } from './auth.ts'
import { configFrom } from './config-load.ts'
import { emulatorToken, mintToken, parseClaims, type TokenRequest } from './token.ts'

const SECRET = 'a shared secret of more than 64 bytes, so that HS512 may use it as well as HS256'
const NOW_MS = 1_700_000_000_500
const request: TokenRequest = {
  uid: 'ada',
  claims: { role: 'editor' },
  issuedAtMs: NOW_MS,
  lifetimeMs: 60_000,
}

test('a minted token passes the check of the server with the same configuration', async () => {
  for (const algorithms of [undefined, ['ES256', 'HS512'] as const]) {
    const config = configFrom({
      auth: {
        secret: SECRET,
        issuer: 'https://id.example',
        audience: ['chat', 'mail'],
        ...(algorithms === undefined ? {} : { algorithms, jwksUrl: 'https://keys.example/jwks' }),
      },
    })

    const token = await mintToken(config.auth, request)
    const verified = await createVerifier(config, { nowMs: () => NOW_MS }).verify(token)

    expect(verified.identity.auth).toMatchObject({
      uid: 'ada',
      provider: 'custom',
      token: { role: 'editor', aud: 'chat' },
    })
    expect(verified.expiresAtMs).toBe(1_700_000_065_000)
  }
})

test('without a secret, or with algorithms that need none, nothing is minted', () => {
  const noSecret = configFrom({}).auth
  const otherKeys = configFrom({
    auth: { secret: SECRET, algorithms: ['ES256'], jwksUrl: 'https://keys.example/' },
  }).auth

  expect(() => mintToken(noSecret, request)).toThrow('no secret to sign with')
  expect(() => mintToken(otherKeys, request)).toThrow('auth.algorithms allows no token signed with a secret')
})

test('an emulator token counts with --dev and not otherwise', async () => {
  const token = emulatorToken(request)
  const dev = createVerifier(configFrom({ dev: true }), { nowMs: () => NOW_MS })
  const live = createVerifier(configFrom({}), { nowMs: () => NOW_MS })

  const verified = await dev.verify(token)

  expect(verified.identity.auth).toMatchObject({ uid: 'ada', provider: 'custom', token: { role: 'editor' } })
  await expect(live.verify(token)).rejects.toThrow('token is not signed')
})

test('claims are pairs or objects; a value that is JSON counts as JSON', () => {
  expect(
    parseClaims(['role=editor', 'age=7', 'roles=["a","b"]', 'id=007', 'on=true', 'eq=a=b', '{"x":{"y":1}}']),
  ).toEqual({
    role: 'editor',
    age: 7,
    roles: ['a', 'b'],
    id: '007',
    on: true,
    eq: 'a=b',
    x: { y: 1 },
  })
})

test.each([
  ['role', 'claim `role` is neither name=value nor a JSON object'],
  ['=x', 'claim `=x` is neither name=value nor a JSON object'],
  ['{"a":', 'is neither name=value nor a JSON object'],
  ['sub=eve', 'claim `sub` is set by --uid'],
  ['{"exp":1}', 'claim `exp` is set by --expires'],
])('the claim %s is refused', (claim, problem) => {
  expect(() => parseClaims([claim])).toThrow(problem)
})
