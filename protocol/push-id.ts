/**
 * Push ids: 20-character keys that sort by the time they were made. Eight characters of milliseconds, twelve of
 * randomness; within one millisecond the randomness counts up, so one maker's keys always ascend.
 */

/** In ASCII order, so that string order is number order. */
const ALPHABET = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'

/** @param random Returns a number in [0, 1), as Math.random does. */
export function pushIdMaker(random: () => number = Math.random): (nowMs: number) => string {
  let lastMs = -1
  const tail = new Array<number>(12).fill(0)
  return (nowMs) => {
    // A clock corrected by an offset may have fractions, which have no digit.
    const wholeMs = Math.floor(nowMs)
    if (wholeMs > lastMs) {
      lastMs = wholeMs
      for (let i = 0; i < 12; i++) tail[i] = Math.floor(random() * 64)
    } else {
      // The same millisecond, or a clock that stepped back: stay at the last one and count up.
      let i = 11
      while (i >= 0 && tail[i] === 63) tail[i--] = 0
      if (i >= 0) tail[i]! += 1
      else lastMs += 1
    }
    let key = ''
    let rest = lastMs
    for (let i = 0; i < 8; i++) {
      key = ALPHABET[rest % 64]! + key
      rest = Math.floor(rest / 64)
    }
    for (const digit of tail) key += ALPHABET[digit]!
    return key
  }
}
