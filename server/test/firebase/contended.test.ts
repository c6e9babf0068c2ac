/**
 * Answers behind what others wrote later: a group's pushes come before the answers to its writes. Firebase's SDK, when its
 * write is answered, shows what it has been told of just that place, so that it kept its own value where a later write
 * of the group left nothing in a window, or a leaf above. So it is told once more.
 */
import { expect, test } from 'vitest'
import { openLmdbStore } from '../../store/store-lmdb.ts'
import { type Cleanup, OPEN, serve, type TestServer } from '../harness.ts'
import { RawClient } from './raw-client.ts'

/** A server whose next flush waits, so that all that is written meanwhile is one group. */
async function serveHeld(t: Cleanup): Promise<{ server: TestServer; hold(): () => void }> {
  let held: Promise<void> | null = null
  const server = await serve(t, {
    rules: OPEN,
    parts: {
      openStore: async (folder) => {
        const store = await openLmdbStore({ folder })
        const flush = store.flush.bind(store)
        store.flush = async () => {
          await held
          await flush()
        }
        return store
      },
    },
  })
  const hold = (): (() => void) => {
    let release = (): void => {}
    held = new Promise((resolve) => {
      release = () => {
        held = null
        resolve()
      }
    })
    return release
  }
  return { server, hold }
}

/** All that was sent before has arrived. */
async function arrived(client: RawClient): Promise<void> {
  client.sendText(JSON.stringify({ t: 'c', d: { t: 'p', d: {} } }))
  await client.next(({ t, d }) => t === 'c' && d.t === 'o')
  client.heard.splice(
    client.heard.findIndex(({ t, d }) => t === 'c' && d.t === 'o'),
    1,
  )
}

async function oneGroup(t: Cleanup, listen: object, own: object, others: object): Promise<RawClient> {
  const { server, hold } = await serveHeld(t)
  const [client, other] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  await other.ask('p', { p: '/list', d: { a: 1, b: 2 } })
  await client.ask('q', listen)

  const release = hold()
  other.send('p', { p: '/elsewhere', d: 1 })
  await arrived(other)
  const number = client.send('p', own)
  await arrived(client)
  other.send('p', others)
  await arrived(other)
  client.heard.length = 1
  release()
  await client.answer(number)
  await client.ask('g', { p: '/elsewhere', q: {} })
  return client
}

const WINDOW = { p: '/list', q: { i: '.key', l: 2, vf: 'r' }, t: 3, h: '' }

test('a window is told again of a child that another removed right after its client made it', async (t) => {
  const client = await oneGroup(t, WINDOW, { p: '/list/c', d: 3 }, { p: '/list/c', d: null })

  expect(client.log.slice(-3)).toEqual(['ok 2', 'm list', 'ok 3'])
  expect(client.pushes.at(-1)).toEqual(['m', { p: 'list', d: { c: null }, t: 3 }])
})

test('a listener is told again of a leaf that another put above what its client wrote', async (t) => {
  const own = { p: '/list/c/d', d: 3 }
  const client = await oneGroup(t, { p: '/', h: '' }, own, { p: '/list/c', d: 'leaf' })

  expect(client.log.slice(-3)).toEqual(['ok 2', 'd list/c', 'ok 3'])
  expect(client.pushes.at(-1)).toEqual(['d', { p: 'list/c', d: 'leaf' }])
})

test('a window is told again of a child its client wrote that another made lie outside', async (t) => {
  const client = await oneGroup(t, WINDOW, { p: '/list/a', d: 5 }, { p: '/list/c', d: 3 })

  expect(client.log.slice(-3)).toEqual(['ok 2', 'm list', 'ok 3'])
  expect(client.pushes.at(-1)).toEqual(['m', { p: 'list', d: { a: null }, t: 3 }])
})

test('a window is told that a child its client wrote lies outside, though the write changed nothing', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/list', d: { a: 1, b: 2, c: 3 } })
  await client.ask('q', WINDOW)

  await client.ask('p', { p: '/list/a', d: 1 })
  await client.ask('p', { p: '/list/b', d: 2 })
  await arrived(client)

  expect(client.log).toEqual(['ok 1', 'd list', 'ok 2', 'ok 3', 'm list', 'ok 4'])
  expect(client.pushes.at(-1)).toEqual(['m', { p: 'list', d: { a: null }, t: 3 }])
})

test('a listener is told again of priorities above what its client deleted', async (t) => {
  const listen = { p: '/list', h: '' }
  const again = { '.priority': 1, b: 2 }
  const client = await oneGroup(t, listen, { p: '/list/a', d: null }, { p: '/list', d: again })

  expect(client.log.slice(-4)).toEqual(['ok 2', 'd list/a', 'm list', 'ok 3'])
  expect(client.pushes.at(-1)).toEqual(['m', { p: 'list', d: { '.priority': 1 } }])
})

test('what a client wrote is told to a listen that it ended right behind', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('q', { p: '/list', h: '' })

  client.send('p', { p: '/list/c', d: { '.sv': 'timestamp' } })
  await client.ask('n', { p: '/list' })

  expect(client.log).toEqual(['ok 1', 'd list/c', 'ok 2', 'ok 3'])
})

