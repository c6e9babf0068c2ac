/**
 * Regular expressions: a pattern that is run in a table of states gives the answers of re2js.
 * A failing run prints its seed; pass it to `fc.assert` as `seed` to repeat it.
 */
import fc from 'fast-check'
import { RE2JS } from 're2js'
import { expect, test } from 'vitest'
import { type Automaton, automatonOf } from './automaton.ts'
import { compileRegex, isRegexProblem, Translator } from './regexp.ts'

/** Letters whose other cases are not in ASCII, line ends, spaces of Unicode, pairs and halves of pairs. */
const CHARACTERS = [
  ...'abAkKsSzZ019_-.@ \n\r\t\v\f',
  'é',
  'É',
  '\u017f',
  '\u212a',
  '\u00a0',
  '\u2028',
  '\ufeff',
  '😀',
  '😁',
  '\ud83d',
  '\ude00',
] as const

const character = fc.constantFrom(...CHARACTERS)
const literal = character.map((one) => (/[.@\- ]/.test(one) ? `\\${one}` : one))
const escaped = fc.constantFrom('\\s', '\\w', '\\d', '\\S', '\\W', '\\D')

const { pattern } = fc.letrec((tie) => {
  const of = (name: string): fc.Arbitrary<string> => tie(name) as fc.Arbitrary<string>
  const item = fc.oneof(
    literal,
    escaped,
    fc.constantFrom('a-z', 'A-Z', '0-9', 'k-s', ' -~', '\u0100-\uffff', '😀-😂', '-'),
  )
  const quantifier = fc.oneof(
    { weight: 3, arbitrary: fc.constant('') },
    { weight: 3, arbitrary: fc.constantFrom('*', '+', '?', '{0}', '{2}', '{0,2}', '{1,3}', '{2,}', '{0,}') },
  )
  return {
    class: fc
      .tuple(fc.boolean(), fc.array(item, { minLength: 1, maxLength: 4 }))
      .map(([isNegated, items]) => `[${isNegated ? '^' : ''}${items.join('')}]`),
    atom: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      literal,
      fc.constant('.'),
      escaped,
      of('class'),
      of('choice').map((inner) => `(${inner})`),
    ),
    sequence: fc
      .array(fc.tuple(of('atom'), quantifier), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.map((part) => part.join('')).join('')),
    choice: fc.array(of('sequence'), { minLength: 1, maxLength: 3 }).map((list) => list.join('|')),
    pattern: fc
      .tuple(fc.boolean(), of('choice'), fc.boolean())
      .map(([start, inner, end]) => `${start ? '^' : ''}${inner}${end ? '$' : ''}`),
  }
}) as { pattern: fc.Arbitrary<string> }

const text = fc.array(character, { maxLength: 12 }).map((list) => list.join(''))

function bothOf(source: string, flags: '' | 'i'): { automaton: Automaton | null; re2: RE2JS } {
  const translated = new Translator(source, { isFolded: flags === 'i' }).translate()
  const reFlags = flags === 'i' ? RE2JS.CASE_INSENSITIVE : 0
  return { automaton: automatonOf(translated), re2: RE2JS.compile(translated.text, reFlags) }
}

test('a table of states and re2js find the same', () => {
  let tables = 0
  let found = 0
  let asked = 0
  fc.assert(
    fc.property(
      pattern,
      fc.constantFrom('' as const, 'i' as const),
      fc.array(text, { minLength: 4, maxLength: 8 }),
      (source, flags, texts) => {
        // Some are refused, like a range that is out of order.
        fc.pre(!isRegexProblem(compileRegex(source, flags)))
        const { automaton, re2 } = bothOf(source, flags)
        if (automaton === null) return
        tables += 1
        for (const one of ['', ...texts]) {
          const isFound = re2.test(one)
          if (isFound) found += 1
          asked += 1
          expect(automaton.matches(one), `/${source}/${flags} on ${JSON.stringify(one)}`).toBe(isFound)
        }
      },
    ),
    { numRuns: 3_000 },
  )

  // Otherwise the comparison would compare little.
  expect(tables).toBeGreaterThan(1_500)
  expect(found / asked).toBeGreaterThan(0.1)
  expect(found / asked).toBeLessThan(0.9)
})

test.each([
  ['^[-_0-9A-Za-z]{20}$', ''],
  ['^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$', ''],
  ['^[A-Z0-9._%+-]+@[A-Z0-9.-]+\\.[A-Z]{2,4}$', 'i'],
  ['^.{1,100}$', ''],
  ['^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+Z)?$', ''],
  ['^(19|20)[0-9][0-9][-\\/. ](0[1-9]|1[012])[-\\/. ](0[1-9]|[12][0-9]|3[01])$', ''],
  ['^#[a-f0-9]{6}$', 'i'],
  ['^https?:\\/\\/[^\\s]+\\.(png|jpe?g|gif)$', ''],
  ['spam|eggs', ''],
])('/%s/%s has a table', (source, flags) => {
  expect(bothOf(source, flags as '' | 'i').automaton).not.toBeNull()
})

test('every single character is in a set as re2js has it', () => {
  for (const [source, flags] of [
    ['^[a-z]$', 'i'],
    ['^[^a-z]$', 'i'],
    ['^\\w$', 'i'],
    ['^[\\W]$', 'i'],
    ['^[^\\W_]$', ''],
    ['^\\s$', ''],
    ['^.$', ''],
    ['^[^\\d\\s-]$', ''],
  ] as const) {
    const { automaton, re2 } = bothOf(source, flags)
    for (let code = 0; code < 0x3000; code++) {
      const one = String.fromCodePoint(code)
      expect(automaton!.matches(one), `/${source}/${flags} on U+${code.toString(16)}`).toBe(re2.test(one))
    }
  }
})

const chinese = Array.from({ length: 2_000 }, (_, i) => String.fromCodePoint(0x4e00 + 2 * i)).join('')
const words = Array.from({ length: 100 }, (_, i) => `${'a'.repeat(i % 10)}[b-${'cdefg'[i % 5]}]`).join('|')

test.each([
  ['states', 'a.{20}b'],
  ['states behind a loop', '(a|b)*a(a|b){12}c'],
  ['places', '^.{1,1000}$'],
  ['places, each optional', `^${'[ab]{0,1000}'.repeat(40)}$`],
  ['nothing, many times over', `^${'('.repeat(40)}a{0}${'){100}'.repeat(40)}$`],
  ['loops within loops', `^${'('.repeat(49)}a?${')*'.repeat(49)}${'b?'.repeat(100)}$`],
  ['ranges', `[${chinese}]`],
  ['alternatives', `^(${words})*$`],
])('a table for a pattern of many %s is made or given up in no time', (_, source) => {
  const translated = new Translator(source, { isFolded: false }).translate()
  const start = process.cpuUsage()

  automatonOf(translated)

  const { user, system } = process.cpuUsage(start)
  expect((user + system) / 1000).toBeLessThan(200)
})

test('a pattern that a table would be too large for is answered all the same', () => {
  const matcher = compileRegex('a.{20}b', '')
  if (isRegexProblem(matcher)) throw new Error(matcher.message)

  expect(matcher.matches(`xx a${'.'.repeat(20)}b`)).toBe(true)
  expect(matcher.matches(`xx a${'.'.repeat(19)}b`)).toBe(false)
  expect(matcher.stepsPerCharacter).toBeGreaterThan(400)
})
