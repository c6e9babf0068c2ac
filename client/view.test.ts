import { expect, test } from 'vitest'
import type { Value } from '../protocol/value.ts'

import { PendingWrites } from './pending-writes.ts'

import { View } from './view.ts'

const MANY = 130_000

test('any number of children may come at once', () => {
  const view = new View(['list'], { orderBy: 'key' })
  const registration = { callback: null, hear: () => {}, cancel: null, isActive: true, hz: 0 }
  view.add({ ...registration, type: 'child_added' }, { value: null, isWhole: true })
  const value: Value = Object.fromEntries(Array.from({ length: MANY }, (_, i) => [`k${i}`, i]))

  const calls = view.update({ value: null, isWhole: true }, { value, isWhole: true })

  expect(calls).toHaveLength(MANY)
})

test('any number of writes of one place may be pending', () => {
  const pending = new PendingWrites()
  for (let n = 1; n <= MANY; n++) pending.add({ entries: [[['a'], { b: n }]] })

  expect(pending.overlay(['a', 'b'], { value: null, isWhole: false })).toEqual({ value: MANY, isWhole: true })
})
