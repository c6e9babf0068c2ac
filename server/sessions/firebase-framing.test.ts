import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameJoiner, FramingError, framesOf, PIECE_UNITS_MAX } from './firebase-framing.ts'

test('a message that fits travels alone', () => {
  expect(framesOf('x'.repeat(PIECE_UNITS_MAX))).toHaveLength(1)
})

test('a longer message is a count and as many pieces', () => {
  const frames = framesOf('x'.repeat(PIECE_UNITS_MAX * 2 + 1))

  expect(frames[0]).toBe('3')
  expect(frames.slice(1).map((piece) => piece.length)).toEqual([PIECE_UNITS_MAX, PIECE_UNITS_MAX, 1])
})

test('no piece ends within a surrogate pair', () => {
  const message = `${'x'.repeat(PIECE_UNITS_MAX - 1)}😀tail`

  const [, first, second] = framesOf(message)

  expect(first).toHaveLength(PIECE_UNITS_MAX - 1)
  expect(second).toBe('😀tail')
})

test('what was cut is put together again, whatever it holds', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 4000 }),
      (part, times) => {
        // A message is JSON, never a bare number.
        const message = `{${part.repeat(times)}}`
        const joiner = new FrameJoiner(10_000_000)

        const joined = framesOf(message).map((frame) => joiner.add(frame))

        expect(joined.at(-1)).toBe(message)
        expect(joined.slice(0, -1).every((early) => early === null)).toBe(true)
      },
    ),
    { numRuns: 15 },
  )
})

test('a keep-alive is no message, and no count of pieces to come', () => {
  const joiner = new FrameJoiner(1000)

  expect(joiner.add('0')).toBeNull()
  expect(joiner.add('{}')).toBe('{}')
})

test('a count of one is legal', () => {
  const joiner = new FrameJoiner(1000)

  expect(joiner.add('1')).toBeNull()
  expect(joiner.add('{}')).toBe('{}')
})

test('a count above the cap is refused before any piece is kept', () => {
  const joiner = new FrameJoiner(PIECE_UNITS_MAX * 3)

  expect(() => joiner.add('4')).toThrow(FramingError)
})

test('pieces that are longer than announced are refused', () => {
  const joiner = new FrameJoiner(100)
  joiner.add('1')

  expect(() => joiner.add('x'.repeat(101))).toThrow(FramingError)
})
