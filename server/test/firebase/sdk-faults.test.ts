/**
 * What Firebase's SDK gets wrong by itself: against a server that only says, by a script, what Firebase's own would say. The
 * differential test leaves out just this. Where one of these fails, the SDK has been mended, and what it is about can be
 * compared there, too.
 */
import { deleteApp, initializeApp } from 'firebase/app'
import {
  endAt,
  get,
  getDatabase,
  limitToFirst,
  limitToLast,
  onValue,
  orderByChild,
  query,
  ref,
} from 'firebase/database'
import { expect, test, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import type { Cleanup } from '../harness.ts'

vi.spyOn(console, 'warn').mockImplementation(() => {})

/** What the bare server does with a request: it answers `ok`, with this, behind these pushes. */
interface Said {
  pushes?: readonly { p: string; d: unknown; t?: number }[]
  d?: unknown
}

// biome-ignore lint/suspicious/noExplicitAny: what the SDK sends.
type Heard = any

async function bareDatabase(t: Cleanup, say: (action: string, body: Heard) => Said) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  t.onTestFinished(() => server.close())
  const asked: string[] = []
  let push = (_action: string, _body: object): void => {}
  server.on('connection', (socket) => {
    const send = (message: object): void => socket.send(JSON.stringify(message))
    send({ t: 'c', d: { t: 'h', d: { ts: 0, v: '5', h: `127.0.0.1:${port}`, s: 'session' } } })
    push = (action, body) => send({ t: 'd', d: { a: action, b: body } })
    socket.on('message', (data) => {
      const { t: type, d: request } = JSON.parse(String(data))
      if (type !== 'd') return
      asked.push(`${request.a} ${request.b.p ?? ''}`)
      const { pushes = [], d = {} } = say(request.a, request.b)
      for (const body of pushes) push('d', body)
      send({ t: 'd', d: { r: request.r, b: { s: 'ok', d } } })
    })
  })
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const app = initializeApp({ databaseURL: `http://127.0.0.1:${port}?ns=demo` }, `faults ${port}`)
  t.onTestFinished(() => deleteApp(app))
  return { db: getDatabase(app), asked, push: (action: string, body: object) => push(action, body) }
}

/**
 * The SDK looks for where a window ends among its children in the order of their values; where none of them has one, it has no
 * such order, and looks among them in the order of keys for the key of the bound.
 */
test('a window of the last before a value, picked from the whole list, misses children without that value', async (t) => {
  const list = { a: 1, b: 2, x: 3 }
  const { db } = await bareDatabase(t, (action) =>
    action === 'q' ? { pushes: [{ p: 'list', d: list }], d: { w: ['no_index'] } } : {},
  )
  const shownBy = (...key: string[]): Promise<unknown> =>
    new Promise((resolve) => {
      const last = query(ref(db, 'list'), orderByChild('n'), endAt(5, ...key), limitToLast(1))
      onValue(last, (snapshot) => resolve(snapshot.val()))
    })

  expect(await shownBy()).toEqual({ x: 3 })
  expect(await shownBy('b')).toEqual({ b: 2 })
})

/**
 * For a child that leaves it the SDK takes the next from the list as it was before the update that it is applying, also one that
 * the update has changed, if its change was applied before.
 */
test('so many of a list that is listened to as a whole, too, show a child as it was before an update that brought it in', async (t) => {
  const { db, push } = await bareDatabase(t, (action) =>
    action === 'q' ? { pushes: [{ p: 'list', d: { a: { n: 1 }, b: { n: 2 }, c: { n: 3 } } }] } : {},
  )
  let shown: unknown
  await new Promise((resolve) => onValue(ref(db, 'list'), resolve))
  await new Promise<void>((resolve) => {
    onValue(query(ref(db, 'list'), orderByChild('n'), limitToLast(1)), (snapshot) => {
      shown = snapshot.val()
      resolve()
    })
  })

  push('m', { p: 'list', d: { 'b/new': 1, c: null } })
  await get(ref(db, 'elsewhere'))

  expect(shown).toEqual({ b: { n: 2 } })
})

/** What a `get` brings goes to all that is listened to below: a window keeps what it does not show, which nobody tells it of. */
test('a window shows a child that is gone, and a get asks for none, once a get has brought the whole list', async (t) => {
  let tag: number | undefined
  const { db, asked, push } = await bareDatabase(t, (action, body) => {
    const { p } = body
    tag ??= body.t
    if (action === 'q') return { pushes: [{ p: 'list', d: { a: 1, b: 2 }, t: tag! }] }
    return action === 'g' && p === '/list' ? { d: { a: 1, b: 2, c: 3 } } : {}
  })
  const shown: unknown[] = []
  await new Promise<void>((resolve) => {
    onValue(query(ref(db, 'list'), limitToFirst(2)), (snapshot) => {
      shown.push(snapshot.val())
      resolve()
    })
  })
  await get(ref(db, 'list'))
  const before = asked.length

  expect((await get(ref(db, 'list/c'))).val()).toBe(3)
  expect(asked.length).toBe(before)

  // Both `a` and `c` were deleted: the window is told that `a` went and `d` came.
  push('m', { p: 'list', d: { a: null, d: 4 }, t: tag })
  await get(ref(db, 'elsewhere'))

  expect(shown).toEqual([
    { a: 1, b: 2 },
    { b: 2, c: 3 },
  ])
})
