/**
 * One stream of numbered updates through a system: a publisher, many subscribers, and the proof that each got every
 * update once and in order.
 *
 * An update is in flight until the last subscriber has it. A server's own acknowledgement would count otherwise: it comes
 * before the delivery, so that a fast server is fed more than its subscribers take, and queues are measured.
 */
import type { Connection } from './connection.ts'
import { Histogram } from './histogram.ts'
import { pause, type ServerProcess } from './server-process.ts'
import { subscribeAll } from './subscribe-all.ts'
import type { System } from './systems/system.ts'
import { updateReader, updateText } from './update.ts'

const TOPIC = 'a'

/** Where updates go, in systems that store a tree: to one place again and again, or each to a new child as in a chat. */
export type Shape = 'place' | 'chat'

export interface StreamOptions {
  subscribers: number
  /** Length of an update's text. */
  bytes: number
}

export class UpdateStream {
  deliveries = 0
  /** Milliseconds from sending an update to its arrival at the last subscriber. */
  readonly latency = new Histogram()
  shape: Shape = 'place'
  readonly #system: System
  readonly #publisher: Connection
  readonly #subscribers: readonly Connection[]
  readonly #bytes: number
  readonly #underWay = new Map<number, { atMs: number; missing: number }>()
  #published = 0
  #inFlight = 0
  #isRefillDue = false
  #timer: NodeJS.Timeout | null = null

  private constructor(system: System, publisher: Connection, subscribers: Connection[], bytes: number) {
    this.#system = system
    this.#publisher = publisher
    this.#subscribers = subscribers
    this.#bytes = bytes
    const read = updateReader(system.textBefore)
    for (const subscriber of subscribers) this.#watch(subscriber, read)
  }

  static async open(system: System, server: ServerProcess, options: StreamOptions): Promise<UpdateStream> {
    const deaf = Math.round(options.subscribers * (system.deafShare ?? 0))
    for (const connection of await subscribeAll(system, server, deaf, () => TOPIC)) connection.stopReading()
    const subscribers = await subscribeAll(system, server, options.subscribers, () => TOPIC)
    const publisher = await system.publisher(server)
    for (const connection of [...subscribers, publisher]) {
      connection.onEnd = () => {
        throw new Error(`${system.name}: the server closed a connection`)
      }
    }
    return new UpdateStream(system, publisher, subscribers, options.bytes)
  }

  /** From now on keeps that many updates in flight. */
  keepInFlight(count: number): void {
    this.#inFlight = count
    this.#refill()
  }

  /** From now on publishes at a steady rate, whatever has arrived. */
  publishAt(perSecond: number): void {
    const startMs = performance.now()
    let sent = 0
    // A timer's grain is 1 ms; above 1,000 a second several leave at once.
    this.#timer = setInterval(
      () => {
        const due = Math.floor(((performance.now() - startMs) / 1000) * perSecond) - sent
        sent += due
        this.#publish(due)
      },
      Math.max(1, 1000 / perSecond / 4),
    )
  }

  /** Ends the stream. Fails when an update does not arrive everywhere. */
  async drain(): Promise<void> {
    this.#inFlight = 0
    if (this.#timer !== null) clearInterval(this.#timer)
    const deadlineMs = performance.now() + 10_000
    while (this.#underWay.size > 0) {
      if (performance.now() > deadlineMs) throw new Error(`${this.#system.name}: updates were lost`)
      await pause(0.05)
    }
  }

  close(): void {
    for (const subscriber of this.#subscribers) subscriber.close()
    this.#publisher.close()
  }

  #watch(subscriber: Connection, read: ReturnType<typeof updateReader>): void {
    let last = 0
    const found = (number: number): void => {
      if (number !== last + 1) throw new Error(`${this.#system.name}: update ${number} came after ${last}`)
      last = number
      this.deliveries += 1
      const update = this.#underWay.get(number)!
      update.missing -= 1
      if (update.missing === 0) this.#arrived(number, update.atMs)
    }
    subscriber.onFrame = (payload) => read(payload, found)
  }

  #arrived(number: number, atMs: number): void {
    this.latency.record(performance.now() - atMs)
    this.#underWay.delete(number)
    if (this.#isRefillDue || this.#inFlight === 0) return
    this.#isRefillDue = true
    // After all sockets that are readable now: what ends together begins together, in one packet.
    setImmediate(() => {
      this.#isRefillDue = false
      this.#refill()
    })
  }

  #refill(): void {
    this.#publish(this.#inFlight - this.#underWay.size)
  }

  #publish(count: number): void {
    if (count <= 0) return
    this.#publisher.corked(() => {
      for (let i = 0; i < count; i++) {
        const number = ++this.#published
        this.#underWay.set(number, { atMs: performance.now(), missing: this.#subscribers.length })
        const key = this.shape === 'chat' ? `m${number}` : undefined
        this.#system.publish(this.#publisher, TOPIC, updateText(number, this.#bytes), key)
      }
    })
  }
}
