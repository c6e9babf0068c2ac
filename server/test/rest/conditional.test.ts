/**
 * Conditional requests and patch documents: what is written depends on what is there, also when others write.
 */
import { describe, expect, test } from 'vitest'
import { configFrom } from '../../config-load.ts'
import { createLogger } from '../../log.ts'
import { nodeHash } from '../../node-hash.ts'
import { type Asked, ask, errorOf, serveRest } from './rest-harness.ts'

const ETAG = { 'X-Firebase-ETag': 'true' }
const JSON_PATCH = { 'Content-Type': 'application/json-patch+json' }

/** The ETag at a path, as a GET tells it. */
async function etagAt(server: { url: string }, path: string): Promise<string> {
  return (await ask(server, path, { headers: ETAG })).headers.get('etag')!
}

describe('ETags', () => {
  test('name the value after the request, and nothing as null_etag', async (t) => {
    const server = await serveRest(t)

    const put = await ask(server, '/a.json', { method: 'PUT', body: { b: 1 }, headers: ETAG })
    const got = await ask(server, '/a.json', { headers: ETAG })
    const posted = await ask(server, '/a/list.json', { method: 'POST', body: 10, headers: ETAG })
    const name = (posted.body as { name: string }).name
    const deleted = await ask(server, '/a.json', { method: 'DELETE', headers: ETAG })

    expect(put.headers.get('etag')).toMatch(/^[\w+/]{27}=$/)
    expect(got.headers.get('etag')).toBe(put.headers.get('etag'))
    expect(name).toHaveLength(20)
    expect(posted.headers.get('etag')).not.toBe(put.headers.get('etag'))
    expect(deleted.headers.get('etag')).toBe('null_etag')
    expect(await etagAt(server, '/a.json')).toBe('null_etag')
  })

  test('are sent only where they were asked for', async (t) => {
    const server = await serveRest(t)

    const answer = await ask(server, '/a.json', { method: 'PUT', body: 1 })

    expect(answer.headers.get('etag')).toBe(null)
  })

  test('a value the client has is not sent again', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/a.json', { method: 'PUT', body: { b: 1 } })
    const etag = await etagAt(server, '/a.json')

    const same = await ask(server, '/a.json', { headers: { 'if-none-match': etag } })
    const quoted = await ask(server, '/a.json', { headers: { 'if-none-match': `"${etag}"` } })
    const other = await ask(server, '/a.json', { headers: { 'if-none-match': 'something' } })

    expect([same.status, same.text, same.headers.get('etag')]).toEqual([304, '', etag])
    expect(quoted.status).toBe(304)
    expect([other.status, other.body, other.headers.get('etag')]).toEqual([200, { b: 1 }, etag])
  })

  test('a write whose value has changed meanwhile gets the value that is there, and writes nothing', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/a.json', { method: 'PUT', body: 1 })
    const old = await etagAt(server, '/a.json')
    await ask(server, '/a.json', { method: 'PUT', body: { now: [2] } })

    const put = await ask(server, '/a.json', { method: 'PUT', body: 3, headers: { 'if-match': old } })
    const deleted = await ask(server, '/a.json', { method: 'DELETE', headers: { 'if-match': old } })

    const current = await etagAt(server, '/a.json')
    for (const answer of [put, deleted]) {
      expect([answer.status, answer.body, answer.headers.get('etag')]).toEqual([412, { now: [2] }, current])
    }
    expect((await ask(server, '/a.json')).body).toEqual({ now: [2] })
  })

  test('a write whose value is still there goes through, quoted or not', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/a.json', { method: 'PUT', body: 1 })

    const etag = await etagAt(server, '/a.json')
    const put = await ask(server, '/a.json', { method: 'PUT', body: 2, headers: { 'if-match': etag } })
    const quoted = `"${await etagAt(server, '/a.json')}"`
    const deleted = await ask(server, '/a.json', { method: 'DELETE', headers: { 'if-match': quoted } })

    expect([put.status, deleted.status]).toEqual([200, 200])
    expect((await ask(server, '/a.json')).body).toBe(null)
  })

  test('null_etag is only for a place where nothing is', async (t) => {
    const server = await serveRest(t)
    const create = (): Promise<{ status: number }> =>
      ask(server, '/a.json', { method: 'PUT', body: 1, headers: { 'if-match': 'null_etag' } })

    const first = await create()
    const second = await create()

    expect([first.status, second.status]).toEqual([200, 412])
  })

  test('of two that write at once with one ETag, exactly one wins', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/a.json', { method: 'PUT', body: 'start' })

    for (let round = 0; round < 20; round++) {
      const etag = await etagAt(server, '/a.json')
      const answers = await Promise.all(
        ['one', 'two'].map((who) =>
          ask(server, '/a.json', {
            method: 'PUT',
            body: JSON.stringify(`${who} ${round}`),
            headers: { 'if-match': etag },
          }),
        ),
      )

      expect(answers.map(({ status }) => status).sort()).toEqual([200, 412])
      const winner = answers.find(({ status }) => status === 200)!
      expect((await ask(server, '/a.json')).body).toBe(winner.body)
    }
  })

  test('twenty that each add one, and try again when they were too late, add twenty', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/n.json', { method: 'PUT', body: 0 })
    const addOne = async (): Promise<void> => {
      for (;;) {
        const read = await ask(server, '/n.json', { headers: ETAG })
        const headers = { 'if-match': read.headers.get('etag')! }
        const put = await ask(server, '/n.json', { method: 'PUT', body: (read.body as number) + 1, headers })
        if (put.status === 200) return
      }
    }

    await Promise.all(Array.from({ length: 20 }, addOne))

    expect((await ask(server, '/n.json')).body).toBe(20)
  })

  test('who may not read may not guess by an ETag what is there, only that there is nothing', async (t) => {
    const server = await serveRest(t, { rules: { box: { '.write': true } } })
    const put = (etag: string) =>
      ask(server, '/box.json', { method: 'PUT', body: 1, headers: { 'if-match': etag } })

    const claimed = await put('null_etag')
    const guesses = [await put('null_etag'), await put(nodeHash(1)), await put(nodeHash(2))]

    expect(claimed.status).toBe(200)
    for (const guess of guesses) expect([guess.status, errorOf(guess)]).toEqual([401, 'Permission denied'])
  })

  test('are not told of a write to who may not read there', async (t) => {
    const server = await serveRest(t, { rules: { box: { '.write': true } } })
    const asked = { headers: ETAG, body: { n: { '.sv': { increment: 0 } } } }
    await ask(server, '/box.json', { method: 'PUT', body: { n: 5 } })

    const answers = [
      await ask(server, '/box.json', { method: 'PUT', ...asked }),
      await ask(server, '/box.json', { method: 'POST', ...asked }),
      await ask(server, '/box.json', { method: 'DELETE', headers: ETAG }),
    ]

    expect(answers.map(({ status, headers }) => [status, headers.get('etag')])).toEqual([
      [200, null],
      [200, null],
      [200, null],
    ])
  })

  test('are left out without a denial: nobody has tried to read', async (t) => {
    const lines: string[] = []
    const logger = createLogger(configFrom({}).log, { stream: { write: (line) => void lines.push(line) } })
    const server = await serveRest(t, { rules: { box: { '.write': true } }, parts: { logger } })

    await ask(server, '/box.json', { method: 'PUT', body: 1, headers: ETAG })
    const metrics = await (await fetch(`${server.url}/metrics`)).text()

    expect(metrics).toMatch(/^hearth_denials_total 0$/m)
    expect(metrics).toMatch(/^hearth_reads_total 0$/m)
    expect(lines.filter((line) => line.includes('denied'))).toEqual([])
  })

  test('are refused where Firebase refuses them', async (t) => {
    const server = await serveRest(t)
    const refusals: [asked: Asked, error: string][] = [
      [{ method: 'GET', headers: { 'if-match': 'x' } }, 'if-match is not supported on GET'],
      [{ method: 'POST', body: 1, headers: { 'if-match': 'x' } }, 'if-match is not supported on POST'],
      [{ method: 'PATCH', body: {}, headers: { 'if-match': 'x' } }, 'if-match is not supported on PATCH'],
      [{ method: 'PATCH', body: {}, headers: ETAG }, 'x-firebase-etag is not supported on PATCH'],
    ]

    for (const [asked, error] of refusals) {
      const answer = await ask(server, '/a.json', asked)

      expect([answer.status, errorOf(answer)]).toEqual([400, error])
    }
  })
})

