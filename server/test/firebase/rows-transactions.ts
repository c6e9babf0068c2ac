/** Transactions: read, change, write back only if nobody else did. */
import { expect } from 'vitest'
import { TEST_WORKERS } from '../harness.ts'
import { listen, type Row } from './table.ts'

export const transactionRows: readonly Row[] = [
  {
    name: 'a transaction on nothing starts from nothing',
    async run({ open }) {
      const client = await open()

      const { committed, snapshot } = await client.transaction('n', (value) => (value ?? 10) + 1)

      expect([committed, snapshot.val()]).toEqual([true, 11])
    },
  },
  {
    name: 'a transaction sees what is stored, though the client did not know it',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('a', { n: 5, text: 'é😀', list: [1, 2], yes: true })

      const { snapshot } = await client.transaction('a', (value) =>
        value === null ? value : { ...value, n: value.n + 1 },
      )

      expect(snapshot.val()).toEqual({ n: 6, text: 'é😀', list: [1, 2], yes: true })
    },
  },
  {
    name: 'transactions of many clients at once lose nothing',
    async run({ open }) {
      const clients = await Promise.all(Array.from({ length: 8 }, () => open()))
      // The SDK gives up after 25 tries, and who is on the thread that writes is faster: none may lose to all others.
      const each = TEST_WORKERS > 1 ? 3 : 5

      await Promise.all(
        clients.map(async (client) => {
          for (let n = 0; n < each; n++) await client.transaction('count', (value) => (value ?? 0) + 1)
        }),
      )

      expect((await clients[0]!.get('count')).val()).toBe(8 * each)
    },
  },
  {
    name: 'a transaction that gives up changes nothing',
    async run({ open }) {
      const client = await open()
      await client.set('a', 1)
      await listen(client, 'a')

      const { committed, snapshot } = await client.transaction('a', () => undefined)

      expect([committed, snapshot.val()]).toEqual([false, 1])
    },
  },
  {
    name: 'a transaction can delete',
    async run({ open }) {
      const client = await open()
      await client.set('a', { b: 1 })

      await client.transaction('a', () => null)

      expect((await client.get('a')).exists()).toBe(false)
    },
  },
  {
    name: 'a transaction keeps priorities, and children in the order of priorities hash the same on both sides',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.setWithPriority('list', { a: 1, b: 2, c: 3 }, 'list')
      await writer.setPriority('list/a', 9)
      await writer.setPriority('list/b', 'text')

      const { committed } = await client.transaction('list', (value) =>
        value === null ? value : { ...value, d: 4 },
      )

      expect(committed).toBe(true)
      expect((await writer.get('list/d')).val()).toBe(4)
    },
    except: {
      'hearthdb/client': 'compares revisions, not hashes; keeps no priorities in the value it hands out',
    },
  },
  {
    name: 'keys that are integers, in any order, do not keep a transaction from its end',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('k', { 10: 1, 9: 2, 1: 6, '-1': 4, '01': 5, a: 3, 2147483648: 7 })

      const { snapshot } = await client.transaction('k', (value) =>
        value === null ? value : { ...value, added: 1 },
      )

      expect(snapshot.val().added).toBe(1)
    },
  },
  {
    name: 'numbers that JavaScript’s SDK hashes wrongly do not keep a transaction from its end',
    async run({ open }) {
      const [writer, client] = [await open(), await open()]
      await writer.set('n', { max: Number.MAX_SAFE_INTEGER, near: 3.9999999999999996, small: 2 ** -29 })

      const { committed } = await client.transaction('n', (value) =>
        value === null ? value : { ...value, done: true },
      )

      expect(committed).toBe(true)
    },
  },
  {
    name: 'a transaction the rules refuse is told so and undone',
    rules: { '.read': true, n: { '.write': 'newData.val() < 10' } },
    async run({ open }) {
      const client = await open()
      await client.set('n', 9)
      const heard = await listen(client, 'n')

      const outcome = client.transaction('n', (value) => (value ?? 0) + 1)

      await expect(outcome).rejects.toThrow(/permission.denied/i)
      expect(heard.last).toBe(9)
    },
  },
]
