/**
 * Explanations over HTTP: what they tell on live data, who may ask, and what bad questions get.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { addRulesCommands } from '../../../rules/cli.ts'
import type { Explanation } from '../../../rules/index.ts'
import { BareClient, type Cleanup, path, type TestServer } from '../harness.ts'
import { ADMIN_KEY, type Answer, AS_ADMIN, ask, errorOf, serveRest } from './rest-harness.ts'

const EXPLAIN = '/.settings/explain.json'
const RULES = {
  members: { '.write': true },
  rooms: {
    $room: {
      '.read': "root.child('members').child($room).child(auth.uid).exists()",
      '.write': "root.child('members').child($room).child(auth.uid).exists()",
      text: { '.validate': 'newData.isString() && newData.val().length < 9' },
      at: { '.validate': 'newData.val() == now' },
      seen: { $uid: { '.validate': 'newData.val() === true' } },
    },
  },
}
const ANN = { uid: 'ann' }

function explain(server: { url: string }, body: unknown, headers = AS_ADMIN, query = ''): Promise<Answer> {
  return ask(server, EXPLAIN + query, { method: 'POST', body, headers })
}

async function serveRooms(t: Cleanup): Promise<TestServer> {
  const server = await serveRest(t, { rules: RULES })
  await ask(server, '/members/a/ann.json', { method: 'PUT', body: 'true', headers: AS_ADMIN })
  return server
}

/** For tests of a table, which get no context. */
const ofTable: Cleanup = {
  onTestFinished: (call) =>
    onTestFinished(async () => {
      await call()
    }),
}

const told = ({ body }: Answer): Explanation & { text: string } => body as Explanation & { text: string }

describe('an explanation', () => {
  test('of a write tells the rules asked, their parts, what was read and which rule decided', async (t) => {
    const server = await serveRooms(t)

    const answer = await explain(server, {
      op: 'set',
      path: '/rooms/a/text',
      value: 'far too long',
      auth: ANN,
    })

    const { decision, locations, steps, read, omitted, text } = told(answer)
    expect(answer.status).toBe(200)
    expect(decision).toMatchObject({
      allowed: false,
      reason: 'validate',
      path: ['rooms', 'a', 'text'],
      rule: { kind: 'validate', pattern: '/rooms/$room/text', line: 1 },
    })
    expect(locations).toEqual([['rooms', 'a', 'text']])
    expect(steps.map(({ rule, outcome }) => `${rule.kind} ${outcome}`)).toEqual([
      'write true',
      'validate false',
    ])
    expect(steps[1]!.values).toContainEqual({ text: 'newData.val().length', depth: 2, value: 12 })
    expect(read).toEqual([
      { view: 'data', path: ['members', 'a', 'ann'], aspect: 'value', value: true },
      { view: 'newData', path: ['rooms', 'a', 'text'], aspect: 'value', value: 'far too long' },
    ])
    expect(omitted).toEqual({ locations: 0, steps: 0, read: 0, values: 0 })
    expect(text).toContain('denied at /rooms/a/text')
  })

  test('sees the live data, and changes none', async (t) => {
    const server = await serveRooms(t)
    const reading = { op: 'get', path: '/rooms/a', auth: ANN }

    const before = await explain(server, reading)
    await ask(server, '/members/a/ann.json', { method: 'DELETE', headers: AS_ADMIN })
    const after = await explain(server, reading)
    await explain(server, { op: 'set', path: '/members/a/ann', value: true })
    const still = await explain(server, reading)

    expect([before, after, still].map((answer) => told(answer).decision.allowed)).toEqual([
      true,
      false,
      false,
    ])
  })

  test.each<[string, object, boolean]>([
    [
      'an update of several places',
      { op: 'update', path: '/rooms/a', values: { text: 'x', 'seen/ann': true } },
      true,
    ],
    [
      'an update with one bad place',
      { op: 'update', path: '/rooms/a', values: { text: 'x', 'seen/ann': 1 } },
      false,
    ],
    ['an update of nothing', { op: 'update', path: '/rooms/a', values: {} }, true],
    ['an update of nothing elsewhere', { op: 'update', path: '/rooms/b', values: {} }, false],
    ['a removal', { op: 'remove', path: '/rooms/a' }, true],
    ['a server time', { op: 'set', path: '/rooms/a/at', value: { '.sv': 'timestamp' } }, true],
    ['a time of its own', { op: 'set', path: '/rooms/a/at', value: 5, now: 5 }, true],
    ['another time', { op: 'set', path: '/rooms/a/at', value: 5, now: 6 }, false],
    ['somebody signed out', { op: 'get', path: '/rooms/a', auth: null }, false],
    ['a query', { op: 'get', path: '/rooms/a', query: { limitToFirst: 3 } }, true],
  ])('of %s', async (_, question, isAllowed) => {
    const server = await serveRooms(ofTable)

    const answer = await explain(server, { auth: ANN, ...question })

    expect([answer.status, told(answer).decision.allowed]).toEqual([200, isAllowed])
  })

  test('is of the database that is named', async (t) => {
    const config = { databases: { mode: 'open' as const, names: ['default'] } }
    const server = await serveRest(t, { rules: RULES, config })
    await ask(server, '/members/a/ann.json?ns=one', { method: 'PUT', body: 'true', headers: AS_ADMIN })
    const reading = { op: 'get', path: '/rooms/a', auth: ANN }

    const one = await explain(server, reading, AS_ADMIN, '?ns=one')
    const two = await explain(server, reading, AS_ADMIN, '?ns=two')

    expect([one, two].map((answer) => told(answer).decision.allowed)).toEqual([true, false])
  })

  test('of a write of thousands of values keeps to its size, and the rule that decided', async (t) => {
    const server = await serveRooms(t)
    const seen = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`u${i}`, i < 4_999]))

    const answer = await explain(server, { op: 'set', path: '/rooms/a', value: { seen }, auth: ANN })

    const { decision, steps, read, omitted } = told(answer)
    expect(decision).toMatchObject({ reason: 'validate', path: ['rooms', 'a', 'seen', 'u4999'] })
    expect(steps).toHaveLength(200)
    expect(steps.at(-1)).toMatchObject({ captures: { $uid: 'u4999' }, outcome: 'false' })
    expect(read).toHaveLength(200)
    expect(omitted.steps).toBe(4_801)
    expect(omitted.read).toBeGreaterThan(4_000)
    expect(answer.text.length).toBeLessThan(500_000)
  })

  test('cuts long values off', async (t) => {
    const server = await serveRooms(t)
    const auth = { uid: 'ann', token: { name: 'x'.repeat(100_000) } }

    const answer = await explain(server, {
      op: 'set',
      path: '/rooms/a/text',
      value: 'y'.repeat(100_000),
      auth,
    })

    expect(told(answer).decision.reason).toBe('validate')
    expect(answer.text.length).toBeLessThan(20_000)
  })
})

