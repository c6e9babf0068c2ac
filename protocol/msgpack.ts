/**
 * The subset of msgpack that the wire needs: nil, booleans, numbers, strings, arrays, maps with string keys.
 * Binary, extension types and anything truncated, oversized or nested too deep is refused.
 *
 * Own code, because both general decoders fall short here: they turn extension types and `__proto__` keys into
 * something else instead of refusing them, and either alone is larger than the browser client's codec may be.
 */

/** Arrays and maps within each other: the data model's 32 keys plus the message's own levels. */
export const NESTING_MAX = 40

/**
 * Values one frame from a client may hold, keys counted too. Without a bound, 32 MB of two-byte arrays hold the
 * server for 18 seconds and take 3.4 GB of heap, and a set of 900,000 leaves held it for 10 (measured, busy machine).
 * What is larger is imported, or sent in parts.
 */
export const FRAME_VALUES_MAX = 200_000

/** Texts of one message that may be named by a number when they come again: those that repeat come early. */
export const NUMBERED_TEXTS_MAX = 128

export class MsgpackError extends Error {}
