/**
 * Paced delivery: patches for the listens with a delivery policy. Listens with the same query and the same policy share
 * one topic, one conflation and one encoding.
 *
 *   group ── steps ──▶ Pace (query, policy) ── conflated ──▶ at once, or when its time has come ──▶ topic
 *
 * INVARIANT: a timer runs only while something waits for it.
 * INVARIANT: a patch sent late holds nothing of a commit that was not published when its revision was.
 */
import { strict as assert } from 'node:assert'
import type { Delivery, Step } from '../../protocol/index.ts'
import type { DataView } from '../../rules/index.ts'
import { ConflatedStep } from '../listeners/conflated-step.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'

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

/** Places that may wait for their time; past it they go out early, so that a slow policy does not fill the memory. */
const WAITING_MAX = 10_000

/** What one policy's listeners of one query are owed. */
interface Pace {
  topic: string
  intervalMs: number
  subscribers: number
  changes: ConflatedStep
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
    const intervalMs = intervalOf(maxHz)
    let pace = ofQuery.get(intervalMs)
    if (pace === undefined) {
      pace = {
        topic: `${live.id}/${maxHz ?? 'latest'}`,
        intervalMs,
        subscribers: 0,
        changes: new ConflatedStep(),
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
    const pace = ofQuery?.get(intervalOf(maxHz))
    assert(ofQuery !== undefined && pace !== undefined, 'only who joined leaves')
    pace.subscribers -= 1
    if (pace.subscribers === 0) {
      pace.cancelTimer?.()
      ofQuery.delete(pace.intervalMs)
      if (ofQuery.size === 0) this.#paces.delete(live)
    }
    return pace.topic
  }

  /** A group is being published: its steps leave now or wait for their time. */
  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void {
    const ofQuery = this.#paces.get(live)
    if (ofQuery === undefined) return
    for (const pace of ofQuery.values()) {
      pace.revision = revision
      pace.changes.add(steps)
      if (pace.cancelTimer !== null && pace.changes.size < WAITING_MAX) continue
      const waitMs = pace.sentMs + pace.intervalMs - this.#nowMs()
      if (waitMs <= 0 || pace.changes.size >= WAITING_MAX) this.#send(live, pace)
      else pace.cancelTimer = this.#schedule(waitMs, () => this.#due(live, pace))
    }
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
    const step = pace.changes.take(live.path, present.view, live.window !== null)
    if (step === null) return
    if (pace.intervalMs > 0) pace.sentMs = this.#nowMs()
    send(live, pace.topic, [step], pace.revision, pace.subscribers)
  }
}

function intervalOf(maxHz: number | null): number {
  return maxHz === null ? 0 : 1000 / maxHz
}

function scheduleTimer(delayMs: number, task: () => void): () => void {
  const timer = setTimeout(task, delayMs)
  timer.unref()
  return () => clearTimeout(timer)
}
