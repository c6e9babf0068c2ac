/** Listens: what is heard, in which order, and when it ends. */
import { expect } from 'vitest'
import { listen, type Row, record } from './table.ts'

export const listenRows: readonly Row[] = [
  {
    name: 'a listener hears the value as it is, then every change by others',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('a', 0)
      const heard = await listen(reader, 'a')

      for (let n = 1; n <= 20; n++) await writer.set('a', n)
      await heard.until(({ last }) => last === 20)

      expect(heard.values).toEqual(Array.from({ length: 21 }, (_, n) => n))
    },
  },
  {
    name: 'a listener on nothing hears that there is nothing',
    async run({ open }) {
      const client = await open()

      const heard = await listen(client, 'none')

      expect(heard.values).toEqual([null])
    },
  },
  {
    name: 'a writer who listens hears each of its writes once, and never an older value again',
    async run({ open }) {
      const client = await open()
      const heard = await listen(client, 'a')

      await Promise.all([1, 2, 3, 4, 5].map((n) => client.set('a', n)))

      expect(heard.values).toEqual([null, 1, 2, 3, 4, 5])
    },
  },
  {
    name: 'changes are heard at, above and below the path that was written',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('a', { b: { c: 1, d: 1 }, e: 1 })
      const heard = await Promise.all(['a', 'a/b', 'a/b/c', 'a/e'].map((path) => listen(reader, path)))

      await writer.set('a/b', { c: 2 })
      await Promise.all(heard.slice(0, 3).map((one) => one.until(({ values }) => values.length === 2)))

      expect(heard.map(({ last }) => last)).toEqual([{ b: { c: 2 }, e: 1 }, { c: 2 }, 2, 1])
      expect(heard[3]!.values).toHaveLength(1)
    },
  },
  {
    name: 'children are heard as they come, change and go',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('list', { a: 1, b: 2 })
      const added = record(reader, 'child_added', 'list')
      const changed = record(reader, 'child_changed', 'list')
      const removed = record(reader, 'child_removed', 'list')
      await added.until(({ values }) => values.length === 2)

      await writer.set('list/c', 3)
      await writer.set('list/a', 10)
      await writer.remove('list/b')
      await removed.until(({ values }) => values.length === 1)

      expect(added.snapshots.map(({ key }) => key)).toEqual(['a', 'b', 'c'])
      expect(changed.values).toEqual([10])
      expect(removed.snapshots.map(({ key }) => key)).toEqual(['b'])
    },
  },
  {
    name: 'who stops listening hears nothing more, and may listen again',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      const first = record(reader, 'value', 'a')
      await first.until(({ values }) => values.length === 1)
      first.stop()

      await writer.set('a', 1)
      const again = await listen(reader, 'a')
      await writer.set('a', 2)
      await again.until(({ last }) => last === 2)

      expect(first.values).toEqual([null])
      expect(again.values).toEqual([1, 2])
    },
  },
  {
    name: 'a listener on a parent takes over from those on its children, and they from it',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('a', { b: 1, c: 1 })
      const child = await listen(reader, 'a/b')
      const parent = record(reader, 'value', 'a')
      await parent.until(({ values }) => values.length > 0)

      await writer.set('a/b', 2)
      await child.until(({ last }) => last === 2)
      parent.stop()
      await writer.set('a/b', 3)
      await child.until(({ last }) => last === 3)

      expect(child.values).toEqual([1, 2, 3])
    },
  },
  {
    name: 'a client that was away is brought up to date, also about what is gone',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('a', { stays: 1, goes: 1 })
      const heard = await listen(reader, 'a')
      reader.goOffline()

      await writer.update('a', { goes: null, comes: 1 })
      reader.goOnline()
      await heard.until(({ last }) => last?.comes === 1)

      expect(heard.last).toEqual({ stays: 1, comes: 1 })
    },
  },
  {
    name: 'what is written while away reaches the server in order',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      const heard = await listen(reader, 'log')
      await writer.set('log/ready', true)
      writer.goOffline()

      const writes = [writer.set('log/a', 1), writer.set('log/a', 2), writer.update('log', { b: 3 })]
      writer.goOnline()
      await Promise.all(writes)
      await heard.until(({ last }) => last?.b === 3)

      expect(heard.last).toEqual({ ready: true, a: 2, b: 3 })
    },
  },
  {
    name: 'a value far larger than a socket’s buffer reaches a listener, and changes after it',
    async run({ open }) {
      const [writer, reader] = [await open({ isAdmin: true }), await open()]
      const chunk = 'x'.repeat(500_000)
      for (let n = 0; n < 12; n++) await writer.set(`big/${n}`, chunk)
      const heard = await listen(reader, 'big')

      await writer.set('big/0', 'changed')
      await heard.until(({ last }) => last?.[0] === 'changed')

      expect(Object.keys(heard.last)).toHaveLength(12)
    },
  },
  {
    name: 'a window goes on showing a child whose one part, which is listened to as well, gives way to another',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      await writer.set('rooms', { a: { open: 1 }, b: { open: 2 } })
      const rooms = await listen(reader, 'rooms', ['orderByKey'], ['limitToLast', 2])
      const part = await listen(reader, 'rooms/a/open')

      await writer.update('rooms/a', { open: null, closed: 3 })
      await part.until(({ last }) => last === null)
      await reader.get('elsewhere')

      expect(rooms.last).toEqual({ a: { closed: 3 }, b: { open: 2 } })
    },
  },
  {
    name: 'a window with a limit shows as many when a child comes into it that is listened to as well',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      const ranked = (priority: number): object => ({ '.priority': priority, '.value': priority })
      await writer.set('list', { a: ranked(1), b: ranked(9), c: ranked(3), d: ranked(4) })
      const window = await listen(reader, 'list', ['orderByPriority'], ['limitToFirst', 2])
      const child = await listen(reader, 'list/b')

      await writer.update('list', { a: null, b: ranked(2) })
      await child.until(({ last }) => last === 2)
      await reader.get('elsewhere')

      expect(window.last).toEqual({ b: 2, c: 3 })
    },
  },
]
