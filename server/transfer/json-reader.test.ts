import { expect, test } from 'vitest'
import { JsonReadError, JsonReader } from './json-reader.ts'

/** What the reader tells of a text that comes in pieces of `size` bytes, put together again. */
function read(text: string | Buffer, size = Number.POSITIVE_INFINITY): unknown {
  const bytes = Buffer.from(text as string)
  const stack: { value: unknown; key: string }[] = []
  let root: unknown
  const add = (value: unknown): void => {
    const parent = stack.at(-1)
    if (parent === undefined) root = value
    else if (Array.isArray(parent.value)) parent.value.push(value)
    else
      Object.defineProperty(parent.value, parent.key, {
        value,
        enumerable: true,
        writable: true,
        configurable: true,
      })
  }
  const begin = (value: unknown): void => {
    add(value)
    stack.push({ value, key: '' })
  }
  const reader = new JsonReader(
    {
      beginObject: () => begin({}),
      beginArray: () => begin([]),
      key: (key) => {
        stack.at(-1)!.key = key
      },
      value: add,
      end: () => stack.pop(),
    },
    { depthMax: 20, tokenBytesMax: 1000 },
  )
  for (let at = 0; at < bytes.length; at += size) reader.write(bytes.subarray(at, at + size))
  reader.end()
  return root
}

const TEXTS = [
  'null',
  ' true ',
  '-1.5e-3',
  '0',
  '""',
  '"é😀\\u00e9\\n\\"\\\\\\/"',
  '"\\ud83d\\ude00 \\ud83d"',
  '[]',
  '{}',
  '[1,[2,[3]],{"a":[{}]}]',
  '{"a":1,"b":{"c":null,"d":[true,false]},"":"x"}',
  '\n{ "a" :\t1 ,\r\n "b" : [ 1 , 2 ] }\n',
  '{"__proto__":1}',
  '"\ufffd"',
  '{"a":1,"a":2}',
]

test('a text means what JSON.parse says, in however small pieces it comes', () => {
  for (const text of TEXTS) {
    for (const size of [1, 2, 3, 7, Number.POSITIVE_INFINITY]) {
      expect([text, size, read(text, size)]).toEqual([text, size, JSON.parse(text)])
    }
  }
})

test('a byte-order mark says nothing', () => {
  expect(read('\ufeff{"a":1}')).toEqual({ a: 1 })
})

test('what JSON.parse refuses is refused, in however small pieces it comes', () => {
  const texts = [
    ...[
      '',
      ' ',
      '{',
      '[',
      '"',
      '{"a"',
      '{"a":',
      '{"a":1',
      '{"a":1,',
      '[1,',
      '{"a":1,}',
      '[1,]',
      '{,}',
      '[,]',
    ],
    ...['1 2', '{}{}', ']', '}', '[}', '{]', '{"a" 1}', '{"a":}', '{1:2}', '{a:1}', "'a'", '[1 2]', ':', ','],
    ...['01', '1.', '.5', '+1', '-', '1e', '0x1', 'NaN', 'tru', 'True', 'nulll', 'undefined', '1true'],
    ...['"\\x"', '"\\u12g4"', '"\n"', '"\t"', '"a', '\u00a0', '/* */1', '{"a":1 "b":2}'],
  ]
  for (const text of texts) {
    expect(() => JSON.parse(text), text).toThrow()
    for (const size of [1, Number.POSITIVE_INFINITY])
      expect(() => read(text, size), text).toThrow(JsonReadError)
  }
})

test('bytes that are no UTF-8 are refused', () => {
  for (const bytes of [[0xff], [0xc3], [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0x80]]) {
    expect(() => read(Buffer.from([0x22, ...bytes, 0x22]))).toThrow('text that is not UTF-8')
  }
})

test('nesting and strings are bounded', () => {
  expect(() => read('['.repeat(21))).toThrow('nested deeper than 20')
  expect(() => read(`"${'x'.repeat(1001)}"`, 10)).toThrow('a string of more than 1000 bytes')
})

test('tells the line and the byte in it, in whatever pieces the text comes', () => {
  for (const size of [1, 3, 1000]) {
    const nothing = () => {}
    const events = { beginObject: nothing, beginArray: nothing, key: nothing, value: nothing, end: nothing }
    const reader = new JsonReader(events, { depthMax: 20, tokenBytesMax: 1000 })
    const bytes = Buffer.from('{"a": 1,\n\n  "é": [2, ?]}')
    expect(() => {
      for (let at = 0; at < bytes.length; at += size) reader.write(bytes.subarray(at, at + size))
    }).toThrow('unexpected `?`')
    expect([size, reader.line, reader.column]).toEqual([size, 3, 13])
  }
})
