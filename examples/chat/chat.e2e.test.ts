import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { beforeAll, expect, test } from 'vitest'
import {
  get,
  getDatabase,
  push,
  ref,
  remove,
  serverTimestamp,
  set,
  terminate,
} from '../../client/index-node.ts'
import { configFrom } from '../../server/config-load.ts'
import { type RunningServer, startServer } from '../../server/server.ts'
import { freePort } from '../test-port.ts'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '../..')
/** Inside the repository, so that the bundled examples find the packages they load. */
const temporary = join(root, 'node_modules/.cache')
let built = ''

interface Cleanup {
  onTestFinished(call: () => unknown): void
}

beforeAll(async () => {
  mkdirSync(temporary, { recursive: true })
  built = mkdtempSync(join(temporary, 'hearth-examples-'))
  await build({
    entryPoints: [join(here, 'chat.ts'), join(root, 'examples/ten-lines.ts')],
    outdir: built,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['ws'],
    alias: { 'hearthdb/client': join(root, 'client/index-node.ts') },
  })
  return () => rmSync(built, { recursive: true, force: true })
})

/** What `npm start` serves. */
async function serve(t: Cleanup, folder: string, port = 0): Promise<RunningServer> {
  const server = await startServer(
    configFrom({ port, data: folder, rules: join(here, 'database.rules.json'), log: { level: 'silent' } }),
  )
  t.onTestFinished(() => server.close())
  return server
}

function folderFor(t: Cleanup): string {
  const folder = mkdtempSync(join(temporary, 'hearth-data-'))
  t.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Program {
  say(line: string): void
  /** Resolves once the output holds a text; fails when the program ends before. */
  shows(text: string): Promise<void>
  leave(): Promise<number | null>
  output(): string
}

function run(t: Cleanup, file: string, url: string, ...args: string[]): Program {
  const child: ChildProcess = spawn(process.execPath, [join(built, file), ...args], {
    env: { ...process.env, HEARTH_URL: url },
  })
  t.onTestFinished(() => child.kill())
  let output = ''
  let check = (): void => {}
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString()
      check()
    })
  }
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  return {
    say: (line) => child.stdin!.write(`${line}\n`),
    shows: (text) =>
      new Promise((resolve, reject) => {
        check = () => {
          if (output.includes(text)) resolve()
        }
        check()
        ended.then(() => reject(new Error(`ended without showing \`${text}\`:\n${output}`)))
      }),
    leave: () => {
      child.stdin!.end()
      return ended
    },
    output: () => output,
  }
}

test('two people chat, see each other come and go, and go on after a restart of the server', async (t) => {
  const folder = folderFor(t)
  const server = await serve(t, folder, await freePort())
  const ada = run(t, 'chat/chat.mjs', server.url, 'lobby', 'Ada')
  await ada.shows('you are Ada')
  const bob = run(t, 'chat/chat.mjs', server.url, 'lobby', 'Bob')
  await Promise.all([ada.shows('Bob is here'), bob.shows('Ada is here')])

  ada.say('hello Bob')
  bob.say('hello Ada')
  await Promise.all([ada.shows('Bob: hello Ada'), bob.shows('Ada: hello Bob')])

  await server.close()
  ada.say('said while the server was away')
  await serve(t, folder, server.address.port)
  await bob.shows('Ada: said while the server was away')

  expect(await ada.leave()).toBe(0)
  await bob.shows('Ada left')
  expect(await bob.leave()).toBe(0)
  expect(ada.output().match(/hello Ada/g)).toHaveLength(1)
})

test('a newcomer sees what was said before', async (t) => {
  const server = await serve(t, folderFor(t))
  const ada = run(t, 'chat/chat.mjs', server.url, 'lobby', 'Ada')
  ada.say('is anybody here?')
  await ada.leave()

  const bob = run(t, 'chat/chat.mjs', server.url, 'lobby', 'Bob')

  await bob.shows('Ada: is anybody here?')
})

test('the ten lines of the README are ten, name the address of `npm start`, and run', async (t) => {
  const text = readFileSync(join(root, 'examples/ten-lines.ts'), 'utf8')
  expect(text.trimEnd().split('\n')).toHaveLength(10)
  expect(text).toContain("'http://127.0.0.1:9000'")
  const server = await serve(t, folderFor(t))
  const file = join(built, 'ten-lines.mjs')

  writeFileSync(file, readFileSync(file, 'utf8').replace('http://127.0.0.1:9000', server.url))
  const program = run(t, 'ten-lines.mjs', server.url)

  await program.shows('Ada: Hello from Hearth')
})

test('the rules take well-formed messages only, and keep them', async (t) => {
  const server = await serve(t, folderFor(t))
  const db = getDatabase(server.url)
  t.onTestFinished(() => terminate(db))
  const messages = ref(db, 'rooms/lobby/messages')
  const good = { name: 'Ada', text: 'hi', at: serverTimestamp() }
  const denied = { code: 'permission_denied' }

  const message = await push(messages, good)

  expect((await get(message)).val()).toMatchObject({ name: 'Ada', text: 'hi' })
  for (const bad of [
    { ...good, text: '' },
    { ...good, text: 'x'.repeat(1001) },
    { ...good, name: 'x'.repeat(33) },
    { ...good, at: 1 },
    { ...good, extra: true },
    { name: 'Ada', text: 'no time' },
    'just text',
  ]) {
    await expect(push(messages, bad)).rejects.toMatchObject(denied)
  }
  await expect(set(message, good)).rejects.toMatchObject(denied)
  await expect(remove(message)).rejects.toMatchObject(denied)
  await expect(remove(messages)).rejects.toMatchObject(denied)
  await expect(get(ref(db, 'rooms'))).rejects.toMatchObject(denied)
})
