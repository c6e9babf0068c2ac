/** Push ids: their form, and that one maker's ids always ascend. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareKeys, keyProblem } from './path.ts'
import { pushIdMaker } from './push-id.ts'

test('an id has 20 characters of an alphabet that is fine in keys', () => {
  const next = pushIdMaker()

  for (let i = 0; i < 1000; i++) {
    const id = next(1_730_000_000_000 + i)
    expect(id).toMatch(/^[-0-9A-Z_a-z]{20}$/)
    expect(keyProblem(id)).toBeNull()
  }
})

test('the first eight characters are the time, most significant first', () => {
  const next = pushIdMaker(() => 0)

  expect(next(0)).toBe('--------------------')
  expect(next(1)).toBe('-------0------------')
  expect(next(63)).toBe('-------z------------')
  expect(next(64)).toBe('------0-------------')
  expect(next(1_730_000_000_000)).toBe('-OAB1GF-------------')
})

test('ids made within one millisecond count up', () => {
  const next = pushIdMaker(() => 0.999999)

  const ids = [next(5), next(5), next(5)]

  // All digits were at their last value, so the second id carries into the time.
  expect(ids[0]).toBe(`-------4${'z'.repeat(12)}`)
  expect(ids[1]).toBe(`-------5${'-'.repeat(12)}`)
  expect(ids[2]).toBe(`-------5${'-'.repeat(11)}0`)
})

test('after a carry into the time, the real next millisecond still ascends', () => {
  const next = pushIdMaker(() => 0.999999)

  const ids = [next(5), next(5), next(6), next(7)]

  expect([...ids].sort()).toEqual(ids)
  expect(new Set(ids).size).toBe(4)
})

test('a clock that steps back makes no id that sorts before an earlier one', () => {
  const next = pushIdMaker()

  const before = next(2000)
  const after = next(1000)

  expect(after > before).toBe(true)
})

test('a time with fractions counts as its whole millisecond', () => {
  expect(pushIdMaker(() => 0)(64.75)).toBe('------0-------------')
})

test('ids ascend for any sequence of clock readings, in text order and in key order', () => {
  const clock = fc.array(
    fc.oneof(fc.nat(20), fc.nat(2 ** 45), fc.double({ min: 0, max: 2 ** 45, noNaN: true })),
    { maxLength: 60 },
  )
  fc.assert(
    fc.property(clock, fc.constantFrom(0, 0.5, 0.999999), (readings, random) => {
      const next = pushIdMaker(() => random)
      const ids = readings.map(next)

      for (let i = 1; i < ids.length; i++) {
        expect(ids[i]! > ids[i - 1]!).toBe(true)
        expect(compareKeys(ids[i - 1]!, ids[i]!)).toBeLessThan(0)
      }
    }),
  )
})

test('makers with their own randomness do not meet within a millisecond', () => {
  const ids = Array.from({ length: 2000 }, () => pushIdMaker()(1_730_000_000_000))

  expect(new Set(ids).size).toBe(2000)
})
