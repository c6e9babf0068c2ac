import { expect, test } from 'vitest'
import { parseQuery } from '../protocol/query.ts'
import type { Value } from '../protocol/value.ts'
import {
  type Database,
  type DataSnapshot,
  endAt,
  endBefore,
  equalTo,
  get,
  limitToFirst,
  limitToLast,
  off,
  onChildAdded,
  onChildRemoved,
  onValue,
  orderByChild,
  orderByKey,
  orderByPriority,
  orderByValue,
  type QueryConstraint,
  query,
  ref,
  set,
  startAfter,
  startAt,
} from './index.ts'
import { ScriptedServer } from './test/scripted-server.ts'
import { orderedChildKeys, windowOf } from './window.ts'

function database(): Database {
  return new ScriptedServer().database()
}

function keysOf(value: Value, ...constraints: QueryConstraint[]): string[] {
  const { spec } = query(ref(database(), 'list'), ...constraints)
  return orderedChildKeys(windowOf(value, spec), spec.orderBy)
}

const PEOPLE = {
  ada: { age: 36, name: 'Ada' },
  bob: { age: 36 },
  cy: { age: '36' },
  dan: { age: false },
  eve: {},
  fay: { age: { deep: true } },
  gus: 'a leaf',
}
const SCORES = { a: 3, b: 1, c: 2, d: 'x', e: true, f: { g: 1 }, h: 2 }

test.for<[string, Value, QueryConstraint[], string]>([
  ['default order: keys, integers first', { b: 1, 10: 1, 9: 1, a: 1 }, [], '9 10 a b'],
  ['by key', { b: 1, 10: 1, 9: 1, a: 1 }, [orderByKey()], '9 10 a b'],
  ['key range', { b: 1, 10: 1, 9: 1, a: 1 }, [orderByKey(), startAt('10'), endAt('a')], '10 a'],
  [
    'key range, open ends',
    { b: 1, 10: 1, 9: 1, a: 1 },
    [orderByKey(), startAfter('9'), endBefore('b')],
    '10 a',
  ],
  ['one key', { b: 1, a: 1 }, [orderByKey(), equalTo('b')], 'b'],
  [
    'by value: false < true < numbers < strings < objects, ties by key',
    SCORES,
    [orderByValue()],
    'e b c h a d f',
  ],
  ['value range', SCORES, [orderByValue(), startAt(2), endAt(3)], 'c h a'],
  ['value range with a key', SCORES, [orderByValue(), startAt(2, 'd'), endAt(3)], 'h a'],
  ['after a value: all its keys are out', SCORES, [orderByValue(), startAfter(2), endAt(3)], 'a'],
  ['after a value and key', SCORES, [orderByValue(), startAfter(2, 'c'), endAt(3)], 'h a'],
  ['before a value', SCORES, [orderByValue(), startAt(0), endBefore(2)], 'b'],
  ['equal values', SCORES, [orderByValue(), equalTo(2)], 'c h'],
  ['equal value and key', SCORES, [orderByValue(), equalTo(2, 'h')], 'h'],
  ['by child: absent first', PEOPLE, [orderByChild('age')], 'eve gus dan ada bob cy fay'],
  ['children without the child', PEOPLE, [orderByChild('age'), equalTo(null)], 'eve gus'],
  ['limit from the front', SCORES, [orderByValue(), limitToFirst(2)], 'e b'],
  ['limit from the back', SCORES, [orderByValue(), limitToLast(2)], 'd f'],
  ['range, then limit', SCORES, [orderByValue(), startAt(1), limitToFirst(2)], 'b c'],
  ['by deep child', { a: { x: { y: 2 } }, b: { x: { y: 1 } } }, [orderByChild('x/y')], 'b a'],
  [
    'by priority: none < numbers < strings',
    { a: { '.value': 1, '.priority': 'z' }, b: { '.value': 1, '.priority': 2 }, c: 1 },
    [orderByPriority()],
    'c b a',
  ],
  ['a leaf has no children', 'leaf', [limitToFirst(1)], ''],
])('%s', ([, value, constraints, expected]) => {
  expect(keysOf(value, ...constraints).join(' ')).toBe(expected)
})

test.for<[string, () => QueryConstraint[]]>([
  ['two orders', () => [orderByKey(), orderByValue()]],
  ['two starts', () => [startAt(1), startAfter(2)]],
  ['equalTo with an end', () => [equalTo(1), endAt(2)]],
  ['two limits', () => [limitToFirst(1), limitToLast(1)]],
  ['a limit of 0', () => [limitToFirst(0)]],
  ['a limit of 1.5', () => [limitToLast(1.5)]],
  ['a key that is a number', () => [orderByKey(), startAt(1)]],
  ['a key with a second key', () => [orderByKey(), startAt('a', 'b')]],
  ['a bound that is an object', () => [startAt({} as never)]],
  ['a bound that is no number', () => [startAt(Number.NaN)]],
  ['an empty child path', () => [orderByChild('')]],
])('%s is refused', ([, constraints]) => {
  expect(() => query(ref(database(), 'list'), ...constraints())).toThrow(
    expect.objectContaining({ code: 'invalid_query' }),
  )
})

