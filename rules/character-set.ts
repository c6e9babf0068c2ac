/**
 * Character set: what one place of a regular expression may match, as ranges of code points. Sets are sorted, and no two
 * ranges of one touch: `[97, 122, 228, 228]` is a to z and ä.
 */
export type CharacterSet = readonly number[]

const LAST = 0x10ffff

export const NOT_NEWLINE: CharacterSet = complementOf([10, 10])

/** As re2 has them: ASCII only, and `\s` without the vertical tab. */
const DIGITS: CharacterSet = [48, 57]
const WORDS: CharacterSet = [48, 57, 65, 90, 95, 95, 97, 122]
const SPACES: CharacterSet = [9, 10, 12, 13, 32, 32]

/** @param ranges First and last code points in turn, in any order. */
export function setOf(ranges: readonly number[]): CharacterSet {
  const pairs: [number, number][] = []
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i]!, ranges[i + 1]!])
  pairs.sort(([a], [b]) => a - b)
  const set: number[] = []
  for (const [from, to] of pairs) {
    const last = set.length - 1
    if (last > 0 && from <= set[last]! + 1) set[last] = Math.max(set[last]!, to)
    else set.push(from, to)
  }
  return set
}

export function complementOf(set: CharacterSet): CharacterSet {
  const rest: number[] = []
  let from = 0
  for (let i = 0; i < set.length; i += 2) {
    if (set[i]! > from) rest.push(from, set[i]! - 1)
    from = set[i + 1]! + 1
  }
  if (from <= LAST) rest.push(from, LAST)
  return rest
}

/** The set with the other case of each letter; null where that takes the tables of Unicode. */
export function foldedSet(set: CharacterSet): CharacterSet | null {
  const ranges = [...set]
  for (let i = 0; i < set.length; i += 2) {
    if (set[i + 1]! > 127) return null
    for (let code = set[i]!; code <= set[i + 1]!; code++) {
      const lower = code | 0x20
      if (lower < 97 || lower > 122) continue
      ranges.push(code ^ 0x20, code ^ 0x20)
      // The long s and the sign of Kelvin are cases of s and k.
      if (lower === 115) ranges.push(0x17f, 0x17f)
      if (lower === 107) ranges.push(0x212a, 0x212a)
    }
  }
  return setOf(ranges)
}

/** @param name One of s, w, d, S, W, D. */
export function escapedSet(name: string, isFolded: boolean): CharacterSet {
  const lower = name.toLowerCase()
  const plain = lower === 'd' ? DIGITS : lower === 'w' ? WORDS : SPACES
  const set = isFolded ? foldedSet(plain)! : plain
  return name === lower ? set : complementOf(set)
}
