/**
 * Firebase framing: long messages travel as a count and that many pieces, in both directions.
 *
 *   "3"  <piece>  <piece>  <piece>        a message of more than 16384 UTF-16 units
 *   {"t":"d", ...}                        a message that fits goes alone
 *   "0"                                   a client's keep-alive; nothing follows
 */

/** UTF-16 units in one piece: what Firebase's clients send, and the most that some of them take. */
export const PIECE_UNITS_MAX = 16_384

/** A frame this short that reads as a number is a count. */
const COUNT_LENGTH_MAX = 6
const COUNT = /^\d+$/

export class FramingError extends Error {}

/** Puts a client's pieces together again. Holds at most `messageUnitsMax` units of one message. */
export class FrameJoiner {
  readonly #messageUnitsMax: number
  /** Pieces still to come; 0 between messages. */
  #awaited = 0
  #pieces: string[] = []
  #units = 0

  constructor(messageUnitsMax: number) {
    this.#messageUnitsMax = messageUnitsMax
  }

  /**
   * @returns A whole message, or null when there is none yet: after a count, a piece, a keep-alive.
   * @throws {FramingError} The message is or will be too long. Refused at its count, before anything is kept.
   */
  add(frame: string): string | null {
    if (this.#awaited === 0) {
      if (frame.length > COUNT_LENGTH_MAX || !COUNT.test(frame)) return this.#checked(frame)
      this.#expect(Number(frame))
      return null
    }
    this.#units += frame.length
    if (this.#units > this.#messageUnitsMax) throw this.#tooLong()
    this.#pieces.push(frame)
    this.#awaited -= 1
    if (this.#awaited > 0) return null
    const message = this.#pieces.join('')
    this.#pieces = []
    return message
  }

  #expect(count: number): void {
    // Pieces but the last are full, so the count alone tells a message that is too long.
    if (count > Math.ceil(this.#messageUnitsMax / PIECE_UNITS_MAX)) throw this.#tooLong()
    this.#awaited = count
    this.#units = 0
  }

  #checked(message: string): string {
    if (message.length > this.#messageUnitsMax) throw this.#tooLong()
    return message
  }

  #tooLong(): FramingError {
    return new FramingError(`message too long; messages may have at most ${this.#messageUnitsMax} characters`)
  }
}

/** The frames of one message, in bytes. */
export function encodedFrames(message: string): Buffer[] {
  return framesOf(message).map((frame) => Buffer.from(frame))
}

/** The frames of one message. A surrogate pair is never cut: each half alone has no UTF-8. */
export function framesOf(message: string): string[] {
  if (message.length <= PIECE_UNITS_MAX) return [message]
  const pieces: string[] = []
  for (let start = 0; start < message.length; ) {
    let end = Math.min(start + PIECE_UNITS_MAX, message.length)
    if (end < message.length && isHighSurrogate(message.charCodeAt(end - 1))) end -= 1
    pieces.push(message.slice(start, end))
    start = end
  }
  return [String(pieces.length), ...pieces]
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}
