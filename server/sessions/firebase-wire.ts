/**
 * The Firebase wire: what a commit group did to a query, encoded once and sent to all its Firebase listeners.
 * Listens to the whole value share their bytes; listens to a query carry a tag, so those with the same tag do,
 * and clients that run the same app have the same tags.
 *
 * INVARIANT: a push is one write's, or that of writes apart from each other: no value anyone saw is skipped.
 */
import type { Step, Value } from '../../protocol/index.ts'
import type { Wire } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { PIECE_UNITS_MAX } from './firebase-framing.ts'
import type { DeliveryCounters } from './native-wire.ts'
import type { Publisher, Sink } from './sink.ts'

/**
 * uWebSockets.js writes to a socket for each 32 messages of its topics. More than that cost 0.31 us each by a topic and
 * 0.24 us by a loop over the sockets, 32 and fewer no less by the loop (ARCHITECTURE.md, where the time goes).
 */
const TOPIC_MESSAGES_PER_WRITE = 32

/** A session, as far as the wire has to speak to it alone. */
export interface Receiver {
  readonly sink: Sink
  /** A push too long for one frame: its pieces may not be dropped one by one, as frames of a topic are. */
  push(message: string): void
  /** A query was told of, without a tag, what a group did. @param isDeletion Something of it went. */
  toldUntagged(live: LiveQuery, isDeletion: boolean): void
}

export class FirebaseWire implements Wire {
  readonly name = 'firebase'
  readonly #publisher: Publisher
  readonly #counters: DeliveryCounters
  readonly #topicPrefix: string
  /** Who listens to a query, by tag; null for listens to the whole value. */
  readonly #receivers = new Map<LiveQuery, Map<number | null, Set<Receiver>>>()

  constructor(database: string, publisher: Publisher, counters: DeliveryCounters) {
    this.#topicPrefix = `firebase/${database}/`
    this.#publisher = publisher
    this.#counters = counters
  }

  subscribe(live: LiveQuery, tag: number | null, receiver: Receiver): void {
    let tags = this.#receivers.get(live)
    if (tags === undefined) {
      tags = new Map()
      this.#receivers.set(live, tags)
    }
    const receivers = tags.get(tag)
    if (receivers === undefined) tags.set(tag, new Set([receiver]))
    else receivers.add(receiver)
    receiver.sink.subscribe(this.#topic(live, tag))
  }

  unsubscribe(live: LiveQuery, tag: number | null, receiver: Receiver): void {
    const tags = this.#receivers.get(live)
    const receivers = tags?.get(tag)
    if (!receivers?.delete(receiver)) return
    receiver.sink.unsubscribe(this.#topic(live, tag))
    if (receivers.size > 0) return
    tags!.delete(tag)
    if (tags!.size === 0) this.#receivers.delete(live)
  }

  deliver(live: LiveQuery, steps: readonly Step[]): void {
    const tags = this.#receivers.get(live)
    if (tags === undefined) return
    const pushes = pushesOf(live, stepsThatLast(live, steps).flatMap(prioritiesLast))
    for (const [tag, receivers] of tags) {
      const messages = pushes.map((open) => withTag(open, live, tag))
      const areMany = messages.length > TOPIC_MESSAGES_PER_WRITE
      if (areMany && messages.every(({ length }) => length <= PIECE_UNITS_MAX)) {
        this.#sendTogether(receivers, messages)
      } else for (const message of messages) this.#send(live, tag, receivers, message)
      if (pushTag(live, tag) !== null) continue
      const isDeletion = steps.some((step) => step.includes(null))
      for (const receiver of receivers) receiver.toldUntagged(live, isDeletion)
    }
  }

  /** What a socket's topics still hold leaves before it. */
  #sendTogether(receivers: Set<Receiver>, messages: readonly string[]): void {
    const frames = messages.map((message) => Buffer.from(message))
    for (const { sink } of [...receivers]) {
      sink.cork(() => {
        for (const frame of frames) if (!sink.send(frame)) return
      })
    }
    for (const { length } of frames) this.#count(receivers.size, length)
  }

  #send(live: LiveQuery, tag: number | null, receivers: Set<Receiver>, message: string): void {
    this.#count(receivers.size, message.length)
    if (message.length > PIECE_UNITS_MAX) {
      for (const receiver of [...receivers]) receiver.push(message)
      return
    }
    this.#publisher.publish(this.#topic(live, tag), Buffer.from(message), 'text')
  }

  #count(receivers: number, bytes: number): void {
    this.#counters.deliveries += receivers
    this.#counters.deliveredBytes += receivers * bytes
  }

  #topic(live: LiveQuery, tag: number | null): string {
    return `${this.#topicPrefix}${live.id}/${tag ?? ''}`
  }
}

/**
 * The tag that pushes of a listen carry: a query that is served whole, since its order has no index, is told so by
 * pushes without one. Then the client keeps all of the value and picks what the query shows; under a tag it would
 * keep what the query shows, and ignore changes of anything else.
 */
export function pushTag(live: LiveQuery, tag: number | null): number | null {
  return live.window === null ? null : tag
}

/** The pushes that bring one listen alone up to date: none for an empty step. */
export function catchUpPushes(live: LiveQuery, step: Step, tag: number | null): string[] {
  if (step.length === 0) return []
  return prioritiesLast(step).map((part) => withTag(pushOf(live, part), live, tag))
}

