import { expect, test } from 'vitest'
import {
  child,
  type Database,
  type DataSnapshot,
  get,
  increment,
  off,
  onChildAdded,
  onChildChanged,
  onChildMoved,
  onChildRemoved,
  onValue,
  push,
  ref,
  remove,
  serverTimestamp,
  set,
  setWithPriority,
  update,
} from './index.ts'
import { ScriptedServer, settle } from './test/scripted-server.ts'

/** Everything a path's listeners hear, as short lines. */
function record(db: Database, path: string): string[] {
  const heard: string[] = []
  const line =
    (name: string) =>
    (snapshot: DataSnapshot, previous?: string | null): void => {
      const key = name === 'value' ? '' : ` ${snapshot.key}`
      const after = previous === undefined || name === 'removed' ? '' : ` after ${previous}`
      heard.push(`${name}${key} ${JSON.stringify(snapshot.val())}${after}`)
    }
  const at = ref(db, path)
  onValue(at, line('value'))
  onChildAdded(at, line('added'))
  onChildChanged(at, line('changed'))
  onChildMoved(at, line('moved'))
  onChildRemoved(at, line('removed'))
  return heard
}

function values(db: Database, path: string): unknown[] {
  const heard: unknown[] = []
  onValue(ref(db, path), (snapshot) => heard.push(snapshot.val()))
  return heard
}

test('a listener hears nothing until the server has answered, then the children in order, then the value', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const heard = record(db, 'list')
  await settle()
  expect(heard).toEqual([])
  await connection.snapshot({ b: 2, 10: 'ten', 9: 'nine', a: 1 })

  expect(heard).toEqual([
    'added 9 "nine" after null',
    'added 10 "ten" after 9',
    'added a 1 after 10',
    'added b 2 after a',
    'value {"9":"nine","10":"ten","a":1,"b":2}',
  ])
})

test('an empty place is a value too: null', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'nothing')

  await connection.snapshot(null)

  expect(heard).toEqual([null])
})

test('child events come before the value event, removals first, changes last', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = record(db, 'list')
  await connection.snapshot({ a: 1, b: 2, c: 3 })
  heard.length = 0

  await connection.patch(2, ['a', null, 'b', 22, 'd', 4])

  expect(heard).toEqual([
    'removed a 1',
    'added d 4 after c',
    'changed b 22 after null',
    'value {"b":22,"c":3,"d":4}',
  ])
})

test('a new priority moves a child, then changes it', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = record(db, 'list')
  await connection.snapshot({
    a: { '.value': 'a', '.priority': 1 },
    b: { '.value': 'b', '.priority': 2 },
    c: 'no priority comes first',
  })
  heard.length = 0

  await connection.patch(2, ['a', { '.value': 'a', '.priority': 3 }])

  expect(heard).toEqual([
    'moved a "a" after b',
    'changed a "a" after b',
    'value {"c":"no priority comes first","b":"b","a":"a"}',
  ])
})

test('each step of a patch is one round of events', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(0)

  await connection.send({
    type: 'patch',
    queryId: 1,
    revision: 4,
    steps: [
      ['', 1],
      ['', 2],
      ['', 3],
    ],
  })

  expect(heard).toEqual([0, 1, 2, 3])
})

test('a step that changes several places is one round', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'room')
  await connection.snapshot({ a: 1 })

  await connection.patch(2, ['a', 2, 'b/c', 3])

  expect(heard).toEqual([{ a: 1 }, { a: 2, b: { c: 3 } }])
})

test('a patch that the snapshot already holds is ignored, and so is one that comes twice', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(5, 1, 5)

  await connection.patch(4, ['', 4])
  await connection.patch(5, ['', 5])
  await connection.patch(6, ['', 6])
  await connection.patch(6, ['', 66])

  expect(heard).toEqual([5, 6])
})

test('a patch that changes nothing raises nothing', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'room')
  await connection.snapshot({ a: { b: 1 } })

  await connection.patch(2, ['a', { b: 1 }])

  expect(heard).toEqual([{ a: { b: 1 } }])
})

test('a resync replaces the value in one round', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = record(db, 'list')
  await connection.snapshot({ a: 1, b: 2 })
  heard.length = 0

  await connection.send({ type: 'resync', queryId: 1, revision: 90, value: { b: 2, c: 3 } })
  await connection.patch(90, ['d', 4])

  expect(heard).toEqual(['removed a 1', 'added c 3 after b', 'value {"b":2,"c":3}'])
})

