/**
 * The updates that streams are made of: text that carries a number and can be found in any system's bytes, so that
 * every system's subscribers are counted by the same code at the same cost.
 */
const MARK = 'update-'
const DIGITS = 12

/** @param bytes Length of the text; at least 19. */
export function updateText(number: number, bytes: number): string {
  return (MARK + String(number).padStart(DIGITS, '0')).padEnd(bytes, 'x')
}

/**
 * @param textBefore What must precede the text.
 * @returns A function that calls `found` with the number of each update in the bytes, in order.
 */
export function updateReader(textBefore = ''): (bytes: Buffer, found: (number: number) => void) => void {
  const mark = Buffer.from(textBefore + MARK)
  return (bytes, found) => {
    for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at)) {
      at += mark.length
      let number = 0
      for (const end = at + DIGITS; at < end; at++) number = number * 10 + bytes[at]! - 48
      found(number)
    }
  }
}