/**
 * Clients take the members of a push in the order of their keys, and a place that is not there yet has no priority: one
 * of a place that the same step writes below comes behind it.
 */
function prioritiesLast(step: Step): Step[] {
  if (step.length === 2) return [step]
  const written = new Set<string>()
  for (let i = 0; i < step.length; i += 2) {
    const path = step[i] as string
    if (prioritised(path) !== null) continue
    written.add('')
    for (const ancestor of ancestorsOf(path)) written.add(ancestor)
  }
  const values: (string | Value)[] = []
  const priorities: (string | Value)[] = []
  for (let i = 0; i < step.length; i += 2) {
    const place = prioritised(step[i] as string)
    ;(place !== null && written.has(place) ? priorities : values).push(step[i]!, step[i + 1]!)
  }
  return priorities.length === 0 ? [step] : [values, priorities]
}

/** The place whose priority a path names; null for any other path. */
function prioritised(path: string): string | null {
  if (path === '.priority') return ''
  return path.endsWith('/.priority') ? path.slice(0, -'/.priority'.length) : null
}

function withTag(open: string, live: LiveQuery, tag: number | null): string {
  const named = pushTag(live, tag)
  return named === null ? `${open}}}}` : `${open},"t":${named}}}}`
}

/** A query that turns from a window into the whole value, or back, starts anew: what its steps before did is part of it. */
function stepsThatLast(live: LiveQuery, steps: readonly Step[]): readonly Step[] {
  return live.query === null
    ? steps
    : steps.slice(
        Math.max(
          0,
          steps.findLastIndex((step) => step[0] === ''),
        ),
      )
}

/**
 * The messages of a group, each without its end, so that a tag fits in. Writes apart from each other share one:
 * a frame costs more than what is in it.
 */
function pushesOf(live: LiveQuery, steps: readonly Step[]): string[] {
  if (steps.length === 1) return [pushOf(live, steps[0]!)]
  const pushes: string[] = []
  const merge = new Merge(live)
  for (const step of steps) {
    if (merge.isFull || merge.overlaps(step)) pushes.push(...merge.take())
    merge.add(step)
  }
  pushes.push(...merge.take())
  return pushes
}

function pushOf(live: LiveQuery, step: Step): string {
  const at = step[0] as string
  // A window changes in one merge at the query’s own path, whatever the number of children that came and went. And a priority
  // comes in a merge, which the SDK leaves aside for a listen that it has not been answered: an overwrite of the priority of
  // a list that it is about to show in the order of a child makes it fail.
  const mayBeOverwrite = live.window === null && prioritised(at) === null
  if (step.length === 2 && (at === '' || mayBeOverwrite)) {
    return overwrite(at === '' ? live.pathText : joined(live.pathText, at), JSON.stringify(step[1] as Value))
  }
  const merge = new Merge(live)
  merge.add(step)
  return merge.take()[0]!
}

/** Steps apart from each other, as one push. */
class Merge {
  readonly #live: LiveQuery
  #members: string[] = []
  #units = 0
  #paths = new Set<string>()
  /** Paths above one in `#paths`. */
  #above = new Set<string>()
  /** The one step in it replaces the query's whole value. */
  #isWhole = false

  constructor(live: LiveQuery) {
    this.#live = live
  }

  get isFull(): boolean {
    // Half of what fits, so that the next step mostly still does.
    return this.#units > PIECE_UNITS_MAX / 2
  }

  overlaps(step: Step): boolean {
    if (this.#members.length === 0) return false
    if (this.#isWhole) return true
    for (let i = 0; i < step.length; i += 2) {
      const path = step[i] as string
      if (path === '' || this.#paths.has(path) || this.#above.has(path)) return true
      // It would be taken before what makes its place.
      const place = prioritised(path)
      if (place !== null && (place === '' || this.#above.has(place))) return true
      // Or what makes a place before a priority that was for none.
      if (this.#paths.has('.priority')) return true
      for (const ancestor of ancestorsOf(path)) {
        if (this.#paths.has(ancestor) || this.#paths.has(`${ancestor}/.priority`)) return true
      }
    }
    return false
  }

  add(step: Step): void {
    for (let i = 0; i < step.length; i += 2) {
      const path = step[i] as string
      if (path === '') this.#isWhole = true
      const value = JSON.stringify(step[i + 1] as Value)
      const member = this.#isWhole ? value : `${JSON.stringify(path)}:${value}`
      this.#members.push(member)
      this.#units += member.length
      this.#paths.add(path)
      for (const ancestor of ancestorsOf(path)) this.#above.add(ancestor)
    }
  }

  take(): string[] {
    if (this.#members.length === 0) return []
    const { pathText } = this.#live
    const push = this.#isWhole
      ? overwrite(pathText, this.#members[0]!)
      : `{"t":"d","d":{"a":"m","b":{"p":${JSON.stringify(pathText)},"d":{${this.#members.join(',')}}`
    this.#members = []
    this.#units = 0
    this.#paths = new Set()
    this.#above = new Set()
    this.#isWhole = false
    return [push]
  }
}

function overwrite(path: string, json: string): string {
  return `{"t":"d","d":{"a":"d","b":{"p":${JSON.stringify(path)},"d":${json}`
}

function joined(base: string, path: string): string {
  return base === '' ? path : `${base}/${path}`
}

function* ancestorsOf(path: string): Iterable<string> {
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) yield path.slice(0, at)
}
