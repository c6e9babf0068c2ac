/**
 * A store that is nearly full: it takes deletions alone, and a write is refused or taken as a whole.
 */
import { expect, test, vi } from 'vitest'
import type { Disk } from '../store/room.ts'
import type { Store } from '../store/store.ts'
import { openLmdbStore } from '../store/store-lmdb.ts'
import { BareClient, type Cleanup, OPEN, path, serve, type TestServer } from './harness.ts'

const NEARLY_FULL: Disk = { bytesFree: 10_000_000, bytesTotal: 1_000_000_000 }
const HALF_FULL: Disk = { bytesFree: 500_000_000, bytesTotal: 1_000_000_000 }

/** @returns How to say what disk there is; resolves once the store has heard of it. */
async function serveOnDisk(t: Cleanup): Promise<{ server: TestServer; become(disk: Disk): Promise<void> }> {
  let disk = HALF_FULL
  let store: Store | null = null
  const openStore = async (folder: string): Promise<Store> => {
    store = await openLmdbStore({ folder, disk: async () => disk })
    return store
  }
  const server = await serve(t, { rules: OPEN, parts: { openStore } })
  const isFull = (): boolean => {
    try {
      store!.assertRoom()
      return false
    } catch {
      return true
    }
  }
  const become = async (next: Disk): Promise<void> => {
    disk = next
    await vi.waitFor(() => expect(isFull()).toBe(next === NEARLY_FULL), 5000)
  }
  return { server, become }
}

test('an update that deletes and gives a priority is refused as a whole, and the writes beside it are kept', async (t) => {
  const { server, become } = await serveOnDisk(t)
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('a'), value: { b: 1, c: 2, d: 3 } })
  await become(NEARLY_FULL)

  const ask = async (method: string, at: string, body: unknown): Promise<number> => {
    const response = await fetch(`${server.url}/${at}.json`, { method, body: JSON.stringify(body) })
    return response.status
  }
  const statuses = await Promise.all([
    ask('PATCH', 'a', { b: null, 'c/.priority': 5 }),
    ask('PUT', 'a/c/.priority', 5),
    ask('DELETE', 'a/d', null),
  ])

  expect(statuses).toEqual([503, 503, 200])
  const read = await client.ask({ type: 'get', path: path('a'), query: null })
  expect(read).toMatchObject({ value: { b: 1, c: 2 } })
})

test('a write that is refused does not have it forgotten that its place lost a priority', async (t) => {
  const { server, become } = await serveOnDisk(t)
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('a'), value: { b: 1, '.priority': 5 } })
  await client.ask({ type: 'listen', path: path('a'), query: null })
  await client.ask({ type: 'remove', path: path('a/b') })

  await become(NEARLY_FULL)
  const refused = await client.ask({ type: 'set', path: path('a/b'), value: 2 })
  await become(HALF_FULL)
  const heardBefore = client.heard.length
  await client.ask({ type: 'set', path: path('a/b'), value: 2 })

  expect(refused).toMatchObject({ type: 'error', name: 'unavailable' })
  expect(client.heard[heardBefore]).toMatchObject({
    type: 'patch',
    steps: [['b', 2, '.priority', null]],
  })
})
