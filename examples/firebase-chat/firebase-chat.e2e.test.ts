import { mkdtempSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser } from 'playwright-core'
import { beforeAll, describe, expect, test } from 'vitest'
import { configFrom } from '../../server/config-load.ts'
import { type RunningServer, startServer } from '../../server/server.ts'
import { freePort } from '../test-port.ts'
import { type ChatPage, chromiumPath, launchChromium, openChat } from './test-browser.ts'

const here = dirname(fileURLToPath(import.meta.url))

interface Cleanup {
  onTestFinished(call: () => unknown): void
}

let browser: Browser

beforeAll(async () => {
  if (chromiumPath === null) {
    console.warn('the Firebase sample is not tested: no chromium is installed; CHROMIUM_PATH may name one')
    return
  }
  browser = await launchChromium()
  return () => browser.close()
}, 60_000)

/** What `hearth serve --dev` serves, with the sample's rules. */
async function serve(t: Cleanup, folder: string, port: number): Promise<RunningServer> {
  const rules = join(here, 'database.rules.json')
  const server = await startServer(
    configFrom({ port, data: folder, rules, dev: true, log: { level: 'silent' } }),
  )
  t.onTestFinished(() => server.close())
  return server
}

function dataFolder(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-firebase-chat-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Serves the sample's page. Its `firebase-config.ts` is replaced, and nothing else. */
async function servePage(t: Cleanup, config: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'chat.ts')],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    plugins: [
      {
        name: 'address',
        setup: ({ onLoad }) =>
          onLoad({ filter: /firebase-config\.ts$/ }, () => ({ contents: config, resolveDir: here })),
      },
    ],
  })
  const script = Buffer.from(outputFiles[0]!.contents)
  const html = await readFile(join(here, 'index.html'))
  const pages = createServer((request, response) => {
    const isScript = request.url === '/chat.js'
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
    response.end(isScript ? script : html)
  })
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
  t.onTestFinished(() => {
    pages.closeAllConnections()
    pages.close()
  })
  return `http://127.0.0.1:${(pages.address() as AddressInfo).port}/`
}

interface Sample {
  folder: string
  server: RunningServer
  open(parameters: Record<string, string>): Promise<ChatPage>
}

/** @param prelude Runs in the page before the SDK is used. */
async function startSample(t: Cleanup, prelude = ''): Promise<Sample> {
  const folder = dataFolder(t)
  const server = await serve(t, folder, await freePort())
  const databaseURL = `http://127.0.0.1:${server.address.port}?ns=demo`
  const config = `${prelude}\nexport const firebaseConfig = ${JSON.stringify({ projectId: 'demo-chat', databaseURL })}`
  const address = await servePage(t, config)
  return {
    folder,
    server,
    open: async (parameters) => {
      // A context of its own, so that pages share no storage: two people with two browsers.
      const context = await browser.newContext()
      t.onTestFinished(() => context.close())
      return openChat(context, `${address}?${new URLSearchParams(parameters)}`)
    },
  }
}

const WEB_SOCKET = { name: 'over a WebSocket', prelude: '' }
const LONG_POLLING = {
  name: 'over long polling',
  prelude: `import { forceLongPolling } from 'firebase/database'\nforceLongPolling()`,
}

