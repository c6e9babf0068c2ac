/**
 * Many rooms whose members all talk and all hear each other, and the proof that each member got what each of the others
 * said, once and in order; or, where only the latest is asked for, never something older than it already has.
 */
import type { Connection } from './connection.ts'
import { Histogram } from './histogram.ts'
import { pause, type ServerProcess } from './server-process.ts'
import { subscribeAll } from './subscribe-all.ts'
import type { System } from './systems/system.ts'
import { updateReader, updateText } from './update.ts'

/** An update's number is its sender's times this, plus the sender's own count. */
const SENDER = 10_000_000
/**
 * Seconds of talk that may be under way. A system that cannot keep up is held there instead of being fed until its
 * memory ends: what it delivers for each second of CPU is measured either way.
 */
const BACKLOG_SECONDS = 1
const TICK_MS = 5
/** A backlog that does not shrink at all in this time was lost. */
const STUCK_MS = 10_000

export interface RoomOptions {
  rooms: number
  members: number
  /** Messages a second of each member. */
  hz: number
  bytes: number
  /** Where in its room a message goes, in systems that store a tree. */
  keyOf(sender: number, count: number): string
}

export class RoomLoad {
  deliveries = 0
  published = 0
  /** Milliseconds from sending a message to its arrival at the last member. */
  readonly latency = new Histogram()
  readonly #system: System
  readonly #options: RoomOptions
  readonly #members: readonly Connection[]
  readonly #publishers: readonly Connection[]
  readonly #underWay = new Map<number, { atMs: number; missing: number }>()
  #timer: NodeJS.Timeout | null = null

  private constructor(
    system: System,
    options: RoomOptions,
    members: readonly Connection[],
    publishers: readonly Connection[],
  ) {
    this.#system = system
    this.#options = options
    this.#members = members
    this.#publishers = publishers
    const read = updateReader(system.textBefore)
    for (const member of members) this.#watch(member, read)
  }

  static async open(system: System, server: ServerProcess, options: RoomOptions): Promise<RoomLoad> {
    const { rooms, members } = options
    // The n-th member sits in room n modulo the number of rooms, so that talk in turn is spread over all rooms.
    const connections = await subscribeAll(system, server, rooms * members, (n) => `r${n % rooms}`)
    const publishers: Connection[] = []
    for (let room = 0; system.publishesApart && room < rooms; room++) {
      publishers.push(await system.publisher(server))
    }
    return new RoomLoad(system, options, connections, publishers)
  }

  start(): void {
    const { hz, rooms, members } = this.#options
    const perSecond = rooms * members * hz
    let lastMs = performance.now()
    let due = 0
    this.#timer = setInterval(() => {
      const nowMs = performance.now()
      due += ((nowMs - lastMs) / 1000) * perSecond
      lastMs = nowMs
      while (due >= 1) {
        due -= 1
        if (this.#underWay.size < perSecond * BACKLOG_SECONDS) this.#publish()
      }
    }, TICK_MS)
  }

  /** Ends the talk. Fails when something does not arrive everywhere. */
  async drain(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    let seen = -1
    let seenAtMs = 0
    while (this.#underWay.size > 0) {
      if (this.deliveries !== seen) {
        seen = this.deliveries
        seenAtMs = performance.now()
      }
      if (performance.now() - seenAtMs > STUCK_MS) throw new Error(`${this.#system.name}: messages were lost`)
      await pause(0.1)
    }
  }

  close(): void {
    for (const connection of [...this.#members, ...this.#publishers]) connection.close()
  }

  #watch(member: Connection, read: ReturnType<typeof updateReader>): void {
    const { rooms, members } = this.#options
    const lastOfSeat = new Uint32Array(members)
    const found = (number: number): void => {
      const seat = Math.floor(Math.floor(number / SENDER) / rooms)
      const count = number % SENDER
      const last = lastOfSeat[seat]!
      const isNext = this.#system.isConflated ? count > last : count === last + 1
      if (!isNext) throw new Error(`${this.#system.name}: message ${count} came after ${last}`)
      lastOfSeat[seat] = count
      // What was passed over has been delivered with the newer one.
      for (let behind = count - last - 1; behind >= 0; behind--) this.#arrived(number - behind)
    }
    member.onFrame = (payload) => read(payload, found)
  }

  #arrived(number: number): void {
    this.deliveries += 1
    const message = this.#underWay.get(number)!
    message.missing -= 1
    if (message.missing > 0) return
    this.latency.record(performance.now() - message.atMs)
    this.#underWay.delete(number)
  }

  #publish(): void {
    const { rooms, members, bytes, keyOf } = this.#options
    const sender = this.published % this.#members.length
    const count = Math.floor(this.published / this.#members.length) + 1
    const number = sender * SENDER + count
    this.published += 1
    this.#underWay.set(number, {
      atMs: performance.now(),
      missing: this.#system.skipsSender ? members - 1 : members,
    })
    const room = sender % rooms
    const connection = this.#publishers[room] ?? this.#members[sender]!
    this.#system.publish(connection, `r${room}`, updateText(number, bytes), keyOf(sender, count))
  }
}
