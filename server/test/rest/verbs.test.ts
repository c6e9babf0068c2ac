/**
 * REST verbs, parameters and texts, as tables: what is stored, what is asked, what comes back.
 */
import { describe, expect, test } from 'vitest'
import { OPEN } from '../harness.ts'
import { type Asked, ask, askRaw, errorOf, serveRest } from './rest-harness.ts'

/** Stored at the root before each request. */
const STORED = {
  text: 'hello',
  number: 1.5,
  flag: false,
  list: ['a', 'b', 'c'],
  sparse: { 1: 'one' },
  wide: { 3: 'three' },
  user: { name: 'Ann', age: 40 },
  'a key': { 'é+%': 1 },
  ranked: { x: { '.value': 1, '.priority': 2 }, '.priority': 'p' },
}

describe('GET', () => {
  const cases: [what: string, path: string, status: number, body: unknown][] = [
    ['a string', '/text.json', 200, 'hello'],
    ['a number', '/number.json', 200, 1.5],
    ['a boolean', '/flag.json', 200, false],
    ['an object', '/user.json', 200, { name: 'Ann', age: 40 }],
    ['a deeper path', '/user/name.json', 200, 'Ann'],
    ['a slash before .json', '/user/.json', 200, { name: 'Ann', age: 40 }],
    ['nothing', '/none/at/all.json', 200, null],
    ['below a leaf', '/text/below.json', 200, null],
    ['keys that are indexes', '/list.json', 200, ['a', 'b', 'c']],
    ['more than half of the indexes', '/sparse.json', 200, [null, 'one']],
    ['fewer than half of them', '/wide.json', 200, { 3: 'three' }],
    ['percent-encoded keys', '/a%20key/%C3%A9+%25.json', 200, 1],
    ['priorities are not shown', '/ranked.json', 200, { x: 1 }],
    [
      'but exported',
      '/ranked.json?format=export',
      200,
      { x: { '.value': 1, '.priority': 2 }, '.priority': 'p' },
    ],
    ['an export has no arrays', '/list.json?format=export', 200, { 0: 'a', 1: 'b', 2: 'c' }],
    ['a priority', '/ranked/.priority.json', 200, 'p'],
    ['a priority of a child', '/ranked/x/.priority.json', 200, 2],
    ['no priority', '/text/.priority.json', 200, null],
    ['shallow', '/user.json?shallow=true', 200, { name: true, age: true }],
    ['shallow, of a leaf', '/text.json?shallow=true', 200, 'hello'],
    ['shallow, of nothing', '/none.json?shallow=true', 200, null],
    ['shallow with a limit', '/list.json?shallow=true&limitToFirst=2', 200, { 0: true, 1: true }],
    [
      'shallow after a bare key',
      '/user.json?shallow=true&limitToFirst=5&startAfter=age',
      200,
      { name: true },
    ],
    ['shallow after a JSON key', '/list.json?shallow=true&startAfter=%220%22', 200, { 1: true, 2: true }],
    ['shallow from a key', '/list.json?shallow=true&startAt=1', 200, { 1: true, 2: true }],
    ['an unknown parameter', '/text.json?whatever=1', 200, 'hello'],
  ]

  test('answers with the value as REST shows it', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/.json', { method: 'PUT', body: STORED })

    for (const [what, path, status, body] of cases) {
      const answer = await ask(server, path)

      expect([what, answer.status, answer.body]).toEqual([what, status, body])
    }
  })

  test('is refused with a text that says why', async (t) => {
    const server = await serveRest(t)
    const refusals: [path: string, error: string][] = [
      ['/a%zz.json', 'Invalid path: Invalid token in path'],
      ['/a%2Fb.json', 'Invalid path: Invalid token in path'],
      ['/a.b.json', 'Invalid path: Invalid token in path'],
      ['/a%24b.json', 'Invalid path: Invalid token in path'],
      ['/.other/a.json', 'Invalid path: Invalid token in path'],
      [`/${'a/'.repeat(33)}.json`, 'Invalid path: it has more than 32 keys'],
      ['/a.json?print=loud', 'print must be pretty or silent'],
      ['/a.json?format=xml', 'format must be export'],
      ['/a.json?timeout=0s', 'timeout must be positive'],
      ['/a.json?timeout=16min', 'timeout must be at most 15min'],
      ['/a.json?timeout=5', 'timeout must be a number with a unit: ms, s or min'],
      ['/a.json?callback=alert(1)//', 'callback must be the name of a JavaScript function'],
      ['/a.json?shallow=true&orderBy=%22name%22', 'shallow lists keys in the order of "$key" only'],
      ['/a.json?shallow=true&format=export', 'format may not be combined with shallow'],
      ['/a.json?limitToFirst=1', 'orderBy must be defined when other query parameters are defined'],
      ['/a.json?equalTo=1', 'orderBy must be defined when other query parameters are defined'],
      ['/a.json?orderBy=name', 'orderBy must be a valid JSON encoded path'],
      ['/a.json?orderBy=5', 'orderBy must be a valid JSON encoded path'],
      ['/a.json?orderBy=%22%22', 'orderBy must be a valid JSON encoded path'],
      ['/a.json?orderBy=%22a.b%22', 'orderBy must be a valid JSON encoded path'],
      ['/a.json?orderBy=%22x%22&startAt=abc', 'Constraint index field must be a JSON primitive'],
      ['/a.json?orderBy=%22x%22&startAt={}', 'Constraint index field must be a JSON primitive'],
      ['/a.json?orderBy=%22x%22&startAt=', 'Constraint index field must be a JSON primitive'],
      ['/a.json?orderBy=%22x%22&startAt=1,2,3', 'Constraint index field must be a JSON primitive'],
      [
        '/a.json?orderBy=%22x%22&equalTo=1&startAt=1',
        'equalTo cannot be specified in addition to startAfter, startAt, endAt, or endBefore',
      ],
      [
        '/a.json?orderBy=%22x%22&startAt=1&startAfter=1',
        'Only one of startAt and startAfter may be specified',
      ],
      ['/a.json?orderBy=%22x%22&endAt=1&endBefore=1', 'Only one of endAt and endBefore may be specified'],
      [
        '/a.json?orderBy=%22x%22&limitToFirst=1&limitToLast=1',
        'Only one of limitToFirst and limitToLast may be specified',
      ],
      ['/a.json?orderBy=%22x%22&limitToFirst=x', 'limitToFirst must be an integer'],
      ['/a.json?orderBy=%22x%22&limitToFirst=1.5', 'limitToFirst must be an integer'],
      ['/a.json?orderBy=%22x%22&limitToLast=0', 'limitToLast must be positive'],
      ['/a.json?orderBy=%22x%22&limitToLast=-1', 'limitToLast must be positive'],
      ['/a.json?orderBy=%22$key%22&startAt=5', 'Provided key index type is invalid, must be string'],
    ]

    for (const [path, error] of refusals) {
      const answer = await ask(server, path)

      expect([path, answer.status, errorOf(answer)]).toEqual([path, 400, error])
    }
  })

  test('prints for people, or not at all', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/.json', { method: 'PUT', body: STORED })

    const pretty = await ask(server, '/user.json?print=pretty')
    const silent = await ask(server, '/user.json?print=silent')

    expect(pretty.text).toBe('{\n  "name": "Ann",\n  "age": 40\n}')
    expect([silent.status, silent.text]).toEqual([204, ''])
  })

  test('gives scripts a call, and browsers a file', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/.json', { method: 'PUT', body: STORED })

    const script = await ask(server, '/user.json?callback=app.take')
    const file = await ask(server, '/text.json?download=a"b%0A✓.json')

    expect(script.text).toBe('app.take({"name":"Ann","age":40});')
    expect(script.headers.get('content-type')).toBe('application/javascript; charset=utf-8')
    expect(script.headers.get('x-content-type-options')).toBe('nosniff')
    expect(file.headers.get('content-disposition')).toBe(
      `attachment; filename="a_b__.json"; filename*=UTF-8''a%22b%0A%E2%9C%93.json`,
    )
  })

  test('sends a value of megabytes in pieces, whole', async (t) => {
    const server = await serveRest(t)
    const value = Object.fromEntries(
      Array.from({ length: 20_000 }, (_, i) => [`key ${i}`, { text: 'é✓😀'.repeat(20), n: i }]),
    )
    await ask(server, '/big.json', { method: 'PUT', body: value })

    const answer = await ask(server, '/big.json')

    expect(answer.headers.get('transfer-encoding')).toBe('chunked')
    expect(answer.body).toEqual(value)
  })
})

