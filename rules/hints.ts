/**
 * Hints: what the author of a refused expression most likely meant. Each is one line beside Firebase's own
 * message; none of them decides anything.
 */
import type { Binary, Expression, Member } from './ast.ts'
import { otherNames, queryFields, snapshotMethods, stringMethods } from './builtins.ts'
import { nearest } from './did-you-mean.ts'
import { namesIn, type Scope } from './scope.ts'
import type { Type } from './types.ts'

/** Names of Firestore's rules language and of JavaScript, and how to say them here. */
const FOREIGN_NAMES: ReadonlyMap<string, string> = new Map([
  [
    'request',
    "this is Firestore's language; here `request.auth` is `auth`, `request.time` is `now`, `request.resource.data.x` is `newData.child('x').val()`",
  ],
  ['resource', "this is Firestore's language; here `resource.data.x` is `data.child('x').val()`"],
  ['get', "this is Firestore's language; here other data is read with `root.child('path').val()`"],
  ['exists', "this is Firestore's language; here other data is asked for with `root.child('path').exists()`"],
  ['undefined', 'absent values are `null` here'],
  ['this', "the value at the rule's own place is `data`, after a write `newData`"],
  ['user', 'the signed-in user is `auth`'],
  ['uid', "the signed-in user's id is `auth.uid`"],
  ['newRoot', 'an extension of Hearth; a top-level "functions": {} turns extensions on'],
])

/** A file of a hundred thousand functions must not be compared with each of its errors. */
const FUNCTIONS_COMPARED_MAX = 1000

export function nameHint(name: string, scope: Scope): string | null {
  if (scope.captures.has(`$${name}`)) return `did you mean \`$${name}\`?`
  const foreign = FOREIGN_NAMES.get(name)
  if (foreign !== undefined) return foreign
  const near = nearest(name, [...namesIn(scope), ...scope.functions.slice(0, FUNCTIONS_COMPARED_MAX)])
  if (near !== null) return `did you mean \`${near}\`?`
  if (name.startsWith('$')) return 'a capture is visible in its own node and below it only'
  return `known here: ${namesIn(scope).join(', ')}`
}

export function memberHint(member: Member, type: Type): string | null {
  const { name } = member
  const known = type === 'Query' ? queryFields : type === 'Snapshot' ? snapshotMethods : stringMethods
  const near = snapshotMethods.has(name) || stringMethods.has(name) ? null : nearest(name, known.keys())
  if (near !== null) return `did you mean \`${near}\`?`
  const other = otherNames.get(name)
  if (other !== undefined) return other
  if (type === 'Snapshot') {
    if (name === 'length') return 'the length of a string is `.val().length`'
    if (stringMethods.has(name)) return `a snapshot is not a string: \`.val().${name}(...)\``
    return `a child is \`.child('${name}')\``
  }
  if (type === 'String' && snapshotMethods.has(name)) {
    return name === 'val'
      ? 'this is text already: leave out `.val()`'
      : 'this is text already, not a snapshot'
  }
  if (type === 'Value' && member.object.kind === 'call') {
    return snapshotMethods.has(name)
      ? `ask the snapshot: leave out \`.val()\``
      : `a child is \`.child('${name}').val()\`, before \`val()\``
  }
  return null
}

/** For a member that is called and is no method: one of `auth`, where any name may be a claim. */
export function calleeHint(name: string): string | null {
  if (name === 'length') return '`length` is a property: no brackets'
  const near = nearest(name, stringMethods.keys())
  return near === null ? (otherNames.get(name) ?? null) : `did you mean \`${near}\`?`
}

/** For a place that takes a boolean only. */
export function booleanHint(expression: Expression, type: Type): string | null {
  if (expression.kind === 'name' && expression.name === 'auth') return 'write `auth != null`'
  if (type === 'Snapshot') return 'ask `.exists()`, or compare `.val()`'
  if (type === 'Method') return 'methods are called with brackets'
  if (type === 'Auth' || type === 'Value' || type === 'QueryValue' || type === 'Mixed') {
    return 'its type is not known before it runs; compare it: `== true`, or `!= null`'
  }
  return null
}

export function comparisonHint({ left, right }: Binary): string | null {
  if (left.type !== 'Snapshot' && right.type !== 'Snapshot') return null
  const isNull = [left, right].some((side) => side.kind === 'literal' && side.value === null)
  return isNull ? 'write `.exists()`' : 'compare the value: `.val()`'
}
