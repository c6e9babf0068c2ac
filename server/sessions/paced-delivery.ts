/**
 * Paced delivery: patches for the listens with a delivery policy. Listens with the same query and the same policy share
 * one topic, one conflation and one encoding.
 *
 *   group ── steps ──▶ Pace (query, policy) ── conflated ──▶ at once, or when its time has come ──▶ topic
 *
 * A policy is served at the next lower of a few rates, so that what anyone asks for makes no more queues than there are
 * rates, however many clients ask for however many others.
 *
 * INVARIANT: a timer runs only while something waits for it.
 * INVARIANT: a patch sent late holds nothing of a commit that was not published when its revision was.
 */
import { strict as assert } from 'node:assert'
import type { Delivery, Step, Value } from '../../protocol/index.ts'
import type { DataView } from '../../rules/index.ts'
import { ConflatedStep } from '../listeners/conflated-step.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { lengthOfValue } from '../value-length.ts'

/** The state that everyone has been shown or, while a group is being published, is about to be. */
export interface Present {
  readonly view: DataView
  /** False until all of a flushed group is published. */
  readonly isReadable: boolean
}

export interface PacedDeliveryOptions {
  /** Encodes a patch and sends it to everyone on the topic. */
  send(live: LiveQuery, topic: string, steps: readonly Step[], revision: number, subscribers: number): void
  present: Present
  /** Milliseconds of a clock that never steps back. */
  nowMs?: () => number
  /** @returns Cancels it. */
  schedule?: (delayMs: number, task: () => void) => () => void
}

/** Patches a second: those that apps ask for. docs/protocol.md names them. */
export const RATES = [
  ...[0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 100, 120, 200, 500, 1000],
] as const

/** Places that may wait for their time; past it they go out early, so that a slow policy does not fill the memory. */
const WAITING_MAX = 10_000
/** The same for the length of the values: what one query may hold back for one policy, */
const WAITING_LENGTH_MAX = 4 * 1024 * 1024
/** and all of them together. */
const WAITING_LENGTH_MAX_OF_ALL = 64 * 1024 * 1024

/** What one policy's listeners of one query are owed. */
interface Pace {
  topic: string
  intervalMs: number
  subscribers: number
  changes: ConflatedStep
  /** Of the values in `changes`, or more: those that took each other's place count until it is looked at. */
  length: number
  /** That of the newest group taken in. */
  revision: number
  sentMs: number
  cancelTimer: (() => void) | null
}

export class PacedDelivery {
  readonly #options: PacedDeliveryOptions
  readonly #nowMs: () => number
  readonly #schedule: (delayMs: number, task: () => void) => () => void
  readonly #paces = new Map<LiveQuery, Map<number, Pace>>()
  /** Of all paces. */
  #length = 0

  constructor(options: PacedDeliveryOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? (() => performance.now())
    this.#schedule = options.schedule ?? scheduleTimer
  }

  /** @returns The topic to subscribe to, below the query's own. */
  join(live: LiveQuery, { maxHz }: Delivery): string {
    let ofQuery = this.#paces.get(live)
    if (ofQuery === undefined) {
      ofQuery = new Map()
      this.#paces.set(live, ofQuery)
    }
    const rate = rateOf(maxHz)
    const intervalMs = intervalOf(rate)
    let pace = ofQuery.get(intervalMs)
    if (pace === undefined) {
      pace = {
        topic: `${live.id}/${rate ?? 'latest'}`,
        intervalMs,
        subscribers: 0,
        changes: new ConflatedStep(),
        length: 0,
        revision: 0,
        sentMs: Number.NEGATIVE_INFINITY,
        cancelTimer: null,
      }
      ofQuery.set(intervalMs, pace)
    }
    pace.subscribers += 1
    return pace.topic
  }

  /** @returns The topic to unsubscribe from. */
  leave(live: LiveQuery, { maxHz }: Delivery): string {
    const ofQuery = this.#paces.get(live)
    const pace = ofQuery?.get(intervalOf(rateOf(maxHz)))
    assert(ofQuery !== undefined && pace !== undefined, 'only who joined leaves')
    pace.subscribers -= 1
    if (pace.subscribers === 0) {
      pace.cancelTimer?.()
      this.#weigh(pace, 0)
      ofQuery.delete(pace.intervalMs)
      if (ofQuery.size === 0) this.#paces.delete(live)
    }
    return pace.topic
  }

  /** A group is being published: its steps leave now or wait for their time. */
  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void {
    const ofQuery = this.#paces.get(live)
    if (ofQuery === undefined) return
    let length: number | null = null
    for (const pace of ofQuery.values()) {
      pace.revision = revision
      pace.changes.add(steps)
      const waitMs = pace.cancelTimer === null ? pace.sentMs + pace.intervalMs - this.#nowMs() : null
      if (waitMs !== null && waitMs <= 0) {
        this.#send(live, pace)
        continue
      }
      length ??= lengthOfSteps(steps)
      this.#weigh(pace, pace.length + length)
      if (this.#isTooMuch(pace)) this.#send(live, pace)
      else if (waitMs !== null) pace.cancelTimer = this.#schedule(waitMs, () => this.#due(live, pace))
    }
  }

  #isTooMuch(pace: Pace): boolean {
    if (pace.changes.size >= WAITING_MAX) return true
    if (pace.length <= WAITING_LENGTH_MAX && this.#length <= WAITING_LENGTH_MAX_OF_ALL) return false
    // One place that changes again and again holds its last value only.
    this.#weigh(pace, pace.changes.length(lengthOfValue))
    // Half, so that it is not looked at again with the next change.
    return pace.length > WAITING_LENGTH_MAX / 2 || this.#length > WAITING_LENGTH_MAX_OF_ALL
  }

  #weigh(pace: Pace, length: number): void {
    this.#length += length - pace.length
    pace.length = length
  }

  #due(live: LiveQuery, pace: Pace): void {
    pace.cancelTimer = null
    if (this.#options.present.isReadable) this.#send(live, pace)
    else pace.cancelTimer = this.#schedule(0, () => this.#due(live, pace))
  }

  #send(live: LiveQuery, pace: Pace): void {
    pace.cancelTimer?.()
    pace.cancelTimer = null
    const { send, present } = this.#options
    this.#weigh(pace, 0)
    const step = pace.changes.take(live.path, present.view, live.window !== null)
    if (step === null) return
    if (pace.intervalMs > 0) pace.sentMs = this.#nowMs()
    send(live, pace.topic, [step], pace.revision, pace.subscribers)
  }
}

/** @param maxHz At least the lowest rate. */
function rateOf(maxHz: number | null): number | null {
  return maxHz === null ? null : RATES.findLast((rate) => rate <= maxHz)!
}

function intervalOf(rate: number | null): number {
  return rate === null ? 0 : 1000 / rate
}

function lengthOfSteps(steps: readonly Step[]): number {
  let length = 0
  for (const step of steps) {
    for (let i = 1; i < step.length; i += 2) length += lengthOfValue(step[i] as Value)
  }
  return length
}

function scheduleTimer(delayMs: number, task: () => void): () => void {
  const timer = setTimeout(task, delayMs)
  timer.unref()
  return () => clearTimeout(timer)
}
