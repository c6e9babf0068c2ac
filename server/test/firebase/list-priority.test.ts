/**
 * The priority of a list that a client shows in the order of a child, while the list or the window has nothing in it: Firebase's
 * SDK puts a node without that order in its cache, and fails an assertion (`Server snap not indexed`).
 */
import { expect, test } from 'vitest'
import { OPEN, serve } from '../harness.ts'
import { clientKinds } from './clients.ts'
import { RawClient } from './raw-client.ts'

const DEV = { config: { dev: true } }
const BY_SCORE = { ...OPEN, list: { '.indexOn': 'score' } }
const WINDOW = { p: '/list', q: { i: 'score', sp: 5, sin: true }, t: 1, h: '' }

test('a window with nothing in it is told so before its listen is answered', async (t) => {
  const server = await serve(t, { rules: BY_SCORE, ...DEV })
  const client = await RawClient.connect(t, server)
  await client.ask('p', { p: '/list', d: { a: { score: 1 } } })

  await client.ask('q', WINDOW)

  expect(client.pushes).toEqual([['d', { p: 'list', d: null, t: 1 }]])
  expect(client.log).toEqual(['ok 1', 'd list', 'ok 2'])
})

test('a window in the order of keys is told so, too', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const client = await RawClient.connect(t, server)

  await client.ask('q', { p: '/list', q: { i: '.key', l: 2, vf: 'l' }, t: 1, h: '' })

  expect(client.pushes).toEqual([['d', { p: 'list', d: null, t: 1 }]])
})

test('a client that shows none of a list’s children gives the list a priority', async (t) => {
  const server = await serve(t, { rules: BY_SCORE, ...DEV })
  const client = await clientKinds[0]!.open(t, server, {}, 'demo', BY_SCORE)
  await client.set('list', { a: { score: 1 } })
  const shown: unknown[] = []
  await new Promise<void>((resolve) => {
    client.on(
      'value',
      'list',
      [
        ['orderByChild', 'score'],
        ['startAt', 5],
      ],
      (snapshot) => {
        shown.push(snapshot.val())
        resolve()
      },
    )
  })

  await client.setPriority('list', 1)
  await client.set('list/b', { score: 7 })

  expect(shown).toEqual([null, { b: { score: 7 } }])
})

test('a priority for what is not there is no part of an update: nothing of it is pushed', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const client = await RawClient.connect(t, server)
  const sdk = await clientKinds[0]!.open(t, server, {}, 'demo', OPEN)
  await client.ask('p', { p: '/top', d: { old: { x: 1 }, other: 1 } })
  await client.ask('q', { p: '/top', h: '' })
  await new Promise<void>((resolve) => {
    sdk.on('value', 'top/list', [['orderByChild', 'score']], () => resolve())
  })

  await client.ask('m', { p: '/top', d: { a: 1, 'list/.priority': 1, old: null, 'other/.priority': 2 } })
  await client.ask('m', { p: '/top', d: { 'list/.priority': 1, 'more/.priority': 1 } })

  expect(client.pushes.slice(1)).toEqual([['m', { p: 'top', d: { a: 1, old: null, 'other/.priority': 2 } }]])
  await sdk.get('nothing')
})

test('no priority for a list that the same update makes comes behind what makes it', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const client = await RawClient.connect(t, server)
  const sdk = await clientKinds[0]!.open(t, server, {}, 'demo', OPEN)
  let shown: unknown
  await new Promise<void>((resolve) => {
    sdk.on('value', 'list', [['orderByChild', 'score']], (snapshot) => {
      shown = snapshot.val()
      resolve()
    })
  })

  await client.ask('m', { p: '/list', d: { '.priority': null, a: 1 } })
  await sdk.get('nothing')

  expect(shown).toEqual({ a: 1 })
})

test('an update that takes all out of a list and puts something in leaves it its priority, and tells it', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const [client, other] = [await RawClient.connect(t, server), await RawClient.connect(t, server)]
  await other.ask('p', { p: '/top/list', d: { '.priority': 1, b: 1 } })
  await client.ask('q', { p: '/top', h: '' })

  await other.ask('m', { p: '/top/list', d: { b: null, a: 2 } })

  const { d: top } = await client.ask('g', { p: '/top', q: {} })
  expect(top).toEqual({ list: { '.priority': 1, a: 2 } })
  expect(client.pushes.slice(1)).toEqual([
    ['m', { p: 'top', d: { 'list/a': 2, 'list/b': null } }],
    ['m', { p: 'top', d: { 'list/.priority': 1 } }],
  ])
})

test('a list that went with its last child and is made anew is told to have no priority', async (t) => {
  const server = await serve(t, { rules: OPEN, ...DEV })
  const [client, other] = [await RawClient.connect(t, server), await RawClient.connect(t, server)]
  await other.ask('p', { p: '/top', d: { other: 1, list: { '.priority': 1, a: 1 } } })
  await client.ask('q', { p: '/top', h: '' })

  await other.ask('p', { p: '/top/list/a', d: null })
  await other.ask('p', { p: '/top/list/b', d: 1 })
  await other.ask('p', { p: '/top/list/c', d: 1 })

  await client.ask('g', { p: '/top', q: {} })
  expect(client.pushes.slice(1)).toEqual([
    ['d', { p: 'top/list/a', d: null }],
    ['m', { p: 'top', d: { 'list/b': 1 } }],
    ['m', { p: 'top', d: { 'list/.priority': null } }],
    ['d', { p: 'top/list/c', d: 1 }],
  ])
})
