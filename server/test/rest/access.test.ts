/**
 * Who may ask: tokens, the admin key, databases by name, pages of other origins.
 */
import { describe, expect, test } from 'vitest'
import { signToken } from '../../auth.ts'
import { emulatorToken } from '../../token.ts'
import { ADMIN_KEY, AS_ADMIN, type Asked, ask, errorOf, serveRest } from './rest-harness.ts'

const SECRET = 'a secret of at least thirty-two bytes!'
const OWN = { users: { $uid: { '.read': 'auth.uid === $uid', '.write': 'auth.uid === $uid' } } }

function tokenFor(uid: string, lifetimeSeconds = 3600): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  return signToken({ sub: uid, iat: now - 7200, exp: now + lifetimeSeconds }, SECRET)
}

describe('tokens', () => {
  test('count in the header, in auth and in access_token', async (t) => {
    const server = await serveRest(t, { rules: OWN, config: { auth: { secret: SECRET } } })
    const token = await tokenFor('ann')

    const answers = await Promise.all([
      ask(server, '/users/ann.json', { headers: { Authorization: `Bearer ${token}` } }),
      ask(server, `/users/ann.json?auth=${token}`),
      ask(server, `/users/ann.json?access_token=${token}`),
      ask(server, '/users/ann.json'),
      ask(server, `/users/bob.json?auth=${token}`),
    ])

    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 401, 401])
    expect(errorOf(answers[3]!)).toBe('Permission denied')
  })

  test('that are none, wrong or expired are refused with Firebase’s texts', async (t) => {
    const server = await serveRest(t, { config: { auth: { secret: SECRET } } })
    const forged = await signToken({ sub: 'ann', exp: 4e9 }, 'another secret of thirty-two bytes!!')
    const refusals: [token: string, error: string][] = [
      ['nonsense', 'Could not parse auth token.'],
      [forged, 'Could not parse auth token.'],
      [await tokenFor('ann', -3600), 'Auth token is expired'],
      ['owner', 'Could not parse auth token.'],
      [
        emulatorToken({ uid: 'ann', claims: {}, issuedAtMs: Date.now(), lifetimeMs: 1000 }),
        'Could not parse auth token.',
      ],
    ]

    for (const [token, error] of refusals) {
      const answer = await ask(server, `/a.json?auth=${token}`)

      expect([answer.status, errorOf(answer)]).toEqual([401, error])
      expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"')
    }
  })

  test('the admin key passes every rule, in the header or as auth', async (t) => {
    const server = await serveRest(t, { rules: {} })

    const put = await ask(server, '/a.json', { method: 'PUT', body: 1, headers: AS_ADMIN })
    const got = await ask(server, `/a.json?auth=${encodeURIComponent(ADMIN_KEY)}`)

    expect([put.status, got.status, got.body]).toEqual([200, 200, 1])
  })

  test('owner and unsigned tokens count with --dev', async (t) => {
    const server = await serveRest(t, { rules: OWN, config: { dev: true } })
    const ann = emulatorToken({ uid: 'ann', claims: {}, issuedAtMs: 0, lifetimeMs: 1000 })

    const owner = await ask(server, '/.json', { headers: { Authorization: 'Bearer owner' } })
    const user = await ask(server, `/users/ann.json?auth=${ann}`)

    expect([owner.status, user.status]).toEqual([200, 200])
  })

  test('an admin can act as somebody, or as nobody', async (t) => {
    const server = await serveRest(t, { rules: OWN })
    const as = (auth: unknown): string => `auth_variable_override=${encodeURIComponent(JSON.stringify(auth))}`

    const ann = await ask(server, `/users/ann.json?${as({ uid: 'ann' })}`, { headers: AS_ADMIN })
    const other = await ask(server, `/users/bob.json?${as({ uid: 'ann' })}`, { headers: AS_ADMIN })
    const nobody = await ask(server, `/users/ann.json?${as(null)}`, { headers: AS_ADMIN })
    const notAdmin = await ask(server, `/users/ann.json?${as({ uid: 'ann' })}`)
    const notObject = await ask(server, `/users/ann.json?${as('ann')}`, { headers: AS_ADMIN })

    expect([ann, other, nobody, notAdmin, notObject].map(({ status }) => status)).toEqual([
      200, 401, 401, 401, 400,
    ])
  })

  test('a denial tells why beside Firebase’s text: with --dev the rule, else an id for the log', async (t) => {
    const dev = await serveRest(t, { rules: OWN, config: { dev: true } })
    const live = await serveRest(t, { rules: OWN })

    const told = await ask(dev, '/users/ann.json')
    const hidden = await ask(live, '/users/ann.json')

    expect(told.headers.get('hearth-reason')).toContain('/users/$uid')
    expect(hidden.headers.get('hearth-reason')).toMatch(/\(denial [\w-]{10}\)$/)
  })
})

