import { expect, test } from 'vitest'
import type { Bound, Query } from '../../protocol/index.ts'
import type { Store } from '../store/store.ts'
import { openMemoryStore } from '../store/store-memory.ts'
import { OrderedList } from './ordered-list.ts'
import { rangeOf } from './reaches.ts'

const LIST = ['tasks']
const OWNER = { child: ['owner'] }

function equalTo(value: Bound['value']): Query {
  return { orderBy: OWNER, start: { value, inclusive: true }, end: { value, inclusive: true } }
}

function followed(store: Store, list: OrderedList<string>, path: string, value: unknown): string[] {
  const keys = path.split('/')
  store.stage([{ path: [...LIST, ...keys], value: value as never }])
  return [...list.concerned(list.follow([{ key: keys[0]!, path, value: value as never }]))].sort()
}

test('of ten thousand windows on one value each, a write concerns those of the value it takes and gives', async () => {
  const store = await openMemoryStore()
  const list = new OrderedList<string>(store, LIST, OWNER)
  for (let i = 0; i < 10_000; i++) list.put(`u${i}`, rangeOf(equalTo(`u${i}`)))
  for (const value of [null, true, 1, '1']) list.put(`on ${JSON.stringify(value)}`, rangeOf(equalTo(value)))
  list.put('a range', rangeOf({ orderBy: OWNER, start: { value: 'u8', inclusive: true } }))

  expect(followed(store, list, 't1', { owner: 'u7' })).toEqual(['u7'])
  expect(followed(store, list, 't1/owner', 'u9')).toEqual(['a range', 'u7', 'u9'])
  expect(followed(store, list, 't1/done', true)).toEqual(['a range', 'u9'])
  expect(followed(store, list, 't1/owner', null)).toEqual(['a range', 'on null', 'u9'])
  expect(followed(store, list, 't1/owner', 1)).toEqual(['on 1', 'on null'])
  expect(followed(store, list, 't1/owner', '1')).toEqual(['on "1"', 'on 1'])
  expect(followed(store, list, 't1', null)).toEqual(['on "1"'])
})

test('what is removed is concerned no more, and a list without windows is empty', async () => {
  const store = await openMemoryStore()
  const list = new OrderedList<string>(store, LIST, OWNER)
  list.put('a', rangeOf(equalTo('x')))
  list.put('b', rangeOf(equalTo('x')))

  list.remove('a')

  expect(followed(store, list, 't', { owner: 'x' })).toEqual(['b'])
  expect(list.isEmpty).toBe(false)
  list.remove('b')
  expect(list.isEmpty).toBe(true)
})
