import fc from 'fast-check'
import { expect, test } from 'vitest'
import { occurrences } from './text-search.ts'

const text = (minLength: number, maxLength: number) =>
  fc.array(fc.constantFrom('a', 'b'), { minLength, maxLength }).map((units) => units.join(''))

test('finds what the search of the engine finds', () => {
  fc.assert(
    fc.property(text(0, 60), text(1, 6), (whole, part) => {
      const expected: number[] = []
      for (let at = whole.indexOf(part); at >= 0; at = whole.indexOf(part, at + part.length))
        expected.push(at)
      expect([...occurrences(whole, part)]).toEqual(expected)
    }),
    { numRuns: 500 },
  )
})
