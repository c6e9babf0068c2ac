/**
 * Long polling: the SDK's build for browsers, in as much of a page as it needs, and bare requests.
 */
import { once } from 'node:events'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { deleteApp, initializeApp } from 'firebase/app'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import WebSocket from 'ws'
import { type Cleanup, OPEN, serve, type TestServer } from '../harness.ts'
import { openPage, type Page } from './page.ts'
import { RawClient } from './raw-client.ts'

type Sdk = typeof import('firebase/database')

/** Long polls are kept by the thread that writes: a socket that comes to another one does not find the poll it is to replace. */
const ONE_THREAD = { workers: 1 }

let page: Page
let sdk: Sdk

beforeAll(async () => {
  page = openPage()
  // Found by the SDK as it is loaded; what it says of itself is that it runs in Node.
  Object.assign(globalThis, { WebSocket })
  const file = new URL('../../../node_modules/@firebase/database/dist/index.esm.js', import.meta.url)
  sdk = (await import(/* @vite-ignore */ file.href)) as Sdk
  const util = createRequire(import.meta.url).resolve('@firebase/util')
  const esm = new URL('node-esm/index.node.esm.js', pathToFileURL(util))
  const { CONSTANTS } = (await import(/* @vite-ignore */ esm.href)) as { CONSTANTS: { NODE_CLIENT: boolean } }
  CONSTANTS.NODE_CLIENT = false
})
afterAll(() => page.leave())

function open(t: Cleanup, server: TestServer): ReturnType<Sdk['getDatabase']> {
  const { host, port } = server.address
  const app = initializeApp({ databaseURL: `http://${host}:${port}?ns=demo` }, `page on ${port}`)
  t.onTestFinished(() => deleteApp(app))
  return sdk.getDatabase(app)
}

test('a browser whose socket is good moves to it, and nothing is lost or out of order on the way', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { dev: true, ...ONE_THREAD } })
  const db = open(t, server)
  const other = await RawClient.connect(t, server)
  const counts: number[] = []
  sdk.onValue(sdk.ref(db, 'count'), (snapshot) => void counts.push(snapshot.val() ?? 0))
  await sdk.set(sdk.ref(db, 'log/start'), true)

  for (let n = 1; n <= 150; n++) {
    const written = sdk.set(sdk.ref(db, `log/${n}`), n)
    await other.ask('p', { p: '/count', d: n })
    await written
  }
  await vi.waitUntil(() => counts.at(-1) === 150)
  const settled = page.loaded.length
  await sdk.set(sdk.ref(db, 'log/end'), true)

  expect(counts).toEqual([...counts].sort((a, b) => a - b))
  expect(Object.keys((await other.ask('g', { p: '/log', q: {} })).d)).toHaveLength(152)
  // It began by polling and does so no more.
  expect(settled).toBeGreaterThan(0)
  expect(page.loaded.length).toBe(settled)
})

test('a browser that only polls listens, writes, transacts, and leaves what it left', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { dev: true } })
  // For good: from here on the module polls.
  sdk.forceLongPolling()
  const db = open(t, server)
  const other = await RawClient.connect(t, server)
  const heard: unknown[] = []
  sdk.onValue(sdk.ref(db, 'a'), (snapshot) => heard.push(snapshot.val()))

  await sdk.set(sdk.ref(db, 'a/b'), 'é😀 </script>')
  await other.ask('p', { p: '/a/c', d: 1 })
  await vi.waitUntil(() => JSON.stringify(heard.at(-1))?.includes('"c"'))
  const { snapshot } = await sdk.runTransaction(sdk.ref(db, 'n'), (value) => (value ?? 0) + 1)
  await sdk.set(sdk.ref(db, 'long'), '語'.repeat(20_000))
  await sdk.onDisconnect(sdk.ref(db, 'status')).set('gone')
  await other.ask('q', { p: '/status', h: '' })
  sdk.goOffline(db)
  const left = await other.push('d')

  expect(heard.at(-1)).toEqual({ b: 'é😀 </script>', c: 1 })
  expect(snapshot.val()).toBe(1)
  expect((await other.ask('g', { p: '/long', q: {} })).d).toHaveLength(20_000)
  expect(left).toEqual({ p: 'status', d: 'gone' })
  expect(page.loaded.every((url) => url.includes('/.lp?'))).toBe(true)
})

