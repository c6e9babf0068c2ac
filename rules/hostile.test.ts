/**
 * Texts and data made to stall or break the server: each ends in an error with a place, or in a denial, and in
 * bounded time. The times asserted are far above what is measured; what they catch is exponential.
 */
import { expect, test } from 'vitest'
import { parseValue } from '../protocol/index.ts'
import { jsonView } from './data-view-json.ts'
import { checkFile, formatReport } from './diagnostics.ts'
import type { RulesError } from './errors.ts'
import { type LoadResult, loadRuleset } from './load.ts'

const WITHIN_MS = 5_000

/** CPU time: what a machine does beside a test is not the test's. */
function timed<T>(action: () => T): T {
  const start = process.cpuUsage()
  const result = action()
  const { user, system } = process.cpuUsage(start)
  expect((user + system) / 1000).toBeLessThan(WITHIN_MS)
  return result
}

function firstError(result: LoadResult): RulesError {
  if (result.ok) throw new Error('the text was accepted')
  return result.errors[0]!
}

function refused(text: string | Uint8Array): RulesError {
  const error = firstError(timed(() => loadRuleset(text)))
  expect(error.line).toBeGreaterThan(0)
  expect(error.column).toBeGreaterThan(0)
  return error
}

const rule = (expression: string) => JSON.stringify({ rules: { '.read': expression } })

test('ten thousand nested objects are refused', () => {
  const error = refused(`{"rules": ${'{"a": '.repeat(10_000)}{}${'}'.repeat(10_000)}}`)

  expect(error.message).toBe('Nested deeper than 129 levels.')
})

test('ten thousand nested arrays are refused', () => {
  expect(refused('['.repeat(10_000)).code).toBe('limit')
})

test('an expression of five megabytes is refused at the character that is too many', () => {
  const text = `true${' && true'.repeat(400_000)}`
  const error = refused(JSON.stringify({ rules: { '.read': text } }).padEnd(3_200_000))

  expect(error).toMatchObject({ code: 'limit', message: 'Expression is longer than 65536 characters.' })
  expect(error.column).toBe(65536 + 20)
})

test('a file of five megabytes is refused', () => {
  expect(refused(' '.repeat(5_000_000))).toMatchObject({ code: 'limit', column: 4 * 1024 * 1024 + 1 })
})

test.each([
  ['brackets', `${'('.repeat(10_000)}true${')'.repeat(10_000)}`],
  ['negations', `${'!'.repeat(10_000)}true`],
  ['signs', `${'- '.repeat(10_000)}1 == 1`],
  ['branches', `${'true ? true : '.repeat(4_000)}true`],
  ['members', `auth${'.a'.repeat(10_000)} == 1`],
  ['calls', `data${".child('a')".repeat(4_000)}.exists()`],
  ['sums', `1${' + 1'.repeat(10_000)} == 1`],
  ['mixed logic', `${'true && (false || '.repeat(3_000)}true${')'.repeat(3_000)}`],
])('deep %s are refused', (_, expression) => {
  expect(refused(rule(expression))).toMatchObject({
    code: 'limit',
    message: 'Expression is nested deeper than 400 levels.',
  })
})

test('a chain of thousands of alternatives is accepted and evaluated', () => {
  const result = timed(() =>
    loadRuleset(rule(Array.from({ length: 2_000 }, (_, i) => `auth.uid == 'u${i}'`).join(' || '))),
  )
  if (!result.ok) throw new Error(result.errors[0]!.message)
  const request = { path: [], nowMs: 0, data: jsonView(null) }

  expect(result.ruleset.checkRead({ ...request, auth: { uid: 'u1999' } }).allowed).toBe(true)
  expect(result.ruleset.checkRead({ ...request, auth: { uid: 'x' } }).allowed).toBe(false)
})

test('a million captures end in a hundred errors', () => {
  const captures = Array.from({ length: 250_000 }, (_, i) => `"$c${i}":{}`).join(',')
  const result = timed(() => loadRuleset(`{"rules":{${captures}}}`))

  expect(firstError(result).message).toBe("Cannot have multiple default rules ('$c0' and '$c1').")
  expect(result.ok ? 0 : result.errors.length).toBe(100)
})

test('a hundred thousand public places on one line end in a hundred warnings', () => {
  const rules = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, { '.read': true }]))
  const text = JSON.stringify({ rules })

  const report = timed(() => checkFile('rules.json', text))

  expect(report.warnings.length).toBe(100)
  expect(timed(() => formatReport(report))).toMatch(/100000 rules, 0 errors, 100 warnings$/)
})

