/** Presence and messages as an app uses them, against the real server. */
import { expect, test } from 'vitest'
import { signToken } from '../server/auth.ts'
import { type Cleanup, OPEN, SECRET, serve } from '../server/test/harness.ts'
import {
  type Database,
  type DatabaseOptions,
  get,
  getDatabase,
  goOffline,
  goOnline,
  type HearthError,
  onChildAdded,
  onChildRemoved,
  onMessage,
  onValue,
  presence,
  type Query,
  ref,
  remove,
  send,
  set,
  setAuth,
  terminate,
} from './index-node.ts'

const CONFIG = { auth: { secret: SECRET } }
const OWN = {
  online: { '.read': true, $uid: { '.write': '$uid == auth.uid' } },
  room: {
    '.read': 'auth != null && !root.child("banned").child(auth.uid).exists()',
    '.write': 'auth != null',
  },
  banned: { '.write': true },
}

function open(t: Cleanup, server: { url: string }, options: DatabaseOptions = {}): Database {
  const db = getDatabase(server.url, options)
  t.onTestFinished(() => terminate(db))
  return db
}

function token(sub: string): Promise<string> {
  return signToken({ sub, exp: 4e9 }, SECRET)
}

/** Resolves once a query has shown a value. */
function shows(query: Query, expected: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = onValue(
      query,
      (snapshot) => {
        if (JSON.stringify(snapshot.val()) !== JSON.stringify(expected)) return
        queueMicrotask(() => stop())
        resolve()
      },
      reject,
    )
  })
}

test('joins and leaves are children that come and go, states their values', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const online = ref(open(t, server), 'online')
  const [ann, bob] = [
    open(t, server, { auth: await token('ann') }),
    open(t, server, { auth: await token('bob') }),
  ]
  const told: string[] = []
  onChildAdded(online, ({ key }) => told.push(`+${key}`))
  onChildRemoved(online, ({ key }) => told.push(`-${key}`))

  const here = presence(ref(ann, 'online'), { mood: 'fine' })
  await here.joined
  expect(here.key).toBe('ann')
  await shows(online, { ann: { mood: 'fine' } })
  await presence(ref(bob, 'online'), true).joined
  await here.update('away')
  await shows(online, { ann: 'away', bob: true })
  await here.leave()
  await shows(online, { bob: true })
  terminate(bob)
  await shows(online, null)

  expect(told).toEqual(['+ann', '+bob', '-ann', '-bob'])
  await expect(here.update('back')).rejects.toMatchObject({ code: 'left' })
})

test('after a lost connection and with another identity it is present again, with its latest state', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const online = ref(open(t, server), 'online')
  const db = open(t, server, { auth: await token('ann') })
  const here = presence(ref(db, 'online'), 1)
  await here.joined

  goOffline(db)
  await shows(online, null)
  await here.update(2)
  goOnline(db)
  await shows(online, { ann: 2 })

  await setAuth(db, await token('bob'))
  await shows(online, { bob: 2 })
})

test('the state it shows is the latest, also where the first one still waited for the connection', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const db = open(t, server, { auth: await token('ann') })
  const here = presence(ref(db, 'online'), 1)
  await here.update(2)
  await here.joined

  expect((await get(ref(db, 'online'))).val()).toEqual({ ann: 2 })
})

test('who leaves before the connection is there never joins', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const db = open(t, server, { auth: await token('ann') })
  const here = presence(ref(db, 'online'), 1)
  await here.leave()
  await here.joined

  expect((await get(ref(db, 'online'))).exists()).toBe(false)
})

test('a join the rules refuse rejects, and is not tried again', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const errors: string[] = []

  const here = presence(ref(open(t, server), 'online'), 1, { onError: ({ code }) => errors.push(code) })

  await expect(here.joined).rejects.toMatchObject({ code: 'permission_denied' })
  await here.leave()
  expect(errors).toEqual(['permission_denied'])
})

