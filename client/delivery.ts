/**
 * Delivery policies as one number, patches a second: of several that share a listen the largest serves them all.
 */

import { HearthError } from './errors.ts'

/**
 * How often a listener hears: of every change, of the latest of each moment, or so many times a second at most; with a
 * `maxHz` of 0 as often as others make it, and if there are none of every change.
 */
export type Delivery = 'every' | 'latest' | { maxHz: number }

export const EVERY = Number.POSITIVE_INFINITY
/** Above every number a server takes. */
export const LATEST = 1e9

/** @throws {HearthError} `invalid_query` */
export function hzOf(delivery: Delivery = 'every'): number {
  if (delivery === 'latest') return LATEST
  if (delivery === 'every') return EVERY
  // An app without types may say anything.
  const maxHz = delivery?.maxHz
  if (typeof maxHz === 'number' && (maxHz === 0 || (maxHz >= 0.1 && maxHz <= 1000))) return maxHz
  throw new HearthError(
    'invalid_query',
    `delivery \`${JSON.stringify(delivery)}\` is not every, latest or maxHz 0.1 to 1000`,
  )
}
