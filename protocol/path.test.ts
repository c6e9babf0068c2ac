/**
 * Paths and keys as facts: what is refused and with which words, and that key order is a total order.
 * A failing property test prints the seed that repeats it.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RequestError } from './errors.ts'
import {
  clip,
  compareKeys,
  formatPath,
  integerKey,
  isAtOrAbove,
  KEY_BYTES_MAX,
  keyProblem,
  PATH_DEPTH_MAX,
  parsePath,
  quoteInput,
  ROOT,
  samePath,
  utf8Length,
} from './path.ts'

function refusal(text: string): RequestError {
  try {
    parsePath(text)
  } catch (error) {
    if (error instanceof RequestError) return error
    throw error
  }
  throw new Error(`\`${clip(text)}\` was accepted`)
}

test.each([
  ['', []],
  ['/', []],
  ['//', []],
  ['a', ['a']],
  ['/a', ['a']],
  ['a/', ['a']],
  ['/a/b/', ['a', 'b']],
  ['rooms/room one/messages', ['rooms', 'room one', 'messages']],
  ['é/😀/日本', ['é', '😀', '日本']],
  ['constructor/toString/hasOwnProperty', ['constructor', 'toString', 'hasOwnProperty']],
  ['a_b/__typename/_', ['a_b', '__typename', '_']],
])('the text `%s` is the path %j', (text, path) => {
  expect(parsePath(text)).toEqual(path)
})

test('an empty key within a path is refused', () => {
  for (const text of ['a//b', '///', '//a', 'a//', '/a//']) {
    expect(refusal(text).kind).toBe('invalidPath')
    expect(refusal(text).message).toContain('a key is empty')
  }
})

test('each forbidden character is refused wherever it stands, by a message that lists them', () => {
  const forbidden = ['.', '$', '#', '[', ']', '\u007f']
  for (let unit = 0; unit < 0x20; unit++) forbidden.push(String.fromCharCode(unit))

  for (const character of forbidden) {
    for (const key of [character, `${character}a`, `a${character}b`, `a${character}`]) {
      expect(refusal(`rooms/${key}/x`).kind).toBe('invalidPath')
      expect(refusal(`rooms/${key}/x`).message).toContain('keys may not contain . # $ [ ] / or control')
    }
  }
})

test('every other ASCII character may stand in a key', () => {
  for (let unit = 0x20; unit < 0x7f; unit++) {
    const character = String.fromCharCode(unit)
    if (!'.$#[]/'.includes(character)) expect(parsePath(`a/${character}`)).toEqual(['a', character])
  }
})

test('a slash in a key that did not come from a path is refused', () => {
  expect(keyProblem('a/b')).toContain('forbidden')
})

test('the key `__proto__` is refused at any depth', () => {
  for (const text of ['__proto__', 'a/__proto__', '__proto__/a']) {
    expect(refusal(text).message).toContain('key `__proto__` is reserved')
  }
})

test('a path may have 32 keys and not 33', () => {
  expect(parsePath(new Array(32).fill('k').join('/'))).toHaveLength(PATH_DEPTH_MAX)
  expect(refusal(new Array(33).fill('k').join('/')).message).toContain(
    'has 33 keys; paths may have at most 32',
  )
})

test('a key may have 768 bytes of UTF-8 and not 769, whatever its characters', () => {
  for (const key of ['x'.repeat(768), 'é'.repeat(384), '日'.repeat(256), '😀'.repeat(192)]) {
    expect(utf8Length(key)).toBe(KEY_BYTES_MAX)
    expect(parsePath(`a/${key}`)).toEqual(['a', key])
    expect(refusal(`a/${key}x`).message).toContain('is 769 bytes long; keys may have at most 768')
  }
})

test('32 keys of 768 bytes are a path', () => {
  const text = new Array(32).fill('x'.repeat(768)).join('/')

  expect(parsePath(text)).toHaveLength(32)
  expect(parsePath(`/${text}`)).toHaveLength(32)
})

test('a path of millions of slashes is refused without being split', () => {
  expect(refusal('a/'.repeat(8_000_000)).message).toContain('is 16000000 characters long')
})

test('a message quotes no more than 64 characters of what a client sent', () => {
  expect(refusal(`a/${'x'.repeat(5000)}`).message.length).toBeLessThan(250)
  expect(refusal(`a/${'#'.repeat(5000)}`).message.length).toBeLessThan(300)
})

test('input of any type is quoted without calling its own methods', () => {
  const hostile = { toString: 1, valueOf: 1, toJSON: 1 }

  expect(quoteInput(hostile)).toBe('{…}')
  expect(quoteInput([hostile])).toBe('[…]')
  expect(quoteInput(Object.create(null))).toBe('{…}')
  expect(quoteInput('x'.repeat(100))).toHaveLength(65)
  expect([1.5, null, undefined, true].map(quoteInput)).toEqual(['1.5', 'null', 'undefined', 'true'])
})

test('formatPath begins with a slash and parses back', () => {
  expect(formatPath(ROOT)).toBe('/')
  expect(formatPath(['a', 'b'])).toBe('/a/b')
  expect(parsePath(formatPath(['a', 'b']))).toEqual(['a', 'b'])
})

test('a path is at or above itself and what lies below it, by whole keys', () => {
  expect(isAtOrAbove([], ['a'])).toBe(true)
  expect(isAtOrAbove(['a'], ['a'])).toBe(true)
  expect(isAtOrAbove(['a'], ['a', 'b'])).toBe(true)
  expect(isAtOrAbove(['a'], ['ab'])).toBe(false)
  expect(isAtOrAbove(['a', 'b'], ['a'])).toBe(false)
  expect(samePath(['a'], ['a'])).toBe(true)
  expect(samePath(['a'], ['a', 'b'])).toBe(false)
})

test('integers come first, by number, then by length; other keys follow by UTF-16 units', () => {
  const integers = ['-1', '0', '-0', '1', '01', '00000000000001', '9', '10']
  const inOrder = [...integers, '1a', '2147483648', 'A', '_', 'a', 'é', '😀', '\ufffd']

  for (let i = 0; i < inOrder.length; i++) {
    for (let j = 0; j < inOrder.length; j++) {
      expect(Math.sign(compareKeys(inOrder[i]!, inOrder[j]!))).toBe(Math.sign(i - j))
    }
  }
})

test.each([
  ['0', 0],
  ['-0', -0],
  ['007', 7],
  ['2147483647', 2147483647],
  ['-2147483648', -2147483648],
  ['2147483648', null],
  ['-2147483649', null],
  ['99999999999', null],
  ['', null],
  ['-', null],
  ['--1', null],
  ['+1', null],
  ['1.5', null],
  ['1e3', null],
  ['1a', null],
  [' 1', null],
  ['1\n', null],
  ['٣', null],
])('the key `%s` orders as %s', (key, number) => {
  expect(integerKey(key)).toBe(number)
})

/** Keys that are alike in ways that matter to the order. */
const anyKey = fc.oneof(
  fc.integer().map(String),
  fc.integer({ min: -20, max: 20 }).map(String),
  fc.tuple(fc.constantFrom('', '-'), fc.stringMatching(/^0{0,4}$/), fc.nat(99)).map(([a, b, c]) => a + b + c),
  fc.double().map(String),
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.constantFrom('2147483647', '2147483648', '-2147483648', '-2147483649', '-', '', '0', '-0', '00'),
)

