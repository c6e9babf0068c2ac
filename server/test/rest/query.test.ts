/**
 * Queries over REST and event streams: which children come back, and what a stream of a part of a list hears.
 */
import { expect, test } from 'vitest'
import type { TestServer } from '../harness.ts'
import { type Answer, ask, EventClient, errorOf, serveRest } from './rest-harness.ts'

const PEOPLE = {
  ann: { age: 40, name: { last: 'Zed' }, '.priority': 3 },
  bob: { age: 25, name: { last: 'Young' }, '.priority': 1 },
  cat: { age: 31, '.priority': 'b' },
  dan: { name: { last: 'Xu' } },
}
const NUMBERS = { a: 3, b: 1, c: 2, d: 'text' }
const RULES = {
  '.read': true,
  '.write': true,
  people: { '.indexOn': ['age', 'name/last'] },
  numbers: { '.indexOn': '.value' },
}

/** A server with the lists above, once their indexes are built. */
async function serveLists(t: Parameters<typeof serveRest>[0]): Promise<TestServer> {
  const server = await serveRest(t, { rules: RULES })
  const body = { people: PEOPLE, numbers: NUMBERS, plain: { x: { age: 1 } } }
  await ask(server, '/.json', { method: 'PUT', body })
  for (const path of [
    'people.json?orderBy="age"',
    'people.json?orderBy="name/last"',
    'numbers.json?orderBy="$value"',
  ]) {
    await expect.poll(async () => (await ask(server, `/${path}`)).status).toBe(200)
  }
  return server
}

const keysOf = ({ body }: Answer): string[] => Object.keys((body ?? {}) as object).sort()

test('a query gives the children in its range and limit', async (t) => {
  const server = await serveLists(t)
  const cases: [path: string, query: string, keys: string][] = [
    ['people', 'orderBy="age"', 'ann bob cat dan'],
    ['people', 'orderBy="age"&startAt=31', 'ann cat'],
    ['people', 'orderBy="age"&startAfter=31', 'ann'],
    ['people', 'orderBy="age"&endAt=31', 'bob cat dan'],
    ['people', 'orderBy="age"&endBefore=31', 'bob dan'],
    ['people', 'orderBy="age"&equalTo=25', 'bob'],
    ['people', 'orderBy="age"&equalTo=null', 'dan'],
    ['people', 'orderBy="age"&limitToFirst=2', 'bob dan'],
    ['people', 'orderBy="age"&limitToLast=1', 'ann'],
    ['people', 'orderBy="age"&startAt=26&limitToFirst=1', 'cat'],
    ['people', 'orderBy="name/last"&startAt="Y"', 'ann bob'],
    ['people', 'orderBy="$key"&startAt="b"&endAt="c\uf8ff"', 'bob cat'],
    ['people', 'orderBy="$key"&startAfter="b"', 'bob cat dan'],
    ['people', 'orderBy="$key"&equalTo="cat"', 'cat'],
    ['people', 'orderBy="$key"&limitToLast=2', 'cat dan'],
    ['people', 'orderBy="$priority"&startAt=2', 'ann cat'],
    ['people', 'orderBy="$priority"&endAt=1', 'bob dan'],
    ['people', 'orderBy="$priority"&startAt="a"', 'cat'],
    ['numbers', 'orderBy="$value"&startAt=2', 'a c d'],
    ['numbers', 'orderBy="$value"&startAt=2,"b"&endAt=3,"0"', 'c'],
    ['numbers', 'orderBy="$value"&equalTo="text"', 'd'],
    ['numbers', 'orderBy="$value"&equalTo=7', ''],
    ['none', 'orderBy="$key"&limitToFirst=1', ''],
  ]

  for (const [path, query, keys] of cases) {
    const answer = await ask(server, `/${path}.json?${query}`)

    expect([query, answer.status, keysOf(answer).join(' ')]).toEqual([query, 200, keys])
  }
})

test('a query that shows nothing is an empty list, a place without a query is null', async (t) => {
  const server = await serveLists(t)
  const bodyOf = async (path: string): Promise<unknown> => (await ask(server, path)).body

  expect(await bodyOf('/numbers.json?orderBy="$value"&equalTo=7')).toEqual({})
  expect(await bodyOf('/none.json?orderBy="$key"')).toEqual({})
  expect(await bodyOf('/none.json')).toBe(null)
  expect((await ask(server, '/none.json?orderBy="$key"&print=pretty')).text).toBe('{}')
})

test('a query without an index is refused with the rule that would define it, for streams, too', async (t) => {
  const server = await serveLists(t)
  const cases: [query: string, index: string][] = [
    ['orderBy="age"&limitToFirst=1', 'age'],
    ['orderBy="a/b"&equalTo=1', 'a/b'],
    ['orderBy="$value"&startAt=1', '.value'],
  ]

  for (const [query, index] of cases) {
    for (const headers of [{}, { Accept: 'text/event-stream' }]) {
      const answer = await ask(server, `/plain.json?${query}`, { headers })

      expect([answer.status, errorOf(answer)]).toEqual([
        400,
        `Index not defined, add ".indexOn": "${index}", for path "/plain", to the rules`,
      ])
    }
  }
})

test('a stream of a query hears what changes, enters and leaves, in one event for each write', async (t) => {
  const server = await serveLists(t)
  const client = await EventClient.open(t, server, '/people.json?orderBy="age"&limitToLast=2')
  await client.first(1)

  await ask(server, '/people/cat/age.json', { method: 'PUT', body: 32 })
  await ask(server, '/people/eve.json', { method: 'PUT', body: { age: 99 } })
  await ask(server, '/people/dan/age.json', { method: 'PUT', body: 1 })
  await ask(server, '/people/eve.json', { method: 'DELETE' })

  const events = structuredClone(await client.first(4))
  const held: Record<string, unknown> = {}
  for (const { data } of events) {
    const { path, data: value } = data as { path: string; data: Record<string, unknown> }
    const changes = path === '/' ? value : { [path.slice(1)]: value }
    for (const [at, child] of Object.entries(changes)) {
      const [key, below] = at.split('/') as [string, string | undefined]
      if (below !== undefined) (held[key] as Record<string, unknown>)[below] = child
      else if (child === null) delete held[key]
      else held[key] = child
    }
  }
  expect(held).toEqual({ ann: { age: 40, name: { last: 'Zed' } }, cat: { age: 32 } })
  expect(client.heard[0]!.data).toEqual({
    path: '/',
    data: { ann: { age: 40, name: { last: 'Zed' } }, cat: { age: 31 } },
  })
  expect(client.heard[2]).toMatchObject({
    event: 'patch',
    data: { path: '/', data: { eve: { age: 99 }, cat: null } },
  })
})
