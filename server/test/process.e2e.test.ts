/**
 * The process as an operator meets it: started from a bundle of `main.ts`, with real signals, ports and folders.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import WebSocket from 'ws'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the tree, so that packages are found. */
let bundleFolder: string

beforeAll(async () => {
  bundleFolder = mkdtempSync(join(ROOT, 'node_modules/.hearth-process-'))
  // As in the package: threads find their program beside the one that starts them.
  writeFileSync(join(bundleFolder, 'package.json'), '{ "type": "module" }')
  await build({
    entryPoints: [join(ROOT, 'server/main.ts'), join(ROOT, 'server/workers/worker-main.ts')],
    outdir: bundleFolder,
    entryNames: '[name]',
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'error',
  })
})

afterAll(() => rmSync(bundleFolder, { recursive: true }))

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-process-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Hearth {
  child: ChildProcess
  out: string
  err: string
  exitCode: Promise<number | null>
  /** Resolves once the output holds a text; rejects if the process ends before. */
  says(text: string): Promise<void>
}

function hearth(folder: string, ...args: string[]): Hearth {
  return hearthWith({ stderr: 'pipe' }, folder, ...args)
}

function hearthWith({ stderr }: { stderr: 'pipe' | number }, folder: string, ...args: string[]): Hearth {
  const child = spawn(process.execPath, [join(bundleFolder, 'main.js'), ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HEARTH_LOG_FORMAT: 'json' },
    stdio: ['ignore', 'pipe', stderr],
  })
  const exitCode = new Promise<number | null>((resolve) => child.on('close', resolve))
  const running: Hearth = {
    child,
    out: '',
    err: '',
    exitCode,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if ((running.out + running.err).includes(text)) resolve()
        }
        child.stdout!.on('data', look)
        child.stderr?.on('data', look)
        child.on('close', () => reject(new Error(`ended without saying \`${text}\`: ${running.err}`)))
        look()
      }),
  }
  child.stdout!.on('data', (chunk: Buffer) => {
    running.out += chunk.toString()
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    running.err += chunk.toString()
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return running
}

function urlOf(running: Hearth): string {
  return /http:\/\/[\w.:]+\d/.exec(running.out)![0]
}

test('serve prints its addresses, answers there, and drains on SIGTERM with exit code 0', async () => {
  const server = hearth(temporaryFolder(), 'serve', '--port', '0')
  await server.says('/metrics')

  const ready = await fetch(`${urlOf(server)}/health/ready`)
  const metrics = await (await fetch(`${urlOf(server)}/metrics`)).text()
  server.child.kill('SIGTERM')

  expect(ready.status).toBe(200)
  expect(metrics).toContain('hearth_databases 1')
  expect(await server.exitCode).toBe(0)
  expect(server.err).toContain('"msg":"closed"')
})

/** The writing end of a pipe whose reader takes nothing, or is gone. */
function unreadPipe(isGone: boolean): number {
  const path = join(temporaryFolder(), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  onTestFinished(() => closeSync(writer))
  if (isGone) {
    closeSync(reader)
    return writer
  }
  onTestFinished(() => closeSync(reader))
  const page = Buffer.alloc(4096)
  try {
    for (;;) writeSync(writer, page)
  } catch {
    return writer
  }
}

test.each([
  ['is stuck', 'json', false],
  ['is stuck', 'pretty', false],
  ['has gone', 'json', true],
  ['has gone', 'pretty', true],
])(
  'a server whose log’s reader %s serves, drains and keeps what it acknowledged (%s)',
  async (_, format, isGone) => {
    const folder = temporaryFolder()
    const args = ['serve', '--dev', '--port', '0', '--log-level', 'debug', '--log-format', format]
    const server = hearthWith({ stderr: unreadPipe(isGone) }, folder, ...args)
    await server.says('/metrics')

    const put = await fetch(`${urlOf(server)}/a.json`, { method: 'PUT', body: '1' })
    server.child.kill('SIGTERM')

    expect(put.status).toBe(200)
    expect(await server.exitCode).toBe(0)
    const next = hearth(folder, 'serve', '--dev', '--port', '0')
    await next.says('/metrics')
    expect(await (await fetch(`${urlOf(next)}/a.json`)).json()).toBe(1)
  },
)

test('several workers serve on one port, drain together on SIGTERM, and lose nothing they acknowledged', async () => {
  const folder = temporaryFolder()
  const args = ['serve', '--dev', '--port', '0', '--workers', '3']
  const server = hearth(folder, ...args)
  await server.says('/metrics')
  const url = urlOf(server)

  // A connection each, so that every worker takes some.
  const put = (n: number): Promise<Response> =>
    fetch(`${url}/a/${n}.json`, { method: 'PUT', body: String(n), headers: { connection: 'close' } })
  const statuses = await Promise.all(Array.from({ length: 60 }, async (_, n) => (await put(n)).status))
  const metrics = await (await fetch(`${url}/metrics`)).text()
  server.child.kill('SIGTERM')

  expect(new Set(statuses)).toEqual(new Set([200]))
  expect(metrics).toMatch(/hearth_connections_opened_total\{worker="2"\}/)
  expect(await server.exitCode).toBe(0)
  const next = hearth(folder, ...args)
  await next.says('/metrics')
  const kept = (await (await fetch(`${urlOf(next)}/a.json`)).json()) as number[]
  expect(kept).toEqual(Array.from({ length: 60 }, (_, n) => n))
})

test('a data folder and a port belong to one server', async () => {
  const folder = temporaryFolder()
  const server = hearth(folder, 'serve', '--port', '0')
  await server.says('/metrics')

  const sameFolder = hearth(folder, 'serve', '--port', '0')
  const samePort = hearth(temporaryFolder(), 'serve', '--port', new URL(urlOf(server)).port)

  expect([await sameFolder.exitCode, await samePort.exitCode]).toEqual([1, 1])
  expect(sameFolder.err).toMatch(/^hearth: data folder `.*` is in use by process \d+/m)
  expect(samePort.err).toMatch(
    /^hearth: cannot listen on 127\.0\.0\.1:\d+; is the port in use, or the address not this machine’s\?$/m,
  )
})

test('what is no data folder is refused, and nothing is made in it', async () => {
  const folder = temporaryFolder()
  const server = hearth(folder, 'serve', '--port', '0')
  await server.says('/metrics')
  server.child.kill('SIGTERM')
  await server.exitCode
  writeFileSync(join(folder, 'file'), '')

  const tooDeep = hearth(folder, 'serve', '--port', '0', '--data', 'data/default')
  const file = hearth(folder, 'serve', '--port', '0', '--data', 'file')

  expect([await tooDeep.exitCode, await file.exitCode]).toEqual([1, 1])
  expect(tooDeep.err).toBe(
    'hearth: `data/default` is the folder of one database; the data folder is the one above it\n',
  )
  expect(file.err).toBe('hearth: data folder `file` is a file\n')
  expect(existsSync(join(folder, 'data', 'default', 'default'))).toBe(false)
})

test('a killed server leaves a folder that the next one opens', async () => {
  const folder = temporaryFolder()
  const first = hearth(folder, 'serve', '--port', '0')
  await first.says('/metrics')
  first.child.kill('SIGKILL')
  await first.exitCode

  const second = hearth(folder, 'serve', '--port', '0')

  await second.says('/metrics')
})

test('rules that do not load refuse the start with their place', async () => {
  const folder = temporaryFolder()
  writeFileSync(
    join(folder, 'database.rules.json'),
    '{\n  "rules": {\n    ".read": "newDta.exists()"\n  }\n}\n',
  )

  const server = hearth(folder, 'serve', '--port', '0')

  expect(await server.exitCode).toBe(1)
  expect(server.err).toMatch(/^hearth: database\.rules\.json:3:15/)
})

test('--dev without rules starts with a loud banner', async () => {
  const server = hearth(temporaryFolder(), 'serve', '--port', '0', '--dev')

  await server.says('NO RULES: EVERYTHING IS OPEN')
})

test.each([1, 2])(
  'clients of databases that have to be opened first are let in without a word on stderr, threads: %i',
  async (workers) => {
    const server = hearth(temporaryFolder(), 'serve', '--port', '0', '--dev', '--workers', `${workers}`)
    await server.says('/metrics')
    const url = urlOf(server).replace('http', 'ws')

    for (const place of ['/.ws?v=5&ns=a', '/.ws?v=5&ns=b', '/v1?database=c', '/v1?database=d']) {
      const socket = new WebSocket(url + place)
      await new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject))
      socket.terminate()
    }
    server.child.kill('SIGTERM')
    await server.exitCode

    // uWebSockets.js warns there of calls it takes for late.
    expect(server.err).not.toMatch(/warning|cork/i)
  },
)
