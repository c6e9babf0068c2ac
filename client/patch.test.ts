import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import jsonPatch from 'fast-json-patch'
import { expect, test } from 'vitest'
import { type Cleanup, OPEN, serve, type TestServer } from '../server/test/harness.ts'
import {
  type Database,
  getDatabase,
  limitToLast,
  onPatch,
  onValue,
  orderByChild,
  orderByKey,
  orderByValue,
  type PatchOperation,
  type Query,
  query,
  ref,
  remove,
  set,
  setPriority,
  startAt,
  terminate,
  update,
} from './index-node.ts'

function connect(t: Cleanup, server: TestServer): Database {
  const db = getDatabase(server.url)
  t.onTestFinished(() => terminate(db))
  return db
}

interface Following {
  patches: PatchOperation[][]
  /** Resolves when so many patches have been told. */
  told(count: number): Promise<void>
}

function follow(target: Query): Following {
  const patches: PatchOperation[][] = []
  let waiting: { count: number; resolve: () => void }[] = []
  onPatch(target, (patch) => {
    patches.push(patch)
    waiting = waiting.filter(({ count, resolve }) => {
      if (patches.length < count) return true
      resolve()
      return false
    })
  })
  return {
    patches,
    told: (count) =>
      patches.length >= count
        ? Promise.resolve()
        : new Promise((resolve) => waiting.push({ count, resolve })),
  }
}

test('the first patch replaces the whole document, later ones say what changed', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [writer, reader] = [connect(t, server), connect(t, server)]
  await set(ref(writer, 'room'), { title: 'Hall', seats: { '~a': 1, b: 2 } })

  const { patches, told } = follow(ref(reader, 'room'))
  await told(1)
  await update(ref(writer, 'room'), { title: 'Lobby', 'seats/~a': null, open: { since: 5 } })
  await told(2)
  await remove(ref(writer, 'room'))
  await told(3)

  expect(patches).toEqual([
    [{ op: 'replace', path: '', value: { title: 'Hall', seats: { '~a': 1, b: 2 } } }],
    [
      { op: 'replace', path: '/title', value: 'Lobby' },
      { op: 'remove', path: '/seats/~0a' },
      { op: 'add', path: '/open', value: { since: 5 } },
    ],
    [{ op: 'replace', path: '', value: null }],
  ])
})

test('lists grow and shrink at the end; what stops being a list is replaced', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const db = connect(t, server)
  const list = ref(db, 'list')
  const { patches, told } = follow(ref(db))
  await told(1)

  await set(list, ['a', 'b'])
  await update(list, { 1: 'B', 2: 'c', 3: 'd' })
  await update(list, { 2: null, 3: null })
  await update(list, { name: 'mixed' })

  expect(patches.slice(1)).toEqual([
    [{ op: 'replace', path: '', value: { list: ['a', 'b'] } }],
    [
      { op: 'replace', path: '/list/1', value: 'B' },
      { op: 'add', path: '/list/2', value: 'c' },
      { op: 'add', path: '/list/3', value: 'd' },
    ],
    [
      { op: 'remove', path: '/list/3' },
      { op: 'remove', path: '/list/2' },
    ],
    [{ op: 'replace', path: '/list', value: { 0: 'a', 1: 'B', name: 'mixed' } }],
  ])
})

test('a write of its own is told at once, and its refusal takes it back', async (t) => {
  const rules = { '.read': true, a: { '.write': true, '.validate': 'newData.isNumber()' } }
  const server = await serve(t, { rules })
  const db = connect(t, server)
  await set(ref(db, 'a'), 1)
  const { patches, told } = follow(ref(db))
  await told(1)

  const refused = set(ref(db, 'a'), 'text')
  const atOnce = patches.length
  await expect(refused).rejects.toMatchObject({ code: 'permission_denied' })

  expect(atOnce).toBe(2)
  expect(patches).toEqual([
    [{ op: 'replace', path: '', value: { a: 1 } }],
    [{ op: 'replace', path: '/a', value: 'text' }],
    [{ op: 'replace', path: '/a', value: 1 }],
  ])
})