test('a poll for a connection that is not there is told so', async (t) => {
  const server = await serve(t, { rules: OPEN })

  const response = await fetch(`${server.url}/.lp?id=none&pw=none&ser=1`)

  expect(await response.text()).toBe("pLPCommand('close');")
})

test('a callback name that is no name is refused, and never echoed into a script', async (t) => {
  const server = await serve(t, { rules: OPEN })

  const response = await fetch(`${server.url}/.lp?start=t&ser=1&cb=${encodeURIComponent('"];alert(1)//')}`)

  expect(response.status).toBe(400)
  expect(response.headers.get('content-type')).toContain('text/plain')
})

test('a newer poll releases the older one; segments that come out of order make their message', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const { poll } = await startRaw(server)
  const message = JSON.stringify({ t: 'd', d: { r: 1, a: 'p', b: { p: '/a', d: 'x'.repeat(50) } } })
  const encoded = Buffer.from(message).toString('base64url')
  const [first, second] = [encoded.slice(0, 40), encoded.slice(40)]

  const older = poll(`&seg0=1&ts0=2&d0=${second}`)
  // The older one is there once another request on a connection opened after it was answered.
  await fetch(`${server.url}/health/live`)
  const newer = poll(`&seg0=0&ts0=2&d0=${first}`)

  expect(await older).toBe('pRTLPCB(1,[]);')
  expect(await newer).toBe('pRTLPCB(2,[{"t":"d","d":{"r":1,"b":{"s":"ok","d":""}}}]);')
})

test('a page that is killed while its poll is held is gone at once, and leaves what it left', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const other = await RawClient.connect(t, server, { ns: null })
  await other.ask('q', { p: '/status', h: '' })
  const { poll, address } = await startRaw(server)
  const leaving = { t: 'd', d: { r: 1, a: 'o', b: { p: '/status', d: 'gone' } } }
  const encoded = Buffer.from(JSON.stringify(leaving)).toString('base64url')
  await poll(`&seg0=0&ts0=1&d0=${encoded}`)

  const held = request(address)
  held.on('error', () => {})
  held.end()
  await once(held, 'finish')
  // Its bytes were under way before this connection was opened: once this is answered, it is held.
  await once(request(`${server.url}/health/live`, { agent: false }).end(), 'response')
  held.destroy()

  expect(await other.push('d')).toEqual({ p: 'status', d: 'gone' })
})

test.each([
  ['segments far ahead', '&seg0=5000&ts0=1&d0=e30'],
  ['a segment of no number', '&seg0=x&ts0=1&d0=e30'],
  ['a message of no segments', '&seg0=0&ts0=0&d0=e30'],
])('a poll with %s ends the connection', async (_, query) => {
  const cleanup: (() => unknown)[] = []
  const server = await serve({ onTestFinished: (call) => void cleanup.push(call) }, { rules: OPEN })
  const { poll } = await startRaw(server)

  const answer = await poll(query)

  expect(answer).toBe("pLPCommand('close');")
  for (const call of cleanup) await call()
})

test('what a socket brings before the page has moved to it is limited, and one socket waits at a time', async (t) => {
  const limits = { frameBytesMax: 64 * 1024 }
  const server = await serve(t, { rules: OPEN, config: { limits, ...ONE_THREAD } })
  const { text, poll } = await startRaw(server)
  const [, sessionId] = /"s":"([^"]+)"/.exec(text)!
  const query = `&s=${sessionId}`
  const first = await RawClient.connect(t, server, { ns: null, query, until: 'a' })
  const second = await RawClient.connect(t, server, { ns: null, query, until: 'a' })

  for (let n = 0; n < 3; n++) second.sendText(`{"t":"d","d":"${'x'.repeat(60_000)}"}`)

  expect([(await first.closed).code, (await second.closed).code]).toEqual([4500, 4500])
  const stats = { t: 'd', d: { r: 1, a: 's', b: {} } }
  const segment = Buffer.from(JSON.stringify(stats)).toString('base64url')
  expect(await poll(`&seg0=0&ts0=1&d0=${segment}`)).toContain('"s":"ok"')
})