test('a write is heard at once, and once only: patch and ack change nothing', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(1)

  const written = set(ref(db, 'n'), 2)
  expect(heard).toEqual([1, 2])
  const { id } = await connection.next('set')
  await connection.patch(2, ['', 2])
  await connection.ack(id, 2)

  await written
  expect(heard).toEqual([1, 2])
})

test('a denied write is taken back with events and rejects with the code', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = record(db, 'list')
  await connection.snapshot({ a: 1 })
  heard.length = 0

  const written = set(ref(db, 'list/b'), 2)
  const { id } = await connection.next('set')
  const refused = expect(written).rejects.toMatchObject({
    code: 'permission_denied',
    message: expect.stringContaining("permission_denied at /list/b: Client doesn't have permission"),
  })
  await connection.refuse(id)

  await refused
  expect(heard).toEqual(['added b 2 after a', 'value {"a":1,"b":2}', 'removed b 2', 'value {"a":1}'])
})

test('a denied write gives back what it had replaced: a leaf it wrote below, a priority it removed', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const at = ref(db, 'tree')
  const heard: unknown[] = []
  onValue(at, (snapshot) => heard.push(snapshot.exportVal()))
  await connection.snapshot({ leaf: 5, node: { a: 1, '.priority': 7 } })

  const below = set(child(at, 'leaf/x'), 1)
  const gone = remove(child(at, 'node/a'))
  const [first, second] = await connection.take()
  const refused = Promise.allSettled([below, gone])
  await connection.refuse(first!.id)
  await connection.refuse(second!.id)

  await refused
  expect(heard.at(-3)).toEqual({ leaf: { x: 1 } })
  expect(heard.at(-1)).toEqual({ leaf: 5, node: { a: 1, '.priority': 7 } })
})

test('a later write stays on top of what the server tells of an earlier one', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(0)

  const writes = [set(ref(db, 'n'), 1), set(ref(db, 'n'), 2), set(ref(db, 'n'), 3)]
  const ids = (await connection.take()).map(({ id }) => id)
  await connection.patch(1000, ['', 1])
  await connection.ack(ids[0]!)
  await connection.patch(1001, ['', 2])
  await connection.patch(1002, ['', 3])
  await connection.send({ type: 'ack', revision: 1002, ids: ids.slice(1) })

  await Promise.all(writes)
  expect(heard).toEqual([0, 1, 2, 3])
})

test('when others wrote after this client, their value follows the ack', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(0)

  const written = set(ref(db, 'n'), 1)
  const { id } = await connection.next('set')
  await connection.patch(2, ['', 1])
  await connection.patch(3, ['', 'theirs'])
  expect(heard).toEqual([0, 1])
  await connection.ack(id, 2)

  await written
  expect(heard).toEqual([0, 1, 'theirs'])
})

test('a write below one that is still loading is heard at once as a child, the value when it is known', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = record(db, 'list')

  set(ref(db, 'list/mine'), 'now').catch(() => {})
  expect(heard).toEqual(['added mine "now" after null'])
  const [listen] = await connection.take()
  await connection.send({ type: 'snapshot', id: listen!.id, queryId: 1, revision: 1, value: { a: 1 } })

  expect(heard).toEqual(['added mine "now" after null', 'added a 1 after null', 'value {"a":1,"mine":"now"}'])
})

test('a write of the whole place is heard before the server has told anything, and kept after its ack', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const written = set(ref(db, 'n'), 'mine')
  const heard = values(db, 'n')
  expect(heard).toEqual(['mine'])
  const [write, listen] = await connection.take()
  await connection.ack(write!.id)
  await written
  await connection.send({ type: 'snapshot', id: listen!.id, queryId: 1, revision: 3, value: 'mine' })

  expect(heard).toEqual(['mine'])
})

test('server values are guessed: the time from the offset, an increment from what is shown', async () => {
  const server = new ScriptedServer()
  server.hello = { serverTimeMs: server.nowMs + 5000 }
  const { db, connection } = await server.connected()
  const heard = values(db, 'room')
  await connection.snapshot({ count: 41 })

  update(ref(db, 'room'), { at: serverTimestamp(), count: increment(1) }).catch(() => {})

  expect(heard.at(-1)).toEqual({ at: server.nowMs + 5000, count: 42 })
  expect(await connection.next('update')).toMatchObject({
    entries: [
      [['at'], { '.sv': 'timestamp' }],
      [['count'], { '.sv': { increment: 1 } }],
    ],
  })
})