test('messages are heard in order by all who listen, and by nobody who stopped', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [a, b] = [open(t, server), open(t, server)]
  const heard: unknown[] = []
  const last = new Promise<void>((resolve) => {
    onMessage<{ n: number; list?: number[] }>(ref(a, 'room'), (message) => {
      heard.push(message)
      if (message.n === 2) resolve()
    })
  })
  const stopped: unknown[] = []
  onMessage(ref(a, 'room'), (message) => stopped.push(message))()
  await get(ref(a, 'nothing'))

  await send(ref(b, 'room'), { n: 1, list: [1, 2] })
  await send(ref(b, 'room'), { n: 2 })
  await last

  expect(heard).toEqual([{ n: 1, list: [1, 2] }, { n: 2 }])
  expect(stopped).toEqual([])
  expect((await get(ref(b, 'room'))).exists()).toBe(false)
})

test('a listener for messages goes on after a lost connection, and ends with its right', async (t) => {
  const server = await serve(t, { rules: OWN, config: CONFIG })
  const db = open(t, server, { auth: await token('ann') })
  const other = open(t, server, { auth: await token('bob') })
  const heard: unknown[] = []
  let wake = (): void => {}
  const ended = new Promise<string>((resolve) => {
    onMessage(
      ref(db, 'room'),
      (message) => {
        heard.push(message)
        wake()
      },
      ({ code }) => resolve(code),
    )
  })
  await get(ref(db, 'room'))

  await send(ref(other, 'room'), 'before')
  goOffline(db)
  await send(ref(other, 'room'), 'missed')
  goOnline(db)
  await get(ref(db, 'room'))
  const next = new Promise<void>((resolve) => {
    wake = resolve
  })
  await send(ref(other, 'room'), 'after')
  await next
  await set(ref(other, 'banned/ann'), true)

  expect(await ended).toBe('permission_denied')
  await send(ref(other, 'room'), 'unheard')
  expect(heard.slice(-1)).toEqual(['after'])
  expect(heard).not.toContain('missed')
})

test('a policy that is none is refused before anything is asked for', async (t) => {
  const db = open(t, { url: 'http://127.0.0.1:1' })
  const refused = (delivery: unknown): unknown => {
    try {
      return onValue(ref(db, 'game'), () => {}, { delivery: delivery as 'latest' })
    } catch (error) {
      const { code, message } = error as HearthError
      return `${code}: ${message}`
    }
  }

  for (const [delivery, shown] of [
    ['sometimes', '"sometimes"'],
    [null, 'null'],
    [{}, '{}'],
    [{ hz: 20 }, '{"hz":20}'],
    [{ maxHz: '20' }, '{"maxHz":"20"}'],
    [{ maxHz: 0.01 }, '{"maxHz":0.01}'],
  ]) {
    expect(refused(delivery)).toBe(
      `invalid_query: delivery \`${shown}\` is not every, latest or maxHz 0.1 to 1000`,
    )
  }
})

test('with a slow policy a write of its own never goes back and forth', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [db, other] = [open(t, server), open(t, server)]
  const heard: unknown[] = []
  onValue(ref(db, 'game/me'), (snapshot) => heard.push(snapshot.val()), { delivery: { maxHz: 2 } })
  await get(ref(db, 'game/me'))

  for (let n = 1; n <= 5; n++) await set(ref(db, 'game/me'), n)
  await set(ref(other, 'game/me'), 'theirs')
  await shows(ref(db, 'game/me'), 'theirs')

  expect(heard.filter((value) => value !== null)).toEqual([1, 2, 3, 4, 5, 'theirs'])
})

test('of listeners that share what the server sends, the one that wants most decides', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const [db, writer] = [open(t, server), open(t, server)]
  const slow: unknown[] = []
  const every: unknown[] = []
  await set(ref(writer, 'game/x'), 0)
  onValue(ref(db, 'game'), (snapshot) => slow.push(snapshot.val()), { delivery: { maxHz: 0.1 } })
  await get(ref(db, 'game'))
  await set(ref(writer, 'game/x'), 1)
  await set(ref(writer, 'game/x'), 2)

  const done = new Promise<void>((resolve) => {
    onValue(ref(db, 'game/x'), (snapshot) => {
      every.push(snapshot.val())
      if (snapshot.val() === 5) resolve()
    })
  })
  for (let n = 3; n <= 5; n++) await set(ref(writer, 'game/x'), n)
  await done

  expect(every.slice(-1)).toEqual([5])
  expect(slow.slice(-1)).toEqual([{ x: 5 }])
  expect(() => onValue(ref(db, 'a'), () => {}, { delivery: { maxHz: 5000 } })).toThrow(
    'delivery `{"maxHz":5000}`',
  )
  await remove(ref(writer, 'game'))
})
