/**
 * The length of a value: about what it takes in memory or as a text, without making one.
 */
import type { Value } from '../protocol/index.ts'

/** What a leaf or an object takes beside its text. */
const NODE_LENGTH = 32

export function lengthOfValue(value: Value): number {
  if (typeof value === 'string') return NODE_LENGTH + value.length
  if (typeof value !== 'object' || value === null) return NODE_LENGTH
  let length = NODE_LENGTH
  for (const key in value) length += key.length + lengthOfValue(value[key]!)
  return length
}
