/**
 * A naive model of values for tests: a tree of nodes with everything spelled out, and generators of values in
 * export form.
 */
import fc from 'fast-check'
import type { Path } from './path.ts'
import { childKeys, childOf, type Leaf, leafOf, type Priority, priorityOf, type Value } from './value.ts'

export interface Tree {
  leaf: Leaf | null
  priority: Priority | null
  children: Map<string, Tree>
}

export function toTree(value: Value): Tree | null {
  if (value === null) return null
  const children = new Map(childKeys(value).map((key) => [key, toTree(childOf(value, key))!]))
  return { leaf: leafOf(value), priority: priorityOf(value), children }
}

export function toValue(tree: Tree | null): Value {
  if (tree === null) return null
  const { leaf, priority, children } = tree
  if (leaf !== null) return priority === null ? leaf : { '.value': leaf, '.priority': priority }
  const object: { [key: string]: Value } = {}
  for (const [key, child] of children) object[key] = toValue(child)
  if (priority !== null) object['.priority'] = priority
  return object
}

/** Few keys, so that random paths often meet what is there. */
const anyKey = fc.constantFrom('a', 'b', '0', '7', 'toString')

export const anyPath: fc.Arbitrary<Path> = fc.array(anyKey, { maxLength: 4 })

const anyLeaf: fc.Arbitrary<Leaf> = fc.oneof(
  fc.boolean(),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
  fc.string(),
)

const anyPriority = fc.constantFrom<Priority | null>(null, null, null, 0, 1.5, 'p')

const anyTree = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.record({ leaf: anyLeaf, priority: anyPriority, children: fc.constant(new Map<string, Tree>()) }),
    fc.record({
      leaf: fc.constant(null),
      priority: anyPriority,
      children: fc
        .uniqueArray(fc.tuple(anyKey, tie('tree')), { selector: ([key]) => key, minLength: 1 })
        .map((pairs) => new Map(pairs)),
    }),
  ),
})).tree

/** Any value in export form, absence included. */
export const anyValue: fc.Arbitrary<Value> = fc.option(anyTree.map(toValue), { nil: null, freq: 10 })
