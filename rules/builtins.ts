/**
 * Built-ins: the methods and properties of each type with what they take and give, and the fields of `query`.
 * The checker, the interpreter and the compiler agree by reading these tables.
 */
import type { Type } from './types.ts'

/** What the arguments of a method must be. */
export type Parameters = 'none' | 'string' | 'two strings' | 'regex' | 'children'

export interface Method {
  parameters: Parameters
  result: Type
  /** Hearth's own: known only where extensions are on. */
  isExtension?: true
}

export const snapshotMethods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['val', { parameters: 'none', result: 'Value' }],
  ['exists', { parameters: 'none', result: 'Boolean' }],
  ['child', { parameters: 'string', result: 'Snapshot' }],
  ['parent', { parameters: 'none', result: 'Snapshot' }],
  ['hasChild', { parameters: 'string', result: 'Boolean' }],
  ['hasChildren', { parameters: 'children', result: 'Boolean' }],
  ['getPriority', { parameters: 'none', result: 'Value' }],
  ['isString', { parameters: 'none', result: 'Boolean' }],
  ['isNumber', { parameters: 'none', result: 'Boolean' }],
  ['isBoolean', { parameters: 'none', result: 'Boolean' }],
  ['numChildren', { parameters: 'none', result: 'Number', isExtension: true }],
])

export const stringMethods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['contains', { parameters: 'string', result: 'Boolean' }],
  ['beginsWith', { parameters: 'string', result: 'Boolean' }],
  ['endsWith', { parameters: 'string', result: 'Boolean' }],
  ['replace', { parameters: 'two strings', result: 'String' }],
  ['toLowerCase', { parameters: 'none', result: 'String' }],
  ['toUpperCase', { parameters: 'none', result: 'String' }],
  ['matches', { parameters: 'regex', result: 'Boolean' }],
])

export const queryFields: ReadonlyMap<string, Type> = new Map<string, Type>([
  ['orderByKey', 'Boolean'],
  ['orderByValue', 'Boolean'],
  ['orderByPriority', 'Boolean'],
  ['orderByChild', 'QueryValue'],
  ['startAt', 'QueryValue'],
  ['endAt', 'QueryValue'],
  ['equalTo', 'QueryValue'],
  ['limitToFirst', 'QueryValue'],
  ['limitToLast', 'QueryValue'],
])

/** Types whose members are those of a string. */
export function isStringLike(type: Type): boolean {
  return type === 'String' || type === 'Value' || type === 'Auth'
}

/** The method a member names on an object of some type, or null when it names none. */
export function methodOf(type: Type, name: string, hasExtensions: boolean): Method | null {
  const methods = type === 'Snapshot' ? snapshotMethods : isStringLike(type) ? stringMethods : null
  const method = methods?.get(name)
  if (method === undefined || (method.isExtension === true && !hasExtensions)) return null
  return method
}

/** Methods of other languages that people try first, and what they are called here. */
export const otherNames: ReadonlyMap<string, string> = new Map([
  ['startsWith', '`beginsWith()` is the name here'],
  ['includes', '`contains()` is the name here'],
  ['indexOf', 'ask with `contains()`'],
  ['match', '`matches(/.../)` is the name here'],
  ['test', '`value.matches(/.../)` is the way here'],
  ['size', 'snapshots cannot be counted; Hearth has `numChildren()` where "functions" is present'],
  ['numChildren', 'an extension of Hearth; a top-level "functions": {} turns extensions on'],
  ['keys', 'children cannot be listed; keep what you need to ask for under a known path'],
  ['hasAll', '`hasChildren([...])` is the name here'],
  ['hasAny', 'write `hasChild(a) || hasChild(b)`'],
  ['isArray', 'arrays are objects with the keys 0, 1, ...; ask with `hasChildren()`'],
  ['isObject', 'ask with `hasChildren()`'],
  ['isNull', 'ask with `!exists()`'],
  ['isInt', 'write `isNumber() && val() % 1 == 0`'],
  ['trim', 'strings cannot be trimmed; refuse what you do not want with `matches(/.../)`'],
  ['toString', "add an empty string: `value + ''`"],
  ['value', '`val()` is the name here'],
])
