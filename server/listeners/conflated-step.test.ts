import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Path, type Step, type Value, withValueAt } from '../../protocol/index.ts'
import { jsonView } from '../../rules/index.ts'
import { ConflatedStep } from './conflated-step.ts'

function apply(value: Value, step: Step): Value {
  let after = value
  for (let i = 0; i < step.length; i += 2) {
    const text = step[i] as string
    after = withValueAt(after, text === '' ? [] : text.split('/'), step[i + 1] as Value)
  }
  return after
}

/** What a query at a path held before, the steps it was owed, and what they come to. */
function conflated(
  before: Value,
  steps: readonly Step[],
  at: Path = [],
): { step: Step | null; after: Value } {
  const changes = new ConflatedStep()
  changes.add(steps)
  const after = steps.reduce(apply, before)
  return { step: changes.take(at, jsonView(withValueAt(null, at, after)), false), after }
}

test.each<[string, Value, Step[], Step]>([
  [
    'the latest of one path',
    null,
    [
      ['a', 1],
      ['a', 2],
      ['a', 3],
    ],
    ['a', 3],
  ],
  [
    'paths beside each other',
    null,
    [
      ['a/x', 1],
      ['a/y', 2],
      ['a/x', 3],
    ],
    ['a/x', 3, 'a/y', 2],
  ],
  [
    'a change within one just made',
    null,
    [
      ['a', { x: 1, y: 1 }],
      ['a/x', 2],
    ],
    ['a', { x: 2, y: 1 }],
  ],
  [
    'a change above takes the place of those below',
    { a: { x: 0 } },
    [
      ['a/x', 1],
      ['a', 7],
    ],
    ['a', 7],
  ],
  [
    'a deletion',
    { a: 1, b: 1 },
    [
      ['a', 2],
      ['a', null],
    ],
    ['a', null],
  ],
  [
    'a leaf that grew a child and lost it is gone',
    { a: 5, b: 1 },
    [
      ['a/x', 1],
      ['a/x', null],
    ],
    ['a', null],
  ],
  [
    'a list that was empty in between has lost its priority',
    { a: { x: 1, '.priority': 3 } },
    [
      ['a/x', null],
      ['a/y', 2],
    ],
    ['a/x', null, 'a/y', 2, '.priority', null, 'a/.priority', null],
  ],
])('%s', (_, before, steps, expected) => {
  const { step, after } = conflated(before, steps)

  expect(apply(before, step!)).toEqual(after)
  expect(new Map(pairs(step!))).toEqual(new Map(pairs(expected)))
})

test('nothing added is no step, and what was taken is not told again', () => {
  const changes = new ConflatedStep()
  const present = jsonView({ a: 1 })

  expect(changes.take([], present, false)).toBe(null)
  changes.add([['a', 1]])

  expect(changes.size).toBe(1)
  expect(changes.take([], present, false)).toEqual(['a', 1])
  expect(changes.size).toBe(0)
  expect(changes.take([], present, false)).toBe(null)
})

test('what was handed out never changes again', () => {
  const changes = new ConflatedStep()
  changes.add([
    ['a', { x: 1 }],
    ['a/y', 2],
  ])
  const first = changes.take([], jsonView({ a: { x: 1, y: 2 } }), false)!
  changes.add([
    ['a', first[1]!],
    ['a/x', 9],
  ])

  expect(first).toEqual(['a', { x: 1, y: 2 }])
})

const key = fc.constantFrom('a', 'b')
const leaf = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant({ '.value': 1, '.priority': 2 }))
const object = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf, { minKeys: 1 })), { minKeys: 1 })
const withPriority = fc
  .tuple(object, fc.option(fc.nat(3)))
  .map(([value, priority]) => (priority === null ? value : { ...value, '.priority': priority }))
const put = fc.oneof(
  fc.tuple(
    fc.array(key, { maxLength: 3 }),
    fc.oneof(leaf, withPriority, fc.constant(null), fc.constant(null)),
  ),
  fc.tuple(
    fc.array(key, { maxLength: 2 }).map((path) => [...path, '.priority']),
    fc.option(fc.nat(3)),
  ),
)

test('whatever changed, the one step leads to the same state', () => {
  fc.assert(
    fc.property(fc.option(withPriority), fc.array(put, { maxLength: 12 }), (before, puts) => {
      const steps = puts.map(([path, value]) => [path.join('/'), value] as Step)

      const { step, after } = conflated(before as Value, steps, ['games', 'g1'])

      expect(step === null ? before : apply(before as Value, step)).toEqual(after)
    }),
    { numRuns: 5000 },
  )
})

function pairs(step: Step): [string, Value][] {
  return step.flatMap((path, i) =>
    i % 2 === 0 ? [[path as string, step[i + 1] as Value] as [string, Value]] : [],
  )
}