describe('JSON Patch', () => {
  const cases: [what: string, patch: unknown, status: number, stored: unknown][] = [
    ['add', [{ op: 'add', path: '/c', value: 3 }], 200, { list: ['a', 'b'], deep: { x: 1 }, c: 3 }],
    ['replace', [{ op: 'replace', path: '/deep/x', value: 2 }], 200, { list: ['a', 'b'], deep: { x: 2 } }],
    ['remove', [{ op: 'remove', path: '/deep' }], 200, { list: ['a', 'b'] }],
    ['move', [{ op: 'move', from: '/deep', path: '/d' }], 200, { list: ['a', 'b'], d: { x: 1 } }],
    [
      'copy',
      [{ op: 'copy', from: '/deep', path: '/d' }],
      200,
      { list: ['a', 'b'], deep: { x: 1 }, d: { x: 1 } },
    ],
    ['append', [{ op: 'add', path: '/list/-', value: 'c' }], 200, { list: ['a', 'b', 'c'], deep: { x: 1 } }],
    ['insert', [{ op: 'add', path: '/list/1', value: 'c' }], 200, { list: ['a', 'c', 'b'], deep: { x: 1 } }],
    ['replace all', [{ op: 'replace', path: '', value: 5 }], 200, 5],
    [
      'a test that holds',
      [
        { op: 'test', path: '/list', value: ['a', 'b'] },
        { op: 'remove', path: '/list/0' },
      ],
      200,
      { list: ['b'], deep: { x: 1 } },
    ],
    [
      'a test that does not hold',
      [
        { op: 'add', path: '/c', value: 1 },
        { op: 'test', path: '/deep/x', value: 2 },
      ],
      409,
      null,
    ],
    ['a path that is not there', [{ op: 'remove', path: '/none/x' }], 409, null],
    ['an index past the end', [{ op: 'add', path: '/list/7', value: 1 }], 409, null],
    ['no array', { op: 'add', path: '/c', value: 1 }, 400, null],
    [
      'escaped keys',
      [{ op: 'copy', from: '/deep', path: '/~01' }],
      200,
      { list: ['a', 'b'], deep: { x: 1 }, '~1': { x: 1 } },
    ],
    [
      'a move onto itself',
      [{ op: 'move', from: '/deep', path: '/deep' }],
      200,
      { list: ['a', 'b'], deep: { x: 1 } },
    ],
    ['a move to the root', [{ op: 'move', from: '/deep', path: '' }], 200, { x: 1 }],
    [
      'a move to the end',
      [{ op: 'move', from: '/list/0', path: '/list/-' }],
      200,
      { list: ['b', 'a'], deep: { x: 1 } },
    ],
    ['a move into itself', [{ op: 'move', from: '/deep', path: '/deep/x' }], 400, null],
    ['a copy of nothing', [{ op: 'copy', from: '/none', path: '/c' }], 409, null],
    ['a copy of what every object has', [{ op: 'copy', from: '/constructor', path: '/c' }], 409, null],
    ['a method of every object', [{ op: 'toString', path: '/c' }], 400, null],
    ['a hidden operation', [{ op: '_get', path: '/deep' }], 400, null],
    ['no operation', [null], 400, null],
    ['an operation without a path', [{ op: 'copy', from: '/deep' }], 400, null],
    ['an unknown operation', [{ op: 'increment', path: '/c', value: 1 }], 400, null],
    ['a path that is no pointer', [{ op: 'add', path: 'c', value: 1 }], 400, null],
    ['a key that is none', [{ op: 'add', path: '/a.b', value: 1 }], 400, null],
    ['a prototype', [{ op: 'add', path: '/__proto__/x', value: 1 }], 400, null],
    ['a constructor', [{ op: 'add', path: '/constructor/prototype/x', value: 1 }], 409, null],
  ]

  for (const [what, patch, status, stored] of cases) {
    test(`${what} is answered with ${status}`, async (t) => {
      const server = await serveRest(t)
      const before = { list: ['a', 'b'], deep: { x: 1 } }
      await ask(server, '/a.json', { method: 'PUT', body: before })

      const answer = await ask(server, '/a.json', { method: 'PATCH', body: patch, headers: JSON_PATCH })
      const after = await ask(server, '/a.json')

      expect([answer.status, after.body]).toEqual([status, status === 200 ? stored : before])
      if (status === 200) expect(answer.body).toEqual(stored)
    })
  }

  test('a prototype is refused in words of ours, which say which operation and why', async (t) => {
    const server = await serveRest(t)
    const patch = [
      { op: 'add', path: '/a', value: 1 },
      { op: 'add', path: '/__proto__/x', value: 1 },
    ]

    const answer = await ask(server, '/a.json', { method: 'PATCH', body: patch, headers: JSON_PATCH })

    expect(errorOf(answer)).toMatch(/^operation \d: a path may not lead through `__proto__`/)
  })

  test('nothing counts as an empty object', async (t) => {
    const server = await serveRest(t)
    const patch = [{ op: 'add', path: '/x', value: 1 }]

    const answer = await ask(server, '/none.json', { method: 'PATCH', body: patch, headers: JSON_PATCH })

    expect([answer.status, (await ask(server, '/none.json')).body]).toEqual([200, { x: 1 }])
  })

  test('writes only what it changed: priorities beside it stay', async (t) => {
    const server = await serveRest(t)
    const before = { kept: { '.value': 1, '.priority': 9 }, changed: { '.value': 1, '.priority': 9 } }
    await ask(server, '/a.json', { method: 'PUT', body: before })

    const patch = [{ op: 'replace', path: '/changed', value: 2 }]
    await ask(server, '/a.json', { method: 'PATCH', body: patch, headers: JSON_PATCH })

    const after = await ask(server, '/a.json?format=export')
    expect(after.body).toEqual({ kept: { '.value': 1, '.priority': 9 }, changed: 2 })
  })

  test('rules see the locations that change, and the right to read is needed', async (t) => {
    const server = await serveRest(t, {
      rules: { a: { '.read': true, open: { '.write': true } }, box: { '.write': true } },
    })
    const add = (path: string) => ({
      method: 'PATCH',
      body: [{ op: 'add', path, value: 1 }],
      headers: JSON_PATCH,
    })

    const open = await ask(server, '/a.json', add('/open'))
    const closed = await ask(server, '/a.json', add('/closed'))
    const unreadable = await ask(server, '/box.json', add('/x'))

    expect([open.status, closed.status, unreadable.status]).toEqual([200, 401, 401])
  })

  test('a patch that copies without end is refused before it takes memory or time', async (t) => {
    const server = await serveRest(t)
    const text = 'x'.repeat(1_000_000)
    await ask(server, '/a.json', { method: 'PUT', body: { text } })
    const grow = (n: number): object => ({ op: 'copy', from: '', path: `/${n}` })
    const copy = (n: number): object => ({ op: 'copy', from: '/text', path: `/text${n}` })
    const insert = (): object => ({ op: 'add', path: '/long/0', value: 1 })
    const long = { op: 'add', path: '/long', value: Array.from({ length: 100_000 }, () => 1) }

    for (const patch of [
      Array.from({ length: 40 }, (_, n) => grow(n)),
      Array.from({ length: 9_999 }, (_, n) => copy(n)),
      [long, ...Array.from({ length: 9_999 }, insert)],
    ]) {
      const answer = await ask(server, '/a.json', { method: 'PATCH', body: patch, headers: JSON_PATCH })

      expect(answer.status).toBe(400)
      expect(errorOf(answer)).toMatch(/^operation \d+: (the patch copies too much|value is nested deeper)/)
    }
    expect((await ask(server, '/a.json')).body).toEqual({ text })
  })

  test('a patch that had to be tried again is applied as it was sent', async (t) => {
    const server = await serveRest(t)

    await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        ask(server, '/a.json', {
          method: 'PATCH',
          body: [
            { op: 'add', path: `/list${n}`, value: [] },
            { op: 'add', path: `/list${n}/-`, value: n },
          ],
          headers: JSON_PATCH,
        }),
      ),
    )

    const lists = Array.from({ length: 10 }, (_, n) => [`list${n}`, [n]])
    expect((await ask(server, '/a.json')).body).toEqual(Object.fromEntries(lists))
  })

  test('ten that append at once append ten', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/list.json', { method: 'PUT', body: ['first'] })

    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        ask(server, '/list.json', {
          method: 'PATCH',
          body: [{ op: 'add', path: '/-', value: n }],
          headers: JSON_PATCH,
        }),
      ),
    )

    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200))
    const list = (await ask(server, '/list.json')).body as unknown[]
    expect(list.slice(1).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})

test('a merge patch is one write, whose locations the rules see each', async (t) => {
  const server = await serveRest(t, { rules: { '.read': true, open: { '.write': true } } })
  const headers = { 'Content-Type': 'application/merge-patch+json' }

  const allowed = await ask(server, '/.json', { method: 'PATCH', body: { open: { a: 1 } }, headers })
  const denied = await ask(server, '/.json', { method: 'PATCH', body: { open: { a: 2 }, b: 1 }, headers })

  expect([allowed.status, denied.status]).toEqual([200, 401])
  expect((await ask(server, '/.json')).body).toEqual({ open: { a: 1 } })
})

test('a patch that changes more places than an update may have is refused, and nothing is written', async (t) => {
  const server = await serveRest(t)
  const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, n) => [`k${n}`, n]))

  for (const [type, body] of [
    ['application/merge-patch+json', many],
    ['application/json-patch+json', [{ op: 'replace', path: '', value: many }]],
  ] as const) {
    const headers = { 'Content-Type': type }
    const answer = await ask(server, '/a.json', { method: 'PATCH', body, headers })

    expect([answer.status, errorOf(answer)]).toEqual([400, expect.stringContaining('at most 10000')])
  }
  expect((await ask(server, '/a.json')).body).toBe(null)
})