describe('who may ask', () => {
  test('an admin, and nobody else', async (t) => {
    const server = await serveRooms(t)
    const question = { op: 'get', path: '/rooms/a' }

    const answers = [
      await explain(server, question),
      await explain(server, question, {} as typeof AS_ADMIN),
      await explain(server, question, { Authorization: 'Bearer owner' }),
    ]

    expect(answers.map(({ status }) => status)).toEqual([200, 401, 401])
    expect(errorOf(answers[1]!)).toBe(
      'Permission denied: explanations are for admins, or for all under --dev',
    )
  })

  test('everybody under --dev', async (t) => {
    const server = await serveRest(t, { rules: RULES, config: { dev: true } })

    const answer = await explain(server, { op: 'get', path: '/rooms/a' }, {} as typeof AS_ADMIN)

    expect([answer.status, told(answer).decision.allowed]).toEqual([200, false])
  })

  test('a client learns from a denial why only under --dev, and else an id for the log', async (t) => {
    const messages: string[] = []
    for (const dev of [true, false]) {
      const server = await serveRest(t, { rules: RULES, config: { dev } })
      const client = await BareClient.connect(t, server)
      const answer = await client.ask({ type: 'get', path: path('rooms/a'), query: null })
      messages.push(answer.type === 'error' ? answer.message : '')
    }

    expect(messages[0]).toMatch(/denied at \/rooms\/a: `.read` of \/rooms\/\$room \(1:\d+\)/)
    expect(messages[1]).toMatch(/^no permission to read `\/rooms\/a` \(denial [\w-]+\)$/)
  })
})

