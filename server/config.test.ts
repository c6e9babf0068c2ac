import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { type ConfigError, inputs, isDatabaseName } from './config.ts'
import { configFrom, loadConfig } from './config-load.ts'

const SECRET = 'correct horse battery staple 0123'

function folder(files: Record<string, string> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), 'hearth-config-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text)
  return dir
}

function problemsOf(load: () => unknown): readonly string[] {
  try {
    load()
  } catch (error) {
    return (error as ConfigError).problems
  }
  return []
}

test('without any source every option has its default', () => {
  const config = loadConfig({})

  expect(config).toMatchObject({
    host: '127.0.0.1',
    port: 9000,
    data: 'data',
    rules: 'database.rules.json',
    dev: false,
    durability: 'flushed',
    databases: { mode: 'listed', names: ['default'] },
    adminKey: null,
    auth: { secret: null, publicKey: null, jwksUrl: null, algorithms: [], expiryRequired: true },
    limits: {
      frameBytesMax: 32 * 1024 * 1024,
      listensMax: 1000,
      pingIntervalMs: 25_000,
    },
  })
})

test('a flag wins over a variable, a variable over the file, the file over the default', () => {
  const dir = folder({ 'c.json': '{"port": 1, "host": "file", "data": "/file", "log": {"level": "warn"}}' })

  const config = loadConfig({
    flags: { port: '3' },
    env: { HEARTH_PORT: '2', HEARTH_HOST: 'environment' },
    configFile: join(dir, 'c.json'),
  })

  expect(config.port).toBe(3)
  expect(config.host).toBe('environment')
  expect(config.data).toBe('/file')
  expect(config.log.level).toBe('warn')
})

test('sizes and times are numbers or have a unit', () => {
  const config = loadConfig({
    flags: { 'limits.frameBytesMax': '1MiB', 'limits.pingIntervalMs': '5s' },
    env: { HEARTH_DRAIN_TIMEOUT_MS: '1500' },
  })

  expect(config.limits.frameBytesMax).toBe(1024 * 1024)
  expect(config.limits.pingIntervalMs).toBe(5000)
  expect(config.drainTimeoutMs).toBe(1500)
})

test('lists are arrays in the file and separated by commas elsewhere; they are frozen', () => {
  const dir = folder({ 'c.json': '{"databases": {"names": ["a", "b"]}}' })

  const config = loadConfig({ env: { HEARTH_AUTH_AUDIENCE: 'x, y' }, configFile: join(dir, 'c.json') })

  expect(config.databases.names).toEqual(['a', 'b'])
  expect(config.auth.audience).toEqual(['x', 'y'])
  expect(Object.isFrozen(config.auth.audience)).toBe(true)
  expect(Object.isFrozen(config.limits)).toBe(true)
})

test('the file may have comments and trailing commas, and its paths start at its folder', () => {
  const dir = folder({ 'c.json': '{\n  // where\n  "data": "./d", /* and */ "dev": true,\n}' })

  const config = loadConfig({ configFile: join(dir, 'c.json') })

  expect(config.data).toBe(join(dir, 'd'))
  expect(config.databases.mode).toBe('open')
})

test('every unknown key and bad value is refused by name and place, all in one go', () => {
  const dir = folder({
    'c.json':
      '{\n  "prot": 1,\n  "limits": {"listensMax": "many", "listens": 3},\n  "log": 7,\n  "port": 1, "port": 2\n}',
  })
  const file = join(dir, 'c.json')

  const problems = problemsOf(() =>
    loadConfig({
      flags: { durability: 'flushd' },
      env: { HEARTH_PROT: '1', HEARTH_NOSUCH: '1', HEARTH_HOST: ' ', HEARTH_DEV: 'yes' },
      configFile: file,
    }),
  )

  expect(problems).toEqual([
    '--durability: `flushd` is not one of flushed, committed; did you mean `flushed`?',
    'HEARTH_PROT: unknown option; did you mean `HEARTH_PORT`?',
    'HEARTH_NOSUCH: unknown option',
    'HEARTH_HOST: ` ` is not a text',
    'HEARTH_DEV: `yes` is neither true nor false',
    `${file}:2:3 \`prot\`: unknown option; did you mean \`port\`?`,
    `${file}:3:14 \`limits.listensMax\`: \`many\` is not a whole number from 1 to 1000000`,
    `${file}:3:36 \`limits.listens\`: unknown option; did you mean \`limits.listensMax\`?`,
    `${file}:4:3 \`log\`: is a group of options, so its value is an object`,
    `${file}:5:14 \`port\`: stands twice in the file`,
  ])
})

