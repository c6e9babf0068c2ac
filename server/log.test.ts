import { expect, test } from 'vitest'
import { type ConfigValues, Secret } from './config.ts'
import { configFrom } from './config-load.ts'
import { createLogger, type Logger, type LogParts } from './log.ts'
import { LogStream } from './log-stream.ts'

function recordLog(
  log: ConfigValues['log'],
  parts: LogParts = { isTerminal: false },
): { logger: Logger; lines: string[] } {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  return { logger: createLogger(configFrom({ log: log ?? {} }).log, { stream, ...parts }), lines }
}

test('a line is JSON with its level, time, message and fields', () => {
  const { logger, lines } = recordLog({})

  logger.warn({ code: 4001 }, 'connection closed')

  const line = JSON.parse(lines[0]!)
  expect(line).toMatchObject({ level: 'warn', msg: 'connection closed', code: 4001 })
  expect(line.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})

test('a child carries its connection id in every line', () => {
  const { logger, lines } = recordLog({})

  logger.child({ conn: 'c7' }).info('hello')

  expect(JSON.parse(lines[0]!)).toMatchObject({ conn: 'c7', msg: 'hello' })
})

test('lines that were lost are counted in a line of their own, whatever the level', () => {
  const stream = new LogStream(2)
  const { lines } = recordLog({ level: 'error' }, { stream, isTerminal: false })
  stream.write = (line) => void lines.push(line)

  stream.onLost(7)

  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'error', msg: '7 log lines were lost' })
})

test('lines below the level are not written', () => {
  const { logger, lines } = recordLog({ level: 'warn' })

  logger.info('hidden')
  logger.error('shown')

  expect(lines).toHaveLength(1)
})

test.each<[string, (logger: Logger) => void]>([
  ['in a field', (logger) => logger.info({ token: 'hunter2-hunter2' }, 'x')],
  ['in a nested field', (logger) => logger.info({ request: { headers: { authorization: 'hunter2' } } }, 'x')],
  ['in a message', (logger) => logger.info('refused eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyIjoxfQ.hunter2')],
  ['in a URL', (logger) => logger.info({ url: '/a.json?ns=x&auth=hunter2&x=1' }, 'x')],
  ['in a header', (logger) => logger.info({ header: 'Bearer hunter2' }, 'x')],
  ['in an error', (logger) => logger.error(new Error('bad access_token=hunter2'))],
  ['as a configured secret', (logger) => logger.info({ config: { own: new Secret('hunter2') } }, 'x')],
])('a secret %s is not written', (_, write) => {
  for (const format of ['json', 'pretty'] as const) {
    const { logger, lines } = recordLog({ format })

    write(logger)

    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toContain('hunter2')
  }
})

test('on a terminal a line is short and readable', () => {
  const { logger, lines } = recordLog({}, { isTerminal: true })

  logger.child({ conn: 'c7' }).info({ code: 4001, reason: 'two words' }, 'connection closed')

  expect(lines[0]).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} {2}info {3}connection closed {2}conn=c7 {2}code=4001 {2}reason="two words"\n$/,
  )
})

test('what a client sent cannot command a terminal or fake a line', () => {
  const { logger, lines } = recordLog({ format: 'pretty' })

  logger.info({ path: '\u001b[2J\n\u009b2J' }, 'refused \u001b[2J\nerror fake')

  expect(lines[0]).not.toMatch(/[\u001b\u009b]/)
  expect(lines[0]!.split('\n')).toHaveLength(2)
})

test('an error keeps its stack', () => {
  const { logger, lines } = recordLog({})

  logger.error(new Error('broken'))

  expect(JSON.parse(lines[0]!).err.stack).toContain('log.test.ts')
})
