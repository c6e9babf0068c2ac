/**
 * Values as facts: what a client may send, what becomes of it, and that the functions that change values agree
 * with a naive model. A failing property test prints the seed that repeats it.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RequestError, type RequestErrorKind } from './errors.ts'
import { parsePath } from './path.ts'
import { anyPath, anyValue, type Tree, toTree, toValue } from './value.model.ts'
import {
  childKeys,
  childOf,
  compareValues,
  isObject,
  leafOf,
  orderedKeys,
  parseValue,
  priorityOf,
  STRING_BYTES_MAX,
  sameValue,
  type Value,
  valueAt,
  withChild,
  withPriority,
  withValueAt,
} from './value.ts'

function refusal(raw: unknown, depth = 0): { kind: RequestErrorKind; message: string } {
  try {
    parseValue(raw, depth)
  } catch (error) {
    if (error instanceof RequestError) return error
    throw error
  }
  throw new Error('the value was accepted')
}

/** `{k: {k: ... leaf}}` with so many keys. */
function nested(keys: number, leaf: unknown = 1): unknown {
  let value = leaf
  for (let i = 0; i < keys; i++) value = { k: value }
  return value
}

test.each<[string, unknown, Value]>([
  ['a leaf is itself', 'text', 'text'],
  ['the empty text is a leaf', '', ''],
  ['false is a leaf', false, false],
  ['zero is a leaf', 0, 0],
  ['null is absence', null, null],
  ['an empty object is absence', {}, null],
  ['an empty array is absence', [], null],
  ['objects of nothing are nothing', { a: { b: {}, c: [null, []] } }, null],
  ['nulls vanish', { a: 1, b: null, c: { d: null } }, { a: 1 }],
  ['an array becomes an object with its places as keys', ['a', 'b'], { 0: 'a', 1: 'b' }],
  ['holes in an array leave no key', ['a', null, { x: null }, 'd'], { 0: 'a', 3: 'd' }],
  ['arrays within arrays', [[1], [[2]]], { 0: { 0: 1 }, 1: { 0: { 0: 2 } } }],
  ['a leaf with a priority stays so', { '.value': 1, '.priority': 2 }, { '.value': 1, '.priority': 2 }],
  ['`.value` alone is its leaf', { '.value': 'x' }, 'x'],
  ['a null priority is none', { '.value': 'x', '.priority': null }, 'x'],
  ['`.value` null is absence, whatever its priority', { '.value': null, '.priority': 2 }, null],
  ['`.value` wins over other children', { '.value': 1, a: 2, b: { c: 3 } }, 1],
  ['an object keeps its priority', { a: 1, '.priority': 'p' }, { a: 1, '.priority': 'p' }],
  ['a priority without children is absence', { '.priority': 3 }, null],
  ['a priority goes with the last child', { a: null, '.priority': 3 }, null],
  [
    'priorities may stand deep',
    { a: { '.value': 1, '.priority': 'x' } },
    { a: { '.value': 1, '.priority': 'x' } },
  ],
  ['minus zero is zero', { a: 1, '.priority': -0 }, { a: 1, '.priority': 0 }],
  ['a server timestamp stays', { '.sv': 'timestamp' }, { '.sv': 'timestamp' }],
  ['an increment stays', { a: { '.sv': { increment: 2 } } }, { a: { '.sv': { increment: 2 } } }],
  ['a server value in `.value` stays', { '.value': { '.sv': 'timestamp' } }, { '.sv': 'timestamp' }],
  [
    'a server value may have a priority beside it',
    { '.sv': 'timestamp', '.priority': 1 },
    { '.value': { '.sv': 'timestamp' }, '.priority': 1 },
  ],
  [
    'a priority may be the server timestamp',
    { a: 1, '.priority': { '.sv': 'timestamp' } },
    { a: 1, '.priority': { '.sv': 'timestamp' } },
  ],
])('%s', (_, raw, value) => {
  expect(parseValue(raw)).toEqual(value)
})

