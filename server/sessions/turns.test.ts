import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Turns, type TurnTaker } from './turns.ts'

/** Asks for so many things; each turn it takes is noted. */
function asker(name: string, count: number, taken: string[], take: () => void = () => {}): TurnTaker {
  let left = count
  return {
    takeTurn() {
      taken.push(name)
      take()
      left -= 1
      return left > 0
    },
  }
}

function unexpected(error: unknown): never {
  throw error
}

test('sessions are served one request each, whoever asks for how many', async () => {
  const turns = new Turns({ bytesInFlightMax: 1000, onBug: unexpected })
  const taken: string[] = []

  for (const [name, count] of [
    ['greedy', 5],
    ['a', 1],
    ['b', 2],
  ] as const)
    turns.enter(asker(name, count, taken))
  while (turns.waiting > 0) await nextTurn()

  expect(taken).toEqual(['greedy', 'a', 'b', 'greedy', 'b', 'greedy', 'greedy', 'greedy'])
})

test('who asks alone is served at once, and nobody overtakes the line', async () => {
  const turns = new Turns({ bytesInFlightMax: 1000, onBug: unexpected })
  const taken: string[] = []

  expect(turns.tryNow(() => taken.push('alone'))).toBe(true)
  turns.enter(asker('first', 1, taken))
  expect(turns.tryNow(() => taken.push('pusher'))).toBe(false)
  while (turns.waiting > 0) await nextTurn()

  expect(taken).toEqual(['alone', 'first'])
})

test('who has no session is served at once or in line, too, and as soon as it may be', async () => {
  const turns = new Turns({ bytesInFlightMax: 1000, onBug: unexpected })
  const taken: string[] = []
  let mayServe = false

  const alone = turns.serve(
    () => true,
    () => taken.push('alone'),
  )
  turns.enter(asker('session', 2, taken))
  const waiting = turns.serve(
    () => mayServe,
    () => taken.push('waiting'),
  )
  const failing = turns.serve(
    () => true,
    () => {
      throw new Error('as it was thrown')
    },
  )
  await alone
  await expect(failing).rejects.toThrow('as it was thrown')
  for (let i = 0; i < 3; i++) await nextTurn()
  expect(taken).toEqual(['alone', 'session', 'session'])
  mayServe = true
  await waiting

  expect(taken).toEqual(['alone', 'session', 'session', 'waiting'])
})

test('past the budget the line stands still until a socket has taken what it was sent', async () => {
  const turns = new Turns({ bytesInFlightMax: 100, onBug: unexpected })
  const taken: string[] = []
  const sender: TurnTaker = asker('sender', 1, taken, () => turns.hold(sender, 150))

  turns.enter(sender)
  turns.enter(asker('next', 1, taken))
  for (let i = 0; i < 5; i++) await nextTurn()
  expect([taken, turns.waiting, turns.bytesInFlight]).toEqual([['sender'], 1, 150])

  turns.hold(sender, 50)
  while (turns.waiting > 0) await nextTurn()

  expect(taken).toEqual(['sender', 'next'])
})

test('a session that leaves holds up nobody', async () => {
  const turns = new Turns({ bytesInFlightMax: 100, onBug: unexpected })
  const taken: string[] = []
  const gone = asker('gone', 1, taken)
  turns.hold(gone, 500)
  turns.enter(gone)
  turns.enter(asker('stays', 1, taken))

  turns.leave(gone)
  while (turns.waiting > 0) await nextTurn()

  expect([taken, turns.bytesInFlight]).toEqual([['stays'], 0])
})

test('a bug in serving one session does not keep the others from their turns', async () => {
  const bugs: unknown[] = []
  const turns = new Turns({ bytesInFlightMax: 100, onBug: (error) => bugs.push(error) })
  const taken: string[] = []
  turns.enter({
    takeTurn() {
      throw new Error('a bug')
    },
  })
  turns.enter(asker('other', 1, taken))

  while (turns.waiting > 0) await nextTurn()

  expect([bugs.length, taken]).toEqual([1, ['other']])
})
