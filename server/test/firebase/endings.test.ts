/**
 * How connections end, and what is left: close frames, lost sockets, takeovers, crashes, restarts.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deleteApp, initializeApp } from 'firebase/app'
import * as firebase from 'firebase/database'
import { expect, onTestFinished, test } from 'vitest'
import { configFrom } from '../../config-load.ts'
import { startServer } from '../../server.ts'
import { type Cleanup, OPEN, serve } from '../harness.ts'
import { RawClient } from './raw-client.ts'

test.each(['close', 'terminate'] as const)(
  'socket.%s runs what the client left, all forms in one step',
  async (end) => {
    const t: Cleanup = { onTestFinished: (call) => onTestFinished(async () => void (await call())) }
    const server = await serve(t, { rules: OPEN })
    const [leaver, watcher] = [
      await RawClient.connect(t, server, { ns: null }),
      await RawClient.connect(t, server, { ns: null }),
    ]
    await watcher.ask('q', { p: '/', h: '' })
    await leaver.ask('o', { p: '/status', d: { at: { '.sv': 'timestamp' } } })
    await leaver.ask('om', { p: '/', d: { 'list/0': ['x', null], n: { '.sv': { increment: 2 } } } })
    await leaver.ask('o', { p: '/kept', d: 1 })
    await leaver.ask('o', { p: '/kept/.priority', d: 4 })
    await leaver.ask('o', { p: '/dropped', d: 1 })
    await leaver.ask('oc', { p: '/dropped', d: null })

    leaver.socket[end]()
    await watcher.next(
      ({ d }) => JSON.stringify(d.b?.d ?? '').includes('status') || d.b?.p?.startsWith('status'),
    )

    expect((await watcher.ask('g', { p: '/', q: {} })).d).toEqual({
      status: { at: expect.any(Number) },
      list: { 0: { 0: 'x' } },
      n: 2,
      kept: { '.value': 1, '.priority': 4 },
    })
  },
)

test('a read on another connection right after a close frame sees what was left', async (t) => {
  const server = await serve(t, { rules: OPEN })
  for (let n = 0; n < 20; n++) {
    const [leaver, reader] = [
      await RawClient.connect(t, server, { ns: null }),
      await RawClient.connect(t, server, { ns: null }),
    ]
    await leaver.ask('o', { p: '/n', d: n })

    leaver.socket.close()
    await leaver.closed
    const { d: value } = await reader.ask('g', { p: '/n', q: {} })

    expect(value).toBe(n)
  }
})

test('a client that comes back ends its old session first, even if that socket still hangs', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const old = await RawClient.connect(t, server, { ns: null })
  await old.ask('p', { p: '/status', d: 'online' })
  await old.ask('o', { p: '/status', d: 'gone' })

  const back = await RawClient.connect(t, server, { ns: null, query: `&ls=${old.sessionId}` })
  const seen = await back.ask('g', { p: '/status', q: {} })
  await back.ask('p', { p: '/status', d: 'online again' })
  await old.closed

  expect(seen.d).toBe('gone')
  expect(back.sessionId).not.toBe(old.sessionId)
  expect((await back.ask('g', { p: '/status', q: {} })).d).toBe('online again')
})

test('a session id of another namespace or of nobody ends no session', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { dev: true } })
  const other = await RawClient.connect(t, server, { ns: 'other' })

  await RawClient.connect(t, server, { ns: 'demo', query: `&ls=${other.sessionId}` })
  await RawClient.connect(t, server, { ns: 'other', query: '&ls=nobody' })

  expect((await other.ask('s', {})).s).toBe('ok')
})

test('the real SDK comes back after its socket was cut, and takes its old session over', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { dev: true } })
  const db = openSdk(t, server.address.port)
  await firebase.onDisconnect(firebase.ref(db, 'status')).set('gone')
  const seen: unknown[] = []
  firebase.onValue(firebase.ref(db, 'status'), (snapshot) => seen.push(snapshot.val()))
  await firebase.set(firebase.ref(db, 'status'), 'online')

  firebase.goOffline(db)
  firebase.goOnline(db)
  await firebase.set(firebase.ref(db, 'status'), 'back')

  const watcher = await RawClient.connect(t, server)
  expect((await watcher.ask('g', { p: '/status', q: {} })).d).toBe('back')
})

test('a drained server has its SDK clients come to the next one on its port, none of their writes lost', async (t) => {
  const folder = folderOf(t)
  const config = (port: number) =>
    configFrom({ port, data: folder, rules: join(folder, 'none'), dev: true, log: { level: 'silent' } })
  const first = await startServer(config(0))
  const { port } = first.address
  const db = openSdk(t, port)
  const count = firebase.ref(db, 'count')
  await firebase.set(count, 1)

  await first.drain()
  const written = firebase.set(count, 2)
  const second = await startServer(config(port))
  t.onTestFinished(() => second.close())
  await written

  expect((await firebase.get(count)).val()).toBe(2)
})

test('what clients left is written at the next start of a server that was killed', async (t) => {
  const folder = folderOf(t)
  const first = await serve(t, { rules: OPEN, folder })
  const client = await RawClient.connect(t, first, { ns: null })
  await client.ask('o', { p: '/status', d: { '.value': 'gone', '.priority': { '.sv': 'timestamp' } } })
  await client.ask('om', { p: '/', d: { 'a/b': 1, 'a/.priority': 5 } })
  await client.ask('o', { p: '/dropped', d: 1 })
  await client.ask('oc', { p: '/dropped', d: null })

  // What is on disk while the server runs is what a kill leaves there.
  const image = folderOf(t)
  cpSync(folder, image, { recursive: true, filter: (file) => !file.endsWith('lock') })
  const second = await serve(t, { rules: OPEN, folder: image })
  const reader = await RawClient.connect(t, second, { ns: null })
  const watched = await reader.ask('q', { p: '/', h: '' })
  await reader.next(({ d }) => JSON.stringify(d.b?.d ?? '').includes('gone'))

  expect(watched.s).toBe('ok')
  expect((await reader.ask('g', { p: '/', q: {} })).d).toEqual({
    status: { '.value': 'gone', '.priority': expect.any(Number) },
    a: { b: 1, '.priority': 5 },
  })
})

test('a canceled priority stays as it is, and what was canceled is known after a crash, too', async (t) => {
  const [folder, image] = [folderOf(t), folderOf(t)]
  const server = await serve(t, { rules: OPEN, folder })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('p', {
    p: '/',
    d: { a: { '.value': 0, '.priority': 1 }, b: { x: 'stays', y: 0, '.priority': 1 } },
  })
  await client.ask('o', { p: '/a', d: { '.value': 1, '.priority': 2 } })
  await client.ask('oc', { p: '/a/.priority', d: null })
  await client.ask('o', { p: '/b', d: { y: 1 } })
  await client.ask('oc', { p: '/b/x', d: null })
  await client.ask('oc', { p: '/b/.priority', d: null })

  cpSync(folder, image, { recursive: true, filter: (file) => !file.endsWith('lock') })
  const restarted = await serve(t, { rules: OPEN, folder: image })
  const reader = await RawClient.connect(t, restarted, { ns: null })
  await reader.ask('q', { p: '/', h: '' })
  // In the first value, or after it: alone, or with what else the group wrote.
  await reader.next(({ d }) => d.b?.p === 'b/y' || d.b?.d?.['b/y'] === 1 || d.b?.d?.b?.y === 1)

  expect((await reader.ask('g', { p: '/', q: {} })).d).toEqual({
    a: { '.value': 1, '.priority': 1 },
    b: { x: 'stays', y: 1, '.priority': 1 },
  })
})

test('places taken out of registrations count as registrations do', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await RawClient.connect(t, server, { ns: null })
  await client.ask('o', { p: '/a', d: null })

  const answers = await Promise.all(
    Array.from({ length: 1000 }, (_, n) => client.ask('oc', { p: `/a/${n}`, d: null })),
  )
  const dropped = await client.ask('oc', { p: '/a', d: null })
  const after = await client.ask('o', { p: '/a', d: null })

  expect(answers.filter(({ s }) => s !== 'ok').map(({ s }) => s)).toEqual(['unavailable'])
  expect([dropped.s, after.s]).toEqual(['ok', 'ok'])
})

function folderOf(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function openSdk(t: Cleanup, port: number): firebase.Database {
  const app = initializeApp({ databaseURL: `http://127.0.0.1:${port}?ns=demo` }, `app on ${port}`)
  t.onTestFinished(() => deleteApp(app))
  return firebase.getDatabase(app)
}
