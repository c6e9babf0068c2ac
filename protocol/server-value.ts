/**
 * Server values: placeholders a client sends and the server replaces inside the write's atomic step.
 *   {'.sv': 'timestamp'}            the server's clock, Unix milliseconds, one reading per write
 *   {'.sv': {'increment': n}}       the stored number plus n; n alone where no number is stored
 */
import { childOf, hasOwn, leafOf, type Value, type ValueObject } from './value.ts'

export const serverTimestamp: Value = { '.sv': 'timestamp' }

export function increment(by: number): Value {
  return { '.sv': { increment: by } }
}

export function hasServerValue(value: Value): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (hasOwn(value, '.sv')) return true
  for (const key of Object.keys(value)) if (hasServerValue(value[key]!)) return true
  return false
}

/**
 * @param value Parsed value, possibly with placeholders; returned as it is when it has none.
 * @param stored What is stored at the same place before the write, for increments.
 * @param nowMs Server clock, Unix milliseconds.
 */
export function resolveServerValues(value: Value, stored: Value, nowMs: number): Value {
  if (!hasServerValue(value)) return value
  return resolve(value, stored, nowMs)
}

function resolve(value: Value, stored: Value, nowMs: number): Value {
  if (typeof value !== 'object' || value === null) return value
  if (hasOwn(value, '.sv')) {
    const placeholder = value['.sv']!
    if (placeholder === 'timestamp') return nowMs
    const by = (placeholder as ValueObject)['increment'] as number
    const before = leafOf(stored)
    return typeof before === 'number' ? finite(before + by) : by
  }
  const out: ValueObject = {}
  for (const key of Object.keys(value)) {
    const before = key === '.value' ? stored : key === '.priority' ? null : childOf(stored, key)
    out[key] = resolve(value[key]!, before, nowMs)
  }
  return out
}

/** An increment past the largest double stays there: the store holds finite numbers only. */
function finite(sum: number): number {
  if (sum === Infinity) return Number.MAX_VALUE
  if (sum === -Infinity) return -Number.MAX_VALUE
  return sum
}
