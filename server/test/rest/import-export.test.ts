/**
 * `hearth import` and `hearth export`, from the command line to the disk and back.
 */
import { EventEmitter, once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { runCli } from '../../cli.ts'
import type { TestServer } from '../harness.ts'
import { ADMIN_KEY, AS_ADMIN, ask, serveRest } from './rest-harness.ts'

interface Ran {
  code: number
  out: string
  err: string
}

async function hearth(
  args: string[],
  stdin: Readable = Readable.from([]),
  isTerminal = false,
  signals: EventEmitter = new EventEmitter(),
): Promise<Ran> {
  let err = ''
  const chunks: Buffer[] = []
  const stdout = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      setImmediate(done)
    },
  })
  const code = await runCli(args, {
    out: (text) => chunks.push(Buffer.from(text)),
    err: (text) => {
      err += text
    },
    env: { HEARTH_ADMIN_KEY: ADMIN_KEY },
    signals,
    stdin,
    stdout,
    isTerminal,
  })
  return { code, out: Buffer.concat(chunks).toString(), err }
}

/** All that the data model has that JSON makes hard. */
const AWKWARD = {
  text: 'é✓😀\n"\\\u2028 \u0000',
  empty: '',
  numbers: { zero: 0, negative: -1.5, tiny: 5e-324, huge: 1.7976931348623157e308, max: 9007199254740991 },
  flags: { yes: true, no: false },
  list: { 0: 'a', 1: 'b', 5: 'f' },
  keys: { 'a b': 1, 'é😀': 2, '-1': 3, '01': 4, 'x%2Fy+z?&=': 5, _: 6, ' ': 7, '"': 8, '\\': 9 },
  ranked: {
    leaf: { '.value': 'x', '.priority': 1 },
    zero: { '.value': 0, '.priority': 'p' },
    node: { a: { b: { '.value': true, '.priority': -2.5 } }, '.priority': 'q' },
    '.priority': 3,
  },
  deep: Array.from({ length: 29 }).reduce<unknown>((below) => ({ d: below }), 'bottom'),
}

async function stored(server: { url: string }, path = '/.json'): Promise<unknown> {
  return (await ask(server, `${path}?format=export`, { headers: AS_ADMIN })).body
}

function fileWith(server: TestServer, value: unknown): string {
  const file = join(server.folder, 'import.json')
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value))
  return file
}

