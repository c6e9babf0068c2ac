import { expect, test } from 'vitest'
import type { HttpError } from './http-error.ts'
import { Answers } from './rest-answers.ts'

const MAX = 4_000_000
const DEADLINE_MS = 30_000
const PIECE = 100_000

/** Answers under way, by a clock of the test's own. */
function setUp(): {
  answers: Answers
  clock: { ms: number }
  /** An answer of so many pieces. */
  ask(client: string | null, pieces: number): Asked
  /** The status of what a client would be refused with. */
  refusal(client: string): string | null
} {
  const clock = { ms: 1000 }
  const limits = {
    readBytesPerSecondMax: 0,
    answerBytesMax: MAX,
    slowConsumerDeadlineMs: DEADLINE_MS,
  }
  const answers = new Answers(limits, { rateLimited: 0, slowConsumers: 0 }, () => clock.ms)
  return {
    answers,
    clock,
    ask(client, pieces) {
      const asked: Asked = { isEnded: false, take: () => {}, leave: () => {} }
      const connection = {
        abort: () => {
          asked.isEnded = true
          body.return?.()
        },
      }
      const body = answers.carry(
        client,
        'x'.repeat(pieces * PIECE),
        cut(pieces),
        connection,
      ) as Iterator<string>
      asked.take = (count) => {
        for (let i = 0; i < count; i++) body.next()
      }
      asked.leave = () => body.return?.()
      return asked
    },
    refusal(client) {
      try {
        answers.admit(client)
        return null
      } catch (error) {
        return (error as HttpError).status.slice(0, 3)
      }
    },
  }
}

interface Asked {
  isEnded: boolean
  take(pieces: number): void
  leave(): void
}

function* cut(pieces: number): Generator<string> {
  for (let i = 0; i < pieces; i++) yield 'x'.repeat(PIECE)
}

test('answers read slowly are ended, slowest first, for who asks next, once they have had their time', () => {
  const { clock, ask, refusal, answers } = setUp()
  const slow = ['a', 'b', 'c', 'd'].map((client) => ask(client, 10))
  slow.forEach((asked, i) => {
    asked.take(4 - i)
  })

  clock.ms += DEADLINE_MS - 1
  expect(refusal('reader')).toBe('503')
  clock.ms += 1
  expect(refusal('reader')).toBe(null)

  expect(slow.map(({ isEnded }) => isEnded)).toEqual([false, false, false, true])
  expect(answers.bytesUnderWay).toBeLessThan(MAX)
})

test('who was ended does not take the room anew at once, but after as long again', () => {
  const { clock, ask, refusal } = setUp()
  for (const client of ['a', 'b', 'c', 'd']) ask(client, 10)
  clock.ms += DEADLINE_MS

  expect(refusal('reader')).toBe(null)
  expect(refusal('a')).toBe('429')
  clock.ms += DEADLINE_MS - 1
  expect(refusal('a')).toBe('429')
  clock.ms += 1
  expect(refusal('a')).toBe(null)
})

test('a client that leaves before the end is counted for as long again as its answer was held', () => {
  const { clock, ask, refusal } = setUp()
  ask('b', 20)
  const asked = ask('a', 10)
  clock.ms += 2000
  asked.leave()

  expect(refusal('a')).toBe('429')
  clock.ms += 2000
  expect(refusal('a')).toBe(null)
})

test('but not while there is room for all', () => {
  const { clock, ask, refusal } = setUp()
  ask('b', 19)
  const asked = ask('a', 10)
  clock.ms += 2000
  expect(refusal('a')).toBe('429')

  asked.leave()

  expect(refusal('a')).toBe(null)
})

test('an answer that will soon be read, and an admin’s, are not ended', () => {
  const { clock, ask, refusal } = setUp()
  const soon = ask('a', 20)
  const admin = ask(null, 20)

  clock.ms += DEADLINE_MS
  soon.take(11)

  expect(refusal('reader')).toBe('503')
  expect([soon.isEnded, admin.isEnded]).toEqual([false, false])
})

test('an answer that stops short of its end is ended once it has had its time again', () => {
  const { clock, ask, refusal } = setUp()
  const short = ask('a', 40)
  short.take(39)

  clock.ms += DEADLINE_MS
  expect(refusal('reader')).toBe('503')
  clock.ms += DEADLINE_MS - 1
  expect(refusal('reader')).toBe('503')
  clock.ms += 1

  expect(refusal('reader')).toBe(null)
  expect(short.isEnded).toBe(true)
})

test('a client whose share is full ends its own slowest answer, and no other client’s', () => {
  const { clock, ask, refusal } = setUp()
  const own = ask('a', 12)
  const other = ask('b', 12)
  expect(refusal('a')).toBe('429')

  clock.ms += DEADLINE_MS

  expect(refusal('a')).toBe(null)
  expect([own.isEnded, other.isEnded]).toEqual([true, false])
})

test('a client whose share is full of what it left unread has no answer ended in vain', () => {
  const { clock, ask, refusal } = setUp()
  ask('b', 20)
  const left = ask('a', 10)
  const slow = ask('a', 2)
  clock.ms += DEADLINE_MS
  left.leave()

  expect(refusal('a')).toBe('429')
  expect(slow.isEnded).toBe(false)
  clock.ms += DEADLINE_MS
  expect(refusal('a')).toBe(null)
})

test.each([
  ['text', '😀'.repeat(100_000)],
  ['buffer', Buffer.from('é'.repeat(100_000))],
])('a long %s is handed over in pieces and held until the last of them', (_kind, body) => {
  const { answers } = setUp()

  const pieces = answers.carryEcho('a', null, body, { abort() {} }) as Iterator<string | Uint8Array>
  expect(answers.bytesUnderWay).toBe(body.length)
  const read: Buffer[] = []
  for (let piece = pieces.next(); piece.done !== true; piece = pieces.next()) {
    read.push(Buffer.from(piece.value))
  }

  expect(read.length).toBeGreaterThan(2)
  expect(Buffer.concat(read).equals(Buffer.from(body))).toBe(true)
  expect(answers.bytesUnderWay).toBe(0)
})