test('an increment is not counted twice between its patch and its ack', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'n')
  await connection.snapshot(5)

  const written = set(ref(db, 'n'), increment(1))
  const { id } = await connection.next('set')
  await connection.patch(2, ['', 6])
  await connection.ack(id, 2)

  await written
  expect(heard).toEqual([5, 6])
})

test('an increment of something unknown is not guessed', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  set(ref(db, 'n'), increment(1)).catch(() => {})
  const heard = values(db, 'n')
  expect(heard).toEqual([])
  const [, listen] = await connection.take()

  await connection.send({ type: 'snapshot', id: listen!.id, queryId: 1, revision: 1, value: 7 })

  expect(heard).toEqual([7])
})

test('listeners above, at and below a write hear it, the deepest first', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: string[] = []
  for (const path of ['a', 'a/b', 'a/b/c', 'a/x']) onValue(ref(db, path), () => heard.push(path))
  const listens = await connection.take()
  expect(listens).toHaveLength(1)
  await connection.send({ type: 'snapshot', id: listens[0]!.id, queryId: 1, revision: 1, value: { x: 1 } })
  heard.length = 0

  set(ref(db, 'a/b'), { c: 1 }).catch(() => {})

  expect(heard).toEqual(['a/b/c', 'a/b', 'a'])
})

test('no view is seen half moved: all views have the new state when the first callback runs', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  let seenFromBelow: unknown
  const parent = ref(db, 'a')
  onValue(parent, () => {})
  await connection.snapshot({ b: 1 })
  onValue(child(parent, 'b'), async () => {
    seenFromBelow = (await get(parent)).val()
  })

  await connection.patch(2, ['b', 2])

  expect(seenFromBelow).toEqual({ b: 2 })
})

test('a write made within a callback is heard after what is already owed', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const at = ref(db, 'n')
  const heard: string[] = []
  onValue(at, (snapshot) => {
    heard.push(`first ${snapshot.val()}`)
    if (snapshot.val() === 1) set(at, 2).catch(() => {})
  })
  onValue(at, (snapshot) => heard.push(`second ${snapshot.val()}`))
  await connection.snapshot(0)
  heard.length = 0

  await connection.patch(2, ['', 1])

  expect(heard).toEqual(['first 1', 'second 1', 'first 2', 'second 2'])
})

test('unsubscribing within a callback silences what is still owed', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: string[] = []
  onValue(ref(db, 'n'), () => second())
  const second = onValue(ref(db, 'n'), () => heard.push('second'))

  await connection.snapshot(1)

  expect(heard).toEqual([])
})

test('onlyOnce hears one event and unlistens', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()), { onlyOnce: true })
  await connection.snapshot(1)

  expect(heard).toEqual([1])
  expect(await connection.next('unlisten')).toMatchObject({ path: ['n'], query: null })
})

test('off takes one callback, one event or all of a path', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const at = ref(db, 'list')
  const heard: string[] = []
  const first = (): number => heard.push('first')
  onValue(at, first)
  onValue(at, () => heard.push('second'))
  onChildAdded(at, () => heard.push('added'))
  await connection.snapshot(null)

  heard.length = 0
  off(at, 'value', first)
  await connection.patch(2, ['a', 1])
  expect(heard).toEqual(['added', 'second'])

  heard.length = 0
  off(at, 'value')
  await connection.patch(3, ['b', 1])
  expect(heard).toEqual(['added'])

  off(at)
  expect(await connection.next('unlisten')).toMatchObject({ path: ['list'] })
})

test('a second listener of the same place is told at once, from what is known', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'list'), () => {})
  await connection.snapshot({ a: 1, b: 2 })

  const heard = record(db, 'list')

  expect(heard).toEqual(['value {"a":1,"b":2}', 'added a 1 after null', 'added b 2 after a'])
  expect(await connection.take()).toEqual([])
})

test('a refused listen calls the cancel callback once and leaves nothing behind', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const errors: unknown[] = []
  onValue(
    ref(db, 'secret'),
    () => expect.unreachable(),
    (error) => errors.push(error.code),
  )
  const { id } = await connection.next('listen')

  await connection.refuse(id)

  expect(errors).toEqual(['permission_denied'])
  await connection.close()
})

test('a listen the server ends later cancels its listeners; those below ask for themselves', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard: unknown[] = []
  onValue(
    ref(db, 'rooms'),
    () => heard.push('rooms'),
    (error) => heard.push(error.code),
  )
  onValue(ref(db, 'rooms/mine'), (snapshot) => heard.push(snapshot.val()))
  await connection.snapshot({ mine: 1, theirs: 2 })
  heard.length = 0

  await connection.send({
    type: 'cancel',
    queryId: 1,
    code: 101,
    name: 'permission_denied',
    message: 'not any more',
  })

  expect(heard).toEqual(['permission_denied'])
  const { id, path } = await connection.next('listen')
  expect(path).toEqual(['rooms', 'mine'])
  await connection.send({ type: 'snapshot', id, queryId: 2, revision: 9, value: 3 })
  expect(heard).toEqual(['permission_denied', 3])
})

