import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatPath, isAtOrAbove } from '../../protocol/index.ts'
import { Places } from './places.ts'

const path = fc.array(fc.constantFrom('a', 'b', 'ab', 'a b', '10', '9', '.priority', '😀', '\ufffd'), {
  maxLength: 4,
})

test('places within a path, and whether one is above it, are found as by a look at each', () => {
  fc.assert(
    fc.property(fc.array(path, { maxLength: 20 }), path, (all, at) => {
      const places = new Places(all)

      const within = all.filter((place) => isAtOrAbove(at, place))
      expect(places.within(at).map(formatPath).sort()).toEqual(within.map(formatPath).sort())
      expect(places.hasAtOrAbove(at)).toBe(all.some((place) => isAtOrAbove(place, at)))
      expect(places.isEmpty).toBe(all.length === 0)
    }),
    { numRuns: 1000 },
  )
})

test('ten thousand places are sorted once, and not looked at for each of a thousand paths', () => {
  let looks = 0
  const counted = (keys: string[]): string[] =>
    new Proxy(keys, {
      get(target, name) {
        if (name === 'length') looks += 1
        return Reflect.get(target, name)
      },
    })
  const places = new Places(Array.from({ length: 10_000 }, (_, i) => counted(['data', `k${i}`, 'y'])))

  looks = 0
  for (let i = 0; i < 1000; i++) {
    expect(places.within(['data', `k${i}`]).length).toBe(1)
    expect(places.hasAtOrAbove(['data', `k${i}`])).toBe(false)
  }
  expect(looks).toBeLessThan(1000 * 200)
})