describe('writing', () => {
  const cases: [what: string, asked: Asked & { path: string }, answer: unknown, stored: unknown][] = [
    ['PUT stores a value', { method: 'PUT', path: '/a.json', body: { b: 1 } }, { b: 1 }, { b: 1 }],
    ['PUT of null deletes', { method: 'PUT', path: '/a.json', body: null }, null, null],
    [
      'PUT takes any content type',
      { method: 'PUT', path: '/a.json', body: '5', headers: { 'Content-Type': 'text/plain' } },
      5,
      5,
    ],
    [
      'PUT of an array stores keys',
      { method: 'PUT', path: '/a.json', body: ['x', null, 'z'] },
      ['x', null, 'z'],
      { 0: 'x', 2: 'z' },
    ],
    [
      'PUT keeps priorities',
      { method: 'PUT', path: '/a.json', body: { '.value': 1, '.priority': 2 } },
      { '.value': 1, '.priority': 2 },
      { '.value': 1, '.priority': 2 },
    ],
    [
      'PATCH changes what it names',
      { method: 'PATCH', path: '/a.json', body: { b: 2, 'c/d': 3, e: null } },
      { b: 2, 'c/d': 3, e: null },
      { b: 2, c: { d: 3 }, old: true },
    ],
    [
      'PATCH takes paths with a slash before them, and priorities',
      { method: 'PATCH', path: '/a.json', body: { '/b/c': 2, '/b/.priority': 1 } },
      { '/b/c': 2, '/b/.priority': 1 },
      { b: { c: 2, '.priority': 1 }, old: true, e: 1 },
    ],
    ['DELETE deletes', { method: 'DELETE', path: '/a.json' }, null, null],
    [
      'POST can mean another verb, by header',
      { method: 'POST', path: '/a.json', body: 5, headers: { 'X-HTTP-Method-Override': 'PUT' } },
      5,
      5,
    ],
    ['or by parameter', { method: 'POST', path: '/a.json?x-http-method-override=DELETE' }, null, null],
    [
      'PUT answers with the time it stored',
      { method: 'PUT', path: '/a.json', body: { at: { '.sv': 'timestamp' } } },
      { at: 1_700_000_000_000 },
      { at: 1_700_000_000_000 },
    ],
    [
      'an increment adds to what is there',
      { method: 'PUT', path: '/a/e.json', body: { '.sv': { increment: 4 } } },
      5,
      { old: true, e: 5 },
    ],
    [
      'an increment that changes nothing is answered all the same',
      { method: 'PUT', path: '/a/e.json', body: { '.sv': { increment: 0 } } },
      1,
      { old: true, e: 1 },
    ],
    [
      'a merge patch replaces values and removes nulls, deep',
      {
        method: 'PATCH',
        path: '/a.json',
        body: { e: { f: [1] }, old: null },
        headers: { 'Content-Type': 'application/merge-patch+json' },
      },
      { e: { f: [1] }, old: null },
      { e: { f: { 0: 1 } } },
    ],
    [
      'a merge patch that is no object replaces everything',
      {
        method: 'PATCH',
        path: '/a.json',
        body: '7',
        headers: { 'Content-Type': 'application/merge-patch+json; charset=utf-8' },
      },
      7,
      7,
    ],
  ]

  for (const [what, { path, ...asked }, answered, stored] of cases) {
    test(what, async (t) => {
      const server = await serveRest(t, { parts: { nowMs: () => 1_700_000_000_000 } })
      await ask(server, '/a.json', { method: 'PUT', body: { old: true, e: 1 } })

      const answer = await ask(server, path, asked)
      const after = await ask(server, '/a.json?format=export')

      expect([answer.status, answer.body, after.body]).toEqual([200, answered, stored])
    })
  }

  test('PUT answers with the text that was sent, also once a list that had a priority was emptied', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/list.json', { method: 'PUT', body: { a: 1, '.priority': 2 } })
    await ask(server, '/list/a.json', { method: 'DELETE' })
    const sent = '{ "b": 1.0, ".priority": 3 }'

    const answer = await ask(server, '/other.json', { method: 'PUT', body: sent })

    expect(answer.text).toBe(sent)
  })

  test('POST stores a child under a key that sorts by time, and tells it', async (t) => {
    const server = await serveRest(t)

    const first = await ask(server, '/list.json', { method: 'POST', body: '"a"' })
    const second = await ask(server, '/list.json', { method: 'POST', body: '"b"' })
    const list = await ask(server, '/list.json')

    const names = [first, second].map(({ body }) => (body as { name: string }).name)
    expect(names[0]).toMatch(/^[-\w]{20}$/)
    expect(names[0]! < names[1]!).toBe(true)
    expect(list.body).toEqual({ [names[0]!]: 'a', [names[1]!]: 'b' })
  })

  test('a priority is set, read and removed at a path of its own', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/a.json', { method: 'PUT', body: { b: 1 } })

    const put = await ask(server, '/a/.priority.json', { method: 'PUT', body: 3 })
    const exported = await ask(server, '/a.json?format=export')
    await ask(server, '/a/.priority.json', { method: 'DELETE' })
    const after = await ask(server, '/a.json?format=export')

    expect([put.status, put.body]).toEqual([200, 3])
    expect(exported.body).toEqual({ b: 1, '.priority': 3 })
    expect(after.body).toEqual({ b: 1 })
  })

  test('print=silent answers with nothing', async (t) => {
    const server = await serveRest(t)

    for (const [method, body] of [
      ['PUT', 1],
      ['PATCH', { a: 1 }],
      ['POST', 1],
    ] as const) {
      const answer = await ask(server, '/x.json?print=silent', { method, body })

      expect([method, answer.status, answer.text]).toEqual([method, 204, ''])
    }
  })

  test('is refused with Firebase’s text, and changes nothing', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/.json', { method: 'PUT', body: { kept: true } })
    const notJson = "Invalid data; couldn't parse JSON object, array, or value."
    const notObject =
      "Invalid data; couldn't parse JSON object. Are you sending a JSON object with valid key names?"
    const badKey = (place: string): string =>
      `Invalid data; couldn't parse key beginning at ${place}. Key value can't be empty or contain $ # [ ] / or .`
    // Firebase's words do not name these, so ours do.
    const oddKey = (place: string, why: string): string =>
      `Invalid data; couldn't parse key beginning at ${place}: ${why}`
    const refusals: [method: string, path: string, body: unknown, error: unknown][] = [
      ['PUT', '/a.json', '', 'Error: No data supplied.'],
      ['POST', '/a.json', '', 'Error: No data supplied.'],
      ['PATCH', '/a.json', '', 'Error: No data supplied.'],
      ['PUT', '/a.json', '{"a":', notJson],
      ['PUT', '/a.json', 'undefined', notJson],
      ['PUT', '/a.json', new Uint8Array([0x22, 0xff, 0x22]), notJson],
      ['POST', '/a.json', "{'a': 1}", notJson],
      ['PATCH', '/a.json', '5', notObject],
      ['PATCH', '/a.json', '[1]', notObject],
      ['PATCH', '/a.json', 'null', notObject],
      ['PATCH', '/a.json', '{', notObject],
      ['PUT', '/a.json', '{"a.b": 1}', badKey('1:2')],
      ['PUT', '/a.json', '{"text": "a: $", \n  "b": {"$c": 1}}', badKey('2:9')],
      ['PUT', '/a.json', '{"": 1}', badKey('1:2')],
      ['PUT', '/a.json', '{"a": [{"x/y": 1}]}', badKey('1:9')],
      ['PATCH', '/a.json', '{"a/$b": 1}', badKey('1:2')],
      ['PATCH', '/a.json', '{"a//b": 1}', badKey('1:2')],
      ['PATCH', '/a.json', '{".value": 1}', badKey('1:2')],
      ['PATCH', '/a.json', '{"a": {"b/c": 1}}', badKey('1:8')],
      ['PUT', '/a.json', '{"a": {"__proto__": 1}}', oddKey('1:8', 'key `__proto__` is reserved')],
      ['PATCH', '/a.json', '{"a/__proto__": 1}', oddKey('1:2', 'key `__proto__` is reserved')],
      [
        'PUT',
        '/a.json',
        `{"${'k'.repeat(769)}": 1}`,
        oddKey('1:2', `key \`${'k'.repeat(64)}…\` is 769 bytes long; keys may have at most 768`),
      ],
      [
        'PATCH',
        '/a.json',
        '{"a": 1, "a/b": 2}',
        'Invalid data; path `/a/a` is an ancestor of `/a/a/b` in the same update',
      ],
      [
        'PUT',
        '/a.json',
        '{".sv": "date"}',
        'Invalid data; server value `date` is unknown; expected "timestamp" or {"increment": number}',
      ],
      ['PUT', '/a.json', '1e999', 'Invalid data; number `Infinity` is not finite; numbers must be finite'],
      [
        'PUT',
        '/a.json?writeSizeLimit=huge',
        '1',
        'writeSizeLimit must be one of tiny, small, medium, large, unlimited',
      ],
      [
        'PUT',
        '/a/.priority.json',
        'true',
        'Invalid data; priority `true` is not a number, a string, the server timestamp or null',
      ],
      ['POST', '/a/.priority.json', '1', 'a priority has no children to post'],
      ['PATCH', '/a/.priority.json', '{}', 'a priority has no children to patch'],
    ]

    for (const [method, path, body, error] of refusals) {
      const answer = await ask(server, path, { method, body })

      expect([method, body, answer.status, errorOf(answer)]).toEqual([method, body, 400, error])
    }
    expect((await ask(server, '/.json')).body).toEqual({ kept: true })
  })

  test('a verb the API does not have is named as such', async (t) => {
    const server = await serveRest(t)

    const answer = await ask(server, '/a.json', { method: 'PROPFIND' })

    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, PUT, PATCH, POST, DELETE'])
  })
})