test.each<[string, unknown, string]>([
  ['NaN', { a: Number.NaN }, 'number `NaN` is not finite'],
  ['infinity', Infinity, 'number `Infinity` is not finite'],
  ['minus infinity', [-Infinity], 'number `-Infinity` is not finite'],
  ['undefined', { a: undefined }, 'a `undefined` is not a JSON value'],
  ['a function', () => 1, 'a `function` is not a JSON value'],
  ['a symbol', Symbol('s'), 'a `symbol` is not a JSON value'],
  ['a bigint', 1n, 'a `bigint` is not a JSON value'],
  ['a date', new Date(0), 'an instance of a class'],
  ['bytes', { a: new Uint8Array(3) }, 'an instance of a class'],
  ['a map', new Map(), 'an instance of a class'],
  ['an empty key', { '': 1 }, 'a key is empty'],
  ['a key with a dot', { 'a.b': 1 }, 'key `a.b` contains a forbidden character'],
  ['a key with a slash', { 'a/b': 1 }, 'key `a/b` contains a forbidden character'],
  ['an unknown key with a dot in front', { '.info': 1 }, 'key `.info` contains a forbidden character'],
  ['a forbidden key even over nothing', { 'a.b': null }, 'key `a.b` contains a forbidden character'],
  ['a key of 769 bytes', { ['x'.repeat(769)]: 1 }, 'is 769 bytes long'],
  ['an own `__proto__` key', JSON.parse('{"a": {"__proto__": 1}}'), 'key `__proto__` is reserved'],
  ['an object as `.value`', { '.value': { a: 1 } }, '`.value` holds an object'],
  ['an array as `.value`', { '.value': [] }, '`.value` holds an object'],
  ['`.value` within `.value`', { '.value': { '.value': 1 } }, '`.value` holds an object'],
  ['NaN as `.value`', { '.value': Number.NaN }, 'not finite'],
  ['a boolean priority', { a: 1, '.priority': true }, 'priority `true` is not a number'],
  ['a NaN priority', { a: 1, '.priority': Number.NaN }, 'priority `NaN` is not a number'],
  ['an object as priority', { a: 1, '.priority': { b: 1 } }, 'priority `{…}` is not a number'],
  ['a priority with a `toString` of its own', { a: 1, '.priority': { toString: 1 } }, 'priority `{…}`'],
  ['a bad priority even over nothing', { '.priority': [] }, 'priority `[…]` is not a number'],
  ['an increment as priority', { a: 1, '.priority': { '.sv': { increment: 1 } } }, 'priority `{…}`'],
  [
    'a priority with a priority',
    { a: 1, '.priority': { '.sv': 'timestamp', '.priority': 1 } },
    'key `.priority` beside `.sv`',
  ],
  ['an unknown server value', { '.sv': 'uuid' }, 'server value `uuid` is unknown; expected "timestamp"'],
  ['a server value of null', { '.sv': null }, 'server value `null` is unknown'],
  ['an unknown server operation', { '.sv': { multiply: 2 } }, 'server value `{…}` is unknown'],
  ['an increment by text', { '.sv': { increment: '1' } }, 'increment `1` is not a finite number'],
  ['an increment by infinity', { '.sv': { increment: Infinity } }, 'increment `Infinity` is not'],
  ['an increment with a `toString` of its own', { '.sv': { increment: { toString: 1 } } }, 'increment `{…}`'],
  ['a second operation beside an increment', { '.sv': { increment: 1, max: 2 } }, 'increment `1`'],
  ['a key beside a server value', { '.sv': 'timestamp', a: 1 }, 'key `a` beside `.sv`'],
  [
    'a priority within `.value`',
    { '.value': { '.sv': 'timestamp', '.priority': 1 } },
    'key `.priority` beside `.sv`',
  ],
])('%s is refused as an invalid value', (_, raw, words) => {
  const { kind, message } = refusal(raw)

  expect(kind).toBe('invalidValue')
  expect(message).toContain(words)
  expect(message).not.toContain('\n')
})

test('keys that every object inherits are keys like any other', () => {
  const raw = JSON.parse('{"constructor": 1, "toString": {"valueOf": 2}, "hasOwnProperty": 3}') as unknown

  const value = parseValue(raw)

  expect(JSON.stringify(value)).toBe(JSON.stringify(raw))
  expect(childOf(value, 'toString')).toEqual({ valueOf: 2 })
  expect(childOf({ a: 1 }, 'toString')).toBeNull()
  expect(childOf({ a: 1 }, 'constructor')).toBeNull()
  expect(valueAt({ a: 1 }, ['constructor', 'name'])).toBeNull()
  expect(withChild({ a: 1 }, 'toString', null)).toEqual({ a: 1 })
})

test('an object without a prototype is a value', () => {
  expect(parseValue(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 })
})

test('32 keys deep is a value and 33 is not', () => {
  expect(parseValue(nested(32))).toEqual(nested(32))
  expect(refusal(nested(33)).message).toContain('nested deeper than 32 keys from the root')
})

test('the depth counts from the root of the database, so the path counts too', () => {
  expect(parseValue(nested(2), 30)).toEqual(nested(2))
  expect(refusal(nested(3), 30).kind).toBe('invalidValue')
  expect(refusal([1], 32).kind).toBe('invalidValue')
})

