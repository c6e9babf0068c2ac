import { expect, test } from 'vitest'
import { ListenerTree } from './listener-tree.ts'

test('all queries are found also where one path has very many children', () => {
  const tree = new ListenerTree()
  for (let n = 0; n < 150_000; n++) tree.add(['users', `u${n}`], null)

  let count = 0
  for (const live of tree.all()) count += live.path.length === 2 ? 1 : 0

  expect(count).toBe(150_000)
})

test('a write touches the queries at, above and below its path and no others', () => {
  const tree = new ListenerTree()
  for (const path of [[], ['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'x'], ['z']]) tree.add(path, null)
  const above: string[] = []
  const below: string[] = []

  tree.touched(
    ['a', 'b'],
    (live) => above.push(live.pathText),
    (live) => below.push(live.pathText),
  )

  expect(above).toEqual(['', 'a', 'a/b'])
  expect(below).toEqual(['a/b/c'])
})

test('a path that nobody listens to any more leaves nothing behind', () => {
  const tree = new ListenerTree()
  const live = tree.add(['a', 'b', 'c'], null)

  tree.remove(live)

  expect(tree.size).toBe(0)
  expect([...tree.all()]).toEqual([])
  expect(tree.find(['a', 'b', 'c'], null)).toBeUndefined()
})
