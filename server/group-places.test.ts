import { expect, test, vi } from 'vitest'
import { type Path, parsePath } from '../protocol/index.ts'
import { GroupPlaces } from './group-places.ts'
import type { Entry } from './store/store.ts'
import { openMemoryStore } from './store/store-memory.ts'

function entry(path: string, value: number | null): Entry {
  return { path: parsePath(path), value }
}

test('a group wrote all at a place if it wrote all children there are now, however deep', async () => {
  const store = await openMemoryStore()
  store.stage([entry('rooms/a/old', 1), entry('rooms/b/old', 1), entry('rooms/b/kept', 1)])
  await store.flush()
  const group = [
    { entries: [entry('rooms/a/old', null), entry('rooms/a/deep/new', 2)] },
    { entries: [entry('rooms/b/old', null)] },
  ]
  for (const { entries } of group) store.stage(entries)
  await store.flush()

  const places = new GroupPlaces(group)
  const wroteAllAt = (path: string): boolean => places.wroteAllAt(parsePath(path), store.flushed)

  expect(['rooms/a', 'rooms/a/deep', 'rooms/a/deep/new/below'].map(wroteAllAt)).toEqual([true, true, true])
  expect(['', 'rooms', 'rooms/b', 'rooms/c'].map(wroteAllAt)).toEqual([false, false, false, false])
})

test('whether that is all there is at a place is found out once, however many ask', async () => {
  const store = await openMemoryStore()
  const entries = Array.from({ length: 100 }, (_, i) => entry(`rooms/a/${i}/new`, i))
  store.stage(entries)
  await store.flush()
  const walk = vi.spyOn(store.flushed, 'keys')
  const places = new GroupPlaces([{ entries }])
  const room: Path = ['rooms', 'a']

  const answers = Array.from({ length: 1000 }, () => places.wroteAllAt(room, store.flushed))

  expect(new Set(answers)).toEqual(new Set([true]))
  expect(walk).toHaveBeenCalledTimes(101)
})