describe.skipIf(chromiumPath === null).each([WEB_SOCKET, LONG_POLLING])('$name', (transport) => {
  test('two pages chat, like, type, and see each other come and go', { timeout: 60_000 }, async (t) => {
    const sample = await startSample(t, transport.prelude)
    const ada = await sample.open({ name: 'Ada' })
    await ada.shows('#status', 'online')
    await ada.shows('#people li', 'Ada')
    const bob = await sample.open({ name: 'Bob' })
    await ada.shows('#people li', 'Bob')
    await bob.shows('#people li', 'Ada')

    await ada.say('hello Bob')
    await bob.shows('#messages li', /Ada.*hello Bob/)
    await bob.page.fill('#text', 'hel')
    await ada.shows('#people .typing', 'Bob')
    await bob.say('hello Ada')
    await ada.shows('#messages li', /Bob.*hello Ada/)
    await ada.misses('#people .typing', 'Bob')
    const like = (chat: ChatPage): Promise<void> =>
      chat.page.locator('#messages li', { hasText: 'hello Ada' }).locator('.like').click()
    await Promise.all([like(ada), like(bob)])
    await ada.shows('.like', '♥ 2')
    await bob.shows('.like', '♥ 2')
    await bob.kill()
    await ada.misses('#people li', 'Bob')

    expect(await ada.page.locator('#messages span').allTextContents()).toEqual(['hello Bob', 'hello Ada'])
    expect(await ada.page.locator('#problem').textContent()).toBe('')
    expect([...ada.errors, ...bob.errors]).toEqual([])
    const usesSockets = ada.requested.some((url) => url.includes('/.ws?'))
    const usesPolling = ada.requested.some((url) => url.includes('/.lp?'))
    expect([usesSockets, usesPolling]).toEqual(transport === WEB_SOCKET ? [true, false] : [false, true])
  })

  test('what the rules refuse is taken back and said', { timeout: 60_000 }, async (t) => {
    const sample = await startSample(t, transport.prelude)
    const ada = await sample.open({ name: 'Ada' })
    const bob = await sample.open({ name: 'Bob' })
    await ada.say('this stays')
    await bob.shows('#messages li', 'this stays')
    // Every text the list ever shows, so that what comes and goes at once is seen too.
    await bob.page.evaluate(() => {
      const list = document.getElementById('messages')!
      const seen: string[] = []
      Object.assign(window, { seen })
      new MutationObserver(() => void seen.push(list.innerText)).observe(list, { childList: true })
    })

    await bob.say('x'.repeat(201))
    await bob.shows('#problem', /permission.denied/i)
    await bob.misses('#messages li', 'xxx')
    expect(await bob.page.inputValue('#text')).toBe('x'.repeat(201))
    await bob.page.click('.take-back')
    await bob.shows('#messages li', 'this stays')
    await bob.say('and this')
    await ada.shows('#messages li', 'and this')

    const seen = await bob.page.evaluate(() => (window as unknown as { seen: string[] }).seen)
    expect(seen.some((text) => text.includes('xxx'))).toBe(true)
    expect(await ada.page.locator('#messages span').allTextContents()).toEqual(['this stays', 'and this'])
  })

  test('a restart of the server is survived, and what was said meanwhile is sent', {
    timeout: 60_000,
  }, async (t) => {
    const sample = await startSample(t, transport.prelude)
    const ada = await sample.open({ name: 'Ada' })
    const bob = await sample.open({ name: 'Bob' })
    await ada.say('before')
    await bob.shows('#messages li', 'before')

    await sample.server.close()
    await ada.shows('#status', 'offline')
    await ada.say('said while the server was away')
    await ada.shows('#messages .sending', 'said while the server was away')
    await serve(t, sample.folder, sample.server.address.port)

    await bob.shows('#messages li', 'said while the server was away')
    await ada.shows('#status', 'online')
    await ada.shows('#people li', 'Bob')
    await ada.misses('#messages .sending', 'said while the server was away')
    // Nor is it said that something was refused: that she typed meanwhile is nothing to send.
    expect(await ada.page.locator('#problem').textContent()).toBe('')
    expect(await bob.page.locator('#messages span').allTextContents()).toEqual([
      'before',
      'said while the server was away',
    ])
  })
})

describe.skipIf(chromiumPath === null)('a page', () => {
  test('shows the newest messages and the field in one screen, however many there are', {
    timeout: 60_000,
  }, async (t) => {
    const sample = await startSample(t)
    const ada = await sample.open({ name: 'Ada' })
    const bob = await sample.open({ name: 'Bob' })
    for (let i = 0; i < 60; i++) await ada.say(`message ${i}.`)

    await bob.shows('#messages li', 'message 59.')
    await bob.page.waitForFunction(() => {
      const list = document.getElementById('messages')!.getBoundingClientRect()
      const newest = document.querySelector('#messages li:last-child')!.getBoundingClientRect()
      return newest.bottom <= list.bottom && document.documentElement.scrollHeight <= window.innerHeight
    })
  })

  test('says that it may not read', { timeout: 60_000 }, async (t) => {
    const sample = await startSample(t)
    const closed = { headers: { Authorization: 'Bearer owner' }, method: 'PUT', body: '{"rules": {}}' }
    await fetch(`${sample.server.url}/.settings/rules.json?ns=demo`, closed)

    const ada = await sample.open({ name: 'Ada' })

    await ada.shows('#problem', /does not let this page read.*permission_denied/i)
  })
})

describe.skipIf(chromiumPath === null)('identity', () => {
  test('with a token the author may take back a message, and nobody else', { timeout: 60_000 }, async (t) => {
    const sample = await startSample(t)
    const ada = await sample.open({ name: 'Ada', uid: 'ada' })
    const eve = await sample.open({ name: 'Eve', uid: 'eve' })
    await ada.say('a slip')
    await eve.shows('#messages li', 'a slip')

    await eve.page.click('.take-back')
    await eve.shows('#problem', /permission.denied/i)
    await ada.page.click('.take-back')

    await eve.misses('#messages li', 'a slip')
  })
})