test('at full depth a leaf with a priority, an empty object and an empty array are fine', () => {
  const leaf = { '.value': 1, '.priority': 2 }

  expect(parseValue(leaf, 32)).toEqual(leaf)
  expect(parseValue({}, 32)).toBeNull()
  expect(parseValue([], 32)).toBeNull()
})

test('nesting without end is refused without exhausting the stack', () => {
  let valueChain: unknown = 1
  let priorityChain: unknown = 1
  let arrays: unknown = []
  for (let i = 0; i < 200_000; i++) {
    valueChain = { '.value': valueChain }
    priorityChain = { '.sv': 'timestamp', '.priority': priorityChain }
    arrays = [arrays]
  }

  expect(refusal(valueChain).kind).toBe('invalidValue')
  expect(refusal(priorityChain).kind).toBe('invalidValue')
  expect(refusal(arrays).kind).toBe('invalidValue')
})

test('a string may have 10 MB of UTF-8 and not a byte more, as a leaf and as a priority', () => {
  const most = 'x'.repeat(STRING_BYTES_MAX)
  const wide = 'é'.repeat(STRING_BYTES_MAX / 2)

  expect(parseValue(most)).toBe(most)
  expect(parseValue(wide)).toBe(wide)
  for (const raw of [`${most}x`, `${wide}x`, { '.value': `${most}x` }, { a: 1, '.priority': `${most}x` }]) {
    expect(refusal(raw).kind).toBe('tooLarge')
    expect(refusal(raw).message).toContain('has 10485761 bytes; strings may have at most 10485760')
    expect(refusal(raw).message.length).toBeLessThan(200)
  }
})

test('parsing what was parsed changes nothing, and leaves what it was given alone', () => {
  fc.assert(
    fc.property(anyValue, (value) => {
      const before = JSON.stringify(value)

      expect(parseValue(value)).toEqual(value)
      expect(JSON.stringify(value)).toBe(before)
    }),
  )
})

test('whatever JSON comes, it is refused by a RequestError or parsed to export form', () => {
  const key = fc.constantFrom('a', 'b', '.value', '.priority', '.sv', 'increment', 'toString', '0', 'a.b', '')
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 6 },
      fc.constantFrom(null, true, 1, -0, 'x', 'timestamp', Number.NaN),
      fc.array(tie('json'), { maxLength: 3 }),
      fc.dictionary(key, tie('json'), { maxKeys: 4 }),
    ),
  }))
  fc.assert(
    fc.property(json, (raw) => {
      try {
        const value = parseValue(raw)

        expect(parseValue(value)).toEqual(value)
      } catch (error) {
        if (!(error instanceof RequestError)) throw error
      }
    }),
    { numRuns: 5000 },
  )
})

test('withValueAt is what a naive tree does', () => {
  fc.assert(
    fc.property(anyValue, anyPath, anyValue, (value, path, child) => {
      const before = JSON.stringify(value)

      const next = withValueAt(value, path, child)

      expect(next).toEqual(naiveSet(value, path, child))
      expect(valueAt(next, path)).toEqual(child)
      expect(JSON.stringify(value)).toBe(before)
    }),
    { numRuns: 1000 },
  )
})

test('withPriority is what a naive tree does', () => {
  fc.assert(
    fc.property(anyValue, fc.constantFrom(null, 0, 1.5, 'p'), (value, priority) => {
      const tree = toTree(value)
      if (tree !== null) tree.priority = priority

      expect(withPriority(value, priority)).toEqual(toValue(tree))
      expect(priorityOf(withPriority(value, priority))).toBe(value === null ? null : priority)
    }),
  )
})

test('what did not change is shared, not copied', () => {
  const value = { a: { b: 1 }, c: { d: 2 } }

  const next = withValueAt(value, ['a', 'b'], 3) as { c: Value }

  expect(next.c).toBe(value.c)
})

test('writing below a leaf makes it an object that keeps the priority', () => {
  expect(withValueAt(5, ['a'], 1)).toEqual({ a: 1 })
  expect(withValueAt({ '.value': 5, '.priority': 2 }, ['a', 'b'], 1)).toEqual({ a: { b: 1 }, '.priority': 2 })
})

test('deleting below a leaf leaves the leaf alone', () => {
  const leaf = { '.value': 5, '.priority': 2 }

  expect(withValueAt(leaf, ['a', 'b'], null)).toBe(leaf)
  expect(withValueAt(5, ['a'], null)).toBe(5)
})

