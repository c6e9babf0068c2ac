/**
 * Queries from the client to the server and back: what a listener of a query sees is what the server keeps for it.
 */
import { expect, test, vi } from 'vitest'
import { type Cleanup, serve } from '../server/test/harness.ts'
import {
  type Database,
  type DataSnapshot,
  endAt,
  equalTo,
  get,
  getDatabase,
  goOffline,
  goOnline,
  limitToFirst,
  limitToLast,
  onValue,
  orderByChild,
  orderByKey,
  orderByValue,
  type Query,
  query,
  ref,
  remove,
  set,
  startAt,
  terminate,
} from './index-node.ts'

const RULES = { '.read': true, '.write': true, list: { '.indexOn': 'n' } }

async function listOf(t: Cleanup): Promise<Database> {
  const server = await serve(t, { rules: RULES })
  const [writer, reader] = [getDatabase(server.url), getDatabase(server.url)]
  t.onTestFinished(() => {
    terminate(writer)
    terminate(reader)
  })
  const list = { a: { n: 5 }, b: { n: 3 }, c: { n: 9 }, d: { n: 1 }, e: { n: 7 } }
  await set(ref(writer, 'list'), list)
  return reader
}

function keys(snapshot: DataSnapshot): string[] {
  const found: string[] = []
  snapshot.forEach((child) => {
    found.push(child.key!)
  })
  return found
}

test('a get of a query gives its children in its order', async (t) => {
  const db = await listOf(t)
  const list = ref(db, 'list')

  expect(keys(await get(query(list, orderByKey(), limitToLast(2))))).toEqual(['d', 'e'])
  expect(keys(await get(query(list, orderByChild('n'), limitToFirst(2))))).toEqual(['d', 'b'])
  expect(keys(await get(query(list, orderByChild('n'), startAt(3), endAt(7))))).toEqual(['b', 'a', 'e'])
  expect(keys(await get(query(list, orderByChild('n'), equalTo(9))))).toEqual(['c'])
})

test('a listener of the last two hears who enters, who leaves and who replaces a child that went', async (t) => {
  const db = await listOf(t)
  const heard: string[][] = []
  let wake: () => void = () => {}
  const until = async (count: number): Promise<void> => {
    while (heard.length < count)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
  }
  onValue(query(ref(db, 'list'), orderByChild('n'), limitToLast(2)), (snapshot) => {
    heard.push(keys(snapshot))
    wake()
  })
  await until(1)

  await set(ref(db, 'list/f'), { n: 8 })
  await remove(ref(db, 'list/c'))
  await set(ref(db, 'list/d/n'), 100)

  await until(4)
  expect(heard.at(0)).toEqual(['e', 'c'])
  expect(heard.at(-1)).toEqual(['f', 'd'])
  expect(heard).toContainEqual(['f', 'c'])
})

test('a query without an index warns once and says what to add; with one it does not', async (t) => {
  const db = await listOf(t)
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  t.onTestFinished(() => warned.mockRestore())
  const firstOf = (target: Query): Promise<DataSnapshot> =>
    new Promise((resolve, reject) => onValue(target, resolve, reject))

  await firstOf(query(ref(db, 'list'), orderByChild('n'), limitToLast(1)))
  await firstOf(query(ref(db, 'list'), orderByKey(), limitToLast(1)))
  const shown = await firstOf(query(ref(db, 'list'), orderByChild('deep/m'), limitToFirst(1)))
  await reconnected(db)
  await firstOf(query(ref(db, 'list'), orderByValue(), limitToFirst(1)))

  expect(keys(shown)).toEqual(['a'])
  expect(warned.mock.calls).toEqual([
    [
      'hearth: add ".indexOn": "deep/m" at `/list` to the rules; until then all of it is downloaded and filtered here',
    ],
    [
      'hearth: add ".indexOn": ".value" at `/list` to the rules; until then all of it is downloaded and filtered here',
    ],
  ])
})

/** Resolves when a new connection has answered something after all listens. */
async function reconnected(db: Database): Promise<void> {
  goOffline(db)
  goOnline(db)
  await set(ref(db, 'again'), true)
}

test('a list past the limit of one read is refused without an index, not read in silence', async (t) => {
  const server = await serve(t, { rules: RULES, config: { limits: { readNodesMax: 100 } } })
  const db = getDatabase(server.url)
  t.onTestFinished(() => terminate(db))
  const writes = Array.from({ length: 60 }, (_, i) => set(ref(db, `list/k${i}`), { n: i, m: i }))
  await Promise.all(writes)
  const answerTo = (target: Query): Promise<unknown> =>
    new Promise((resolve) =>
      onValue(
        target,
        (snapshot) => resolve(keys(snapshot)),
        ({ code, message }) => resolve({ code, message }),
      ),
    )

  const indexed = await answerTo(query(ref(db, 'list'), orderByChild('n'), limitToLast(1)))
  const unindexed = await answerTo(query(ref(db, 'list'), orderByChild('m'), limitToLast(1)))

  expect(indexed).toEqual(['k59'])
  expect(unindexed).toEqual({
    code: 'too_large',
    message:
      'too_large at /list: more than 100 values are not served without an index. Index not defined, add ".indexOn": "m", for path "/list", to the rules',
  })
})
