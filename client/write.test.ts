import { expect, expectTypeOf, test } from 'vitest'
import {
  child,
  type Database,
  type DatabaseReference,
  type DataSnapshot,
  get,
  increment,
  onDisconnect,
  push,
  ref,
  remove,
  serverTimestamp,
  set,
  update,
} from './index.ts'
import { ScriptedServer } from './test/scripted-server.ts'

function database(): Database {
  return new ScriptedServer().database()
}

const NESTED_33 = Array.from({ length: 33 }).reduce((inner) => ({ a: inner }), 1 as unknown)

test.for<[string, unknown, string, string]>([
  ['undefined', undefined, 'invalid_value', 'set at /at failed: a `undefined`'],
  ['undefined within', { a: { b: undefined } }, 'invalid_value', 'set at /at/a/b failed'],
  ['a function', { list: [1, () => {}] }, 'invalid_value', 'set at /at/list/1 failed'],
  ['NaN', Number.NaN, 'invalid_value', 'finite'],
  ['infinity', { a: Number.POSITIVE_INFINITY }, 'invalid_value', '/at/a failed'],
  ['a bigint', 1n, 'invalid_value', 'bigint'],
  ['a symbol', Symbol('s'), 'invalid_value', 'symbol'],
  ['a date', { when: new Date(0) }, 'invalid_value', '/at/when failed'],
  ['a key with a dot', { a: { 'b.c': 1 } }, 'invalid_value', '/at/a failed: key `b.c`'],
  ['a key with a slash', { 'b/c': 1 }, 'invalid_value', 'key `b/c`'],
  ['an empty key', { '': 1 }, 'invalid_value', 'empty'],
  ['the reserved key', JSON.parse('{"a":{"__proto__":1}}'), 'invalid_value', '__proto__'],
  ['a key of 769 bytes', { ['x'.repeat(769)]: 1 }, 'invalid_value', '769 bytes'],
  ['33 levels', NESTED_33, 'invalid_value', 'nested deeper'],
  ['a string past 10 MB', 'x'.repeat(10 * 1024 * 1024 + 1), 'too_large', 'bytes'],
  ['a server value nobody knows', { '.sv': 'dice' }, 'invalid_value', 'unknown'],
  ['an increment that is no number', increment(Number.NaN), 'invalid_value', 'increment'],
])('%s is refused with its place before anything is sent', ([, value, code, text]) => {
  const db = database()

  expect(() => set(ref(db, 'at'), value)).toThrow(
    expect.objectContaining({ name: 'HearthError', code, message: expect.stringContaining(text) }),
  )
})

test.for([
  ['a.b'],
  ['a#b'],
  ['a$b'],
  ['a[b'],
  ['a]b'],
  ['a\nb'],
  ['__proto__'],
  ['.info.x'],
  ['.priority'],
  ['x/'.repeat(33)],
])('path %j is refused', ([path]) => {
  expect(() => ref(database(), path)).toThrow(expect.objectContaining({ code: 'invalid_path' }))
  expect(() => child(ref(database()), path!)).toThrow(expect.objectContaining({ code: 'invalid_path' }))
})

test('a child too deep for the path it is added to is refused', () => {
  const deep = ref(database(), Array(20).fill('a').join('/'))

  expect(() => child(deep, Array(13).fill('b').join('/'))).toThrow(
    expect.objectContaining({ code: 'invalid_path' }),
  )
})

test('slashes too many are no matter', () => {
  const db = database()

  expect(ref(db, '//a///b/').isEqual(ref(db, 'a/b'))).toBe(true)
  expect(ref(db, '/').isEqual(ref(db))).toBe(true)
  expect(ref(db).key).toBe(null)
  expect(ref(db).parent).toBe(null)
  expect(ref(db, 'a/b').parent!.parent!.isEqual(ref(db, 'x/y').root)).toBe(true)
  expect(`${ref(db, 'a b/ü%')}`).toBe('http://server.test:9000/a%20b/%C3%BC%25')
})

