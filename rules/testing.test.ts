import { expect, test } from 'vitest'
import { Coverage, coverageHtml, formatCoverage } from './coverage.ts'
import { ErrorCounter, formatMutation, mutate, type Trial } from './mutate.ts'
import { runTable, type Table, tableProblems } from './table.ts'
import { assertFails, assertSucceeds, rulesFromText } from './testing.ts'

const text = JSON.stringify({
  rules: {
    notes: {
      $id: {
        '.read': 'auth != null && data.exists()',
        '.write': 'auth != null && auth.uid == $id',
        '.validate': 'newData.isString() && newData.val().length < 5',
      },
    },
  },
})
const rules = rulesFromText(text)

test('assertSucceeds and assertFails ask the rules', () => {
  const db = rules.withData({ notes: { kim: 'hi' } })

  assertSucceeds(db.as({ uid: 'kim' }).get('/notes/kim'))
  assertSucceeds(db.as({ uid: 'kim' }).set('/notes/kim', 'yo'))
  assertSucceeds(db.as({ uid: 'kim' }).remove('/notes/kim'))
  assertSucceeds(db.as({ uid: 'kim' }).update('/notes', { kim: 'a' }))
  assertFails(db.signedOut().get('/notes/kim'))
  assertFails(db.as({ uid: 'kim' }).update('/notes', { kim: 'a', lee: 'b' }))
})

test('a failed assertion prints the trace', () => {
  const attempt = rules.as({ uid: 'lee' }).set('/notes/kim', 'x')

  expect(() => assertSucceeds(attempt)).toThrow(
    /^lee: set \/notes\/kim is denied, and should be allowed\n\nfalse {2}\.write of \/notes\/\$id/,
  )
  expect(() => assertFails(rules.as({ uid: 'kim' }).set('/notes/kim', 'x'))).toThrow('should be denied')
})

test('rules that do not load say why', () => {
  expect(() => rulesFromText('{"rules": {".read": "foo"}}')).toThrow(
    "rules.json:1:22  Unknown variable 'foo'.",
  )
})

const table: Table = {
  users: { kim: { uid: 'kim' } },
  data: { notes: { kim: 'hi' } },
  tests: [
    { as: 'kim', get: '/notes/kim', expect: 'allow' },
    { get: '/notes/kim', expect: 'deny' },
    { as: 'kim', set: '/notes/kim', value: 'yo', expect: 'allow' },
    { as: 'kim', set: '/notes/lee', value: 'yo', expect: 'deny' },
  ],
}

test('coverage names the conditions that were never seen both ways', () => {
  const coverage = new Coverage()
  runTable(rules.ruleset, table, coverage)

  const report = coverage.report(rules.ruleset)

  expect(formatCoverage(report)).toBe(
    [
      '1:35  .read of /notes/$id',
      '    never false    data.exists()',
      '1:76  .write of /notes/$id',
      '    never false    auth != null',
      '1:122  .validate of /notes/$id',
      '    never false    newData.isString() && newData.val().length < 5',
      '    never false    newData.isString()',
      '    never false    newData.val().length < 5',
      '4 of 9 conditions seen both true and false (44 %)',
    ].join('\n'),
  )
  expect(report.rules[0]!.outcomes).toEqual({ true: 1, false: 1, error: 0, budget: 0 })
})

test('the coverage page marks each condition once and nests the marks', () => {
  const coverage = new Coverage()
  runTable(rules.ruleset, table, coverage)

  const html = coverageHtml(coverage.report(rules.ruleset), text, 'a<b.json')

  expect(html).toContain('a&lt;b.json')
  expect(html).toContain(
    '<span class="both" title="both"><span class="both" title="both">auth != null</span> &amp;&amp; <span class="never-false" title="never false">data.exists()</span></span>',
  )
  expect(html.match(/<span/g)!.length).toBe(html.match(/<\/span/g)!.length)
})

test('the coverage page marks rules that were never asked, literal ones too', () => {
  const text = '{"rules": {"a": {".read": true, ".write": false}, "b": {".read": "auth != null"}}}'
  const { ruleset } = rulesFromText(text)
  const coverage = new Coverage()
  runTable(ruleset, { tests: [{ get: '/a', expect: 'allow' }] }, coverage)

  const html = coverageHtml(coverage.report(ruleset), text, 'rules.json')

  const mark = (what: string) => `<span class="not-evaluated" title="never asked">${what}</span>`
  expect(html).toContain(`&quot;.read&quot;: true, &quot;.write&quot;: ${mark('false')}`)
  expect(html).toMatch(new RegExp(`&quot;.read&quot;: .*${mark('.*auth != null.*')}`))
})

function trial(ruleset: typeof rules.ruleset, tried: Table): Trial {
  const counter = new ErrorCounter()
  return {
    passed: runTable(ruleset, tried, counter).every(({ passed }) => passed),
    errors: counter.errors,
  }
}