test('what travels is what the server parses', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  onValue(
    query(ref(db, 'list'), orderByChild('a/b'), startAfter(3, 'k'), endAt('z'), limitToLast(5)),
    () => {},
  )

  const listen = await connection.next('listen')
  expect(listen.query).toEqual({
    orderBy: { child: ['a', 'b'] },
    start: { value: 3, key: 'k', inclusive: false },
    end: { value: 'z', inclusive: true },
    limit: { count: 5, from: 'last' },
  })
  expect(parseQuery({ o: 'a/b', s: [3, false, 'k'], e: ['z', true], l: 5, f: 'last' })).toEqual(listen.query)
})

test('an order alone is not the server’s business: it shares the whole value’s listen', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const orders: string[] = []
  onValue(ref(db, 'list'), () => {})
  onValue(query(ref(db, 'list'), orderByValue()), (snapshot) => {
    snapshot.forEach((child) => void orders.push(child.key))
  })
  await connection.snapshot({ a: 2, b: 1 })

  expect(orders).toEqual(['b', 'a'])
})

test('a query beside a listener of the whole place is answered from it', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'list'), () => {})
  await connection.snapshot({ a: 1, b: 2, c: 3 })

  const heard: unknown[] = []
  onValue(query(ref(db, 'list'), limitToLast(2)), (snapshot) => heard.push(snapshot.val()))
  const once = await get(query(ref(db, 'list'), limitToFirst(1)))

  expect([heard, once.val()]).toEqual([[{ b: 2, c: 3 }], { a: 1 }])
  expect(await connection.take()).toEqual([])
})

test('a window keeps its size under this client’s own writes, and takes the server’s word for the rest', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: string[] = []
  const last = query(ref(db, 'list'), limitToLast(2))
  const note =
    (what: string) =>
    (snapshot: DataSnapshot): void =>
      void heard.push(`${what} ${snapshot.key}`)
  onChildAdded(last, note('added'))
  onChildRemoved(last, note('removed'))
  await connection.snapshot({ b: 2, c: 3 })
  heard.length = 0

  const pushed = set(ref(db, 'list/d'), 4)
  expect(heard).toEqual(['removed b', 'added d'])
  const { id } = await connection.next('set')
  await connection.patch(2, ['b', null, 'd', 4])
  await connection.ack(id)
  await pushed
  expect(heard).toEqual(['removed b', 'added d'])

  set(ref(db, 'list/d'), null).catch(() => {})
  expect(heard.slice(2)).toEqual(['removed d'])
  const removed = await connection.next('remove')
  await connection.patch(3, ['d', null, 'b', 2])
  await connection.ack(removed.id)

  expect(heard.slice(3)).toEqual(['added b'])
})

test('a write into a child outside the window does not put part of it in', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(query(ref(db, 'list'), orderByChild('n'), limitToLast(1)), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot({ a: { n: 1, text: 'x' } })

  set(ref(db, 'list/other/n'), 9).catch(() => {})

  expect(heard).toEqual([{ a: { n: 1, text: 'x' } }])
})

test('a query the server does not serve calls the cancel callback with its code', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const codes: string[] = []
  onValue(
    query(ref(db, 'list'), limitToLast(2)),
    () => {},
    (error) => codes.push(error.code),
  )

  await connection.refuse((await connection.next('listen')).id, 'not_supported', 'queries come later')

  expect(codes).toEqual(['not_supported'])
})

test('off on the ref reaches its queries; off on a query only that query', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const list = ref(db, 'list')
  for (const count of [1, 2, 3]) onValue(query(list, limitToLast(count)), () => {})
  await connection.take()

  off(query(list, limitToLast(1)))
  expect(await connection.take()).toHaveLength(1)

  off(list)
  expect(await connection.take()).toHaveLength(2)
})

test('equal queries are equal, whatever made them', () => {
  const db = database()
  const list = ref(db, 'list')

  expect(query(list, orderByKey(), limitToFirst(1)).isEqual(query(list, limitToFirst(1), orderByKey()))).toBe(
    true,
  )
  expect(query(list, orderByPriority()).isEqual(list)).toBe(true)
  expect(query(list, limitToFirst(1)).isEqual(query(list, limitToFirst(2)))).toBe(false)
  expect(list.isEqual(ref(database(), 'list'))).toBe(false)
  expect(list.isEqual(null)).toBe(false)
})