test.each([
  [{ port: '65536' }, '--port: `65536` is not a whole number from 0 to 65535'],
  [{ port: '1.5' }, '--port: `1.5` is not a whole number from 0 to 65535'],
  [{ port: '0x10' }, '--port: `0x10` is not a whole number from 0 to 65535'],
  [{ port: '-1' }, '--port: `-1` is not a whole number from 0 to 65535'],
  [{ 'databases.names': 'a,../b' }, '--databases-names: `../b` cannot name a database'],
  [{ 'databases.names': '' }, '--databases-names: `` cannot name a database'],
  [{ allowedOrigins: 'https://a.example/' }, '--allowed-origins: `https://a.example/` is not an origin'],
  [
    { 'auth.jwksUrl': 'http://keys.example/jwks' },
    '--auth-jwks-url: `http://keys.example/jwks` is not https',
  ],
  [
    { 'auth.jwksUrl': 'https://u:p@keys.example/jwks' },
    '--auth-jwks-url: a URL with a password is not accepted',
  ],
  [{ 'auth.algorithms': 'none' }, '--auth-algorithms: `none` is not one of HS256'],
  [{ 'limits.frameBytesMax': '1GB' }, '--limits-frame-bytes-max: `1GB` is not a size from 64KiB to 256MiB'],
  [
    { cacheBytes: '64MB' },
    '--cache-bytes: `64MB` is not a size from 1MiB to 1TiB, in bytes or with KiB, MiB, GiB or TiB as in 1.5GiB',
  ],
  [{ cacheBytes: '2097152.5' }, '--cache-bytes: `2097152.5` is not a size'],
  [{ drainTimeoutMs: '10sec' }, 'from 0 to 10m, in milliseconds or with ms, s, m, h or d as in 1.5s'],
  [{ 'auth.secretFile': 'missing' }, '--auth-secret-file: `missing`: the file does not exist'],
  [{ 'limits.idleTimeoutMs': '40s' }, '--limits-idle-timeout-ms: is less than two ping intervals'],
  [{ 'limits.slowConsumerHardBytes': '64KiB' }, '--limits-slow-consumer-hard-bytes: is less than'],
  [{ rules: 'missing.json' }, '--rules: `missing.json` does not exist'],
])('%j is refused', (flags, problem) => {
  expect(problemsOf(() => loadConfig({ flags }))[0]).toContain(problem)
})

test('sizes and times may be parts of a unit', () => {
  const config = loadConfig({ flags: { cacheBytes: '1.5GiB', drainTimeoutMs: '1.5s' } })

  expect([config.cacheBytes, config.drainTimeoutMs]).toEqual([1.5 * 1024 ** 3, 1500])
})

test('the name of a group may be misspelt, too', () => {
  const dir = folder({ 'c.json': '{ "limit": { "listensMax": 1 } }' })

  expect(problemsOf(() => loadConfig({ configFile: join(dir, 'c.json') }))).toEqual([
    `${join(dir, 'c.json')}:1:3 \`limit\`: unknown option; did you mean \`limits\`?`,
  ])
  expect(problemsOf(() => configFrom({ limit: { listensMax: 1 } } as object))).toEqual([
    'limit: unknown option; did you mean `limits`?',
  ])
})

test('a key set is fetched over https, or over http from this machine', () => {
  expect(loadConfig({ flags: { 'auth.jwksUrl': 'https://keys.example/jwks' } }).auth.jwksUrl).toContain(
    'https:',
  )
  expect(loadConfig({ flags: { 'auth.jwksUrl': 'http://localhost:80/jwks' } }).auth.jwksUrl).toContain(
    'http:',
  )
})

test('a file that is not JSON is refused with its place', () => {
  const dir = folder({ 'c.json': '{\n  "port": 1\n  "host": ""\n}' })

  expect(problemsOf(() => loadConfig({ configFile: join(dir, 'c.json') }))).toEqual([
    `${join(dir, 'c.json')}:3:3: not JSON: comma expected`,
  ])
})

test('a config file that is named must exist', () => {
  expect(problemsOf(() => loadConfig({ env: { HEARTH_CONFIG: 'missing.json' } }))).toEqual([
    'missing.json: the file does not exist',
  ])
})

test('an empty variable is unset', () => {
  expect(loadConfig({ env: { HEARTH_PORT: '', HEARTH_CONFIG: '' } }).port).toBe(9000)
})

