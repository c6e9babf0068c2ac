/**
 * msgpack as facts: agreement with msgpackr on all JSON values, every type byte accepted or refused as documented,
 * and hostile bytes that end in a MsgpackError, quickly and without memory.
 * A failing property test prints the seed that repeats it.
 */
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { expect, test, vi } from 'vitest'
import { MsgpackError, NESTING_MAX } from './msgpack.ts'
import { Decoder } from './msgpack-decoder.ts'
import { Encoder } from './msgpack-encoder.ts'

const packr = new Packr({ useRecords: false })

function encode(value: unknown): Uint8Array {
  const encoder = new Encoder()
  encoder.value(value)
  return encoder.take()
}

function decode(bytes: Uint8Array | readonly number[]): unknown {
  const decoder = new Decoder(Uint8Array.from(bytes))
  const value = decoder.value()
  expect(decoder.isAtEnd).toBe(true)
  return value
}

function refusal(bytes: Uint8Array | readonly number[], valuesMax?: number): string {
  try {
    new Decoder(Uint8Array.from(bytes), valuesMax).value()
  } catch (error) {
    expect(error).toBeInstanceOf(MsgpackError)
    return (error as Error).message
  }
  throw new Error('the bytes were accepted')
}

/** JSON with the numbers and texts at which msgpack changes its form. */
const anyNumber = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double().map((number) => number + 0),
  fc.constantFrom(0, 31, 32, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53),
  fc.constantFrom(-1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53)),
)
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 300 }),
  fc
    .constantFrom(0, 11, 12, 13, 15, 16, 17, 31, 32, 63, 64, 65, 255, 256, 65535, 65536)
    .map((n) => 'x'.repeat(n)),
  fc
    .constantFrom('é', '日', '😀', '\ufffd', '\ufeff', '\0')
    .chain((c) => fc.nat(70).map((n) => c + 'x'.repeat(n) + c)),
)
const anyKey = anyText.filter((key) => key !== '__proto__')
const { json: anyJson } = fc.letrec((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    anyNumber,
    anyText,
    fc.array(tie('json'), { maxLength: 20 }),
    fc.dictionary(anyKey, tie('json'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))

test('what is encoded decodes to itself', () => {
  fc.assert(
    fc.property(anyJson, (value) => {
      expect(decode(encode(value))).toEqual(value)
    }),
  )
})

test('msgpackr reads what the encoder writes', () => {
  fc.assert(
    fc.property(anyJson, (value) => {
      expect(packr.unpack(encode(value))).toEqual(value)
    }),
  )
})

test('the decoder reads what msgpackr writes', () => {
  fc.assert(
    fc.property(anyJson, (value) => {
      expect(decode(packr.pack(value))).toEqual(value)
    }),
  )
})

test('values one after another in one buffer are read one after another', () => {
  const encoder = new Encoder(8)
  const values = [1, 'a', [2, { b: null }], -0.5, 'ü'.repeat(40)]
  for (const value of values) encoder.value(value)

  const decoder = new Decoder(encoder.view())

  expect(values.map(() => decoder.value())).toEqual(values)
  expect(decoder.isAtEnd).toBe(true)
})

test('a view into a larger buffer is decoded in its own bounds', () => {
  const large = new Uint8Array(100).fill(0xc1)
  large.set(encode({ a: 1.5 }), 50)

  expect(new Decoder(large.subarray(50, 50 + encode({ a: 1.5 }).length)).value()).toEqual({ a: 1.5 })
  expect(refusal(large.subarray(50, 55))).toContain('truncated')
})

test('the encoder grows, hands out copies, and joins bytes encoded before', () => {
  const encoder = new Encoder(4)
  encoder.value('x'.repeat(1000))
  const copy = encoder.take()
  encoder.reset()
  encoder.raw(copy)
  encoder.nil()

  const decoder = new Decoder(encoder.view())

  expect([decoder.value(), decoder.value()]).toEqual(['x'.repeat(1000), null])
})

test('the encoder refuses what JSON has not', () => {
  for (const value of [undefined, () => 1, Symbol('s'), 1n, { a: undefined }]) {
    expect(() => encode(value)).toThrow(MsgpackError)
  }
})

test('a huge message does not pin its buffer', () => {
  const encoder = new Encoder()
  encoder.string('x'.repeat(5_000_000))
  encoder.reset()

  expect(encoder.bytes.length).toBeLessThan(100_000)
})

test('numbers take the smallest form; fractions, -0 and what needs more than 32 bits are doubles', () => {
  const hex = (value: unknown): string => Buffer.from(encode(value)).toString('hex')

  expect([0, 127, 128, 255, 256, 65536].map(hex)).toEqual([
    '00',
    '7f',
    'cc80',
    'ccff',
    'cd0100',
    'ce00010000',
  ])
  expect([-1, -32, -33, -128, -129, -32769].map(hex)).toEqual([
    'ff',
    'e0',
    'd0df',
    'd080',
    'd1ff7f',
    'd2ffff7fff',
  ])
  expect(hex(0.5)).toBe('cb3fe0000000000000')
  expect(hex(-0)).toBe('cb8000000000000000')
  expect(hex(2 ** 32)).toBe('cb41f0000000000000')
})

/** What follows each type byte so that it is whole, and what it then stands for; null when it is refused. */
function wholeValue(type: number): { rest: number[]; value: unknown } | null {
  const x = 0x78
  if (type < 0x80) return { rest: [], value: type }
  if (type < 0x90) {
    const count = type & 15
    const keys = Array.from({ length: count }, (_, i) => String.fromCharCode(97 + i))
    return {
      rest: keys.flatMap((key) => [0xa1, key.charCodeAt(0), 0xc3]),
      value: Object.fromEntries(keys.map((key) => [key, true])),
    }
  }
  if (type < 0xa0) return { rest: new Array(type & 15).fill(0xc2), value: new Array(type & 15).fill(false) }
  if (type < 0xc0) return { rest: new Array(type & 31).fill(x), value: 'x'.repeat(type & 31) }
  if (type >= 0xe0) return { rest: [], value: type - 256 }
  const known: Record<number, { rest: number[]; value: unknown }> = {
    192: { rest: [], value: null },
    194: { rest: [], value: false },
    195: { rest: [], value: true },
    202: { rest: [0x3f, 0xc0, 0, 0], value: 1.5 },
    203: { rest: [0x3f, 0xf8, 0, 0, 0, 0, 0, 0], value: 1.5 },
    204: { rest: [0xff], value: 255 },
    205: { rest: [0xff, 0xfe], value: 65534 },
    206: { rest: [0xff, 0xff, 0xff, 0xfe], value: 4294967294 },
    207: { rest: [0, 0, 0, 1, 0, 0, 0, 2], value: 4294967298 },
    208: { rest: [0x80], value: -128 },
    209: { rest: [0x80, 0], value: -32768 },
    210: { rest: [0x80, 0, 0, 0], value: -2147483648 },
    211: { rest: [0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff], value: -4294967297 },
    217: { rest: [2, x, x], value: 'xx' },
    218: { rest: [0, 2, x, x], value: 'xx' },
    219: { rest: [0, 0, 0, 2, x, x], value: 'xx' },
    220: { rest: [0, 1, 0xc0], value: [null] },
    221: { rest: [0, 0, 0, 1, 0xc0], value: [null] },
    222: { rest: [0, 1, 0xa1, x, 0xc0], value: { x: null } },
    223: { rest: [0, 0, 0, 1, 0xa1, x, 0xc0], value: { x: null } },
  }
  return known[type] ?? null
}

test('of all 256 type bytes, exactly binary, extension types and 0xc1 are refused', () => {
  const refused: number[] = []
  for (let type = 0; type < 256; type++) {
    const whole = wholeValue(type)
    if (whole === null) {
      refused.push(type)
      expect(refusal([type, ...new Array(20).fill(0)])).toContain(
        `type 0x${type.toString(16)} is not accepted`,
      )
      continue
    }
    expect(decode([type, ...whole.rest])).toEqual(whole.value)
    for (let length = 0; length < whole.rest.length; length++) {
      expect(refusal([type, ...whole.rest.slice(0, length)])).toContain('truncated')
    }
  }

  expect(refused).toEqual([0xc1, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8])
})

test('records and other extensions of msgpackr are refused', () => {
  const records = new Packr({ useRecords: true })

  expect(refusal(records.pack({ a: 1, b: 2 }))).toContain('not accepted')
  expect(refusal(packr.pack(new Date(0)))).toContain('not accepted')
  expect(refusal(packr.pack(Buffer.from('x')))).toContain('not accepted')
})

test('64-bit integers become doubles, rounded past 2^53', () => {
  expect(decode([0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).toBe(2 ** 63)
  expect(decode([0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).toBe(2 ** 64)
  expect(decode([0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0])).toBe(-(2 ** 63))
})

test('lengths that claim four billion allocate nothing', () => {
  const before = process.memoryUsage()
  for (let i = 0; i < 1000; i++) {
    for (const type of [0xdb, 0xdd, 0xdf]) {
      expect(refusal([type, 0xff, 0xff, 0xff, 0xff, 0xc0])).toContain('truncated')
      expect(refusal([0xdc, 0, 1, type, 0xff, 0xff, 0xff, 0xff])).toContain('truncated')
    }
  }
  const after = process.memoryUsage()

  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(16e6)
  expect(after.rss - before.rss).toBeLessThan(256e6)
})

test('an array of arrays that all claim what is left is refused at the first that does not fit', () => {
  const bytes = new Uint8Array(100_000).fill(0xdc)

  expect(refusal(bytes)).toMatch(/nested too deep|truncated/)
})

test('values nest 40 deep and not 41, as arrays and as maps', () => {
  const arrays = (depth: number): number[] => [...new Array(depth).fill(0x91), 0xc0]
  const maps = (depth: number): number[] => [...new Array(depth).fill([0x81, 0xa1, 0x61]).flat(), 0xc0]

  expect(decode(arrays(NESTING_MAX))).toBeDefined()
  expect(decode(maps(NESTING_MAX))).toBeDefined()
  expect(refusal(arrays(NESTING_MAX + 1))).toContain('nested too deep')
  expect(refusal(maps(NESTING_MAX + 1))).toContain('nested too deep')
})

test('a million brackets exhaust no stack', () => {
  expect(refusal(new Uint8Array(1_000_000).fill(0x91))).toContain('nested too deep')
  expect(refusal(new Uint8Array(1_000_000).fill(0xdf))).toContain('truncated')
})

test('a decoder told how many values may come refuses the next, keys counted too', () => {
  const bytes = encode([1, [2, { a: 3 }]])

  expect(new Decoder(bytes, 7).value()).toEqual([1, [2, { a: 3 }]])
  expect(refusal(bytes, 6)).toContain('too many values')
})

test('an array longer than the values left is refused before its first item', () => {
  const startMs = performance.now()
  const bytes = new Uint8Array(32 * 1024 * 1024).fill(0x80)
  bytes.set([0xdd, 0x01, 0xff, 0xff, 0xfb])

  expect(refusal(bytes.subarray(0, bytes.length), 1_000_000)).toContain('too many values')
  expect(performance.now() - startMs).toBeLessThan(5000)
})

test.each<[string, number[]]>([
  ['a lone continuation byte', [0x80]],
  ['a sequence cut short', [0xc3]],
  ['a wrong continuation', [0xc3, 0x28]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['an encoded high surrogate', [0xed, 0xa0, 0x80]],
  ['an encoded surrogate pair', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ['a code point past the last', [0xf4, 0x90, 0x80, 0x80]],
  ['0xff', [0xff]],
])('a text with %s is refused, short or long, as value and as key', (_, bad) => {
  for (const padding of [0, 5, 12, 20, 25]) {
    const text = [...new Array(padding).fill(0x61), ...bad]
    expect(refusal([0xd9, text.length, ...text])).toContain('not valid UTF-8')
    expect(refusal([0x81, 0xd9, text.length, ...text, 0xc0])).toContain('not valid UTF-8')
    if (text.length < 32)
      expect(refusal([0x81, 0xa0 + text.length, ...text, 0xc0])).toContain('not valid UTF-8')
  }
})

test('U+FFFD and a leading U+FEFF that were sent arrive', () => {
  for (const text of ['\ufffd', '\ufeff', '\ufeffa\ufffdb', `\ufeff${'x'.repeat(100)}\ufffd`]) {
    expect(decode(encode(text))).toBe(text)
    expect(decode(encode({ [text]: 1 }))).toEqual({ [text]: 1 })
  }
})

test('half of a surrogate pair is encoded as U+FFFD, in short and in long texts', () => {
  for (const padding of ['', 'x'.repeat(80)]) {
    expect(decode(encode(`${padding}\ud83d`))).toBe(`${padding}\ufffd`)
    expect(decode(encode(`\ude00${padding}`))).toBe(`\ufffd${padding}`)
  }
})

test('a map key that is no text is refused', () => {
  for (const key of [[0x01], [0xc0], [0xc3], [0x90], [0x80], [0xca, 0, 0, 0, 0]]) {
    expect(refusal([0x81, ...key, 0xc0])).toContain('a map key is not a string')
  }
})

test('the key `__proto__` is refused in every form, and other inherited names are plain keys', () => {
  const proto = [...Buffer.from('__proto__')]
  for (const key of [
    [0xa9, ...proto],
    [0xd9, 9, ...proto],
    [0xda, 0, 9, ...proto],
    [0xdb, 0, 0, 0, 9, ...proto],
  ]) {
    expect(refusal([0x81, ...key, 0x80])).toContain('key `__proto__` is reserved')
  }

  const map = decode(encode(JSON.parse('{"constructor": 1, "toString": 2, "hasOwnProperty": 3}'))) as object

  expect(Object.keys(map)).toEqual(['constructor', 'toString', 'hasOwnProperty'])
  expect(Object.getPrototypeOf(map)).toBe(Object.prototype)
})

test('of a key that occurs twice the last counts', () => {
  expect(decode([0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2])).toEqual({ a: 2 })
})

test('keys with equal hashes and lengths are told apart', () => {
  // 31 * 'a' + 'b' = 31 * 'b' + 'C': both keys share a slot of the table of known keys.
  for (let i = 0; i < 3; i++) expect(decode(encode({ ab: 1, bC: 2 }))).toEqual({ ab: 1, bC: 2 })
  expect(decode(encode([{ é: 1 }, { 'Ã©': 2 }]))).toEqual([{ é: 1 }, { 'Ã©': 2 }])
})

test('whatever bytes come, the decoder returns or throws a MsgpackError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        new Decoder(bytes).value()
      } catch (error) {
        if (!(error instanceof MsgpackError)) throw error
      }
    }),
    { numRuns: 20_000 },
  )
})

test('without Buffer, as in a browser, texts decode to the same and bad UTF-8 is refused too', async () => {
  vi.resetModules()
  vi.stubGlobal('Buffer', undefined)
  try {
    const { Decoder: BrowserDecoder } = (await import('./msgpack-decoder.ts')) as { Decoder: typeof Decoder }
    fc.assert(
      fc.property(anyText, (text) => {
        expect(new BrowserDecoder(encode(text)).value()).toBe(encodable(text))
      }),
    )
    expect(() => new BrowserDecoder(Uint8Array.of(0xa2, 0xc3, 0x28)).value()).toThrow('not valid UTF-8')
  } finally {
    vi.unstubAllGlobals()
    vi.resetModules()
  }
})

/** The text as UTF-8 can hold it. */
function encodable(text: string): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(text))
}
