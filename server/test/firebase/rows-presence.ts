/** Presence: what a client leaves behind when its connection ends. */
import { expect } from 'vitest'
import { listen, type Row } from './table.ts'

export const presenceRows: readonly Row[] = [
  {
    name: 'what was left is written when the connection ends, values, priorities, updates and removals',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.set('', { removed: 1, updated: { a: 1, b: 1 } })
      await client.onDisconnect('set').set({ gone: true })
      await client.onDisconnect('ranked').setWithPriority('x', 3)
      await client.onDisconnect('updated').update({ a: 2, 'c/d': 3 })
      await client.onDisconnect('removed').remove()
      const heard = await listen(watcher, '')

      client.goOffline()
      await heard.until(({ last }) => last?.set !== undefined && last.removed === undefined)

      expect((await watcher.get('')).exportVal()).toEqual({
        set: { gone: true },
        ranked: { '.value': 'x', '.priority': 3 },
        updated: { a: 2, b: 1, c: { d: 3 } },
      })
    },
  },
  {
    name: 'who reads right after a client went offline reads what it left',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      await reader.get('status')
      await client.onDisconnect('status').set('gone')

      client.goOffline()
      const status = await listen(reader, 'status')
      await status.until(({ last }) => last === 'gone')

      expect((await reader.get('status')).val()).toBe('gone')
    },
  },
  {
    name: 'what was canceled is not written; canceled below, only that is left out',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.onDisconnect('a').set(1)
      await client.onDisconnect('b/c').set(1)
      await client.onDisconnect('b/d').set(1)
      await client.onDisconnect('all').set({ x: 1, y: 1 })
      await client.onDisconnect('a').cancel()
      await client.onDisconnect('b').cancel()
      await client.onDisconnect('all/x').cancel()
      const heard = await listen(watcher, '')

      client.goOffline()
      await heard.until(({ last }) => last !== null)

      expect(heard.last).toEqual({ all: { y: 1 } })
    },
  },
  {
    name: 'what is stored where a part was canceled stays, and all around it becomes what was left',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.set('', {
        set: { x: { '.value': 'stays', '.priority': 1 }, y: 0, z: 'goes' },
        removed: { x: 'stays', y: 'goes' },
        nested: { x: { p: 'stays', q: 0, r: 'goes' }, y: 'goes' },
        several: { x: 'stays', y: 'stays', z: 'goes' },
        again: { x: 'goes' },
        leaf: { x: 'goes' },
        updated: { x: { p: 'stays', q: 'goes' }, y: 'stays', z: 0 },
        ranked: { '.value': 0, '.priority': 'stays' },
      })
      await client.onDisconnect('set').set({ x: 1, y: 1, '.priority': 2 })
      await client.onDisconnect('set/x').cancel()
      await client.onDisconnect('removed').remove()
      await client.onDisconnect('removed/x').cancel()
      await client.onDisconnect('removed/none').cancel()
      await client.onDisconnect('nested').set({ x: { p: 1, q: 1 } })
      await client.onDisconnect('nested/x/p').cancel()
      await client.onDisconnect('several').set({ w: 1 })
      await client.onDisconnect('several/y/deep').cancel()
      await client.onDisconnect('several/y').cancel()
      await client.onDisconnect('several/x').cancel()
      await client.onDisconnect('again').set({ x: 1, y: 1 })
      await client.onDisconnect('again/x').cancel()
      await client.onDisconnect('again/x').set(2)
      await client.onDisconnect('leaf').set(1)
      await client.onDisconnect('leaf/x').cancel()
      await client.onDisconnect('updated').update({ x: { q: null, r: 1 }, y: 1, z: 1 })
      await client.onDisconnect('updated/x/p').cancel()
      await client.onDisconnect('updated/y').cancel()
      const heard = await listen(watcher, '')

      client.goOffline()
      await heard.until(({ last }) => last.updated.z === 1)

      expect((await watcher.get('')).exportVal()).toEqual({
        set: { x: { '.value': 'stays', '.priority': 1 }, y: 1, '.priority': 2 },
        removed: { x: 'stays' },
        nested: { x: { p: 'stays', q: 1 } },
        several: { w: 1, x: 'stays', y: 'stays' },
        again: { x: 2, y: 1 },
        leaf: 1,
        updated: { x: { p: 'stays', r: 1 }, y: 'stays', z: 1 },
        ranked: { '.value': 0, '.priority': 'stays' },
      })
    },
  },
  {
    name: 'the later of two at a path is what is written, the earlier beside it stays',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.onDisconnect('a').set({ x: 1, y: 1 })
      await client.onDisconnect('a/x').set(2)
      await client.onDisconnect('b/x').set(1)
      await client.onDisconnect('b').set({ y: 2 })
      const heard = await listen(watcher, '')

      client.goOffline()
      await heard.until(({ last }) => last?.b?.y === 2 && last.b.x === undefined)

      expect(heard.last).toEqual({ a: { x: 2, y: 1 }, b: { y: 2 } })
    },
  },
  {
    name: 'server values are those of the moment the connection ends',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.set('n', 1)
      await client.onDisconnect('at').set(client.timestamp)
      await client.onDisconnect('n').set(client.increment(10))
      await client.set('n', 5)
      const heard = await listen(watcher, '')
      const beforeMs = Date.now()

      client.goOffline()
      await heard.until(({ last }) => last?.at !== undefined)

      expect(heard.last.n).toBe(15)
      expect(heard.last.at).toBeGreaterThanOrEqual(beforeMs - 1)
    },
  },
  {
    name: 'it runs once: coming back and leaving again writes nothing more',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.onDisconnect('n').set(client.increment(1))
      const heard = await listen(watcher, 'n')
      client.goOffline()
      await heard.until(({ last }) => last === 1)

      client.goOnline()
      await client.set('back', true)
      client.goOffline()
      await watcher.set('marker', true)

      expect((await watcher.get('n')).val()).toBe(1)
    },
  },
  {
    name: 'rules decide again at the end, under the identity that asked',
    rules: {
      '.read': true,
      status: { $uid: { '.write': "auth.uid === $uid && root.child('open').val() === true" } },
      open: { '.write': true },
      marker: { '.write': true },
    },
    async run({ open }) {
      const [ann, bob, watcher] = [await open({ uid: 'ann' }), await open({ uid: 'bob' }), await open()]
      await watcher.set('open', true)
      await ann.onDisconnect('status/ann').set('gone')
      await bob.onDisconnect('status/bob').set('gone')
      const heard = await listen(watcher, 'status')
      ann.goOffline()
      await heard.until(({ last }) => last?.ann === 'gone')

      await watcher.set('open', false)
      bob.goOffline()
      await watcher.set('marker', true)

      expect((await watcher.get('status')).val()).toEqual({ ann: 'gone' })
    },
  },
]
