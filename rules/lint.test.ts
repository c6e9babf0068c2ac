import { expect, test } from 'vitest'
import { checkFile, formatReport } from './diagnostics.ts'

function warnings(rules: unknown): string[] {
  const report = checkFile('rules.json', JSON.stringify({ rules }))
  expect(report.errors).toEqual([])
  return report.warnings.map(({ id }) => id)
}

const own = 'auth != null && auth.uid == $id'

test.each<[string, unknown, string[]]>([
  ['a public write', { a: { '.write': true } }, ['public-write']],
  ['a public write in text', { a: { '.write': 'true' } }, ['public-write']],
  ['a public read', { a: { '.read': true } }, ['public-read']],
  ['false is not public', { '.read': false, '.write': false }, []],
  ['a rule under a grant', { '.read': true, a: { '.read': 'auth != null' } }, ['public-read', 'dead-rule']],
  ['a rule that an upper one swallows', { '.read': 'auth != null', $id: { '.read': own } }, ['dead-rule']],
  [
    'the same words about another place',
    { '.read': 'data.exists()', $id: { '.read': 'auth != null && data.exists()' } },
    [],
  ],
  ['a rule under a false', { '.read': false, a: { '.read': 'auth != null' } }, []],
  ['a rule under a condition', { '.read': 'auth != null', a: { '.read': 'now > 1' } }, []],
  ['inequality with a uid', { '.read': "auth.uid != 'bad'" }, ['signed-out-passes']],
  ['behind a guard', { '.read': "auth != null && auth.uid != 'bad'" }, []],
  ['behind a guard in a chain', { '.read': "(auth.uid != null) && (now > 1 && auth.token.x != 'bad')" }, []],
  ['behind an equality', { '.read': "auth.provider == 'password' && auth.uid != 'bad'" }, []],
  ['the guard itself', { '.read': 'auth.uid != null' }, []],
  ['in another alternative', { '.read': "auth != null || auth.uid != 'bad'" }, ['signed-out-passes']],
  ['an error before ||', { '.read': "data.val().contains('x') || auth != null" }, ['error-before-or']],
  ['length before ||', { '.read': 'data.val().length > 1 || auth != null' }, ['error-before-or']],
  ['an error behind ||', { '.read': "auth != null || data.val().contains('x')" }, []],
  ['checked before ||', { '.read': "data.isString() && data.val().contains('x') || auth != null" }, []],
  [
    'a query gate without index',
    { a: { '.read': "query.orderByChild == 'owner'" } },
    ['query-without-index'],
  ],
  ['a query gate with index', { a: { '.read': "query.orderByChild == 'owner'", '.indexOn': 'owner' } }, []],
  [
    'validation that a delete bypasses',
    { $id: { '.write': own, '.validate': '!data.exists()' } },
    ['delete-bypasses-validate'],
  ],
  [
    'the same, granted above',
    { '.write': 'auth != null', a: { '.validate': 'newData.exists()' } },
    ['delete-bypasses-validate'],
  ],
  [
    'deletion refused in the write',
    { $id: { '.write': `${own} && newData.exists()`, '.validate': '!data.exists()' } },
    [],
  ],
  [
    'deletion let through on purpose',
    { a: { '.write': 'auth != null', '.validate': '!newData.exists() || newData.isString()' } },
    [],
  ],
  [
    'keys that are not listed',
    { a: { '.validate': "newData.hasChildren(['b'])", b: { '.validate': 'newData.isString()' } } },
    ['unlisted-keys'],
  ],
  [
    'keys that are refused',
    {
      a: {
        '.validate': "newData.hasChildren(['b'])",
        b: { '.validate': 'true' },
        $other: { '.validate': false },
      },
    },
    [],
  ],
])('%s: %j', (_, rules, expected) => {
  expect(warnings(rules)).toEqual(expected)
})

test('a report shows every finding with its place and its fix', () => {
  const text = '{"rules": {\n  ".read": "auth.uid != \'x\'",\n  "a": {".write": true}\n}}'

  expect(formatReport(checkFile('rules.json', text))).toBe(
    [
      'rules.json:2:13  warning: true for everyone who is signed out: a missing member of `auth` is null, and null is unequal to this [signed-out-passes]',
      '    2 |   ".read": "auth.uid != \'x\'",',
      '      |             ^^^^^^^^^^^^^^^',
      '      = ask `auth != null &&` first',
      '',
      'rules.json:3:19  warning: anyone, signed in or not, may write /a and everything below it [public-write]',
      '    3 |   "a": {".write": true}',
      '      |                   ^^^^',
      '      = ask for a user at least: ".write": "auth != null"',
      '',
      'rules.json: 2 rules, 0 errors, 2 warnings',
    ].join('\n'),
  )
})

test('a function that no rule calls is told of, one that is called by way of another is not', () => {
  const text = JSON.stringify({
    functions: { inner: 'auth != null', 'outer(x)': 'inner && x', 'spare(x)': 'spare(nonsense)' },
    rules: { a: { '.read': "outer(auth.uid == 'x')" } },
  })

  const { errors, warnings } = checkFile('rules.json', text)

  expect(errors).toEqual([])
  expect(warnings).toMatchObject([
    { id: 'unused-function', message: 'no rule calls `spare`, so its body was not checked' },
  ])
})

test.each([
  ['a function', 'isMenber($id)', 'did you mean `isMember`?'],
  ['a constant', 'now < LIMT', 'did you mean `LIMIT`?'],
  ['a method of a claim', "auth.token.email.endWith('x')", 'did you mean `endsWith`?'],
  ['the length of a claim', 'auth.uid.length() > 1', '`length` is a property: no brackets'],
])('a misspelt name of %s is told the right one', (_, rule, hint) => {
  const functions = { 'isMember(id)': 'auth.uid == id', LIMIT: '5' }
  const text = JSON.stringify({ functions, rules: { $id: { '.read': rule } } })

  expect(checkFile('rules.json', text).errors[0]!.hint).toBe(hint)
})

test("Firestore's language is recognised", () => {
  const report = checkFile('rules.json', '{"rules": {".read": "request.auth != null"}}')

  expect(report.errors[0]).toMatchObject({ message: "Unknown variable 'request'." })
  expect(report.errors[0]!.hint).toContain("Firestore's language")
})
