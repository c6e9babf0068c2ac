/** Ruleset: what callers besides the rules themselves rely on. */
import { expect, test } from 'vitest'
import { parseValue } from '../protocol/index.ts'
import type { DataView } from './data-view.ts'
import { OBJECT } from './data-view.ts'
import { jsonView } from './data-view-json.ts'
import { describeDecision } from './decision.ts'
import { Dependencies } from './dependencies.ts'
import { formatError } from './errors.ts'
import { allowAll, denyAll, loadRuleset } from './load.ts'
import type { Ruleset } from './ruleset.ts'

function load(rules: unknown): Ruleset {
  const result = loadRuleset(JSON.stringify({ rules }))
  if (!result.ok) throw new Error(result.errors[0]!.message)
  return result.ruleset
}

const nothing = jsonView(null)

test('a decision names the rule, its place and what was asked', () => {
  const result = loadRuleset('{"rules": {\n  "rooms": {"$room": {\n    ".read": "auth != null"\n}}}}')
  if (!result.ok) throw new Error('refused')

  const decision = result.ruleset.checkRead({
    path: ['rooms', 'r1', 'x'],
    auth: null,
    nowMs: 0,
    data: nothing,
  })

  expect(decision).toEqual({
    allowed: false,
    reason: 'false',
    path: ['rooms', 'r1', 'x'],
    rule: { kind: 'read', pattern: '/rooms/$room', text: 'auth != null', line: 3, column: 14 },
  })
  expect(describeDecision(decision)).toBe('denied at /rooms/r1/x: `.read` of /rooms/$room (3:14) is false')
})

test('every granted decision of a rule is one object', () => {
  const ruleset = load({ '.read': 'auth != null' })
  const request = { path: ['a'], auth: { uid: 'x' }, nowMs: 0, data: nothing }

  expect(ruleset.checkRead(request)).toBe(ruleset.checkRead(request))
})

test('the fixed rulesets decide everything alike', () => {
  const write = {
    locations: [['a']],
    auth: { uid: 'x' },
    nowMs: 0,
    data: nothing,
    newData: jsonView({ a: 1 }),
  }

  expect(denyAll.checkWrite(write).reason).toBe('no_rule')
  expect(allowAll.checkWrite(write).allowed).toBe(true)
  expect(allowAll.checkRead({ path: [], auth: null, nowMs: 0, data: nothing }).allowed).toBe(true)
})

test('all errors of a text are reported, in the order of the text', () => {
  const result = loadRuleset(
    '{"rules": {".read": "foo && bar",\n".wriet": true,\n"a": {".write": 1, "b/c": {}}}}',
  )

  expect(result.ok ? [] : result.errors.map(({ line, message }) => `${line} ${message}`)).toEqual([
    "1 Unknown variable 'foo'.",
    "1 Unknown variable 'bar'.",
    "2 Expected '{'.",
    "3 Invalid rule expression.  Expected 'true', 'false', or an expression string.",
    '3 String can\'t contain ".", "#", "$", "/", "[", or "]"',
  ])
})

test('an error shows its line, its place and a hint', () => {
  const result = loadRuleset('{\n  "rules": {\n    ".write": "newDta.exists()"\n  }\n}')

  expect(result.ok ? '' : formatError(result.errors[0]!, 'database.rules.json')).toBe(
    [
      "database.rules.json:3:16  Unknown variable 'newDta'.",
      '    3 |     ".write": "newDta.exists()"',
      '      |                ^^^^^^',
      '      = did you mean `newData`?',
    ].join('\n'),
  )
})

test('indexes are found through captures', () => {
  const ruleset = load({ a: { $x: { b: { '.indexOn': ['n', 'c/d'] } }, lit: { '.indexOn': '.value' } } })

  expect(ruleset.indexesAt(['a', 'k', 'b'])).toEqual(['n', 'c/d'])
  expect(ruleset.indexesAt(['a', 'lit'])).toEqual(['.value'])
  expect(ruleset.indexesAt(['a', 'lit', 'b'])).toEqual([])
  expect(ruleset.indexesAt([])).toEqual([])
})