test('deleting the last child deletes the object, its priority and its parents', () => {
  expect(withValueAt({ a: { b: { c: 1, '.priority': 1 } } }, ['a', 'b', 'c'], null)).toBeNull()
  expect(withValueAt({ a: { b: 1 }, x: 1 }, ['a', 'b'], null)).toEqual({ x: 1 })
})

test('leaf, priority and children of each form', () => {
  const withBoth = { b: 1, 10: 2, 9: 3, '.priority': 'p' }

  expect([leafOf(5), leafOf({ '.value': 5, '.priority': 1 }), leafOf({ a: 5 }), leafOf(null)]).toEqual([
    5,
    5,
    null,
    null,
  ])
  expect([
    isObject(5),
    isObject({ '.value': 5, '.priority': 1 }),
    isObject({ a: 5 }),
    isObject(null),
  ]).toEqual([false, false, true, false])
  expect(childKeys(withBoth).sort()).toEqual(['10', '9', 'b'])
  expect(orderedKeys(withBoth)).toEqual(['9', '10', 'b'])
  expect(childKeys({ '.value': 5, '.priority': 1 })).toEqual([])
})

test('value order: null < false < true < numbers < strings < objects', () => {
  const inOrder: Value[] = [
    null,
    false,
    true,
    -1e300,
    -1,
    0,
    0.5,
    1,
    10,
    1e300,
    '',
    '1',
    '10',
    'A',
    'a',
    '😀',
    '\uffff',
    { a: 1 },
  ]

  for (let i = 0; i < inOrder.length; i++) {
    for (let j = 0; j < inOrder.length; j++) {
      expect(Math.sign(compareValues(inOrder[i]!, inOrder[j]!))).toBe(Math.sign(i - j))
    }
  }
})

test('all objects are equal in value order, and a leaf orders the same with a priority', () => {
  expect(compareValues({ a: 1 }, { b: 'x', '.priority': 2 })).toBe(0)
  expect(compareValues({ '.value': 1, '.priority': 9 }, 1)).toBe(0)
  expect(compareValues({ '.value': 1, '.priority': 9 }, 2)).toBe(-1)
})

test('value order is a total preorder', () => {
  fc.assert(
    fc.property(anyValue, anyValue, anyValue, (a, b, c) => {
      expect(compareValues(a, b) + compareValues(b, a)).toBe(0)
      if (compareValues(a, b) <= 0 && compareValues(b, c) <= 0)
        expect(compareValues(a, c)).toBeLessThanOrEqual(0)
    }),
  )
})

test('sameValue tells values apart as their JSON does, whatever the order of keys', () => {
  const canonical = (value: Value): string =>
    JSON.stringify(value, (_, item: unknown) =>
      typeof item === 'object' && item !== null
        ? Object.fromEntries(Object.entries(item).sort(([x], [y]) => (x < y ? -1 : 1)))
        : item,
    )
  fc.assert(
    fc.property(anyValue, anyValue, (a, b) => {
      expect(sameValue(a, JSON.parse(JSON.stringify(a)) as Value)).toBe(true)
      expect(sameValue(a, b)).toBe(canonical(a) === canonical(b))
    }),
  )
})

function naiveSet(value: Value, path: readonly string[], child: Value): Value {
  const set = (tree: Tree | null, depth: number): Tree | null => {
    if (depth === path.length) return toTree(child)
    const at = tree ?? { leaf: null, priority: null, children: new Map<string, Tree>() }
    const next = set(at.children.get(path[depth]!) ?? null, depth + 1)
    if (next === null) at.children.delete(path[depth]!)
    else {
      at.leaf = null
      at.children.set(path[depth]!, next)
    }
    return at.leaf === null && at.children.size === 0 ? null : at
  }
  return toValue(set(toTree(value), 0))
}

test('a path that ends in .priority changes the priority of a node that exists', () => {
  expect(withValueAt({ a: 5 }, ['a', '.priority'], 2)).toEqual({ a: { '.value': 5, '.priority': 2 } })
  expect(withValueAt({ a: { b: 1, '.priority': 1 } }, ['a', '.priority'], null)).toEqual({ a: { b: 1 } })
  expect(withValueAt({ a: 5 }, ['b', '.priority'], 2)).toEqual({ a: 5 })
})

test('half of a surrogate pair becomes U+FFFD in a text and is refused in a key', () => {
  expect(parseValue('a\ud83d')).toBe('a\ufffd')
  expect(parseValue({ text: '\ude00😀' })).toEqual({ text: '\ufffd😀' })
  expect(() => parseValue({ 'a\ud83d': 1 })).toThrow(/surrogate/)
  expect(() => parsePath('a/\ud83d')).toThrow(/surrogate/)
  expect(parsePath('😀')).toEqual(['😀'])
})
