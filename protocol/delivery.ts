/**
 * Delivery policy: how often one listen wants to hear. Without one it hears a step for every change.
 */
import { RequestError } from './errors.ts'
import { quoteInput } from './path.ts'
import { hasOwn } from './value.ts'

export interface Delivery {
  /** At most so many patches a second, each with the latest value of every path that changed; null: one for each group. */
  maxHz: number | null
}

/** A patch each ten seconds; less often is better asked for with `get`. */
export const HZ_MIN = 0.1
/** A timer's grain is a millisecond. */
export const HZ_MAX = 1000

/**
 * @param options Of a listen: `h` is `maxHz`, `l: true` the latest value of each path once a group.
 * @returns Null for every change.
 * @throws {RequestError} `invalid_query`
 */
export function parseDelivery(options: Record<string, unknown>): Delivery | null {
  if (hasOwn(options, 'h')) {
    const maxHz = options['h']
    if (typeof maxHz !== 'number' || !(maxHz >= HZ_MIN && maxHz <= HZ_MAX)) {
      throw invalid(`\`h\` (maxHz) \`${quoteInput(maxHz)}\` is not a number from ${HZ_MIN} to ${HZ_MAX}`)
    }
    return { maxHz }
  }
  if (!hasOwn(options, 'l')) return null
  if (typeof options['l'] !== 'boolean') throw invalid('`l` (latest) is not a boolean')
  return options['l'] ? { maxHz: null } : null
}

export function encodeDelivery({ maxHz }: Delivery): Record<string, unknown> {
  return maxHz === null ? { l: true } : { h: maxHz }
}

function invalid(what: string): RequestError {
  return new RequestError('invalidQuery', `delivery refused: ${what}`)
}