test('dependencies are the paths a read decision looked at, with what was there', () => {
  const ruleset = load({
    rooms: {
      $room: {
        '.read': "data.child('open').val() == true || root.child('members').child(auth.uid).exists()",
      },
    },
  })
  const dependencies = new Dependencies()
  const data = jsonView(parseValue({ rooms: { r1: { open: false } }, members: { kim: { since: 1 } } }))

  const decision = ruleset.checkRead({
    path: ['rooms', 'r1', 'log'],
    auth: { uid: 'kim' },
    nowMs: 0,
    data,
    dependencies,
  })

  expect(decision.allowed).toBe(true)
  expect(dependencies.paths).toEqual([
    ['rooms', 'r1', 'open'],
    ['members', 'kim'],
  ])
  expect(dependencies.sights.map(({ value }) => value)).toEqual([false, OBJECT])
  expect([...dependencies.authFields]).toEqual(['uid'])
  expect(dependencies.timeDependent).toBe(false)
})

test.each<[string, string[]]>([
  ['auth != null', ['']],
  ["auth.uid == $a && auth['token'].email_verified == true", ['uid', 'token.email_verified']],
  ['auth.token.roles[$a] == true', ['token.roles']],
  ["auth.token[auth.uid].x == 'y'", ['token', 'uid']],
  ['auth.uid.length > 3 && auth.uid.contains("a")', ['uid']],
  ["root.child('users').child(auth.uid).exists()", ['uid']],
  ['now > 1', []],
])('`%s` rests on these members of auth: %j', (rule, fields) => {
  const ruleset = load({ $a: { '.read': rule } })
  const dependencies = new Dependencies()

  ruleset.checkRead({ path: ['a'], auth: { uid: 'kim' }, nowMs: 0, data: nothing, dependencies })

  expect([...dependencies.authFields].sort()).toEqual(fields.sort())
  expect(dependencies.auth).toBe(fields.length > 0)
  expect(ruleset.readUses(['a']).authFields.toSorted()).toEqual(fields)
})

test('a rule that was not reached leaves no dependencies', () => {
  const ruleset = load({ '.read': 'auth != null', a: { '.read': 'now > data.val()' } })
  const dependencies = new Dependencies()

  ruleset.checkRead({ path: ['a'], auth: { uid: 'x' }, nowMs: 0, data: nothing, dependencies })

  expect(dependencies).toMatchObject({
    sights: [],
    timeDependent: false,
    changesAtMs: Number.POSITIVE_INFINITY,
    auth: true,
  })
})

test('what reads can depend on is known without evaluating', () => {
  const ruleset = load({
    a: { '.read': 'auth != null', b: { '.read': 'now < data.val()' } },
    c: { '.read': true, d: { '.read': 'now > 1' } },
  })

  expect(ruleset.readUses(['a'])).toMatchObject({ data: false, now: false, auth: true, query: false })
  expect(ruleset.readUses(['a', 'b', 'x'])).toMatchObject({ data: true, now: true, auth: true, query: false })
  expect(ruleset.readUses(['c', 'd'])).toMatchObject({ data: false, now: false, auth: false, query: false })
})

test('the same place is read once in one rule', () => {
  const reads: string[] = []
  const view: DataView = {
    ...nothing,
    valueAt(path) {
      reads.push(path.join('/'))
      return 'text'
    },
  }
  const ruleset = load({
    a: {
      '.read':
        "data.child('t').isString() && data.child('t').val().length < 9 && data.child('t').val() != 'x'",
    },
  })

  expect(ruleset.checkRead({ path: ['a'], auth: null, nowMs: 0, data: view }).allowed).toBe(true)
  expect(reads).toEqual(['a/t'])
})

