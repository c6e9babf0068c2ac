/**
 * Server values: placeholders a client sends and the server replaces inside the write's atomic step.
 *   {'.sv': 'timestamp'}            the server's clock, Unix milliseconds, one reading per write
 *   {'.sv': {'increment': n}}       the stored number plus n; n alone where no number is stored
 */
import type { Path } from './path.ts'
import { hasOwn, type Leaf, leafOf, type Value, type ValueObject, valueAt } from './value.ts'

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

/** Whether what becomes of the value depends on what is stored. */
export function hasIncrement(value: Value): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (hasOwn(value, '.sv')) return value['.sv'] !== 'timestamp'
  for (const key of Object.keys(value)) if (hasIncrement(value[key]!)) return true
  return false
}

/**
 * @param value Parsed value, possibly with placeholders; returned as it is when it has none.
 * @param stored What is stored at the same place before the write, for increments.
 * @param nowMs Server clock, Unix milliseconds.
 */
export function resolveServerValues(value: Value, stored: Value, nowMs: number): Value {
  return resolveServerValuesAt(value, [], (path) => leafOf(valueAt(stored, path)), nowMs)
}

/**
 * The same where reading the whole stored value would be too much: only the leaves under increments are asked for.
 * @param storedLeaf The stored leaf at a path that begins with `path`, or null.
 */
export function resolveServerValuesAt(
  value: Value,
  path: Path,
  storedLeaf: (path: Path) => Leaf | null,
  nowMs: number,
): Value {
  if (!hasServerValue(value)) return value
  return resolve(value, path, storedLeaf, nowMs)
}

function resolve(value: Value, path: Path, storedLeaf: (path: Path) => Leaf | null, nowMs: number): Value {
  if (typeof value !== 'object' || value === null) return value
  if (hasOwn(value, '.sv')) {
    const placeholder = value['.sv']!
    if (placeholder === 'timestamp') return nowMs
    const by = (placeholder as ValueObject)['increment'] as number
    const before = storedLeaf(path)
    return typeof before === 'number' ? finite(before + by) : by
  }
  const out: ValueObject = {}
  for (const key of Object.keys(value)) {
    if (key === '.priority') out[key] = resolve(value[key]!, path, () => null, nowMs)
    else out[key] = resolve(value[key]!, key === '.value' ? path : [...path, key], storedLeaf, nowMs)
  }
  return out
}

/** An increment past the largest double stays there: the store holds finite numbers only. */
function finite(sum: number): number {
  if (sum === Infinity) return Number.MAX_VALUE
  if (sum === -Infinity) return -Number.MAX_VALUE
  return sum
}
