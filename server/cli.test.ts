import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createVerifier } from './auth.ts'
import { runCli } from './cli.ts'
import type { Config } from './config.ts'
import { configFrom } from './config-load.ts'
import { type RunningServer, StartError } from './server.ts'
import { ListenError } from './transport/websocket.ts'

const SECRET = 'a shared secret of more than 32 bytes'

/** What a command printed, and how it ended. */
interface Run {
  code: Promise<number>
  out: string
  err: string
  signals: EventEmitter
  /** The configuration the server was started with. */
  config: Config | null
}

interface FakeServer {
  isOpen?: boolean
  drain?(): Promise<void>
  fails?: Error
}

function run(args: string[], env: Record<string, string> = {}, fake: FakeServer = {}): Run {
  const started: Run = {
    code: Promise.resolve(-1),
    out: '',
    err: '',
    signals: new EventEmitter(),
    config: null,
  }
  const start = async (config: Config): Promise<RunningServer> => {
    started.config = config
    if (fake.fails !== undefined) throw fake.fails
    const address = { host: config.host, port: config.port === 0 ? 4321 : config.port }
    return {
      address,
      url: `http://${address.host}:${address.port}`,
      isOpen: fake.isOpen ?? false,
      drain: fake.drain ?? (async () => {}),
      close: async () => {},
    }
  }
  started.code = runCli(args, {
    out: (text) => {
      started.out += text
      if (text.includes('is serving')) started.signals.emit('ready')
    },
    err: (text) => {
      started.err += text
    },
    env: { HEARTH_LOG_LEVEL: 'silent', ...env },
    signals: started.signals,
    start,
  })
  return started
}

async function untilReady(running: Run): Promise<void> {
  await new Promise((resolve) => running.signals.once('ready', resolve))
  // The signal handlers are set in the same turn, after the addresses are printed.
  await Promise.resolve()
}

test('serve prints its addresses, and a signal drains and ends it with 0', async () => {
  const served = run(['serve', '--port', '0', '--data', 'd'])
  await untilReady(served)

  served.signals.emit('SIGTERM', 'SIGTERM')

  expect(await served.code).toBe(0)
  expect(served.out).toContain('ws://127.0.0.1:4321/v1')
  expect(served.out).toContain('http://127.0.0.1:4321/metrics')
  expect(served.config?.data).toBe('d')
})

test('a second signal ends at once, with the code of the signal', async () => {
  const served = run(['serve'], {}, { drain: () => new Promise(() => {}) })
  await untilReady(served)

  served.signals.emit('SIGINT', 'SIGINT')
  served.signals.emit('SIGINT', 'SIGINT')

  expect(await served.code).toBe(130)
})

test('a drain that hangs ends with 1 when its time is over', async () => {
  const served = run(['serve', '--drain-timeout-ms', '0'], {}, { drain: () => new Promise(() => {}) })
  await untilReady(served)

  served.signals.emit('SIGTERM', 'SIGTERM')

  expect(await served.code).toBe(1)
})

test.each([
  [
    new ListenError('cannot listen on 127.0.0.1:9000; is the port in use?'),
    'hearth: cannot listen on 127.0.0.1:9000; is the port in use?\n',
  ],
  [new StartError('r.json:1:2  Unknown variable'), 'hearth: r.json:1:2  Unknown variable\n'],
  [
    Object.assign(new Error("EACCES: permission denied, mkdir 'd'"), { code: 'EACCES', path: 'd' }),
    "hearth: cannot start: EACCES: permission denied, mkdir 'd'\n",
  ],
])('a failed start is one line and exit code 1', async (fails, line) => {
  const failed = run(['serve'], {}, { fails })

  expect(await failed.code).toBe(1)
  expect(failed.err).toBe(line)
})

test('--dev without rules prints a loud banner', async () => {
  const open = run(['serve', '--dev', '--host', '0.0.0.0'], {}, { isOpen: true })
  await untilReady(open)

  expect(open.err).toContain('!! NO RULES: EVERYTHING IS OPEN')
  expect(open.err).toContain('Everyone who reaches 0.0.0.0 may read and write all data.')
  expect(open.out).toContain('ws://localhost:9000/v1')
})

