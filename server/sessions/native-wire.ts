/**
 * The native wire: one encoding of a patch for all native sessions on a query, sent through one topic.
 */
import { strict as assert } from 'node:assert'
import {
  type Delivery,
  Encoder,
  encodeToClient,
  type Step,
  type ToClient,
  type Value,
} from '../../protocol/index.ts'
import type { Wire } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { PacedDelivery, type Present } from './paced-delivery.ts'
import type { Publisher, Sink } from './sink.ts'

export interface DeliveryCounters {
  deliveries: number
  deliveredBytes: number
}

export class NativeWire implements Wire {
  readonly name = 'native'
  readonly #publisher: Publisher
  readonly #counters: DeliveryCounters
  readonly #subscribers = new Map<LiveQuery, number>()
  readonly #encoder = new Encoder()
  /** Topics of several databases share one publisher; live query ids are unique within a database only. */
  readonly #topicPrefix: string
  readonly #paced: PacedDelivery

  constructor(database: string, publisher: Publisher, counters: DeliveryCounters, present: Present) {
    this.#topicPrefix = `${database}/`
    this.#publisher = publisher
    this.#counters = counters
    this.#paced = new PacedDelivery({
      present,
      send: (live, topic, steps, revision, subscribers) =>
        this.#send(live, this.#topicPrefix + topic, steps, revision, subscribers),
    })
  }

  subscribe(live: LiveQuery, sink: Sink, delivery?: Delivery): void {
    if (delivery !== undefined) {
      sink.subscribe(this.#topicPrefix + this.#paced.join(live, delivery))
      return
    }
    this.#subscribers.set(live, (this.#subscribers.get(live) ?? 0) + 1)
    sink.subscribe(this.#topic(live))
  }

  unsubscribe(live: LiveQuery, sink: Sink, delivery?: Delivery): void {
    if (delivery !== undefined) {
      sink.unsubscribe(this.#topicPrefix + this.#paced.leave(live, delivery))
      return
    }
    const before = this.#subscribers.get(live)
    assert(before !== undefined, 'only who was subscribed is unsubscribed')
    const count = before - 1
    if (count === 0) this.#subscribers.delete(live)
    else this.#subscribers.set(live, count)
    sink.unsubscribe(this.#topic(live))
  }

  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void {
    this.#paced.deliver(live, steps, revision)
    const subscribers = this.#subscribers.get(live)
    if (subscribers !== undefined) this.#send(live, this.#topic(live), steps, revision, subscribers)
  }

  deliverMessages(live: LiveQuery, values: readonly Value[], revision: number): void {
    const subscribers = this.#subscribers.get(live)
    if (subscribers === undefined) return
    this.#publish(this.#topic(live), { type: 'message', queryId: live.id, revision, values }, subscribers)
  }

  #send(live: LiveQuery, topic: string, steps: readonly Step[], revision: number, subscribers: number): void {
    this.#publish(topic, { type: 'patch', queryId: live.id, revision, steps }, subscribers)
  }

  #publish(topic: string, message: ToClient, subscribers: number): void {
    this.#encoder.reset()
    encodeToClient(this.#encoder, message)
    const bytes = this.#encoder.view()
    this.#publisher.publish(topic, bytes)
    this.#counters.deliveries += subscribers
    this.#counters.deliveredBytes += subscribers * bytes.length
  }

  #topic(live: LiveQuery): string {
    return this.#topicPrefix + live.id
  }
}