test('a change that val() does not show is not told, nor one after unsubscribing', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const db = connect(t, server)
  await set(ref(db, 'a'), { b: 1 })
  const heard: PatchOperation[][] = []
  const unsubscribe = onPatch(ref(db, 'a'), (patch) => heard.push(patch))

  await setPriority(ref(db, 'a'), 3)
  await set(ref(db, 'a/b'), 2)
  unsubscribe()
  await set(ref(db, 'a/b'), 3)

  expect(heard).toHaveLength(2)
  expect(heard[1]).toEqual([{ op: 'replace', path: '/b', value: 2 }])
})

test('one change in a long list is one operation', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const db = connect(t, server)
  const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, { text: 'x', n: i }]))
  await set(ref(db, 'list'), many)
  const { patches, told } = follow(ref(db, 'list'))
  await told(1)

  await set(ref(db, 'list/k2500/n'), -1)

  expect(patches.slice(1)).toEqual([[{ op: 'replace', path: '/k2500/n', value: -1 }]])
})

test('a listener that may not read is told so', async (t) => {
  const server = await serve(t)
  const db = connect(t, server)

  const error = await new Promise((resolve) => onPatch(ref(db, 'a'), () => {}, resolve))

  expect(error).toMatchObject({ code: 'permission_denied' })
})

const key = fc.constantFrom('a', 'b', '~x', '0', '1', '2', 'toJSON')
const leaf = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom(true, 'text'))
const value = fc.letrec((tie) => ({
  tree: fc.oneof({ maxDepth: 3 }, leaf, fc.dictionary(key, tie('tree'), { maxKeys: 4 })),
})).tree
const path = fc.array(key, { maxLength: 3 }).map((keys) => keys.join('/'))
const action = fc.record({
  by: fc.constantFrom('reader' as const, 'writer' as const),
  path,
  value: fc.oneof({ weight: 3, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) }),
  isAwaited: fc.boolean(),
  /** Refused by the rules. */
  isRefused: fc.boolean(),
})

test('all patches in order give what val() gives, at every step', { timeout: 120_000 }, async (t) => {
  const rules = {
    '.read': true,
    '.write': "newData.hasChild('refused') == data.hasChild('refused')",
    tree: { '.indexOn': ['a', '.value'] },
  }
  const server = await serve(t, { rules })
  const [reader, writer] = [connect(t, server), connect(t, server)]
  const tree = ref(reader, 'tree')
  const queries: Query[] = [
    tree,
    ref(reader, 'tree/a'),
    query(tree, orderByKey(), limitToLast(2)),
    query(tree, orderByChild('a'), startAt(1)),
    query(tree, orderByValue(), limitToLast(1)),
  ]

  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 12 }), async (actions) => {
      await set(ref(writer), null)
      const wrong: unknown[] = []
      const ends = queries.flatMap((each) => {
        let shown: unknown
        let document: unknown = 'anything'
        return [
          onValue(each, (snapshot) => {
            shown = snapshot.val()
          }),
          onPatch(each, (patch) => {
            const { newDocument } = jsonPatch.applyPatch(document, structuredClone(patch), true, false)
            document = newDocument
            if (!isDeepStrictEqual(document, shown)) wrong.push({ patch, document, shown })
          }),
          () => {
            if (!isDeepStrictEqual(document, shown)) wrong.push({ atEnd: document, shown })
          },
        ]
      })

      const writes = actions.map(async ({ by, path, value, isAwaited, isRefused }) => {
        const db = by === 'reader' ? reader : writer
        const at = `tree/${path}`
        const write = isRefused ? update(ref(db), { [at]: value, refused: true }) : set(ref(db, at), value)
        const done = write.catch(() => {})
        if (isAwaited) await done
        return done
      })
      await Promise.all(writes)
      // One more that both hear of: once it is acknowledged, all before it has been shown.
      await set(ref(reader, 'end'), Math.random())
      for (const end of ends) end()

      expect(wrong).toEqual([])
    }),
    { numRuns: 60, verbose: 1, ...seedOf() },
  )
})

/** Printed, so that a run can be repeated with SEED. */
function seedOf(): { seed: number } {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  console.log(`patches: SEED=${seed}`)
  return { seed }
}