test('a namespace the server does not have is told in the first script', async (t) => {
  const server = await serve(t, { rules: OPEN })

  const text = await (await fetch(`${server.url}/.lp?start=t&ser=1&cb=1&v=5&ns=other`)).text()

  expect(text).toContain('{"t":"c","d":{"t":"s"')
})

test('a socket that wants to take over a connection that is not there is reset', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/.ws?v=5&s=nobody`)
  t.onTestFinished(() => socket.terminate())

  const first = await new Promise<string>((resolve) =>
    socket.once('message', (data) => resolve(String(data))),
  )

  expect(JSON.parse(first)).toEqual({ t: 'c', d: { t: 'r', d: `127.0.0.1:${server.address.port}` } })
})

async function startRaw(server: { url: string }) {
  const text = await (await fetch(`${server.url}/.lp?start=t&ser=1&cb=1&v=5`)).text()
  const [, id, password] = /pLPCommand\('start','([^']+)','([^']+)'\)/.exec(text)!
  const address = `${server.url}/.lp?id=${id}&pw=${password}&ser=2`
  const poll = async (query = ''): Promise<string> => (await fetch(address + query)).text()
  return { text, address, poll }
}

test('a page that loads nothing is not answered at length again until it has loaded the last answer', async (t) => {
  const server = await serve(t, { rules: OPEN, config: ONE_THREAD })
  const text = 'x'.repeat(9 * 1024 * 1024)
  await fetch(`${server.url}/big.json?print=silent`, { method: 'PUT', body: JSON.stringify(text) })
  const started = await (await fetch(`${server.url}/.lp?start=t&ser=1&cb=1&v=5`)).text()
  const [, id, password] = /'start','([^']+)','([^']+)'/.exec(started)!
  const poll = (n: number): Promise<Response> => {
    const message = { t: 'd', d: { r: n, a: 'g', b: { p: '/big' } } }
    const segment = `seg0=${n}&ts0=1&d0=${Buffer.from(JSON.stringify(message)).toString('base64url')}`
    // Resolves with the head: the body stays in the socket.
    return fetch(`${server.url}/.lp?id=${id}&pw=${password}&ser=${n + 2}&${segment}`)
  }
  const held = async (): Promise<number> => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    return Number(/^hearth_rest_answer_bytes (\d+)$/m.exec(metrics)?.[1])
  }

  const first = await poll(0)
  const second = poll(1)
  const third = poll(2)
  expect((await (await second).text()).length).toBeLessThan(100)
  expect(await held()).toBeGreaterThan(text.length)
  expect(await held()).toBeLessThan(2 * text.length)
  const whole = await first.text()
  const rest = (await (await third).text()) + (await (await poll(3)).text())

  expect(whole).toContain(`"r":0`)
  expect(rest.indexOf(`"r":1`)).toBeGreaterThan(0)
  expect(rest.indexOf(`"r":2`)).toBeGreaterThan(rest.indexOf(`"r":1`))
  await expect.poll(held).toBe(0)
})

test('a page that moves to a socket while it loads a long answer is told there what was held back', async (t) => {
  const server = await serve(t, { rules: OPEN, config: ONE_THREAD })
  const text = 'x'.repeat(9 * 1024 * 1024)
  await fetch(`${server.url}/big.json?print=silent`, { method: 'PUT', body: JSON.stringify(text) })
  const { text: started, address } = await startRaw(server)
  const [, sessionId] = /"s":"([^"]+)"/.exec(started)!
  const say = (segment: number, message: object): Promise<Response> => {
    const encoded = Buffer.from(JSON.stringify(message)).toString('base64url')
    return fetch(`${address}&seg0=${segment}&ts0=1&d0=${encoded}`)
  }
  const long = await say(0, { t: 'd', d: { r: 1, a: 'g', b: { p: '/big' } } })
  const released = say(1, { t: 'd', d: { r: 2, a: 's', b: {} } })
  const query = `&s=${sessionId}`
  const socket = await RawClient.connect(t, server, { ns: null, query, until: 'a' })

  const last = say(2, { t: 'c', d: { t: 'n', d: {} } })

  expect(await socket.answer(2)).toEqual({ s: 'ok', d: '' })
  expect(await (await released).text()).toBe('pRTLPCB(2,[]);')
  expect(await (await last).text()).toContain('"t":"n"')
  expect(await long.text()).toContain('"r":1')
})