test('mutation finds what no test would miss', () => {
  const report = mutate(rules.ruleset, (ruleset) => trial(ruleset, table))

  expect(report.survivors.map(({ text }) => text)).toEqual([
    'data.exists()',
    'auth != null',
    'newData.isString()',
    'newData.val().length < 5',
  ])
  expect(formatMutation(report)).toContain('2 of 6 changed conditions were noticed by a test')
})

test('a guard whose loss makes a rule fail at run time is noticed', () => {
  const { ruleset } = rulesFromText(
    JSON.stringify({
      rules: { a: { '.write': true, '.validate': 'newData.isString() && newData.val().length < 5' } },
    }),
  )
  const tests: Table['tests'] = [
    { set: '/a', value: 5, expect: 'validate' },
    { set: '/a', value: 'long text', expect: 'validate' },
  ]

  expect(mutate(ruleset, (mutated) => trial(mutated, { tests })).survivors).toEqual([])
})

test('mutation takes out each condition: also the first of several, those of a choice, and calls as a whole', () => {
  const mutantsOf = (rule: string, functions: Record<string, string> = {}) => {
    const { ruleset } = rulesFromText(JSON.stringify({ functions, rules: { '.read': rule } }))
    const { survivors } = mutate(ruleset, () => ({ passed: true, errors: 0 }))
    return survivors.map(({ text, replacement }) => `${text}: ${replacement}`)
  }

  expect(mutantsOf('data.exists() && auth != null || data.isString()')).toEqual([
    'data.exists() && auth != null: false',
    'data.isString(): false',
    'data.exists(): true',
    'auth != null: true',
  ])
  expect(mutantsOf('data.exists() ? auth != null : data.isString()')).toEqual([
    'data.exists() ? auth != null : data.isString(): true',
    'data.exists(): true',
    'data.exists(): false',
    'auth != null: true',
    'data.isString(): true',
  ])
  const functions = { 'has(key)': 'auth != null && data.hasChild(key)' }
  expect(mutantsOf("has('a')", functions)).toEqual(["has('a'): true"])
  expect(mutantsOf("has('a') || data.hasChild('b')", functions)).toEqual([
    "has('a'): false",
    "data.hasChild('b'): false",
  ])
})

test('a table says what is wrong with its shape', () => {
  expect(tableProblems({ tests: [{ get: '/a', set: '/b', expect: 'maybe', as: 'kim' }] })).toEqual([
    'tests[0] has 2 of get, set, update, remove; it has exactly one',
    'tests[0].expect is one of allow, deny, no_rule, false, error, validate, budget',
    'tests[0].as is `kim`, which is not in `users`',
  ])
  expect(tableProblems(null)).toEqual(['a table is an object with `tests`'])
  expect(
    tableProblems({
      user: {},
      tests: [
        { auth: 'kim', set: '/a', expect: 'deny' },
        { get: '/a', value: 1, expect: 'deny', quary: {} },
        { remove: '/a', query: { limitToFirst: 1 }, expect: 'deny' },
      ],
    }),
  ).toEqual([
    'a table has no `user`; did you mean `users`?',
    'tests[0] has no `auth`; known are name, as, get, set, update, remove, value, query, data, now, expect',
    'tests[0] has a `value` to set; null deletes',
    'tests[1] has no `quary`; did you mean `query`?',
    'tests[1].value goes with set or update, not with get',
    'tests[2].query goes with get, not with remove',
  ])
  expect(
    tableProblems({
      users: null,
      now: 'today',
      tests: [
        null,
        { get: 5, as: 5, now: 'x', query: { limit: 1 }, expect: 'deny' },
        { as: 'kim', update: '/', value: [1], expect: 'deny' },
      ],
    }),
  ).toEqual([
    '`users` is an object from names to auth',
    '`now` is a number of milliseconds',
    'tests[0] is not an object',
    'tests[1].get is a path such as "/rooms/r1"',
    expect.stringContaining('tests[1].query: query has no `limit`'),
    'tests[1].as is a name from `users`, an auth object or null',
    'tests[1].now is a number of milliseconds',
    'tests[2].value of an update maps paths to values',
    'tests[2].as is `kim`, which is not in `users`',
  ])
})

test('an update that no database would take fails its test', () => {
  const [result] = runTable(rules.ruleset, {
    tests: [{ update: '/', value: { a: 1, 'a/b': 2 }, expect: 'deny' }],
  })

  expect(result).toMatchObject({
    passed: false,
    problem: 'path `/a` is an ancestor of `/a/b` in the same update',
  })
})

test('a path no database would take fails its test, not the run', () => {
  const [result] = runTable(rules.ruleset, { tests: [{ get: '/a.b', expect: 'deny' }] })

  expect(result).toMatchObject({
    passed: false,
    decision: null,
    problem: expect.stringContaining('forbidden character'),
  })
})
