/**
 * Durability: what was acked is there after a kill, what was not acked may be missing but is never half there.
 * The server runs as its own process, so that it can be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { beforeAll, expect, test } from 'vitest'
import { StoreUnavailableError } from '../store/store.ts'
import { openLmdbStore } from '../store/store-lmdb.ts'
import { BareClient, type Cleanup, OPEN, path, serve } from './harness.ts'

const root = join(import.meta.dirname, '../..')
/** Inside the project, so that the bundle finds its native packages. */
const bundle = join(root, 'node_modules/.cache/hearth-test/main.mjs')

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'server/main.ts')],
    outfile: bundle,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
})

class ServerUnderTest {
  readonly child: ChildProcess
  readonly url: string
  readonly exited: Promise<{ code: number | null; signal: string | null }>

  private constructor(child: ChildProcess, url: string) {
    this.child = child
    this.url = url
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  }

  static async start(t: Cleanup, folder: string): Promise<ServerUnderTest> {
    writeFileSync(join(folder, 'rules.json'), JSON.stringify({ rules: OPEN }))
    const args = [
      bundle,
      'serve',
      '--port',
      '0',
      '--data',
      join(folder, 'data'),
      '--rules',
      join(folder, 'rules.json'),
    ]
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, HEARTH_LOG_LEVEL: 'error' },
    })
    t.onTestFinished(() => child.kill('SIGKILL'))
    let output = ''
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout!.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        const found = /http:\/\/[\d.]+:\d+/.exec(output)
        if (found !== null) resolve(found[0])
      })
      child.once('exit', (code) => reject(new Error(`the server exited with ${code}`)))
    })
    return new ServerUnderTest(child, url)
  }
}

function folderOf(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a server killed under a stream of writes holds every acked write after a restart', async (t) => {
  const folder = folderOf(t)
  const server = await ServerUnderTest.start(t, folder)
  const client = await BareClient.connect(t, server)
  const acked = new Set<number>()
  let sent = 0
  let hasEnough: () => void = () => {}
  const enough = new Promise<void>((resolve) => {
    hasEnough = resolve
  })
  const write = async (): Promise<void> => {
    const n = sent++
    const answer = await client.ask({
      type: 'set',
      path: path(`k/${n % 500}/${n}`),
      value: { n, text: `text ${n}` },
    })
    expect(answer.type).toBe('ack')
    acked.add(n)
    if (acked.size === 2000) hasEnough()
    void write()
  }

  for (let i = 0; i < 64; i++) void write()
  await enough
  server.child.kill('SIGKILL')
  await server.exited
  await client.closed
  const again = await BareClient.connect(t, await ServerUnderTest.start(t, folder))
  const answer = await again.ask({ type: 'get', path: path('k'), query: null })

  const kept =
    answer.type === 'value'
      ? (answer.value as Record<string, Record<string, { n: number; text: string }>>)
      : {}
  for (const n of acked) expect(kept[n % 500]?.[n]).toEqual({ n, text: `text ${n}` })
})

test('what a killed server’s clients left for their disconnect is written at its next start', async (t) => {
  const folder = folderOf(t)
  const server = await ServerUnderTest.start(t, folder)
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'onDisconnectSet', path: path('status/ann'), value: { '.sv': 'timestamp' } })

  server.child.kill('SIGKILL')
  await server.exited
  const again = await BareClient.connect(t, await ServerUnderTest.start(t, folder))
  await again.ask({ type: 'set', path: path('x'), value: 1 })

  const answer = await again.ask({ type: 'get', path: path('status/ann'), query: null })
  expect(answer).toMatchObject({ value: expect.any(Number) })
})

test('SIGTERM tells clients, keeps what was acked and exits with 0', async (t) => {
  const folder = folderOf(t)
  const server = await ServerUnderTest.start(t, folder)
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'set', path: path('a'), value: 'kept' })

  server.child.kill('SIGTERM')

  expect(await client.closed).toMatchObject({ code: 4000 })
  expect(await server.exited).toEqual({ code: 0, signal: null })
  const again = await BareClient.connect(t, await ServerUnderTest.start(t, folder))
  expect(await again.ask({ type: 'get', path: path('a'), query: null })).toMatchObject({ value: 'kept' })
})