test('rules see what is their own: no expression reads past a false guard', () => {
  const view: DataView = {
    ...nothing,
    valueAt() {
      throw new Error('read without need')
    },
  }
  const ruleset = load({ '.read': "auth != null && root.child('a').exists()" })

  expect(ruleset.checkRead({ path: [], auth: null, nowMs: 0, data: view }).reason).toBe('false')
})

test('a view that fails to read is not mistaken for a denial, and the ruleset works on', () => {
  const broken: DataView = {
    ...nothing,
    valueAt() {
      throw new Error('disk')
    },
  }
  const ruleset = load({ '.read': 'data.exists()' })

  expect(() => ruleset.checkRead({ path: [], auth: null, nowMs: 0, data: broken })).toThrow('disk')
  expect(ruleset.checkRead({ path: [], auth: null, nowMs: 0, data: jsonView(1) }).allowed).toBe(true)
})

test('a view may ask the same rules while it is read', () => {
  const ruleset = load({ a: { '.read': "auth.uid == 'x' && data.exists() && auth.uid == 'x'" } })
  const asking: DataView = {
    ...nothing,
    valueAt() {
      return ruleset.checkRead({ path: ['a'], auth: null, nowMs: 0, data: nothing }).allowed
    },
  }

  expect(ruleset.checkRead({ path: ['a'], auth: { uid: 'x' }, nowMs: 0, data: asking }).allowed).toBe(true)
})

test("a property on a prototype is nobody's claim", () => {
  const ruleset = load({ '.read': 'auth.token.admin == true' })
  const request = { path: [], auth: { uid: 'x', token: {} }, nowMs: 0, data: nothing }
  const prototype = Object.prototype as unknown as Record<string, unknown>

  expect(ruleset.checkRead(request).allowed).toBe(false)
  prototype['admin'] = true
  try {
    expect(ruleset.checkRead(request).allowed).toBe(false)
    expect(ruleset.checkRead({ ...request, auth: { uid: 'x', token: { admin: true } } }).allowed).toBe(true)
  } finally {
    delete prototype['admin']
  }
})

test('an update asks the rules above its locations once', () => {
  let reads = 0
  const view: DataView = {
    ...nothing,
    valueAt() {
      reads += 1
      return true
    },
  }
  const ruleset = load({ list: { '.write': 'data.exists()' } })
  const locations = Array.from({ length: 100 }, (_, i) => ['list', `k${i}`])

  expect(ruleset.checkWrite({ locations, auth: null, nowMs: 0, data: view, newData: nothing }).allowed).toBe(
    true,
  )
  expect(reads).toBe(1)
})

const NEVER = Number.POSITIVE_INFINITY

test.each([
  ['now < data.val()', 1500, 1500],
  ['now <= data.val()', 1500, 1500],
  ['now <= data.val()', 1000, 1001],
  ['data.val() > now', 1500, 1500],
  ['now > data.val()', 900, NEVER],
  ['now - data.val() < 60', 970, 1030],
  ['now - data.val() <= 60', 940, 1001],
  ['now + 10 >= data.val()', 1500, 1490],
  ['data.val() == now', 1200, 1200],
  ['now < data.val()', 1500.5, 1501],
  ['auth != null && now < data.val()', 1500, NEVER],
  ['now < data.val() || now < 1200', 1500, 1500],
  ['now < 900 || now < data.val() && now < 1100', 1500, 1100],
  ['now % 2 == 0', 0, 1001],
  ['now < data.val()', 'text', NEVER],
  ['now < data.val()', null, NEVER],
])('%s with data %j at 1000 changes at %d', (rule, stored, expected) => {
  const ruleset = load({ '.read': rule })
  const dependencies = new Dependencies()

  ruleset.checkRead({ path: [], auth: null, nowMs: 1000, data: jsonView(stored), dependencies })

  expect(dependencies.changesAtMs).toBe(expected)
})
