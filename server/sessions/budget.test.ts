import { expect, test } from 'vitest'
import { Budget } from './budget.ts'

const UNLIMITED = { messagesPerSecondMax: 0, messageBytesPerSecondMax: 0, readBytesPerSecondMax: 0 }

function clock(): { nowMs: () => number; pass(ms: number): void } {
  let now = 1000
  return {
    nowMs: () => now,
    pass(ms) {
      now += ms
    },
  }
}

test('a second’s worth may come at once; then the hint says when there is some again', () => {
  const { nowMs, pass } = clock()
  const budget = new Budget({ ...UNLIMITED, messagesPerSecondMax: 10 }, nowMs)

  const first = Array.from({ length: 10 }, () => budget.take(1))
  const waitMs = budget.take(1)

  expect(first).toEqual(Array(10).fill(0))
  expect(waitMs).toBeGreaterThan(0)
  pass(waitMs - 1)
  expect(budget.take(1)).toBeGreaterThan(0)
  pass(1)
  expect(budget.take(1)).toBe(0)
})

test('who stays below the rate is never refused, however long it goes on', () => {
  const { nowMs, pass } = clock()
  const budget = new Budget(
    { ...UNLIMITED, messagesPerSecondMax: 100, messageBytesPerSecondMax: 1000 },
    nowMs,
  )

  for (let n = 0; n < 10_000; n++) {
    expect(budget.take(9)).toBe(0)
    pass(10)
  }
})

test('one message may be larger than a second’s worth, and is paid for afterwards', () => {
  const { nowMs, pass } = clock()
  const budget = new Budget({ ...UNLIMITED, messageBytesPerSecondMax: 1000 }, nowMs)

  expect(budget.take(3000)).toBe(0)
  expect(budget.take(1)).toBe(2000)
  pass(2100)
  expect(budget.take(1)).toBe(0)
})

test('who goes on for another second’s worth has flooded; who pauses has not', () => {
  const { nowMs, pass } = clock()
  const budget = new Budget({ ...UNLIMITED, messagesPerSecondMax: 10 }, nowMs)

  for (let n = 0; n < 20; n++) budget.take(1)
  expect(budget.isFlooded).toBe(false)
  pass(1000)
  for (let n = 0; n < 15; n++) budget.take(1)
  expect(budget.isFlooded).toBe(false)
  for (let n = 0; n < 10; n++) budget.take(1)
  expect(budget.isFlooded).toBe(true)
})

test('reads are paid for by what they brought', () => {
  const { nowMs, pass } = clock()
  const budget = new Budget({ ...UNLIMITED, readBytesPerSecondMax: 1000 }, nowMs)

  expect(budget.readWaitMs).toBe(0)
  budget.spendOnRead(5000)
  expect(budget.readWaitMs).toBe(4000)
  expect(budget.take(1)).toBe(0)
  pass(4001)
  expect(budget.readWaitMs).toBe(0)
})

test('0 is no limit', () => {
  const budget = new Budget(UNLIMITED, () => 0)

  for (let n = 0; n < 100_000; n++) expect(budget.take(1e9)).toBe(0)
  expect([budget.isFlooded, budget.readWaitMs]).toEqual([false, 0])
})
