import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { firebaseMessage } from './errors.ts'
import { loadRuleset } from './load.ts'
import { compileToPlain } from './plain.ts'

const extended = (functions: unknown, rules: unknown) => JSON.stringify({ functions, rules })

test('extensions that have a plain form are written in it', () => {
  const text = extended(
    { 'owns(place)': "place.child('owner').val() == auth.uid", COLOURS: "'red'", unused: '1' },
    {
      a: {
        $x: {
          '.write': "owns(data) || owns(newRoot.child('b'))",
          '.validate': "$x in [COLOURS, 'blue'] && true",
          '.read': 'auth   !=   null',
        },
      },
    },
  )

  const result = compileToPlain(text)

  expect(result.ok ? JSON.parse(result.text) : result.errors).toEqual({
    rules: {
      a: {
        $x: {
          '.read': 'auth   !=   null',
          '.write':
            "data.child('owner').val() == auth.uid || newData.parent().parent().child('b').child('owner').val() == auth.uid",
          '.validate': "($x == 'red' || $x == 'blue') && true",
        },
      },
    },
  })
})

test('a plain file is accepted as it came out', () => {
  const table = JSON.parse(readFileSync(new URL('./cases/writes.json', import.meta.url), 'utf8'))
  const result = compileToPlain(JSON.stringify({ rules: table.rules }))

  expect(result.ok && loadRuleset(result.text).ok).toBe(true)
})

test('lists within lists do not grow without bound', () => {
  let rule = '$x'
  for (let i = 0; i < 10; i++) rule = `(${rule} in ['a', 'b', true, false, 1, 2, 3, 4, 5, 6])`

  const result = compileToPlain(extended({}, { $x: { '.write': rule } }))

  expect(result.ok ? [] : result.errors.map(firebaseMessage)).toEqual([
    expect.stringContaining('the plain form has more than 50000 parts'),
  ])
})

test('a feature without a plain form is named with its place', () => {
  const result = compileToPlain(extended({}, { '.read': "data.numChildren() > 1 || 'a' in auth.token.list" }))

  expect(result.ok ? [] : result.errors.map(firebaseMessage)).toEqual([
    "1:35: `numChildren()` has no form in Firebase's language",
    "1:61: membership in a claim has no form in Firebase's language",
  ])
})

test.each([
  [{ 'f(a)': 'a' }, 'f(1, 2) == 1', 'f() expects 1 argument.'],
  [{ 'f(a)': 'a' }, 'f == 1', 'f() expects 1 argument.'],
  [{ f: 'g', g: 'f' }, 'f == 1', "Function 'f' calls itself."],
  [{ data: 'true' }, 'true', "'data' is the name of a variable."],
  [{ 'f(now)': 'true' }, 'true', "'now' is the name of a variable."],
  [{ 'f(a b)': 'true' }, 'true', "'f(a b)' is not a signature."],
  [{ 'f(a)': 'a.nothing' }, "f('x') == 1", "No such method/property 'nothing'."],
  [{ f: 'true &&' }, 'true', 'Unexpected end of expression.'],
])('functions %j with %s: %s', (functions, rule, message) => {
  const result = loadRuleset(extended(functions, { '.read': rule }))

  expect(result.ok ? 'accepted' : result.errors[0]!.message).toBe(message)
})

test('functions that double at each step are refused before they grow', () => {
  const functions: Record<string, string> = { f0: 'true' }
  for (let i = 1; i < 40; i++) functions[`f${i}`] = `f${i - 1} && f${i - 1}`

  const result = loadRuleset(extended(functions, { '.read': 'f39' }))

  expect(result.ok ? 'accepted' : result.errors[0]!.message).toBe('Expression grows past 50000 parts.')
})

test('functions that nest at each step are refused before they are too deep to walk', () => {
  const functions: Record<string, string> = { f0: 'true' }
  for (let i = 1; i < 60; i++) functions[`f${i}`] = `${'!('.repeat(20)}f${i - 1}${')'.repeat(20)}`

  const result = loadRuleset(extended(functions, { '.read': 'f59' }))

  expect(result.ok ? 'accepted' : result.errors[0]!.message).toBe('Expression grows deeper than 400 levels.')
})