test('invalid UTF-8 is refused where it stands', () => {
  const bytes = new Uint8Array([
    ...new TextEncoder().encode('{"rules":\n {"'),
    0xff,
    ...new TextEncoder().encode('":{}}}'),
  ])

  expect(refused(bytes)).toMatchObject({ message: 'Invalid UTF-8.', line: 2, column: 4 })
})

test('a replacement character that is meant is accepted', () => {
  expect(loadRuleset(new TextEncoder().encode('{"rules": {"\ufffd": {}}}')).ok).toBe(true)
})

test('garbage never throws', () => {
  for (const text of [
    '\0',
    '{',
    '{"rules":',
    '"',
    '{"rules":{".read":"\\ud800"}}',
    '\u2028',
    '{"rules":{"$":{".read":"$ == \'a\'"}}}',
  ]) {
    expect(() => loadRuleset(text)).not.toThrow()
  }
})

function decide(expression: string, stored: unknown, stepsMax?: number) {
  const result = loadRuleset(rule(expression), stepsMax === undefined ? {} : { limits: { stepsMax } })
  if (!result.ok) throw new Error(result.errors[0]!.message)
  const { ruleset } = result
  return timed(() =>
    ruleset.checkRead({ path: [], auth: null, nowMs: 0, data: jsonView(parseValue(stored)) }),
  )
}

test('a pattern of many counts costs as much of the budget as it may cost time', () => {
  const pattern = `^${'[ab]{0,1000}'.repeat(40)}[cd]$`

  expect(decide(`data.val().matches(/${pattern}/)`, 'a'.repeat(1_000)).reason).toBe('budget')
  expect(decide('data.val().matches(/^.{1,1000}$/)', 'a'.repeat(1_000)).allowed).toBe(true)
})

test('a pattern whose states outgrow their table costs what making them for each character costs', () => {
  const text = Array.from({ length: 100_000 }, (_, i) => 'ab'[((i * 2_654_435_761) >>> 9) & 1]).join('')

  expect(decide('data.val().matches(/a.{20}b$/)', text).reason).toBe('budget')
  expect(decide('data.val().matches(/^(a|b)*a.{20}b$/)', text).reason).toBe('budget')
})

test('a pattern that is at one place at a time needs no such table', () => {
  expect(decide('data.val().matches(/^(.{20}a)*$/)', 'bbbbbbbbbbbbbbbbbbbba'.repeat(10_000)).allowed).toBe(
    true,
  )
})

test('a count with nothing open in front of it costs as little as a plain pattern', () => {
  expect(decide('data.val().matches(/^[ab+\\/]{20,}$/)', 'ab'.repeat(200_000)).allowed).toBe(true)
})

test('thousands of counted patterns end the load early', () => {
  const rules = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, i) => [
      `k${i}`,
      { '.read': `auth.uid.matches(/(a{1,30}){1,30}${i}/)` },
    ]),
  )
  const start = performance.now()
  const error = firstError(loadRuleset(JSON.stringify({ rules })))

  expect(performance.now() - start).toBeLessThan(30_000)
  expect(error.code).toBe('limit')
}, 40_000)

test('a pattern that would explode in a backtracking matcher is answered', () => {
  expect(decide('data.val().matches(/^((a+)+)+$/)', `${'a'.repeat(50_000)}!`).reason).toBe('false')
})

test('a pattern on megabytes runs over the budget instead of holding the server', () => {
  expect(decide('data.val().matches(/a*b/)', 'a'.repeat(9_000_000)).reason).toBe('budget')
})

test('chained replacements cannot outgrow memory', () => {
  const chain = `data.val()${".replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaa')".repeat(100)}`

  expect(decide(`${chain} == 'x'`, 'aaaa').reason).toBe('error')
})

test('a long part is looked for in time that does not multiply with the text', () => {
  const text = 'a'.repeat(1_000_000)
  const stored = { text: `${text}b`, part: `${'a'.repeat(300)}b${'a'.repeat(200_000)}` }
  const [whole, part] = ["data.child('text').val()", "data.child('part').val()"]

  expect(decide(`${whole}.contains(${part})`, stored).reason).toBe('false')
  expect(decide(`${whole}.replace(${part}, '') == ${whole}`, stored).allowed).toBe(true)
  expect(decide(`${whole}.replace(${part}, ${part} + 'x') == ${whole}`, stored).allowed).toBe(true)
})