test('key order is a total order', () => {
  fc.assert(
    fc.property(anyKey, anyKey, anyKey, (a, b, c) => {
      const sign = (x: string, y: string): number => Math.sign(compareKeys(x, y))

      expect(sign(a, a)).toBe(0)
      expect(sign(a, b) + sign(b, a)).toBe(0)
      expect(sign(a, b) === 0).toBe(a === b)
      if (sign(a, b) <= 0 && sign(b, c) <= 0) expect(sign(a, c)).toBeLessThanOrEqual(0)
    }),
    { numRuns: 5000 },
  )
})

test('sorting keys twice, from any order, gives one order', () => {
  fc.assert(
    fc.property(fc.uniqueArray(anyKey), fc.nat(), (keys, turn) => {
      const turned = [...keys.slice(turn % (keys.length + 1)), ...keys.slice(0, turn % (keys.length + 1))]

      expect(turned.sort(compareKeys)).toEqual([...keys].sort(compareKeys))
    }),
  )
})

test('a path is accepted exactly when each of its keys is, and parses to them', () => {
  const key = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }),
    fc.string({ unit: fc.constantFrom('_', '/', 'a', '.', 'é'), maxLength: 8 }),
    fc.constant('__proto__'),
    fc.nat(800).map((length) => 'x'.repeat(length)),
  )
  fc.assert(
    fc.property(fc.array(key, { minLength: 1, maxLength: 34 }), (keys) => {
      // A slash in a generated key makes two of them.
      const text = `/${keys.join('/')}/`
      const expected = keys.join('/').split('/')
      const isFine = expected.length <= PATH_DEPTH_MAX && expected.every((key) => keyProblem(key) === null)

      if (isFine) expect(parsePath(text)).toEqual(expected)
      else if (text !== '//') expect(refusal(text).kind).toBe('invalidPath')
    }),
    { numRuns: 3000 },
  )
})

test('utf8Length counts what an encoder writes, lone surrogates as the three bytes of their replacement', () => {
  const encoder = new TextEncoder()
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units)),
      ),
      (text) => {
        expect(utf8Length(text)).toBe(encoder.encode(text).length)
      },
    ),
  )
})