test.for<[string, unknown]>([
  ['an array', [1]],
  ['null', null],
  ['text', 'x'],
  ['a path given twice', { 'a/b': 1, '/a/b': 2 }],
  ['a path within another', { a: 1, 'a/b/c': 2 }],
  ['a path that is wrong', { 'a.b': 1 }],
  ['a priority', { 'a/.priority': 1 }],
  ['a value that is wrong', { a: undefined }],
])('an update with %s is refused', ([, values]) => {
  const db = database()

  expect(() => update(ref(db, 'at'), values as never)).toThrow(
    expect.objectContaining({ name: 'HearthError' }),
  )
})

test('an update of nothing is done at once', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  await update(ref(db, 'at'), {})

  expect(await connection.take()).toEqual([])
})

test('an update takes keys and paths, nulls and nested values', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  update(ref(db, 'at'), { a: 1, '/b/c': null, 'd/e/f': { g: [1, 2], empty: {} } }).catch(() => {})

  expect((await connection.next('update')).entries).toEqual([
    [['a'], 1],
    [['b', 'c'], null],
    [['d', 'e', 'f'], { g: { 0: 1, 1: 2 } }],
  ])
})

test('null, empty objects and empty arrays remove', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  for (const value of [null, {}, [], { a: { b: null } }]) set(ref(db, 'at'), value).catch(() => {})
  remove(ref(db, 'at')).catch(() => {})

  expect((await connection.take()).map(({ type }) => type)).toEqual(Array(5).fill('remove'))
})

test('.info is read-only', () => {
  const info = ref(database(), '.info/connected')

  for (const write of [
    () => set(info, true),
    () => remove(info),
    () => update(info, { a: 1 }),
    () => push(info, 1),
    () => onDisconnect(info),
  ]) {
    expect(write).toThrow(expect.objectContaining({ code: 'invalid_path' }))
  }
})

test('the app may change what it has written without changing what was written', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const value = { list: [1] }

  set(ref(db, 'at'), value).catch(() => {})
  value.list.push(2)

  expect((await connection.next('set')).value).toEqual({ list: { 0: 1 } })
})

test('a denial nobody handles is not swallowed: the promise the app holds is the only one', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const surfaced: unknown[] = []
  const before = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.once('unhandledRejection', (error: { code?: string }) => surfaced.push(error.code))

  set(ref(db, 'at'), 1)
  await connection.refuse((await connection.next('set')).id)
  await connection.take()

  for (const listener of before) process.on('unhandledRejection', listener as never)
  expect(surfaced).toEqual(['permission_denied'])
})

test('types follow the tree', () => {
  interface Room {
    topic: string
    members: Record<string, boolean>
    openedAt?: number
  }
  const db = database()
  const room = ref<Room>(db, 'rooms/a')

  expectTypeOf(child(room, 'topic')).toEqualTypeOf<DatabaseReference<string>>()
  expectTypeOf(child(room, 'members')).toEqualTypeOf<DatabaseReference<Record<string, boolean>>>()
  expectTypeOf(child(room, 'members/x')).toEqualTypeOf<DatabaseReference>()
  expectTypeOf(get<Room>).returns.resolves.toEqualTypeOf<DataSnapshot<Room>>()
  expectTypeOf<DataSnapshot<Room>['val']>().returns.toEqualTypeOf<Room | null>()
  expectTypeOf(ref(db, 'x')).toEqualTypeOf<DatabaseReference>()
  const typed = (): void => {
    set(room, { topic: 'x', members: {}, openedAt: serverTimestamp() })
    set(room, null)
    push(ref<Record<string, Room>>(db, 'rooms'), { topic: 'x', members: {} })
    // @ts-expect-error a room has a topic
    push(ref<Record<string, Room>>(db, 'rooms'), { members: {} })
    // @ts-expect-error a topic is a string
    set(room, { topic: 1, members: {} })
    // @ts-expect-error members are missing
    set(room, { topic: 'x' })
  }
  expect(typed).toBeTypeOf('function')
})
