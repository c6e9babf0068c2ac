/** Queries: orders, ranges, limits; once, and kept while data changes. */
import { expect } from 'vitest'
import type { Constraint } from './clients.ts'
import { keysOf, listen, type Row, record } from './table.ts'

const INDEXED = {
  '.read': true,
  '.write': true,
  people: { '.indexOn': ['age', 'address/zip', '.value'] },
  scores: { '.indexOn': '.value' },
}

const PEOPLE = {
  ann: { age: 30, address: { zip: 'b' } },
  bob: { age: 25, address: { zip: 'a' } },
  cid: { age: 30 },
  dan: { name: 'no age' },
  eve: { age: 'unknown' },
}

/** What each query shows of PEOPLE, in its order. */
const SHOWN: readonly [constraints: Constraint[], keys: string[]][] = [
  [[['orderByKey']], ['ann', 'bob', 'cid', 'dan', 'eve']],
  [
    [['orderByKey'], ['startAt', 'bob'], ['endAt', 'cid']],
    ['bob', 'cid'],
  ],
  [
    [['orderByKey'], ['startAfter', 'bob'], ['limitToFirst', 2]],
    ['cid', 'dan'],
  ],
  [
    [['orderByKey'], ['endBefore', 'cid']],
    ['ann', 'bob'],
  ],
  [
    [['orderByKey'], ['limitToLast', 2]],
    ['dan', 'eve'],
  ],
  [[['orderByKey'], ['equalTo', 'dan']], ['dan']],
  [[['orderByChild', 'age']], ['dan', 'bob', 'ann', 'cid', 'eve']],
  [
    [
      ['orderByChild', 'age'],
      ['startAt', 25],
      ['endAt', 30],
    ],
    ['bob', 'ann', 'cid'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['equalTo', 30],
    ],
    ['ann', 'cid'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['equalTo', 30, 'cid'],
    ],
    ['cid'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['equalTo', null],
    ],
    ['dan'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['startAt', 30, 'b'],
    ],
    ['cid', 'eve'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['startAfter', 30],
    ],
    ['eve'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['startAfter', 30, 'ann'],
    ],
    ['cid', 'eve'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['endBefore', 30],
    ],
    ['dan', 'bob'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['limitToFirst', 2],
    ],
    ['dan', 'bob'],
  ],
  [
    [
      ['orderByChild', 'age'],
      ['startAt', 0],
      ['limitToLast', 2],
    ],
    ['cid', 'eve'],
  ],
  [
    [
      ['orderByChild', 'address/zip'],
      ['startAt', 'a'],
    ],
    ['bob', 'ann'],
  ],
]