test('joining and comparing long texts again and again runs over the budget', () => {
  const text = 'a'.repeat(5_000_000)
  const joined = Array.from({ length: 1_000 }, () => "(data.val() + 'a') == (data.val() + 'b')").join(' || ')
  const read = "data.child('x').val() < data.child('y').val()"

  expect(decide(joined, text).reason).toBe('budget')
  expect(
    decide(Array.from({ length: 1_000 }, () => read).join(' || '), { x: `${text}b`, y: `${text}a` }).reason,
  ).toBe('budget')
})

test('choices between snapshots inside one another are compiled to code that is no longer than they are', () => {
  let expression = 'data.exists()'
  for (let i = 0; i < 60; i++)
    expression = `(${expression} ? data : root).hasChildren([data.child('k').val()])`

  expect(decide(expression, { k: 'k' }).allowed).toBe(true)
})

test('a function that names its parameter often cannot multiply what it is given', () => {
  const many = (what: string) => Array.from({ length: 2_000 }, () => what).join(' || ')
  const error = refused(
    JSON.stringify({ functions: { 'f(x)': many('x') }, rules: { '.read': `f(${many('1 < 2')})` } }),
  )

  expect(error.message).toBe('Expression grows past 50000 parts.')
})

test('a chain of ten thousand functions is refused', () => {
  const functions: Record<string, string> = { f0: 'true' }
  for (let i = 1; i < 10_000; i++) functions[`f${i}`] = `f${i - 1}`

  expect(refused(JSON.stringify({ functions, rules: { '.read': 'f9999' } })).message).toBe(
    'Functions call one another more than 400 deep.',
  )
})

test('calls of a large function in thousands of rules end the load early', () => {
  const f = Array.from({ length: 9_000 }, () => '1<2').join('||')
  const rules = Object.fromEntries(
    Array.from({ length: 20_000 }, (_, i) => [`k${i}`, { '.read': `f||${i}<2` }]),
  )
  const start = performance.now()
  const error = firstError(loadRuleset(JSON.stringify({ functions: { f }, rules })))

  expect(performance.now() - start).toBeLessThan(30_000)
  expect(error.code).toBe('limit')
}, 40_000)

test('text cannot be doubled without end', () => {
  let text = 'data.val()'
  for (let i = 0; i < 6; i++) text = `(${text} + ${text} + '')`

  expect(decide(`${text} == 'x'`, 'a'.repeat(1_000_000)).reason).toBe('budget')
  expect(decide("data.val() + data.val() == 'x'", 'a'.repeat(9_000_000)).reason).toBe('error')
})

test('a check that costs more than its limit is denied with the rule that cost it', () => {
  const decision = decide('data.val().contains(data.val())', 'a'.repeat(100_000), 1_000)

  expect(decision).toMatchObject({ allowed: false, reason: 'budget', rule: { kind: 'read', pattern: '/' } })
})

test('validation of a large write stops at the limit', () => {
  const text = JSON.stringify({ rules: { '.write': true, $a: { '.validate': 'newData.isNumber()' } } })
  const result = loadRuleset(text, { limits: { stepsMax: 10_000 } })
  if (!result.ok) throw new Error('refused')
  const newData = jsonView(Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, 1])))
  const request = { locations: [[]], auth: null, nowMs: 0, data: jsonView(null), newData }

  expect(timed(() => result.ruleset.checkWrite(request)).reason).toBe('budget')
})

test('three thousand rules load in a fraction of a second', () => {
  const rules: Record<string, unknown> = {}
  for (let i = 0; i < 1_000; i++) {
    rules[`node${i}`] = {
      $id: {
        '.read': `auth != null && root.child('members').child(auth.uid).child('n${i}').val() === true`,
        '.write': `auth != null && $id === auth.uid && (!data.exists() || data.child('owner').val() === auth.uid)`,
        '.validate': `newData.hasChildren(['owner', 'text']) && newData.child('text').val().length < ${i + 10}`,
      },
    }
  }
  const text = JSON.stringify({ rules })
  // CPU time: beside other work the clock on the wall says little.
  const before = process.cpuUsage()
  const result = loadRuleset(text)
  const { user, system } = process.cpuUsage(before)
  const cpuMs = (user + system) / 1000

  expect(result.ok).toBe(true)
  console.log(`3,000 rules, ${text.length} characters: ${cpuMs.toFixed(0)} ms of CPU, cold`)
  expect(cpuMs).toBeLessThan(1_500)
})