describe('databases', () => {
  test('are chosen by ns, and are apart', async (t) => {
    const server = await serveRest(t, { config: { databases: { mode: 'open', names: ['default'] } } })

    await ask(server, '/a.json?ns=one', { method: 'PUT', body: 1 })
    const answers = await Promise.all(
      ['?ns=one', '?ns=two', '?ns=', ''].map((query) => ask(server, `/a.json${query}`)),
    )

    expect(answers.map(({ body }) => body)).toEqual([1, null, null, null])
  })

  test('that the server does not have are not found', async (t) => {
    const server = await serveRest(t)

    const unknown = await ask(server, '/a.json?ns=other')
    const impossible = await ask(server, '/a.json?ns=../etc')

    expect([unknown.status, impossible.status]).toEqual([404, 404])
    expect(errorOf(unknown)).toBe('this server has no database `other`')
    expect(errorOf(impossible)).toMatch(/^`\.\.\/etc` cannot name a database; names have/)
  })
})

describe('origins', () => {
  const preflight: Asked = {
    method: 'OPTIONS',
    headers: {
      Origin: 'https://app.example',
      'Access-Control-Request-Method': 'PUT',
      'Access-Control-Request-Headers': 'authorization,content-type',
    },
  }

  test('all may ask by default', async (t) => {
    const server = await serveRest(t)

    const asked = await ask(server, '/a.json', preflight)
    const got = await ask(server, '/a.json', { headers: { Origin: 'https://app.example' } })

    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe('*')
    expect(asked.headers.get('access-control-allow-methods')).toContain('PUT')
    expect(asked.headers.get('access-control-allow-headers')).toBe('authorization,content-type')
    expect(got.headers.get('access-control-allow-origin')).toBe('*')
    expect(got.headers.get('access-control-expose-headers')).toContain('ETag')
  })

  test('with a list, those on it may; errors are theirs to read, too', async (t) => {
    const server = await serveRest(t, { rules: {}, config: { allowedOrigins: ['https://app.example'] } })

    const asked = await ask(server, '/a.json', preflight)
    const denied = await ask(server, '/a.json', { headers: { Origin: 'https://app.example' } })

    expect(asked.headers.get('access-control-allow-origin')).toBe('https://app.example')
    expect(asked.headers.get('vary')).toBe('Origin')
    expect(denied.status).toBe(401)
    expect(denied.headers.get('access-control-allow-origin')).toBe('https://app.example')
  })

  test('others are refused, before anything is read or written', async (t) => {
    const server = await serveRest(t, { config: { allowedOrigins: ['https://app.example'] } })
    const headers = { Origin: 'https://evil.example' }

    const asked = await ask(server, '/a.json', {
      ...preflight,
      headers: { ...preflight.headers, ...headers },
    })
    const put = await ask(server, '/a.json', { method: 'PUT', body: 1, headers })

    for (const answer of [asked, put]) {
      expect(answer.status).toBe(403)
      expect(answer.headers.get('access-control-allow-origin')).toBe(null)
    }
    expect((await ask(server, '/a.json')).body).toBe(null)
  })

  test('pages of the server itself, and programs without an origin, always may', async (t) => {
    const server = await serveRest(t, { config: { allowedOrigins: ['https://app.example'] } })

    const own = await ask(server, '/a.json', { headers: { Origin: server.url } })
    const program = await ask(server, '/a.json')

    expect([own.status, program.status]).toEqual([200, 200])
  })
})
