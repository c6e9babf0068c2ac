/**
 * Rules and settings: upload, read back, follow the file, and what holds for whom.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { LiveCoverageReport } from '../../../rules/index.ts'
import { configFrom } from '../../config-load.ts'
import { startServer } from '../../server.ts'
import { BareClient, unsignedToken } from '../harness.ts'
import { ADMIN_KEY, type Answer, AS_ADMIN, ask, EventClient, errorOf, serveRest } from './rest-harness.ts'

const OPEN_TEXT = `{
  // Everybody may.
  "rules": { ".read": true, /* and */ ".write": "true ||
    false", },
}`

const RULES = '/.settings/rules.json'

const upload = (server: { url: string }, text: string, query = ''): Promise<Answer> =>
  ask(server, RULES + query, { method: 'PUT', body: text, headers: AS_ADMIN })

describe('uploaded rules', () => {
  test('hold at once, and come back as they were sent', async (t) => {
    const server = await serveRest(t, { rules: {} })

    const answer = await upload(server, OPEN_TEXT)
    const read = await ask(server, '/a.json')
    const source = await ask(server, RULES, { headers: AS_ADMIN })
    const strict = await ask(server, `${RULES}?format=strict`, { headers: AS_ADMIN })

    expect([answer.status, answer.body]).toEqual([200, { status: 'ok' }])
    expect(read.status).toBe(200)
    expect(source.text).toBe(OPEN_TEXT)
    expect(strict.body).toEqual({ rules: { '.read': true, '.write': 'true ||\n    false' } })
  })

  test('with errors change nothing, and are answered with the place', async (t) => {
    const server = await serveRest(t)

    const answer = await upload(server, '{"rules": {\n  ".read": "newDta.exists()"}}')
    const read = await ask(server, '/a.json')

    expect([answer.status, errorOf(answer)]).toEqual([400, `2:13: Unknown variable 'newDta'.`])
    expect(read.status).toBe(200)
  })

  test('can be tried out', async (t) => {
    const server = await serveRest(t)

    const good = await upload(server, '{"rules": {}}', '?dryRun=true')
    const bad = await upload(server, '{}', '?dryRun=true')
    const read = await ask(server, '/a.json')

    expect([good.status, bad.status, read.status]).toEqual([200, 400, 200])
    expect(errorOf(bad)).toBe("1:2: Expected 'rules' property.")
  })

  test('do not hold where a trial is asked for in other words', async (t) => {
    const server = await serveRest(t)

    const answers = await Promise.all(
      ['?dryRun=1', '?dryRun=True', '?dryRun='].map((query) => upload(server, '{"rules": {}}', query)),
    )
    const read = await ask(server, '/a.json')

    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400])
    expect(errorOf(answers[0]!)).toBe('`dryRun` is `true` or `false`')
    expect(read.status).toBe(200)
  })

  test('are for admins only', async (t) => {
    const server = await serveRest(t)

    const answers = await Promise.all([
      ask(server, RULES),
      ask(server, RULES, { method: 'PUT', body: OPEN_TEXT }),
      ask(server, RULES, { headers: { Authorization: 'Bearer owner' } }),
    ])

    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401])
  })

  test('are for one database, survive a restart, and can be taken away again', async (t) => {
    const config = { databases: { mode: 'open' as const, names: ['default'] } }
    const server = await serveRest(t, { rules: {}, config })
    await upload(server, OPEN_TEXT, '?ns=own')
    const statuses = async (at: { url: string }): Promise<number[]> => {
      const answers = await Promise.all(['own', 'other'].map((ns) => ask(at, `/a.json?ns=${ns}`)))
      return answers.map(({ status }) => status)
    }
    expect(await statuses(server)).toEqual([200, 401])

    await server.close()
    const again = await startServer(
      configFrom({
        port: 0,
        data: join(server.folder, 'data'),
        rules: server.rulesFile,
        adminKey: ADMIN_KEY,
        log: { level: 'silent' },
        ...config,
      }),
    )
    t.onTestFinished(() => again.close())
    expect(await statuses(again)).toEqual([200, 401])

    await ask(again, `${RULES}?ns=own`, { method: 'DELETE', headers: AS_ADMIN })
    expect(await statuses(again)).toEqual([401, 401])
  })

  test('take rights from clients of every wire that listen already', async (t) => {
    const server = await serveRest(t)
    const native = await BareClient.connect(t, server)
    const stream = await EventClient.open(t, server, '/a.json')
    await native.ask({ type: 'listen', path: ['a'], query: null })
    await stream.first(1)

    await upload(server, '{"rules": {}}')

    expect(await native.next('cancel')).toMatchObject({ name: 'permission_denied' })
    expect((await stream.first(2))[1]).toMatchObject({ event: 'cancel' })
  })
})

describe('the rules file', () => {
  const CLOSED = '{"rules": {}}'
  const OPENED = '{"rules": {".read": true}}'
  const statusOf = (server: { url: string }) => async () => (await ask(server, '/a.json')).status

  test('takes effect when it changes, for those who listen already, too', async (t) => {
    const server = await serveRest(t)
    const client = await EventClient.open(t, server, '/a.json')
    await client.first(1)

    writeFileSync(server.rulesFile, CLOSED)

    expect((await client.first(2))[1]).toMatchObject({ event: 'cancel' })
    expect(await statusOf(server)()).toBe(401)
  })

  test('takes effect when another file is put in its place', async (t) => {
    const server = await serveRest(t, { rules: {} })

    writeFileSync(`${server.rulesFile}.tmp`, OPENED)
    renameSync(`${server.rulesFile}.tmp`, server.rulesFile)

    await expect.poll(statusOf(server)).toBe(200)
  })

  test('does not touch databases that have rules of their own', async (t) => {
    const config = { databases: { names: ['default', 'own'] } }
    const server = await serveRest(t, { rules: {}, config })
    await upload(server, CLOSED, '?ns=own')

    writeFileSync(server.rulesFile, OPENED)

    await expect.poll(statusOf(server)).toBe(200)
    expect((await ask(server, '/a.json?ns=own')).status).toBe(401)
  })
})

describe('what the emulator’s tools ask', () => {
  test('names of databases, with --dev without a token', async (t) => {
    const server = await serveRest(t, { config: { dev: true } })
    await ask(server, '/a.json?ns=one')

    const answer = await ask(server, '/.inspect/databases.json?ns=one', {
      headers: { Origin: 'http://localhost:4000' },
    })

    expect(answer.body).toEqual([{ name: 'default' }, { name: 'one' }])
    expect(answer.headers.get('access-control-allow-origin')).toBe('*')
  })

  test('which are an admin’s business elsewhere', async (t) => {
    const server = await serveRest(t)

    const stranger = await ask(server, '/.inspect/databases.json')
    const admin = await ask(server, '/.inspect/databases.json', { headers: AS_ADMIN })

    expect([stranger.status, admin.body]).toEqual([401, [{ name: 'default' }]])
  })

  test('function triggers are taken and ignored', async (t) => {
    const server = await serveRest(t, { config: { dev: true } })

    const answer = await ask(server, '/.settings/functionTriggers.json?ns=x', {
      method: 'PUT',
      body: { triggers: [] },
      headers: { Authorization: 'Bearer owner' },
    })

    expect([answer.status, answer.body]).toEqual([200, { status: 'ok' }])
  })

  test.each([
    ['defaultWriteSizeLimit', 'unlimited', 'small', '--limits-body-bytes-max'],
    ['strictTriggerValidation', true, false, 'no triggers'],
  ])('%s is what it is, and can be set to nothing else', async (name, value, other, why) => {
    const cleanup: (() => unknown)[] = []
    const server = await serveRest({ onTestFinished: (call) => void cleanup.push(call) })
    const path = `/.settings/${name}.json`
    const put = (body: unknown): Promise<Answer> =>
      ask(server, path, { method: 'PUT', body: JSON.stringify(body), headers: AS_ADMIN })

    const read = await ask(server, path, { headers: AS_ADMIN })
    const same = await put(value)
    const changed = await put(other)
    const large = await put('x'.repeat(2000))
    const deleted = await ask(server, path, { method: 'DELETE', headers: AS_ADMIN })
    const stranger = await ask(server, path)

    expect([read.body, same.body]).toEqual([value, value])
    expect([changed.status, errorOf(changed)]).toEqual([400, expect.stringContaining(why)])
    expect([large.status, deleted.status, stranger.status]).toEqual([413, 405, 401])
    for (const call of cleanup) await call()
  })

  test('what is not there says so', async (t) => {
    const server = await serveRest(t)

    const coverage = await ask(server, '/.inspect/coverage.json?ns=default', { headers: AS_ADMIN })
    const profile = await ask(server, '/.settings/profile.json', { headers: AS_ADMIN })
    const rulesets = await ask(server, '/.settings/rulesets.json', { headers: AS_ADMIN })
    const unknown = await ask(server, '/.settings/other.json', { headers: AS_ADMIN })

    expect([coverage.status, profile.status, rulesets.status, unknown.status]).toEqual([404, 404, 404, 404])
    expect(errorOf(coverage)).toContain('--dev')
    expect(errorOf(profile)).toContain('/metrics')
    expect(errorOf(rulesets)).toContain('/.settings/rules.json')
  })
})

describe('coverage', () => {
  const rules = {
    open: { '.read': true },
    users: {
      $uid: {
        '.write': 'auth != null && auth.uid == $uid',
        '.validate': "newData.child('name').val().length > 1",
      },
    },
  }
  const as = (uid: string): Record<string, string> => ({ Authorization: `Bearer ${unsignedToken(uid)}` })

  test('counts rules, and the values of their expressions, since the rules were loaded', async (t) => {
    // Of several, the reads of other threads than the writing one are not counted.
    const server = await serveRest(t, { rules, config: { dev: true, workers: 1 } })
    await ask(server, '/open.json?ns=demo')
    await ask(server, '/users/ann.json?ns=demo', { method: 'PUT', body: { name: 'Ann' }, headers: as('ann') })
    await ask(server, '/users/ann.json?ns=demo', { method: 'PUT', body: { name: 5 }, headers: as('ann') })
    await ask(server, '/users/ann.json?ns=demo', { method: 'PUT', body: { name: 'Eve' }, headers: as('eve') })
    await ask(server, '/users/ann.json?ns=demo', { method: 'PUT', body: { name: 'No' } })

    const { body } = await ask(server, '/.inspect/coverage.json?ns=demo')
    const other = await ask(server, '/.inspect/coverage.json?ns=other')

    const { covered, total, rules: counted } = body as LiveCoverageReport
    expect([covered, total]).toEqual([3, 4])
    expect(counted.map(({ rule, outcomes }) => [rule.pattern, rule.kind, outcomes])).toEqual([
      ['/open', 'read', { true: 1, false: 0, error: 0, budget: 0 }],
      ['/users/$uid', 'write', { true: 2, false: 2, error: 0, budget: 0 }],
      ['/users/$uid', 'validate', { true: 1, false: 0, error: 1, budget: 0 }],
    ])
    const write = counted[1]!.expressions
    expect(write.find(({ text }) => text === 'auth.uid')).toMatchObject({
      count: 3,
      isCondition: false,
      values: [
        { value: '"ann"', count: 2 },
        { value: '"eve"', count: 1 },
      ],
    })
    const validate = counted[2]!.expressions
    expect(validate.flatMap(({ values }) => values.map(({ value }) => value))).toContainEqual(
      expect.stringMatching(/^failed: /),
    )
    expect((other.body as LiveCoverageReport).rules[1]!.outcomes.true).toBe(0)
  })

  test('starts anew with new rules', async (t) => {
    const server = await serveRest(t, { rules, config: { dev: true } })
    await ask(server, '/open.json?ns=demo')

    await ask(server, '/.settings/rules.json?ns=demo', {
      method: 'PUT',
      body: { rules },
      headers: { Authorization: 'Bearer owner' },
    })

    const { body } = await ask(server, '/.inspect/coverage.json?ns=demo')
    const put = await ask(server, '/.inspect/coverage.json?ns=demo', { method: 'PUT', body: 1 })
    expect((body as LiveCoverageReport).rules[0]!.outcomes.true).toBe(0)
    expect(put.status).toBe(405)
  })

  test('as a page: every condition marked, what clients sent escaped', async (t) => {
    const server = await serveRest(t, { rules, config: { dev: true } })
    await ask(server, '/users/ann.json?ns=demo', {
      method: 'PUT',
      body: { name: 'Ann' },
      headers: as('"><script>alert(1)</script>'),
    })

    const page = await ask(server, '/.inspect/coverage?ns=demo')

    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(page.text).toContain('never true\nevaluated 1 times\nfalse: 1')
    expect(page.text).toContain('&lt;script&gt;')
    expect(page.text).not.toContain('<script>')
  })

  test('keeps few values of each expression, each of few characters', async (t) => {
    const server = await serveRest(t, { rules, config: { dev: true } })
    for (let n = 0; n < 20; n++) {
      const headers = as(`${'x'.repeat(100)}${n}`)
      await ask(server, '/users/ann.json?ns=demo', { method: 'PUT', body: { name: 'Ann' }, headers })
    }
    for (let n = 0; n < 20; n++) {
      await ask(server, '/users/ann.json?ns=demo', {
        method: 'PUT',
        body: { name: 'Ann' },
        headers: as(`${n}`),
      })
    }

    const { body } = await ask(server, '/.inspect/coverage.json?ns=demo')

    const uid = (body as LiveCoverageReport).rules[1]!.expressions.find(({ text }) => text === 'auth.uid')!
    expect(uid).toMatchObject({ count: 40, otherCount: 13 })
    expect(uid.values).toHaveLength(8)
    expect(Math.max(...uid.values.map(({ value }) => value.length))).toBeLessThan(70)
  })

  test.each([
    ['', 400],
    ['?ns=', 400],
    ['?ns=..%2Fetc', 404],
    ['?ns=__proto__', 404],
    [`?ns=${'a'.repeat(64)}`, 404],
  ])('of a database named `%s` is refused with %i', async (query, status) => {
    const cleanup: (() => unknown)[] = []
    const server = await serveRest(
      { onTestFinished: (call) => void cleanup.push(call) },
      { config: { dev: true } },
    )

    const answers = [
      await ask(server, `/.inspect/coverage${query}`),
      await ask(server, `/.inspect/coverage.json${query}`),
    ]

    expect(answers.map((answer) => answer.status)).toEqual([status, status])
    for (const call of cleanup) await call()
  })
})
