import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Step } from '../../protocol/index.ts'
import { jsonView } from '../../rules/index.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { PacedDelivery, RATES } from './paced-delivery.ts'

interface Sent {
  topic: string
  steps: readonly Step[]
}

/** Paced delivery with a clock of its own. */
function paced(): { delivery: PacedDelivery; sent: Sent[]; advance(ms: number): void } {
  const sent: Sent[] = []
  let nowMs = 0
  const timers = new Set<{ atMs: number; task: () => void }>()
  const delivery = new PacedDelivery({
    present: { view: jsonView({}), isReadable: true },
    send: (_live, topic, steps) => sent.push({ topic, steps }),
    nowMs: () => nowMs,
    schedule: (delayMs, task) => {
      const timer = { atMs: nowMs + delayMs, task }
      timers.add(timer)
      return () => timers.delete(timer)
    },
  })
  return {
    delivery,
    sent,
    advance(ms) {
      nowMs += ms
      for (const timer of [...timers]) {
        if (timer.atMs > nowMs) continue
        timers.delete(timer)
        timer.task()
      }
    },
  }
}

function query(id: number): LiveQuery {
  return { id, path: ['game'], window: null } as unknown as LiveQuery
}

test('however many rates are asked for, a query has no more queues than there are rates', () => {
  const { delivery, sent } = paced()
  const live = query(1)
  for (let maxHz = 0.1; maxHz <= 1000; maxHz += 0.37) delivery.join(live, { maxHz })

  delivery.deliver(live, [['a', 1]], 1)

  expect(sent.length).toBeLessThanOrEqual(RATES.length)
  expect(new Set(sent.map(({ topic }) => topic)).size).toBe(sent.length)
})

test.each([
  [0.1, 0.1],
  [0.19, 0.1],
  [7, 5],
  [20, 20],
  [59.94, 50],
  [60, 60],
  [999, 500],
  [1000, 1000],
])('%d patches a second are served as %d: never more than asked for', (asked, served) => {
  const { delivery } = paced()

  expect(delivery.join(query(1), { maxHz: asked })).toBe(delivery.join(query(1), { maxHz: served }))
  expect(delivery.join(query(2), { maxHz: asked })).toBe(`2/${served}`)
})

test('who leaves with the rate it came with leaves the queue that it joined', () => {
  const { delivery, sent } = paced()
  const live = query(1)
  delivery.join(live, { maxHz: 7 })
  delivery.join(live, { maxHz: 5 })

  delivery.leave(live, { maxHz: 7 })
  delivery.deliver(live, [['a', 1]], 1)
  delivery.leave(live, { maxHz: 5 })
  delivery.deliver(live, [['a', 2]], 2)

  expect(sent).toEqual([{ topic: '1/5', steps: [['a', 1]] }])
})

test('the rates are those that the protocol names', () => {
  const protocol = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')

  expect(protocol).toContain(`${RATES.slice(0, -1).join(', ')} and ${RATES.at(-1)}`)
})

test('long values that wait for a slow policy go early, before they fill the memory', () => {
  const { delivery, sent } = paced()
  const live = query(1)
  delivery.join(live, { maxHz: 0.1 })
  delivery.deliver(live, [['first', 1]], 1)
  const text = 'x'.repeat(1024 * 1024)

  for (let n = 0; n < 16; n++) delivery.deliver(live, [[`p${n}`, { text }]], 2 + n)

  const texts = sent.slice(1).map(({ steps }) => steps[0]!.length / 2)
  expect(texts.length).toBeGreaterThanOrEqual(3)
  expect(Math.max(...texts)).toBeLessThanOrEqual(5)
})

test('one long value that changes again and again waits for its time', () => {
  const { delivery, sent, advance } = paced()
  const live = query(1)
  delivery.join(live, { maxHz: 0.1 })
  delivery.deliver(live, [['p', 0]], 1)

  for (let n = 1; n <= 100; n++) delivery.deliver(live, [['p', `${n}`.repeat(300_000)]], 1 + n)
  expect(sent).toHaveLength(1)
  advance(10_000)

  expect(sent).toHaveLength(2)
  expect((sent[1]!.steps[0]![1] as string).startsWith('100100')).toBe(true)
})

test('many queries together hold back no more than all may', () => {
  const { delivery, sent, advance } = paced()
  const lives = Array.from({ length: 100 }, (_, n) => query(n))
  for (const live of lives) {
    delivery.join(live, { maxHz: 0.1 })
    delivery.deliver(live, [['first', 1]], 1)
  }
  sent.length = 0
  const text = 'x'.repeat(1024 * 1024)

  for (const live of lives) delivery.deliver(live, [['a', text]], 2)
  const early = sent.length
  advance(10_000)

  expect(early).toBeGreaterThanOrEqual(36)
  expect(early).toBeLessThan(100)
  expect(sent).toHaveLength(100)
})