describe('hearth rules explain URL', () => {
  async function run(...args: string[]): Promise<{ output: string; code: number }> {
    let output = ''
    let code = 0
    const program = new Command().exitOverride()
    const add = (text: string): void => {
      output += `${text}\n`
    }
    addRulesCommands(program, {
      out: add,
      fail: add,
      exit: (exitCode) => {
        code = exitCode
      },
    })
    await program.parseAsync(['rules', 'explain', ...args], { from: 'user' })
    return { output, code }
  }

  test('asks a running server', async (t) => {
    const server = await serveRooms(t)
    t.onTestFinished(() => void vi.unstubAllEnvs())
    const keyFile = join(server.folder, 'key')
    writeFileSync(keyFile, `${ADMIN_KEY}\n`)
    const asAdmin = ['--admin-key-file', keyFile, '--auth', '{"uid":"ann"}']

    const allowed = await run(server.url, 'set', '/rooms/a/text', '"hi"', ...asAdmin)
    const denied = await run(server.url, 'update', '/rooms/b', '{"text":"hi"}', ...asAdmin)
    const refused = await run(server.url, 'get', '/rooms/a')
    vi.stubEnv('HEARTH_ADMIN_KEY_FILE', keyFile)
    const byVariable = await run(server.url, 'get', '/rooms/a', '--auth', '{"uid":"ann"}')

    expect(byVariable.output).toContain('.read of /rooms/$room')
    expect(allowed.code).toBe(0)
    expect(allowed.output).toContain('data /members/a/ann  true')
    expect(denied.code).toBe(1)
    expect(denied.output).toMatch(
      /denied at \/rooms\/b\/text: `.write` of \/rooms\/\$room \(1:\d+\) is false\n$/,
    )
    expect(refused).toEqual({
      output: `hearth: ${server.url} answered 401: Permission denied: explanations are for admins, or for all under --dev\n`,
      code: 2,
    })
  })

  test('says in one line that there is no server', async () => {
    const { output, code } = await run('http://127.0.0.1:1', 'get', '/')

    expect(output).toMatch(/^hearth: http:\/\/127\.0\.0\.1:1 cannot be reached: [^\n]+\n$/)
    expect(code).toBe(2)
  })
})

describe('what bad questions get', () => {
  const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`

  test.each<[string, unknown, number, RegExp]>([
    ['no body', '', 400, /./],
    ['no JSON', '{', 400, /./],
    ['a list', [], 400, /./],
    ['no operation', { path: '/a' }, 400, /`op` is none of/],
    ['an unknown operation', { op: 'erase', path: '/a' }, 400, /`op` is none of/],
    ['an operation that is a deep list', `{"op": ${deep(50_000)}, "path": "/a"}`, 400, /`op` is none of/],
    ['an unknown member', { op: 'get', path: '/a', who: 1 }, 400, /unknown member `who`/],
    ['no path', { op: 'get' }, 400, /`path` is not a text/],
    ['a bad path', { op: 'get', path: '/a.b' }, 400, /a\.b/],
    ['a path too deep', { op: 'get', path: '/a'.repeat(40) }, 400, /./],
    ['a set of nothing', { op: 'set', path: '/a' }, 400, /takes a `value`/],
    ['a bad value', { op: 'set', path: '/a', value: { 'b.c': 1 } }, 400, /b\.c/],
    ['a deep value', `{"op": "set", "path": "/a", "value": ${deep(50_000)}}`, 400, /./],
    ['an update of no object', { op: 'update', path: '/a', values: [1] }, 400, /`values`/],
    [
      'an update of one place within another',
      { op: 'update', path: '/a', values: { b: 1, 'b/c': 2 } },
      400,
      /ancestor/,
    ],
    ['an auth that is a text', { op: 'get', path: '/a', auth: 'ann' }, 400, /`auth`/],
    ['a deep auth', `{"op": "get", "path": "/a", "auth": {"x": ${deep(50_000)}}}`, 400, /nested too deep/],
    ['a bad query', { op: 'get', path: '/a', query: { limit: 1 } }, 400, /query has no `limit`/],
    ['a deep query', `{"op": "get", "path": "/a", "query": ${deep(50_000)}}`, 400, /a query is an object/],
    ['a query of the wrong type', { op: 'get', path: '/a', query: { orderByKey: 1 } }, 400, /`orderByKey`/],
    ['a bad time', { op: 'get', path: '/a', now: 'today' }, 400, /`now`/],
    ['too much', { op: 'set', path: '/a', value: 'x'.repeat(300_000) }, 413, /./],
  ])('%s', async (_, body, status, problem) => {
    const server = await serveRooms(ofTable)

    const answer = await explain(server, body)

    expect(answer.status).toBe(status)
    expect(String(errorOf(answer))).toMatch(problem)
    expect((await explain(server, { op: 'get', path: '/' })).status).toBe(200)
  })

  test('another method', async (t) => {
    const server = await serveRooms(t)

    const answer = await ask(server, EXPLAIN, { headers: AS_ADMIN })

    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST'])
  })
})

test('claims with a long list are explained as any others', async (t) => {
  const server = await serveRooms(t)
  const auth = { uid: 'ann', list: Array(130_000).fill(0) }

  const { status } = await explain(server, { op: 'get', path: '/rooms/a', auth })

  expect(status).toBe(200)
})