test('a window is told anew what it shows once its client ends a listen that had no index there', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', { p: '/list', d: { a: 1, b: 2, c: 3 } })
  await client.ask('q', WINDOW)
  const unindexed = { p: '/list', q: { i: 'score', sp: 1, sin: true }, t: 5 }
  await client.ask('q', { ...unindexed, h: '' })

  await client.ask('n', unindexed)

  expect(client.log.slice(3)).toEqual(['d list', 'ok 3', 'd list', 'ok 4'])
  expect(client.pushes.at(-1)).toEqual(['d', { p: 'list', d: { b: 2, c: 3 }, t: 3 }])
})

test('an own write that changed nothing does not hide that another wrote', async (t) => {
  const { server, hold } = await serveHeld(t)
  const client = await RawClient.connect(t, server, { ns: null })
  const other = await RawClient.connect(t, server, { ns: null })
  await other.ask('p', { p: '/list', d: { a: 1, b: 2 } })
  await client.ask('q', WINDOW)

  const release = hold()
  other.send('p', { p: '/elsewhere', d: 1 })
  await arrived(other)
  client.send('p', { p: '/list/c', d: 3 })
  const number = client.send('p', { p: '/.priority', d: null })
  await arrived(client)
  other.send('p', { p: '/list', d: 1 })
  await arrived(other)
  client.heard.length = 1
  release()
  await client.answer(number)
  await client.ask('g', { p: '/elsewhere', q: {} })

  expect(client.log).toEqual(['d list', 'ok 2', 'ok 3', 'd list', 'ok 4'])
  expect(client.pushes.at(-1)).toEqual(['d', { p: 'list', d: null, t: 3 }])
})

test('nothing is told again where nobody else wrote', async (t) => {
  const client = await oneGroup(t, WINDOW, { p: '/list/c', d: 3 }, { p: '/list-of-another/c', d: null })

  expect(client.log).toEqual(['m list', 'ok 2', 'ok 3'])
})

test('a listen to all of an empty place is sent that it is empty where its client has a window there', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('q', WINDOW)

  await client.ask('q', { p: '/list', h: '' })

  expect(client.pushes.at(-1)).toEqual(['d', { p: 'list', d: null }])
})

test('so is one of a client that may show there what it was told before', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const back = await RawClient.connect(t, server, { ns: null, query: '&ls=before' })
  await client.ask('q', { p: '/', h: '' })
  await client.ask('n', { p: '/' })

  await client.ask('q', { p: '/list', h: '' })
  await back.ask('q', { p: '/list', h: '' })

  expect(client.log).toEqual(['ok 1', 'ok 2', 'd list', 'ok 3'])
  expect(back.log).toEqual(['d list', 'ok 1'])
})

test('a listener is told again of what another wrote behind a write of its client that changed nothing', async (t) => {
  const client = await oneGroup(t, WINDOW, { p: '/list/b', d: 2 }, { p: '/list/b', d: null })

  expect(client.log.slice(-3)).toEqual(['ok 2', 'm list', 'ok 3'])
  expect(client.pushes.at(-1)?.[1]).toMatchObject({ d: { b: null } })
})

test('each listen is told again once, however much it is and however slowly its client reads', async (t) => {
  const { server, hold } = await serveHeld(t)
  const [client, other] = [
    await RawClient.connect(t, server, { ns: null }),
    await RawClient.connect(t, server, { ns: null }),
  ]
  const text = 'x'.repeat(3 * 1024 * 1024)
  const keys = ['a', 'b', 'c']
  for (const key of keys) await client.ask('q', { p: `/room/${key}`, h: '' })

  const release = hold()
  other.send('p', { p: '/elsewhere', d: 1 })
  await arrived(other)
  const number = client.send('p', { p: '/room', d: 1 })
  await arrived(client)
  for (const key of keys) other.send('p', { p: `/room/${key}`, d: text })
  await arrived(other)
  release()
  await client.answer(number)
  for (let n = 0; n < 50; n++) await client.ask('g', { p: '/elsewhere', q: {} })

  expect(client.pushes.length).toBeLessThan(15)
})

test('all windows are told anew once a listen that had no index there ends', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  const list = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`k${n}`, n]))
  await client.ask('p', { p: '/list', d: list })
  const tags = Array.from({ length: 100 }, (_, n) => n + 10)
  for (const tag of tags) {
    await client.ask('q', { p: '/list', q: { i: '.key', l: 1000 + tag, vf: 'l' }, t: tag, h: '' })
  }
  const unindexed = { p: '/list', q: { i: 'score', sp: 1, sin: true }, t: 5 }
  await client.ask('q', { ...unindexed, h: '' })
  client.heard.length = 1

  await client.ask('n', unindexed)
  await Promise.all(tags.map((tag) => client.push('d', ({ t }) => t === tag)))
  await client.ask('g', { p: '/elsewhere', q: {} })

  expect(client.pushes.map(([, { t }]) => t).sort((a, b) => a - b)).toEqual(tags)
})