test('a data folder in use is refused by name', async (t) => {
  const folder = folderOf(t)
  await ServerUnderTest.start(t, folder)

  await expect(serve(t, { rules: OPEN, folder })).rejects.toThrow(/in use|locked|another/i)
})

test('a full disk answers `unavailable`, keeps what is acked and takes writes again once there is room', async (t) => {
  let isFull = false
  const server = await serve(t, {
    rules: OPEN,
    parts: {
      openStore: async (folder) => {
        const store = await openLmdbStore({ folder })
        const flush = store.flush.bind(store)
        store.flush = async () => {
          if (isFull) {
            store.discard()
            throw new StoreUnavailableError('no space left on device')
          }
          await flush()
        }
        return store
      },
    },
  })
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: path('a'), query: null })
  await client.ask({ type: 'set', path: path('a/kept'), value: 1 })

  isFull = true
  const refused = await client.ask({ type: 'set', path: path('a/lost'), value: 1 })
  const during = await client.ask({ type: 'get', path: path('a'), query: null })
  isFull = false
  const taken = await client.ask({ type: 'set', path: path('a/later'), value: 1 })

  expect(refused).toMatchObject({ type: 'error', name: 'unavailable', retryAfterMs: expect.any(Number) })
  expect(during).toMatchObject({ value: { kept: 1 } })
  expect(taken.type).toBe('ack')
  const steps = client.heard.flatMap((message) => (message.type === 'patch' ? message.steps : []))
  expect(steps).toEqual([
    ['kept', 1],
    ['later', 1],
  ])
})

test('a database past its size limit refuses writes, keeps serving and recovers after a deletion', async (t) => {
  const server = await serve(t, { rules: OPEN, config: { databaseBytesMax: 16 * 1024 * 1024 } })
  const client = await BareClient.connect(t, server)
  const text = 'x'.repeat(1024 * 1024)

  let kept = 0
  let answer = await client.ask({ type: 'set', path: path(`big/${kept}`), value: text })
  while (answer.type === 'ack' && kept < 100) {
    kept += 1
    answer = await client.ask({ type: 'set', path: path(`big/${kept}`), value: text })
  }
  const read = await client.ask({ type: 'get', path: path('big/0'), query: null })
  const removed = await client.ask({ type: 'remove', path: path('big') })
  let retries = 0
  let after = await client.ask({ type: 'set', path: path('small'), value: text })
  // Rows of the removed subtree are collected in the background, a slice a group.
  while (after.type === 'error' && retries++ < 100)
    after = await client.ask({ type: 'set', path: path('small'), value: text })

  expect(kept).toBeGreaterThan(4)
  expect(answer).toMatchObject({ type: 'error', name: 'unavailable' })
  expect(read).toMatchObject({ value: text })
  expect(removed.type).toBe('ack')
  expect(after.type).toBe('ack')
})

test('a killed server knows after its restart what a client missed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const first = await ServerUnderTest.start(t, folder)
  const client = await BareClient.connect(t, first)
  const { epoch } = await client.next('hello')
  await client.ask({ type: 'set', path: path('room'), value: { n: 0, text: 'x'.repeat(1000) } })
  const { revision } = (await client.ask({ type: 'listen', path: path('room'), query: null })) as {
    revision: number
  }
  await client.ask({ type: 'set', path: path('room/n'), value: 1 })
  first.child.kill('SIGKILL')
  await first.exited

  const second = await ServerUnderTest.start(t, folder)
  const back = await BareClient.connect(t, second)
  const answer = await back.ask({
    type: 'listen',
    path: path('room'),
    query: null,
    resume: { epoch, revision },
  })

  expect(answer).toMatchObject({ type: 'resumed', steps: [['n', 1]] })
}, 30_000)
