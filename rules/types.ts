/**
 * Static types of expressions, and which operand each operator takes. The model reproduces what Firebase's
 * compiler was seen to accept and refuse; docs/rules.md prints it as a table.
 */

export type Type =
  | 'Boolean'
  | 'Number'
  | 'String'
  | 'Null'
  | 'Regex'
  | 'Array'
  | 'Snapshot'
  /** A method that is named but not called. */
  | 'Method'
  | 'Query'
  /** Anything a snapshot may hold: `val()`, `getPriority()`, sums of unknowns. Has the members of a string. */
  | 'Value'
  /** `auth` and whatever hangs off it. Any member name is again Auth. */
  | 'Auth'
  /** Non-flag fields of `query`. */
  | 'QueryValue'
  /** A choice between types that have nothing in common. */
  | 'Mixed'
  /** Already reported; accepted everywhere so that one mistake gives one error. */
  | 'Error'
  /** Not checked yet. */
  | 'Unchecked'

const DYNAMIC: ReadonlySet<Type> = new Set<Type>(['Value', 'Auth', 'QueryValue', 'Mixed', 'Error'])

/** Dynamic types may hold any value at run time, where a wrong one fails the rule. */
export function isDynamic(type: Type): boolean {
  return DYNAMIC.has(type)
}

export function isBoolean(type: Type): boolean {
  return type === 'Boolean' || type === 'Error'
}

export function isNumeric(type: Type): boolean {
  return type === 'Number' || DYNAMIC.has(type)
}

export function isOrdered(type: Type): boolean {
  return type === 'Number' || type === 'String' || DYNAMIC.has(type)
}

export function isComparable(type: Type): boolean {
  return type === 'Boolean' || type === 'Null' || isOrdered(type)
}

/** What a parameter declared as a string takes. */
export function isStringArgument(type: Type): boolean {
  return type === 'String' || type === 'Value' || type === 'Auth' || type === 'Mixed' || type === 'Error'
}

export function typeOfSum(left: Type, right: Type): Type {
  if (left === 'Error' || right === 'Error') return 'Error'
  if (left === 'String' || right === 'String') return 'String'
  return left === 'Number' && right === 'Number' ? 'Number' : 'Value'
}

export function typeOfChoice(a: Type, b: Type): Type {
  if (a === 'Error' || b === 'Error') return 'Error'
  // Two methods, queries or regular expressions can be chosen between, but nothing can be done with the choice.
  if (a === b) return a === 'Snapshot' || isComparable(a) ? a : 'Mixed'
  for (const type of [a, b]) if (type === 'String' || type === 'Value' || type === 'Auth') return 'Value'
  return 'Mixed'
}