test('answers without a body leave the connection usable for the next request', async (t) => {
  const server = await serveRest(t)
  const put = 'PUT /a.json?print=silent HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1'

  const answers = await askRaw(server, put, (text, socket) => {
    const count = text.split('HTTP/1.1 204').length - 1
    if (count < 3 && text.endsWith('\r\n\r\n')) socket.write(put)
    return count === 3 && text.endsWith('\r\n\r\n')
  })

  expect(answers.split('HTTP/1.1 204')).toHaveLength(4)
  expect(answers.toLowerCase()).not.toContain('content-length')
})

test('errors are written as Firebase writes them', async (t) => {
  const server = await serveRest(t, { rules: {} })

  const answer = await ask(server, '/a.json')

  expect(answer.text).toBe('{\n  "error" : "Permission denied"\n}\n')
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
})

test('a path without .json is answered with what is missing', async (t) => {
  const server = await serveRest(t)

  const answer = await ask(server, '/users')

  expect(answer.status).toBe(404)
  expect(answer.text).toContain('append .json')
})

describe('what became of server values', () => {
  const rules = { writeOnly: { '.write': true }, open: OPEN }
  const counted = { n: { '.sv': { increment: 0 } }, at: { '.sv': 'timestamp' } }

  test('is told to who may read there', async (t) => {
    const server = await serveRest(t, { rules })
    await ask(server, '/open.json', { method: 'PUT', body: { n: 42 } })

    const answer = await ask(server, '/open.json', { method: 'PUT', body: counted })

    expect(answer.body).toEqual({ n: 42, at: expect.any(Number) })
  })

  test('of an increment is not told to who may not: the answer is what was sent', async (t) => {
    const server = await serveRest(t, { rules })
    await ask(server, '/writeOnly.json', { method: 'PUT', body: { n: 42 } })

    const plain = await ask(server, '/writeOnly.json', { method: 'PUT', body: counted })
    const pretty = await ask(server, '/writeOnly.json?print=pretty', { method: 'PUT', body: counted })
    const below = await ask(server, '/writeOnly/n.json', { method: 'PUT', body: counted.n })

    expect([plain.body, pretty.body, below.body]).toEqual([counted, counted, counted.n])
  })

  test('of a timestamp is told to everyone: it says nothing of what is stored', async (t) => {
    const server = await serveRest(t, { rules })

    const answer = await ask(server, '/writeOnly.json', { method: 'PUT', body: { '.sv': 'timestamp' } })

    expect(answer.body).toEqual(expect.any(Number))
  })
})

test('a write is answered as it was sent, whatever priority a list has lost before', async (t) => {
  const server = await serveRest(t)
  await ask(server, '/list.json', { method: 'PUT', body: { '.priority': 1, a: 1 } })
  await ask(server, '/list/a.json', { method: 'DELETE' })
  const sent = '{ "x" : {".value": 1, ".priority": 2} }'

  const { text } = await ask(server, '/other.json', { method: 'PUT', body: sent })

  expect(text).toBe(sent)
})