describe('a running server', () => {
  test('gives back what was imported, however awkward', async (t) => {
    const server = await serveRest(t, { rules: {} })
    const file = fileWith(server, AWKWARD)

    const imported = await hearth(['import', file, '--url', server.url])
    const exported = await hearth(['export', '--url', server.url])

    expect([imported.code, exported.code]).toEqual([0, 0])
    expect(await stored(server)).toEqual(AWKWARD)
    expect(JSON.parse(exported.out)).toEqual(AWKWARD)
    expect(imported.err).toMatch(/^imported \d+ B, 30 values, [\d.]+ K?B\/s\n$/)
  })

  test('takes and gives a part', async (t) => {
    const server = await serveRest(t)

    await hearth(
      ['import', '-', '--path', '/a/b', '--url', server.url],
      Readable.from([Buffer.from('{"c":[1]}')]),
    )
    const exported = await hearth(['export', 'a/b/c', '--url', server.url])
    const nothing = await hearth(['export', 'none', '--url', server.url])

    expect(await stored(server)).toEqual({ a: { b: { c: { 0: 1 } } } })
    expect([exported.out, nothing.out]).toEqual(['{"0":1}\n', 'null\n'])
  })

  test('takes a large file in many writes, and gives it in many pages', async (t) => {
    const server = await serveRest(t)
    const value = {
      list: Object.fromEntries(
        Array.from({ length: 20_000 }, (_, i) => [`k${i}`, { n: i, text: 'x'.repeat(40), '.priority': i }]),
      ),
      wide: Object.fromEntries(Array.from({ length: 12_000 }, (_, i) => [i, i])),
      long: { a: 'y'.repeat(2_000_000), b: { '.value': 'z'.repeat(1_000_000), '.priority': 'p' } },
      '.priority': 'root',
    }
    const file = fileWith(server, value)

    const imported = await hearth(['import', file, '--url', server.url])
    const after = await ask(server, '/.json?format=export&shallow=false')
    const exported = await hearth(['export', '-o', join(server.folder, 'out.json'), '--url', server.url])

    expect([imported.code, exported.code, exported.out]).toEqual([0, 0, ''])
    expect(after.body).toEqual(value)
    expect(JSON.parse(readFileSync(join(server.folder, 'out.json'), 'utf8'))).toEqual(value)
  })

  test('is not asked again and again for more than a page holds, when children are small and many', async (t) => {
    const server = await serveRest(t)
    const messages = Array.from({ length: 30_000 }, (_, i) => [
      `k${i}`,
      { at: i, name: 'n', text: 't', likes: 1 },
    ])
    await ask(server, '/list.json', { method: 'PUT', body: Object.fromEntries(messages), headers: AS_ADMIN })
    const statuses: number[] = []
    const proxy = createServer(async (request, response) => {
      const answer = await fetch(server.url + request.url)
      statuses.push(answer.status)
      response.writeHead(answer.status, { 'hearth-revision': answer.headers.get('hearth-revision') ?? '' })
      response.end(await answer.text())
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    t.onTestFinished(() => void proxy.close())

    const exported = await hearth([
      'export',
      '--url',
      `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    ])

    expect(Object.keys(JSON.parse(exported.out).list).length).toBe(30_000)
    // The root, the list, and a first page that grew too far.
    expect(statuses.filter((status) => status === 400).length).toBeLessThanOrEqual(4)
  })

  test('is not overwritten unless asked to', async (t) => {
    const server = await serveRest(t)
    await ask(server, '/.json', { method: 'PUT', body: { old: 1, both: { x: 1 } } })
    const file = fileWith(server, { both: { y: 2 } })

    const refused = await hearth(['import', file, '--url', server.url])
    const afterRefusal = await stored(server)
    await hearth(['import', file, '--merge', '--url', server.url])
    const afterMerge = await stored(server)
    await hearth(['import', file, '--overwrite', '--url', server.url])

    expect([refused.code, refused.err]).toEqual([
      1,
      'hearth: there is data at / already; --overwrite replaces it, --merge keeps what the file does not name\n',
    ])
    expect(afterRefusal).toEqual({ old: 1, both: { x: 1 } })
    expect(afterMerge).toEqual({ old: 1, both: { x: 1, y: 2 } })
    expect(await stored(server)).toEqual({ both: { y: 2 } })
  })

  test('is told what an interrupted import has stored, and how to go on', async (t) => {
    const server = await serveRest(t)
    const text = JSON.stringify(Array.from({ length: 12_000 }, (_, i) => i))
    const signals = new EventEmitter()
    const stdin = new PassThrough()
    stdin.write(text.slice(0, 60_000))

    const running = hearth(['import', '-', '--url', server.url], stdin, true, signals)
    await vi.waitFor(async () => expect(await stored(server)).not.toBe(null))
    signals.emit('SIGINT', 'SIGINT')
    const ran = await running

    expect(ran.code).toBe(130)
    expect(ran.err).toMatch(
      /\r\x1b\[Khearth: interrupted at standard input:1:60001; the first [\d,]+ values are stored: --overwrite begins anew\n$/,
    )
    expect(signals.eventNames()).toEqual([])
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'that does not say whether there is data is waited for until %s',
    async (signal) => {
      const signals = new EventEmitter()
      const silent = createServer(() => signals.emit(signal, signal)).listen(0, '127.0.0.1')
      onTestFinished(() => void silent.close().closeAllConnections())
      await once(silent, 'listening')
      const { port } = silent.address() as AddressInfo

      const ran = await hearth(
        ['import', '-', '--url', `http://127.0.0.1:${port}`],
        new PassThrough(),
        false,
        signals,
      )

      expect([ran.code, ran.err]).toEqual([signal === 'SIGINT' ? 130 : 143, 'hearth: interrupted\n'])
    },
  )

  test('is named where it cannot be reached or refuses, in one line', async (t) => {
    const server = await serveRest(t, { rules: {} })
    const file = fileWith(server, { a: 1 })

    const noAddress = await hearth(['export', '--url', 'localhost:9000'])
    const unknown = await hearth(['export', '--url', server.url, '--database', 'other'])
    const badPath = await hearth(['export', 'a.b', '--url', server.url])
    const missing = await hearth(['import', `${file}.none`, '--url', server.url])
    await server.close()
    const unreachable = await hearth(['export', '--url', server.url])

    expect([unreachable.code, unreachable.err]).toEqual([
      1,
      `hearth: cannot reach ${server.url}: ECONNREFUSED\n`,
    ])
    expect([noAddress.code, badPath.code]).toEqual([2, 2])
    expect(unknown.err).toBe('hearth: the server refused /: this server has no database `other` (404)\n')
    expect(missing.err).toBe(`hearth: ${file}.none does not exist\n`)
  })

  test('is told nothing of a file that is no JSON past the place where it ends to be', async (t) => {
    const server = await serveRest(t)
    const broken = fileWith(server, '{\n"a": 1,\n"b": tru\n}')
    const badKey = '{"a": {"b.c": 1}}'

    const first = await hearth(['import', broken, '--url', server.url])
    const second = await hearth(['import', '-', '--url', server.url], Readable.from([Buffer.from(badKey)]))

    expect([first.code, first.err]).toEqual([1, `hearth: ${broken}:3:6: \`tru\` is no value\n`])
    expect([second.code, second.err]).toEqual([
      1,
      'hearth: standard input:1:9: key `b.c` contains a forbidden character; keys may not contain . # $ [ ] / or control characters\n',
    ])
    expect(await stored(server)).toBe(null)
  })
})

describe('an import that fails on its way', () => {
  const rows = Array.from({ length: 6000 }, (_, i) => `"k${String(i).padStart(4, '0')}":${i}`).join()

  test.each([
    ['a text that ends', `{${rows}`, /import\.json:1:\d+: the text ends too early/],
    [
      'a value the server refuses',
      `{${rows},"z":{".value":1,".priority":true}}`,
      /priority `true` .*\(400\); before .*:1:\d+/,
    ],
  ])('%s: says where, what is stored, and what next', async (_, text, why) => {
    const server = await serveRest({ onTestFinished: (call) => onTestFinished(() => void call()) })
    const file = fileWith(server, text)

    const failed = await hearth(['import', file, '--url', server.url])
    const merged = await hearth(['import', file, '--merge', '--url', server.url])

    expect(failed.code).toBe(1)
    expect(failed.err).toMatch(why)
    expect(failed.err).toMatch(/; the first 5,000 values are stored: mend it, and --overwrite begins anew\n$/)
    expect(Object.keys((await stored(server)) as object).length).toBe(5000)
    expect(merged.err).toMatch(/mend it, and repeat the import\n$/)
  })
})

describe('flags that do not fit', () => {
  test('are refused before anything is read or made', async (t) => {
    const server = await serveRest(t)
    const file = fileWith(server, { a: 1 })
    const data = join(server.folder, 'new')

    const both = await hearth(['import', file, '--url', server.url, '--data', data])
    const rules = await hearth(['import', file, '--url', server.url, '--rules', file])
    const noRules = await hearth(['import', file, '--data', data, '--rules', `${file}.none`])
    const folder = await hearth(['import', server.folder, '--url', server.url])

    expect([both.code, both.err]).toEqual([2, 'hearth: --url and --data: give one of them\n'])
    expect(rules.code).toBe(2)
    expect([noRules.code, noRules.err]).toEqual([1, `hearth: ${file}.none does not exist\n`])
    expect([folder.code, folder.err]).toEqual([
      1,
      `hearth: ${server.folder} is a folder; expected a file of JSON\n`,
    ])
    expect([existsSync(data), await stored(server)]).toEqual([false, null])
  })
})

describe('a data folder', () => {
  test('is read and written without a server', async (t) => {
    const server = await serveRest(t)
    const file = fileWith(server, AWKWARD)
    await server.close()
    const data = join(server.folder, 'data')

    const imported = await hearth(['import', file, '--data', data])
    const exported = await hearth(['export', '--data', data])

    expect([imported.code, exported.code]).toEqual([0, 0])
    expect(JSON.parse(exported.out)).toEqual(AWKWARD)
  })

  test('is made by an import, within a folder that there is, once there is something to import', async (t) => {
    const server = await serveRest(t)
    const file = fileWith(server, AWKWARD)
    const data = join(server.folder, 'new')

    const nothing = await hearth(['import', `${file}.none`, '--data', data])
    const wasMade = existsSync(data)
    const tooDeep = await hearth(['import', file, '--data', join(data, 'deeper')])
    const imported = await hearth(['import', file, '--data', data])
    const exported = await hearth(['export', '--data', data])

    expect([nothing.code, wasMade]).toEqual([1, false])
    expect([tooDeep.code, tooDeep.err]).toEqual([1, `hearth: ${join(data, 'deeper')} does not exist\n`])
    expect([imported.code, exported.code]).toEqual([0, 0])
    expect(JSON.parse(exported.out)).toEqual(AWKWARD)
  })

  test('shows how far it is on a terminal, drawn over itself', async (t) => {
    const server = await serveRest(t)
    const file = fileWith(server, { text: 'x'.repeat(500_000) })

    const { err } = await hearth(['import', file, '--url', server.url], Readable.from([]), true)

    expect(err).toMatch(/\r\x1b\[Kimported [\d.]+ KB \[=+ *\] \d+ %, [\d.]+ .B\/s/)
  })

  test('that a server has open, or that is not there, is refused', async (t) => {
    const server = await serveRest(t)

    const open = await hearth(['export', '--data', join(server.folder, 'data')])
    const missing = await hearth(['export', '--data', join(server.folder, 'none')])

    expect([open.code, missing.code]).toEqual([1, 1])
    expect(open.err).toMatch(/^hearth: .*(another|process|in use|locked).*\n$/)
    expect(missing.err).toBe(`hearth: ${join(server.folder, 'none')} does not exist\n`)
  })

  test('is not exported where the database is not in it, and nothing is made', async (t) => {
    const server = await serveRest(t)
    await server.close()
    const data = join(server.folder, 'data')
    const exported = (...args: string[]): Promise<Ran> => hearth(['export', '--data', ...args])

    const misspelt = await exported(data, '--database', 'defualt')
    const tooDeep = await exported(join(data, 'default'))
    const file = await exported(fileWith(server, {}))

    expect([misspelt.code, tooDeep.code, file.code]).toEqual([1, 1, 1])
    expect([misspelt.out, tooDeep.out, file.out]).toEqual(['', '', ''])
    expect(misspelt.err).toBe(`hearth: ${data} has no database \`defualt\`\n`)
    expect(tooDeep.err).toBe(
      `hearth: \`${join(data, 'default')}\` is the folder of one database; the data folder is the one above it\n`,
    )
    expect(file.err).toBe(`hearth: data folder \`${join(server.folder, 'import.json')}\` is a file\n`)
    expect(readdirSync(data)).toEqual(['default'])
    expect(existsSync(join(data, 'default', 'default'))).toBe(false)
  })

  test('that is damaged is refused in one line', async (t) => {
    const server = await serveRest(t)
    await server.close()
    const data = join(server.folder, 'data')
    writeFileSync(join(data, 'default', 'data.mdb'), 'no database')

    const { code, err } = await hearth(['export', '--data', data])

    expect([code, err]).toEqual([1, expect.stringMatching(/^hearth: `.*` is not a database, .*\n$/)])
  })
})