test('--dev with rules says that anyone can be anyone', async () => {
  const dev = run(['serve', '--dev'])
  await untilReady(dev)

  expect(dev.err).toContain('!! DEVELOPMENT: ANYONE CAN BE ANYONE')
})

test('bad flags, variables and files are one line each and exit code 2', async () => {
  const unknown = run(['serve', '--prot', '1'])
  const bad = run(['serve', '--port', 'x'], { HEARTH_DURABILITY: 'maybe' })
  const command = run(['serv'])
  const argument = run(['serve', 'extra'])

  expect([await unknown.code, await bad.code, await command.code, await argument.code]).toEqual([2, 2, 2, 2])
  expect(unknown.err).toBe("hearth: unknown option '--prot' (Did you mean --port?)\n")
  expect(bad.err.split('\n')).toEqual([
    'hearth: --port: `x` is not a whole number from 0 to 65535',
    'hearth: HEARTH_DURABILITY: `maybe` is not one of flushed, committed',
    '',
  ])
  expect(command.err).toBe("hearth: unknown command 'serv' (Did you mean serve?)\n")
  expect(argument.err).toContain('hearth: too many arguments')
})

test('a command that is called with too little says how it is called', async () => {
  const explain = run(['rules', 'explain'])
  const token = run(['token'])

  expect([await explain.code, await token.code]).toEqual([2, 2])
  expect(explain.err).toBe(
    "hearth: missing required argument 'rules'; usage: hearth rules explain [options] <rules> <operation> <path> [value]\n",
  )
  expect(token.err).toBe(
    "hearth: required option '--uid <uid>' not specified; usage: hearth token [options]\n",
  )
})

test('help and version go to stdout with exit code 0; no command at all is 2', async () => {
  const help = run(['serve', '--help'])
  const version = run(['--version'])
  const nothing = run([])

  expect([await help.code, await version.code, await nothing.code]).toEqual([0, 0, 2])
  expect(help.out).toContain('--limits-listens-max <number>')
  expect(help.out).toContain('[HEARTH_LIMITS_LISTENS_MAX]')
  expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/)
  expect(nothing.err).toContain('Usage: hearth')
})

test('no flag takes a secret', async () => {
  const help = run(['serve', '--help'])

  await help.code

  expect(help.out).toContain('--auth-secret-file <path>')
  expect(help.out).not.toMatch(/--auth-secret\s/)
  expect(help.out).not.toMatch(/--admin-key\s/)
})

test('token prints a token that the same configuration accepts', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-cli-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'secret')
  writeFileSync(file, SECRET)

  const minted = run([
    'token',
    '--uid',
    'ada',
    '--claim',
    'role=editor',
    '--claim',
    'n=1',
    '--expires',
    '15m',
    '--auth-secret-file',
    file,
  ])

  expect(await minted.code).toBe(0)
  const verifier = createVerifier(configFrom({ auth: { secret: SECRET } }), { nowMs: Date.now })
  const verified = await verifier.verify(minted.out.trim())
  expect(verified.identity.auth).toMatchObject({ uid: 'ada', token: { role: 'editor', n: 1 } })
})

test('token --dev prints an unsigned token that only --dev accepts', async () => {
  const minted = run(['token', '--uid', 'ada', '--dev'])

  expect(await minted.code).toBe(0)
  const verifier = createVerifier(configFrom({ dev: true }), { nowMs: Date.now })
  expect((await verifier.verify(minted.out.trim())).identity.auth).toMatchObject({ uid: 'ada' })
})

test.each([
  [['token', '--uid', 'ada'], 'hearth: no secret to sign with'],
  [['token'], "hearth: required option '--uid <uid>' not specified"],
  [['token', '--uid', '', '--dev'], 'hearth: a uid has 1 to 128 characters'],
  [['token', '--uid', 'a', '--expires', 'soon', '--dev'], 'hearth: --expires: `soon` is not a time'],
  [['token', '--uid', 'a', '--claim', 'x', '--dev'], 'hearth: claim `x` is neither'],
])('%j is refused', async (args, message) => {
  const refused = run(args)

  expect(await refused.code).toBe(2)
  expect(refused.err).toContain(message)
  expect(refused.out).toBe('')
})