test('variables of clients, and those Kubernetes adds for a service named hearth, are not options', () => {
  const env = {
    HEARTH_PORT: 'tcp://10.0.0.1:9000',
    HEARTH_SERVICE_HOST: '10.0.0.1',
    HEARTH_SERVICE_PORT: '9000',
    HEARTH_SERVICE_PORT_WEB: '9000',
    HEARTH_PORT_9000_TCP: 'tcp://10.0.0.1:9000',
    HEARTH_PORT_9000_TCP_ADDR: '10.0.0.1',
    HEARTH_URL: 'http://10.0.0.1:9000',
  }

  expect(loadConfig({ env }).port).toBe(9000)
})

test('a secret comes from a variable or from a named file, without its last line break', () => {
  const dir = folder({ secret: `${SECRET}\n` })

  const fromFile = loadConfig({ flags: { 'auth.secretFile': join(dir, 'secret') } })
  const fromVariable = loadConfig({ env: { HEARTH_AUTH_SECRET: SECRET, HEARTH_ADMIN_KEY: SECRET } })

  expect(fromFile.auth.secret?.reveal()).toBe(SECRET)
  expect(fromVariable.auth.secret?.reveal()).toBe(SECRET)
  expect(fromVariable.adminKey?.reveal()).toBe(SECRET)
})

test('a secret has no flag and no place in the config file', () => {
  const dir = folder({ 'c.json': `{"auth": {"secret": "${SECRET}"}}` })

  const problems = problemsOf(() => loadConfig({ configFile: join(dir, 'c.json') }))

  expect(inputs.find((input) => input.name === 'auth.secret')?.flag).toBe(null)
  expect(problems[0]).toContain('set HEARTH_AUTH_SECRET or `auth.secretFile`')
  expect(problems[0]).not.toContain(SECRET)
})

test('a short secret is refused without being quoted', () => {
  const dir = folder({ secret: 'hunter2\n' })

  const problems = problemsOf(() =>
    loadConfig({ flags: { adminKeyFile: join(dir, 'secret') }, env: { HEARTH_AUTH_SECRET: 'hunter2' } }),
  )

  expect(problems).toHaveLength(2)
  expect(problems.join()).toContain('a secret has at least 32 bytes, this one 7')
  expect(problems.join()).not.toContain('hunter2')
})

test('a secret and its file in the same place are refused; a flag wins over a variable', () => {
  const dir = folder({ secret: `${SECRET} of the file` })
  const file = join(dir, 'secret')
  const env = { HEARTH_AUTH_SECRET: SECRET }

  const both = problemsOf(() => loadConfig({ env: { ...env, HEARTH_AUTH_SECRET_FILE: file } }))

  expect(both).toEqual(['HEARTH_AUTH_SECRET and HEARTH_AUTH_SECRET_FILE: give one of them'])
  expect(loadConfig({ flags: { 'auth.secretFile': file }, env }).auth.secret?.reveal()).toContain(
    'of the file',
  )
})

test('a configuration never shows its secrets', () => {
  const config = configFrom({ auth: { secret: SECRET }, adminKey: SECRET })

  expect(JSON.stringify(config) + inspect(config, { depth: 9 }) + String(config.adminKey)).not.toContain(
    'horse',
  )
})

test('code gives values by name; unknown names are refused', () => {
  const config = configFrom({
    port: 0,
    auth: { secret: SECRET, publicKey: null },
    databases: { names: ['a'] },
  })

  expect(config.port).toBe(0)
  expect(config.auth.secret?.reveal()).toBe(SECRET)
  expect(config.databases).toEqual({ mode: 'listed', names: ['a'] })
  expect(problemsOf(() => configFrom({ limits: { listenMax: 1 } } as object))).toEqual([
    'limits.listenMax: unknown option; did you mean `limits.listensMax`?',
  ])
})

test('a database name cannot leave its folder', () => {
  expect(['default', 'my-app_2', 'A'].every(isDatabaseName)).toBe(true)
  expect(['', '.', '..', 'a/b', 'a\\b', '-a', 'a'.repeat(64), 'ä', 'a\0'].some(isDatabaseName)).toBe(false)
})

/** One row for each option; a secret and the file that may hold it are two. */
function optionsTable(): string {
  const rows = inputs.map((input) => {
    const name = input.isInFile ? `\`${input.name}\`` : `\`${input.env}\``
    const fallback = input.fallback === null ? '' : `\`${input.fallback}\``
    return `| ${name} | ${fallback} | ${input.help} |`
  })
  return ['| option | default | |', '|---|---|---|', ...rows].join('\n')
}

test('the README lists every option with its default', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

  const listed = /<!-- options -->\n([\s\S]*?)\n<!-- \/options -->/.exec(readme)?.[1]

  expect(listed).toBe(optionsTable())
})
