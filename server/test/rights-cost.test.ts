/**
 * Keeping read rights costs what depends on the touched path, counted in decisions and not in time.
 */
import { expect, test } from 'vitest'
import { parsePath, type Value } from '../../protocol/index.ts'
import { loadRuleset, type Ruleset } from '../../rules/index.ts'
import { Database } from '../database.ts'
import { admin } from '../identity.ts'
import type { Subscriber, Wire } from '../listeners/listener.ts'
import { openMemoryStore } from '../store/store-memory.ts'

const RULES = {
  rooms: { $room: { '.read': "root.child('members').child($room).child(auth.uid).exists()" } },
  news: { '.read': 'auth != null' },
}

interface Counted {
  database: Database
  write(path: string, value: Value): Promise<void>
  /** Reads decided so far. */
  decisions(): number
  canceled: string[]
}

async function open(): Promise<Counted> {
  const loaded = loadRuleset(JSON.stringify({ rules: RULES }))
  if (!loaded.ok) throw new Error(loaded.errors[0]!.message)
  let decisions = 0
  const ruleset = new Proxy(loaded.ruleset, {
    get(target, key) {
      if (key === 'checkRead') decisions += 1
      const member = Reflect.get(target, key) as unknown
      return typeof member === 'function' ? member.bind(target) : member
    },
  }) as Ruleset
  const database = new Database({
    name: 'test',
    store: await openMemoryStore(),
    ruleset,
    counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
    nowMs: () => 0,
    readNodesMax: 1_000_000,
    writeQueueMax: 10_000,
    onBug: (error) => {
      throw error
    },
  })
  const write = (path: string, value: Value): Promise<void> =>
    new Promise((resolve, reject) =>
      database.submit({
        entries: [{ path: parsePath(path), value }],
        identity: admin,
        expectedRevision: null,
        isCheckOnly: false,
        records: null,
        origin: { written: () => resolve(), refused: (_, error) => reject(error), groupSettled() {} },
        id: 0,
      }),
    )
  return { database, write, decisions: () => decisions, canceled: [] }
}

const wire: Wire = { name: 'test', deliver() {} }

function listen({ database, canceled }: Counted, uid: string, path: string): void {
  const subscriber: Subscriber = {
    identity: { isAdmin: false, auth: { uid } },
    wire,
    canceled: () => canceled.push(`${uid} ${path}`),
  }
  database.listen(subscriber, parsePath(path), null)
}

test('of 1,000 listeners three depend on what a write touches: three decisions', async () => {
  const counted = await open()
  const members = Object.fromEntries(Array.from({ length: 997 }, (_, i) => [`u${i}`, true]))
  await counted.write('members', { big: members, small: { ann: true, bob: true, cy: true } })
  for (let i = 0; i < 997; i++) listen(counted, `u${i}`, '/rooms/big')
  for (const uid of ['ann', 'bob', 'cy']) listen(counted, uid, '/rooms/small')
  const before = counted.decisions()

  await counted.write('members/small', { dan: true })

  expect(counted.decisions() - before).toBe(3)
  expect(counted.canceled.sort()).toEqual(['ann /rooms/small', 'bob /rooms/small', 'cy /rooms/small'])
  expect(counted.database.listenerCount).toBe(997)
})

test('one member removed from a list of a thousand is one decision; patches to all are none', async () => {
  const counted = await open()
  const members = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`u${i}`, true]))
  await counted.write('members/big', members)
  for (let i = 0; i < 1_000; i++) listen(counted, `u${i}`, '/rooms/big')
  const before = counted.decisions()

  await counted.write('rooms/big/m1', 'hello')
  await counted.write('members/big/newcomer', true)
  expect(counted.decisions() - before).toBe(0)

  await counted.write('members/big/u500', null)
  expect(counted.decisions() - before).toBe(1)
  expect(counted.canceled).toEqual(['u500 /rooms/big'])
})

test('a rule that looks at no data is never asked again for a write', async () => {
  const counted = await open()
  for (let i = 0; i < 100; i++) listen(counted, `u${i}`, '/news')
  const before = counted.decisions()

  await counted.write('news/n1', 'hello')
  await counted.write('members', { a: { u1: true } })

  expect(counted.decisions() - before).toBe(0)
})
