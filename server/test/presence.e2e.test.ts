/**
 * Presence: a child for each user that is here, right whatever happens to its connections or to the server.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { beforeAll, expect, test } from 'vitest'
import type { ToClient, Value } from '../../protocol/index.ts'
import { signToken } from '../auth.ts'
import { BareClient, type Cleanup, OPEN, path, SECRET, serve, type TestServer } from './harness.ts'

const ROOM = path('room/online')
const AUTH = { auth: { secret: SECRET } }
const OWN = { room: { online: { '.read': true, $uid: { '.write': '$uid == auth.uid' } } } }

async function as(t: Cleanup, server: { url: string }, uid: string | null): Promise<BareClient> {
  const client = await BareClient.connect(t, server)
  if (uid !== null) await become(client, uid)
  return client
}

async function become(client: BareClient, uid: string): Promise<void> {
  await client.ask({ type: 'auth', token: await signToken({ sub: uid, exp: 4e9 }, SECRET) })
}

function present(client: BareClient, value: unknown, ttlMs: number | null = null): Promise<ToClient> {
  return client.ask({ type: 'presenceSet', path: ROOM, value, ttlMs })
}

/** Follows the room; `until` resolves once it shows a value. */
async function watch(
  t: Cleanup,
  server: { url: string },
): Promise<{ until(value: Value): Promise<void>; patches(): number }> {
  const client = await BareClient.connect(t, server)
  await client.ask({ type: 'listen', path: ROOM, query: null })
  const read = async (): Promise<Value> => {
    const answer = await client.ask({ type: 'get', path: ROOM, query: null })
    return (answer as Extract<ToClient, { type: 'value' }>).value
  }
  return {
    async until(value) {
      for (;;) {
        const seen = client.heard.length
        if (JSON.stringify(await read()) === JSON.stringify(value)) return
        await client.next('patch', (patch) => client.heard.indexOf(patch) >= seen)
      }
    },
    patches: () => client.heard.filter(({ type }) => type === 'patch').length,
  }
}

test('one who is present is a child, changes it, and is gone when it leaves or its connection ends', async (t) => {
  const server = await serve(t, { rules: OWN, config: AUTH })
  const room = await watch(t, server)
  const ann = await as(t, server, 'ann')
  const bob = await as(t, server, 'bob')

  expect(await present(ann, { name: 'Ann' })).toMatchObject({ type: 'pushed', key: 'ann' })
  expect(await present(bob, true)).toMatchObject({ type: 'pushed', key: 'bob' })
  await room.until({ ann: { name: 'Ann' }, bob: true })
  await present(ann, 'away')
  await room.until({ ann: 'away', bob: true })

  await ann.ask({ type: 'presenceEnd', path: ROOM })
  await room.until({ bob: true })
  bob.socket.terminate()
  await room.until(null)
})

test('several connections of one user are one child: the last state shows, the last to leave takes it', async (t) => {
  const server = await serve(t, { rules: OWN, config: AUTH })
  const room = await watch(t, server)
  const [phone, desk] = [await as(t, server, 'ann'), await as(t, server, 'ann')]

  await present(phone, 'phone')
  await present(desk, 'desk')
  await room.until({ ann: 'desk' })
  desk.socket.terminate()
  await room.until({ ann: 'phone' })
  phone.socket.terminate()
  await room.until(null)
})

test('without a uid the key is the session’s own', async (t) => {
  const server = await serve(t, { rules: OPEN })
  const client = await BareClient.connect(t, server)
  const hello = (await client.next('hello')) as Extract<ToClient, { type: 'hello' }>

  expect(await present(client, 1)).toMatchObject({ key: hello.sessionId })
})

test('a denied join shows nothing and leaves nothing, even when the connection ends at once', async (t) => {
  const rules = { room: { online: { '.read': true, $uid: { '.write': 'auth.uid == "admin"' } } } }
  const server = await serve(t, { rules, config: AUTH })
  const owner = await as(t, server, 'admin')
  await owner.ask({ type: 'set', path: [...ROOM, 'ann'], value: 'kept' })
  const ann = await as(t, server, 'ann')

  expect(await present(ann, 'here')).toMatchObject({ type: 'error', name: 'permission_denied' })
  ann.send({ type: 'presenceSet', path: ROOM, value: 'here', ttlMs: null })
  ann.socket.terminate()
  await ann.closed
  await owner.ask({ type: 'set', path: [...ROOM, 'bob'], value: 1 })

  expect(await owner.ask({ type: 'get', path: ROOM, query: null })).toMatchObject({
    value: { ann: 'kept', bob: 1 },
  })
})

test('who may write but not remove may not be present: a leave would remove what the rules protect', async (t) => {
  const rules = {
    room: { online: { '.read': true, $uid: { '.write': '$uid == auth.uid && newData.exists()' } } },
  }
  const server = await serve(t, { rules, config: AUTH })
  const ann = await as(t, server, 'ann')
  await ann.ask({ type: 'set', path: [...ROOM, 'ann'], value: 'kept' })

  expect(await present(ann, 'here')).toMatchObject({ name: 'permission_denied' })
  expect(await ann.ask({ type: 'get', path: ROOM, query: null })).toMatchObject({ value: { ann: 'kept' } })
})