export const queryRows: readonly Row[] = [
  {
    name: 'each order, range and limit gets what it shows, in order',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', PEOPLE)

      for (const [constraints, keys] of SHOWN) {
        const got = await client.get('people', ...constraints)

        expect([constraints, keysOf(got)]).toEqual([constraints, keys])
      }
    },
  },
  {
    name: 'each order, range and limit is listened to, many at a time on one path',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', PEOPLE)

      const all = await Promise.all(SHOWN.map(([constraints]) => listen(client, 'people', ...constraints)))

      const shown = all.map(({ snapshots }) => keysOf(snapshots.at(-1)!))
      expect(shown).toEqual(SHOWN.map(([, keys]) => keys))
    },
  },
  {
    name: 'values are ordered null, false, true, numbers, texts, objects; ties by key',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      const scores = { g: { x: 1 }, f: 'b', e: 'a', d: 10, c: 9, b: true, a: false, h: false }

      await writer.set('scores', scores)

      const shown = keysOf(await client.get('scores', ['orderByValue']))
      expect(shown).toEqual(['a', 'h', 'b', 'c', 'd', 'e', 'f', 'g'])
      expect(
        keysOf(await client.get('scores', ['orderByValue'], ['startAt', 10], ['limitToFirst', 2])),
      ).toEqual(['d', 'e'])
    },
  },
  {
    name: 'texts and keys are ordered by UTF-16 units where the server picks, in indexes, too',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      // In UTF-8 and by code points the emoji would be the last.
      await writer.set('scores', { a: '\uFFFD', b: '😀', c: 'é', d: 'z' })
      await writer.set('keys', { '\uFFFD': 1, '😀': 1, é: 1, z: 1 })

      const byValue: Constraint[] = [['orderByValue'], ['limitToLast', 2]]
      const byKey: Constraint[] = [['orderByKey'], ['startAt', '😀'], ['limitToFirst', 1]]
      const window = await listen(client, 'scores', ...byValue)

      expect(keysOf(await client.get('scores', ...byValue))).toEqual(['b', 'a'])
      expect(keysOf(window.snapshots[0]!)).toEqual(['b', 'a'])
      expect(keysOf(await client.get('keys', ...byKey))).toEqual(['😀'])
      expect(keysOf(await client.get('keys', ['orderByKey'], ['limitToLast', 1]))).toEqual(['\uFFFD'])
    },
  },
  {
    name: 'priorities order none, numbers, texts; ties by key',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      const priorities = { a: 'x', b: 2, c: 10, d: null, e: null, f: 2 }
      for (const [key, priority] of Object.entries(priorities)) {
        await writer.setWithPriority(`list/${key}`, true, priority)
      }

      const all = await client.get('list', ['orderByPriority'])
      const some = await client.get('list', ['orderByPriority'], ['startAt', 2, 'c'], ['limitToFirst', 2])

      expect(keysOf(all)).toEqual(['d', 'e', 'b', 'f', 'c', 'a'])
      expect(keysOf(some)).toEqual(['f', 'c'])
    },
  },
  {
    name: 'a window moves as children come, change places and go',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', { a: { age: 1 }, b: { age: 2 }, c: { age: 3 } })
      const heard = await listen(client, 'people', ['orderByChild', 'age'], ['limitToLast', 2])
      const shown = (): string[] => keysOf(heard.snapshots.at(-1)!)
      const until = (keys: string): Promise<void> => heard.until(() => shown().join('') === keys)

      await writer.set('people/d', { age: 4 })
      await until('cd')
      await writer.set('people/d/age', 0)
      await until('bc')
      await writer.remove('people/c')
      await until('ab')
      await writer.update('people', { 'a/age': 9, 'b/age': 8 })
      await until('ba')

      expect(heard.last).toEqual({ a: { age: 9 }, b: { age: 8 } })
      expect(heard.canceled).toBeNull()
    },
  },
  {
    name: 'a window that a write fills again never shows a short list in between',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', { a: { age: 1 }, b: { age: 2 }, c: { age: 3 } })
      const heard = await listen(client, 'people', ['orderByChild', 'age'], ['limitToFirst', 2])

      await writer.remove('people/a')
      await heard.until(({ last }) => last.c !== undefined)

      expect(heard.snapshots.map((snapshot) => keysOf(snapshot).join(''))).toEqual(['ab', 'bc'])
    },
  },
  {
    name: 'a change deep within a child of the window is heard, one outside is not',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', { a: { age: 1, deep: { x: 1 } }, b: { age: 2, deep: { x: 1 } } })
      const heard = await listen(client, 'people', ['orderByChild', 'age'], ['limitToFirst', 1])

      await writer.set('people/b/deep/x', 2)
      await writer.set('people/a/deep/x', 2)
      await heard.until(({ last }) => last.a.deep.x === 2)

      expect(heard.values).toHaveLength(2)
    },
  },
  {
    name: 'children enter and leave a range with their own events',
    rules: INDEXED,
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('people', { a: { age: 10 }, b: { age: 20 }, c: { age: 30 } })
      const range: Constraint[] = [
        ['orderByChild', 'age'],
        ['startAt', 15],
        ['endAt', 35],
      ]
      const added = record(client, 'child_added', 'people', ...range)
      const removed = record(client, 'child_removed', 'people', ...range)
      await added.until(({ values }) => values.length === 2)

      await writer.set('people/a/age', 25)
      await writer.set('people/b/age', 5)
      await removed.until(({ values }) => values.length === 1)

      expect(added.snapshots.map(({ key }) => key)).toEqual(['b', 'c', 'a'])
      expect(removed.snapshots.map(({ key }) => key)).toEqual(['b'])
    },
  },
  {
    name: 'a writer who listens to a window hears its own writes once',
    async run({ open }) {
      const client = await open()
      await client.set('list', { a: 1, b: 2 })
      const heard = await listen(client, 'list', ['orderByKey'], ['limitToLast', 2])

      await client.set('list/c', 3)
      await client.set('list/d', 4)

      const shown = heard.values.map((value) => Object.keys(value).join(''))
      expect(shown.at(-1)).toBe('cd')
      expect(shown.indexOf('ab')).toBe(shown.lastIndexOf('ab'))
    },
  },
  {
    name: 'windows and the whole list of one client do not disturb each other',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('list', { a: 1, b: 2, c: 3 })
      const first = await listen(client, 'list', ['orderByKey'], ['limitToFirst', 1])
      const whole = record(client, 'value', 'list')
      await whole.until(({ values }) => values.length > 0)
      const last = await listen(client, 'list', ['orderByKey'], ['limitToLast', 1])

      await writer.remove('list/a')
      await writer.set('list/d', 4)
      await last.until(({ last: value }) => value?.d === 4)
      whole.stop()
      await writer.remove('list/b')
      await first.until(({ last: value }) => value?.c === 3)

      expect(whole.values.at(-1)).toEqual({ b: 2, c: 3, d: 4 })
      expect([first.last, last.last]).toEqual([{ c: 3 }, { d: 4 }])
    },
  },
  {
    name: 'without an index a get is refused by name, and a listener is served all the same',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('list', { a: { n: 1 }, b: { n: 2 }, c: { n: 3 } })
      const query: Constraint[] = [
        ['orderByChild', 'n'],
        ['startAt', 2],
      ]

      await expect(client.get('list', ...query)).rejects.toThrow('Index not defined, add ".indexOn": "n"')
      const heard = await listen(client, 'list', ...query)
      await writer.set('list/a/n', 5)
      await heard.until(({ last }) => last?.a !== undefined)

      expect(keysOf(heard.snapshots[0]!)).toEqual(['b', 'c'])
      expect(keysOf(heard.snapshots.at(-1)!)).toEqual(['b', 'c', 'a'])
    },
  },
  {
    name: 'rules that look at the query let through what they allow and refuse the rest',
    rules: {
      '.write': true,
      list: { '.read': 'query.orderByKey && query.limitToFirst <= 2' },
    },
    async run({ open }) {
      const client = await open()
      await client.set('list', { a: 1, b: 2, c: 3 })

      const few = await listen(client, 'list', ['orderByKey'], ['limitToFirst', 2])
      const many = await listen(client, 'list', ['orderByKey'], ['limitToFirst', 3])

      expect(few.last).toEqual({ a: 1, b: 2 })
      expect(many.canceled?.message).toMatch(/permission.denied|no permission/i)
    },
  },
  {
    name: 'a right that a window’s listener loses ends the window',
    rules: {
      '.write': true,
      flag: { '.read': true },
      list: { '.read': "root.child('flag').val() !== false" },
    },
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('list', { a: 1, b: 2 })
      const heard = await listen(client, 'list', ['orderByKey'], ['limitToLast', 1])

      await writer.update('', { flag: false, 'list/c': 3 })
      await heard.until(({ canceled }) => canceled !== null)

      expect(heard.values).toEqual([{ b: 2 }])
    },
  },
]
