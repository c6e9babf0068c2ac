/**
 * Queries from the client to the server and back: what a listener of a query sees is what the server keeps for it.
 */
import { expect, test } from 'vitest'
import { type Cleanup, serve } from '../server/test/harness.ts'
import {
  type Database,
  type DataSnapshot,
  endAt,
  equalTo,
  get,
  getDatabase,
  limitToFirst,
  limitToLast,
  onValue,
  orderByChild,
  orderByKey,
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