test('another identity leaves first; the same one with a new token stays', async (t) => {
  const server = await serve(t, { rules: OWN, config: AUTH })
  const room = await watch(t, server)
  const client = await as(t, server, 'ann')
  await present(client, 'here')
  await room.until({ ann: 'here' })
  const before = room.patches()

  await become(client, 'ann')
  await client.ask({ type: 'get', path: ROOM, query: null })
  expect(room.patches()).toBe(before)

  await become(client, 'bob')
  await room.until(null)
  await present(client, 'here')
  await room.until({ bob: 'here' })
})

test('a connection that falls silent past its time to live has left, and is closed', async (t) => {
  const server = await serve(t, { rules: OWN, config: AUTH })
  const room = await watch(t, server)
  const ann = await as(t, server, 'ann')

  await present(ann, 'here', 2000)
  await room.until({ ann: 'here' })
  await room.until(null)

  expect((await ann.closed).code).toBe(4002)
}, 15_000)

test('what is no presence is refused by name, and a thousand of them end at the limit', async (t) => {
  const server = await serve(t, { rules: OPEN, config: AUTH })
  const client = await as(t, server, 'ann')
  const name = (answer: ToClient): string => (answer.type === 'error' ? answer.name : answer.type)

  expect(name(await present(client, null))).toBe('invalid_value')
  expect(name(await present(client, 1, 10))).toBe('invalid_value')
  expect(name(await present(client, 1, 3_600_001))).toBe('invalid_value')
  expect(name(await client.ask({ type: 'presenceEnd', path: ROOM }))).toBe('ack')
  const answers = await Promise.all(
    Array.from({ length: 1000 }, (_, i) =>
      client.ask({ type: 'presenceSet', path: path(`r/${i}`), value: 1, ttlMs: null }),
    ),
  )
  expect(answers.filter((answer) => name(answer) === 'pushed')).toHaveLength(100)
  expect(answers.filter((answer) => name(answer) === 'rate_limited')).toHaveLength(900)
  const odd = await as(t, server, 'a.b@example')
  expect(name(await present(odd, 1))).toBe('invalid_path')
})

/** Built inside the project, so that it finds its native packages. */
const bundle = join(import.meta.dirname, '../../node_modules/.cache/hearth-test/presence-main.mjs')

beforeAll(async () => {
  await build({
    entryPoints: [join(import.meta.dirname, '../main.ts')],
    outfile: bundle,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
})

test('after a crash those who come back never left, and who does not is removed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const crashed = await killable(t, folder)
  const [ann, phone, bob] = [
    await as(t, crashed, 'ann'),
    await as(t, crashed, 'ann'),
    await as(t, crashed, 'bob'),
  ]
  for (const client of [ann, phone, bob]) await present(client, 'before')
  await crashed.kill()
  await Promise.all([ann, phone, bob].map(({ closed }) => closed))

  const server: TestServer = await serve(t, {
    folder,
    rules: OWN,
    config: { ...AUTH, presenceGraceMs: 1500 },
  })
  const room = await watch(t, server)
  await room.until({ ann: 'before', bob: 'before' })
  const back = await as(t, server, 'ann')
  await present(back, 'before')
  await room.until({ ann: 'before' })
  // Only bob's leave was ever told: ann's state is what it was.
  expect(room.patches()).toBe(1)

  back.socket.terminate()
  await room.until(null)
}, 20_000)

test('who had no uid cannot come back to its child: the next start removes it at once', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const first = await serve(t, { folder, rules: OPEN })
  const guest = await as(t, first, null)
  await present(guest, 'guest')
  await first.close()

  const second = await serve(t, { folder, rules: OPEN })

  await (await watch(t, second)).until(null)
})

test('a server that ends on purpose leaves everyone in place for the next one', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const first = await serve(t, { folder, rules: OWN, config: AUTH })
  const ann = await as(t, first, 'ann')
  await present(ann, 'here')
  await first.drain()
  await ann.closed

  const second = await serve(t, { folder, rules: OWN, config: { ...AUTH, presenceGraceMs: 2000 } })
  const room = await watch(t, second)

  await room.until({ ann: 'here' })
  await room.until(null)
})

async function killable(t: Cleanup, folder: string): Promise<{ url: string; kill(): Promise<void> }> {
  const rules = join(folder, 'rules.json')
  writeFileSync(rules, JSON.stringify({ rules: OWN }))
  const child = spawn(
    process.execPath,
    [bundle, 'serve', '--port', '0', '--data', join(folder, 'data'), '--rules', rules],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, HEARTH_LOG_LEVEL: 'error', HEARTH_AUTH_SECRET: SECRET },
    },
  )
  t.onTestFinished(() => child.kill('SIGKILL'))
  const url = await new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = /http:\/\/[\d.]+:\d+/.exec(output)
      if (found !== null) resolve(found[0])
    })
    child.once('exit', (code) => reject(new Error(`the server exited with ${code}`)))
  })
  const kill = (): Promise<void> => {
    child.removeAllListeners('exit')
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGKILL')
    return exited
  }
  return { url, kill }
}