test('a listener that hears only once lets go before those below it lose theirs', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const heard = values(db, 'a/b')
  const [below] = await connection.take()
  onValue(ref(db, 'a'), () => {}, { onlyOnce: true })
  const [above] = await connection.take()
  await connection.send(
    { type: 'snapshot', id: below!.id, queryId: 1, revision: 1, value: 1 },
    { type: 'snapshot', id: above!.id, queryId: 2, revision: 1, value: { b: 1 } },
  )

  const sent = await connection.take()
  expect(sent.map(({ type }) => type)).toEqual(['unlisten', 'listen', 'unlisten'])
  const again = sent[1]!
  expect(again).toMatchObject({ path: ['a', 'b'] })
  await connection.send({ type: 'snapshot', id: again.id, queryId: 3, revision: 1, value: 1 })
  await connection.patch(2, ['', 2], 3)

  expect(heard).toEqual([1, 2])
})

test('when a listener above goes, those below keep what they know and ask for themselves', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const stop = onValue(ref(db, 'a'), () => {})
  const heard = values(db, 'a/b')
  await connection.snapshot({ b: 1 })

  stop()
  const [listen, unlisten] = await connection.take()
  expect([listen, unlisten]).toMatchObject([
    { type: 'listen', path: ['a', 'b'] },
    { type: 'unlisten', path: ['a'] },
  ])
  const written = set(ref(db, 'a/b'), 2)
  await connection.ack((await connection.next('set')).id)
  await written
  await connection.send({ type: 'snapshot', id: listen!.id, queryId: 2, revision: 9, value: 2 })

  expect(heard).toEqual([1, 2])
})

test('an error thrown by a callback surfaces and keeps no other listener from its events', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const surfaced: unknown[] = []
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.once('uncaughtException', (error) => surfaced.push(error.message))
  const heard: unknown[] = []
  onValue(ref(db, 'n'), () => {
    throw new Error('a bug in the app')
  })
  onValue(ref(db, 'n'), (snapshot) => heard.push(snapshot.val()))

  await connection.snapshot(1)

  for (const listener of before) process.on('uncaughtException', listener)
  expect(heard).toEqual([1])
  expect(surfaced).toEqual(['a bug in the app'])
})

test('push gives a key at once and a promise for the ref', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  const list = ref(db, 'list')

  const made = push(list, { text: 'hi' })
  const empty = push(list)

  expect(made.key).toMatch(/^[-0-9A-Z_a-z]{20}$/)
  expect(made.key! < empty.key!).toBe(true)
  const { id, path, value } = await connection.next('set')
  expect([path, value]).toEqual([['list', made.key], { text: 'hi' }])
  await connection.ack(id)
  expect((await made).toString()).toBe(`http://server.test:9000/list/${made.key}`)
  expect((await empty).key).toBe(empty.key)
})

test('priorities travel in export form', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  setWithPriority(ref(db, 'a'), 'x', 1).catch(() => {})
  setWithPriority(ref(db, 'b'), { c: 1 }, 'p').catch(() => {})

  expect(await connection.take()).toMatchObject([
    { path: ['a'], value: { '.value': 'x', '.priority': 1 } },
    { path: ['b'], value: { c: 1, '.priority': 'p' } },
  ])
})

test('get is answered from a live listener above it, pending writes included', async () => {
  const { db, connection } = await new ScriptedServer().connected()
  onValue(ref(db, 'room'), () => {})
  await connection.snapshot({ topic: 'old', n: 1 })
  set(ref(db, 'room/topic'), 'new').catch(() => {})
  await connection.take()

  const snapshot = await get(ref(db, 'room'))

  expect(snapshot.val()).toEqual({ topic: 'new', n: 1 })
  expect(await connection.take()).toEqual([])
})

test('get without a listener asks the server once', async () => {
  const { db, connection } = await new ScriptedServer().connected()

  const read = get(ref(db, 'a'))
  const { id } = await connection.next('get')
  await connection.send({ type: 'value', id, revision: 1, value: { 0: 'x', 1: 'y' } })

  expect((await read).val()).toEqual(['x', 'y'])
})
