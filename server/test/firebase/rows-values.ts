/** Values: what is written and what is read back. */
import { expect } from 'vitest'
import { keysOf, listen, type Row, record } from './table.ts'

export const valueRows: readonly Row[] = [
  {
    name: 'what is set is what another client gets',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      const value = { text: 'é😀', n: 1.5, yes: true, no: false, deep: { er: { still: -0.1 } } }

      await writer.set('a', value)

      expect((await reader.get('a')).val()).toEqual(value)
    },
  },
  {
    name: 'nothing is stored of nulls, empty objects and empty arrays',
    async run({ open }) {
      const client = await open()

      await client.set('a', { b: null, c: {}, d: [], e: 1 })
      await client.set('f', { g: {} })

      expect((await client.get('')).val()).toEqual({ a: { e: 1 } })
    },
  },
  {
    name: 'an array comes back as an array, with holes where it had nulls',
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]

      await writer.set('a', ['x', null, 'z'])

      const { val } = await readBoth(reader, 'a')
      expect(val).toHaveLength(3)
      expect([val[0], val[1] ?? null, val[2]]).toEqual(['x', null, 'z'])
    },
  },
  {
    name: 'remove takes away a value, and the parents it leaves empty',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      await client.set('a/b/c', 1)

      await client.remove('a/b/c')

      expect((await reader.get('a')).exists()).toBe(false)
    },
  },
  {
    name: 'a write below a leaf makes it an object; a deletion below a leaf leaves it alone',
    async run({ open }) {
      const client = await open()
      await client.set('leaf', 5)

      await client.remove('leaf/nothing')
      const kept = (await client.get('leaf')).val()
      await client.set('leaf/child', 1)

      expect(kept).toBe(5)
      expect((await client.get('leaf')).val()).toEqual({ child: 1 })
    },
  },
  {
    name: 'update changes the paths it names and no others, all at once',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.set('', { a: { keep: 1, change: 1 }, b: { gone: 1 } })
      const heard = await listen(watcher, '')

      await client.update('', { 'a/change': 2, 'b/gone': null, 'c/d/e': { list: [1, null, 2] } })
      await heard.until(({ last }) => last.c !== undefined)

      expect(heard.values).toHaveLength(2)
      expect(heard.last.a).toEqual({ keep: 1, change: 2 })
      expect(heard.last.b).toBeUndefined()
      expect(keysOf(heard.snapshots.at(-1)!)).toEqual(['a', 'c'])
    },
  },
  {
    name: 'a pushed child has a key that sorts after the keys before it',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]

      const keys = [await client.push('list', 'a'), await client.push('list', 'b')]
      keys.push(await client.push('list', 'c'))

      const list = await reader.get('list')
      expect(keysOf(list)).toEqual(keys)
      expect(Object.values(list.val())).toEqual(['a', 'b', 'c'])
    },
  },
  {
    name: 'the server’s timestamp is one reading throughout a write, and close to now',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]

      await client.update('', { 'a/at': client.timestamp, 'b/at': client.timestamp })

      const { a, b } = (await reader.get('')).val()
      expect(a.at).toBe(b.at)
      expect(Math.abs(a.at - Date.now())).toBeLessThan(60_000)
    },
  },
  {
    name: 'increments of many clients at once add up',
    async run({ open }) {
      const clients = [await open(), await open(), await open(), await open()]

      await Promise.all(
        clients.flatMap((client) => Array.from({ length: 25 }, () => client.set('n', client.increment(1)))),
      )

      expect((await clients[0]!.get('n')).val()).toBe(100)
    },
  },
  {
    name: 'an increment of what is no number starts from nothing',
    async run({ open }) {
      const client = await open()
      await client.set('', { text: 'x', object: { a: 1 } })

      await client.update('', {
        text: client.increment(2),
        object: client.increment(3),
        none: client.increment(-4),
      })

      expect((await client.get('')).val()).toEqual({ text: 2, object: 3, none: -4 })
    },
  },
  {
    name: 'a priority is stored with a leaf or an object, and a plain set clears it',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]

      await client.setWithPriority('leaf', 1, 'p')
      await client.setWithPriority('object', { a: 1 }, 5)
      const before = (await reader.get('')).exportVal()
      await client.set('leaf', 2)

      expect(before).toEqual({
        leaf: { '.value': 1, '.priority': 'p' },
        object: { a: 1, '.priority': 5 },
      })
      expect((await reader.get('leaf')).exportVal()).toBe(2)
    },
  },
  {
    name: 'setPriority changes the priority of what is there, is heard, and does nothing to what is not',
    async run({ open }) {
      const [client, watcher] = [await open(), await open()]
      await client.set('list', { a: 1, b: { c: 2 }, d: 3 })
      const moved = record(watcher, 'child_moved', 'list', ['orderByPriority'])
      await listen(watcher, 'list', ['orderByPriority'])

      await client.setPriority('list/b', 10)
      await client.setPriority('list/none', 1)
      await client.setPriority('list/a', 20)
      await moved.until(({ values }) => values.length >= 2)

      expect((await watcher.get('list')).exportVal()).toEqual({
        a: { '.value': 1, '.priority': 20 },
        b: { c: 2, '.priority': 10 },
        d: 3,
      })
      expect(keysOf(await watcher.get('list', ['orderByPriority']))).toEqual(['d', 'b', 'a'])
    },
  },
  {
    name: 'an update of a child keeps the priority of its parent',
    async run({ open }) {
      const client = await open()
      await client.setWithPriority('a', { b: 1 }, 7)

      await client.update('a', { b: 2, c: 3 })

      expect((await client.get('a')).exportVal()).toEqual({ b: 2, c: 3, '.priority': 7 })
    },
  },
  {
    name: 'keys come integers first, by number, then by UTF-16 units',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      const keys = ['-1', '0', '1', '01', '9', '10', '1a', '2147483648', 'A', '_', 'a', 'é', '😀', '\uFFFD']

      await client.set('k', Object.fromEntries([...keys].reverse().map((key) => [key, true])))

      expect(keysOf(await reader.get('k'))).toEqual(keys)
    },
  },
  {
    name: 'keys with spaces, percent signs and plus signs are what they are',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]

      await client.set('a b/ü%41/é+', 1)

      expect((await reader.get('')).val()).toEqual({ 'a b': { 'ü%41': { 'é+': 1 } } })
    },
  },
  {
    name: 'a place that is new arrives with the priority that was written apart from it',
    except: { 'hearthdb/client': 'its updates name no priorities' },
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      const heard = await listen(reader, 'a')

      const writes = [
        client.set('a/pipelined/b/c', 1),
        client.setPriority('a/pipelined/b', 3),
        client.update('a', { 'one/b/c': 1, 'one/b/.priority': 'p', 'one/.priority': 5 }),
        client.update('a', { 'own/c': 1, '.priority': 7 }),
      ]
      await Promise.all(writes)
      await heard.until(({ snapshots }) => JSON.stringify(snapshots.at(-1)!.exportVal()).includes('7'))

      expect(heard.snapshots.at(-1)!.exportVal()).toEqual({
        pipelined: { b: { c: 1, '.priority': 3 } },
        one: { b: { c: 1, '.priority': 'p' }, '.priority': 5 },
        own: { c: 1 },
        '.priority': 7,
      })
    },
  },
  {
    name: 'a text of many frames arrives whole in both directions, outside ASCII, too',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      // Three bytes of UTF-8 for each unit: the frames that are too long for a server that counts bytes as units.
      const text = '語'.repeat(100_000)
      const heard = await listen(reader, 'text')

      await client.set('text', text)
      await heard.until(({ last }) => last !== null)

      expect(heard.last === text).toBe(true)
      expect((await client.get('text')).val() === text).toBe(true)
    },
  },
  {
    name: 'numbers from the smallest to the largest come back the same',
    async run({ open }) {
      const [client, reader] = [await open(), await open()]
      const numbers = [5e-324, -1.7976931348623157e308, 2 ** 53 - 1, -(2 ** 53), 0.1, 1e21, 4294967296]

      await client.set('n', Object.fromEntries(numbers.map((number, i) => [`n${i}`, number])))

      expect(Object.values((await reader.get('n')).val())).toEqual(numbers)
    },
  },
]

async function readBoth(client: Parameters<typeof listen>[0], path: string) {
  const [got, heard] = [await client.get(path), await listen(client, path)]
  expect(heard.last).toEqual(got.val())
  return { val: got.val() }
}
