/**
 * Event streams: server-sent events in Firebase's form over live listeners.
 *
 *   put     {path, data}       replaces the value at a path relative to the request; the first event is one
 *   patch   {path, data}       replaces each key of `data` below that path; keys may be paths
 *   keep-alive, cancel, auth_revoked
 *
 * Beyond Firebase the last event of each group of writes has an id, `epoch:revision`. A client that returns with the
 * latest it had is sent what it missed, as far as the change log tells, and else the whole value.
 *
 * A stream whose client is too slow is sent no more changes; once its socket has room it gets one `put` of the
 * whole value. So it holds one piece of text, however much it missed.
 */
import {
  type Path,
  type Query,
  RequestError,
  type ResumePoint,
  type Step,
  type Value,
} from '../../protocol/index.ts'
import type { Database, ReadResult } from '../database.ts'
import type { Identity } from '../identity.ts'
import { noIndex } from '../indexes.ts'
import type { Listener, Subscriber, Wire } from '../listeners/listener.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { Expiry } from '../sessions/expiry.ts'
import type { ConnectionCount } from '../sessions/open-sessions.ts'
import { isPriorityPath } from '../write-entries.ts'
import type { HttpRequest, OutStream, Pieces, StreamReply } from './http.ts'
import type { Answers } from './rest-answers.ts'
import { type JsonForm, jsonPieces, restValue } from './rest-json.ts'

export interface EventStreamLimits {
  /** A slow client that has not caught up after this long is cut off. */
  slowConsumerDeadlineMs: number
}

/** Plain numbers the metrics page reads. */
export interface EventStreamCounters {
  deliveries: number
  deliveredBytes: number
  slowConsumers: number
}

export interface EventStreamParts {
  nowMs(): number
  limits: EventStreamLimits
  counters: EventStreamCounters
  answers: Answers
  /** All that are open, whatever their wire. */
  connections: ConnectionCount
}

export interface StreamRequest {
  request: HttpRequest
  database: Database
  identity: Identity
  /** Whose budget it is; null for an admin. */
  client: string | null
  expiresAtMs: number | null
  path: Path
  query: Query | null
  isExport: boolean
  /** What the client holds, where it says so: `resumePointOf`. */
  resume: ResumePoint | null
}

/** What `Last-Event-ID` names, if it is one of ours. */
export function resumePointOf(request: HttpRequest): ResumePoint | null {
  const match = /^([\w.-]{1,100}):(\d{1,15})$/.exec(request.header('last-event-id'))
  return match === null ? null : { epoch: match[1]!, revision: Number(match[2]) }
}

const KEEP_ALIVE_MS = 30_000
/** Who is behind looks again so often whether there is memory for a whole value. */
const FULL_MS = 100

/** All event streams of a server: a wire for each database that has had one. */
export class EventStreams {
  readonly #parts: EventStreamParts
  readonly #wires = new Map<Database, EventStreamWire>()

  constructor(parts: EventStreamParts) {
    this.#parts = parts
  }

  /**
   * To be called while the database is readable.
   * @throws {RequestError} as `Database.listen`
   */
  open(request: StreamRequest): StreamReply {
    const { connections } = this.#parts
    const stream = new EventStream(request, this.#wireOf(request.database), this.#parts, () =>
      connections.leave(),
    )
    connections.enter()
    return {
      status: '200 OK',
      headers: [
        ['Content-Type', 'text/event-stream; charset=utf-8'],
        ['Cache-Control', 'no-cache'],
        // nginx would hold events back until its buffer is full.
        ['X-Accel-Buffering', 'no'],
      ],
      stream: (out) => stream.begin(out),
    }
  }

  #wireOf(database: Database): EventStreamWire {
    let wire = this.#wires.get(database)
    if (wire === undefined) {
      wire = new EventStreamWire(database.epoch, this.#parts.counters)
      this.#wires.set(database, wire)
      database.addWire(wire)
    }
    return wire
  }
}

/** One text of each change for all streams on a query. */
class EventStreamWire implements Wire {
  readonly name = 'event-stream'
  readonly epoch: string
  readonly #counters: EventStreamCounters
  readonly #streams = new Map<LiveQuery, Set<EventStream>>()
  #keepAlive: NodeJS.Timeout | null = null

  constructor(epoch: string, counters: EventStreamCounters) {
    this.epoch = epoch
    this.#counters = counters
  }

  add(live: LiveQuery, stream: EventStream): void {
    const streams = this.#streams.get(live)
    if (streams === undefined) this.#streams.set(live, new Set([stream]))
    else streams.add(stream)
    this.#keepAlive ??= setInterval(() => this.#sendKeepAlives(), KEEP_ALIVE_MS).unref()
  }

  remove(live: LiveQuery, stream: EventStream): void {
    const streams = this.#streams.get(live)
    if (!streams?.delete(stream) || streams.size > 0) return
    this.#streams.delete(live)
    if (this.#streams.size > 0 || this.#keepAlive === null) return
    clearInterval(this.#keepAlive)
    this.#keepAlive = null
  }

  deliver(live: LiveQuery, steps: readonly Step[], revision: number): void {
    const streams = this.#streams.get(live)
    if (streams === undefined) return
    const id = `${this.epoch}:${revision}`
    let plain: string | null = null
    let exported: string | null = null
    for (const stream of [...streams]) {
      if (stream.isExport) exported ??= eventsOf(steps, id, true)
      else plain ??= eventsOf(steps, id, false)
      const events = (stream.isExport ? exported : plain)!
      stream.changed(events)
      this.#counters.deliveries += 1
      this.#counters.deliveredBytes += events.length
    }
  }

  #sendKeepAlives(): void {
    for (const streams of this.#streams.values()) for (const stream of streams) stream.keepAlive()
  }
}

class EventStream implements Subscriber {
  readonly identity: Identity
  readonly wire: EventStreamWire
  readonly isExport: boolean
  readonly #database: Database
  readonly #listener: Listener
  /** Shows a part of the list, which takes an index as long as it lasts. */
  readonly #isWindowed: boolean
  readonly #parts: EventStreamParts
  readonly #ended: () => void
  #out: OutStream | null = null
  /** What to begin with: the value, or what the client missed of it. */
  #first: { value: Value | undefined; steps: readonly Step[] | null; revision: number } | null
  /** A whole value on its way. */
  #pieces: Pieces | null = null
  readonly #client: string | null
  #retry: NodeJS.Timeout | null = null
  #isFull = false
  /** Changes were left out: a whole value is owed. */
  #isBehind = false
  #isOver = false
  #deadline: NodeJS.Timeout | null = null
  #expiry: Expiry | null = null

  constructor(request: StreamRequest, wire: EventStreamWire, parts: EventStreamParts, ended: () => void) {
    this.identity = request.identity
    this.#client = request.client
    this.wire = wire
    this.isExport = request.isExport
    this.#database = request.database
    this.#parts = parts
    this.#ended = ended
    const { path, query, resume } = request
    const { listener, value, steps, revision, warning } = request.database.listen(this, path, query, {
      resume,
    })
    if (warning !== null) {
      // Other wires filter at the client; what reads a stream expects the server to.
      request.database.unlisten(listener)
      throw noIndex(path, query!)
    }
    this.#listener = listener
    this.#isWindowed = listener.live.window !== null
    this.#first = { value, steps, revision }
    wire.add(listener.live, this)
    if (request.expiresAtMs !== null) {
      this.#expiry = new Expiry(request.expiresAtMs, parts.nowMs, () =>
        this.#finish(eventText('auth_revoked', 'credential is no longer valid')),
      )
    }
  }

  /** The head of the answer is out. */
  begin(out: OutStream): void {
    this.#out = out
    out.onGone(() => this.#end())
    if (this.#isOver) {
      out.end()
      return
    }
    out.onWritable(() => this.#writable())
    const first = this.#first
    this.#first = null
    if (this.#isBehind || first === null) this.#catchUp()
    else if (first.steps === null) this.#put(first.value!, first.revision)
    else {
      const id = `${this.wire.epoch}:${first.revision}`
      // The head travels with the first event: a client that missed nothing still has to see it.
      this.#write(eventsOf(first.steps, id, this.isExport) || eventText('keep-alive', null))
    }
  }

  changed(events: string): void {
    const { live } = this.#listener
    if (this.#isWindowed && live.window === null) {
      this.#finish(eventText('cancel', noIndex(live.path, live.query!).message))
      return
    }
    if (this.#out === null || this.#isFull || this.#pieces !== null) {
      this.#isBehind = true
      return
    }
    this.#write(events)
  }

  keepAlive(): void {
    if (this.#out !== null && !this.#isFull && this.#pieces === null) {
      this.#write(eventText('keep-alive', null))
    }
  }

  canceled(_live: LiveQuery, error: RequestError): void {
    this.#finish(
      eventText('cancel', error.kind === 'permissionDenied' ? 'Permission denied.' : error.message),
    )
  }

  #put(value: Value, revision: number): void {
    const before = `event: put\nid: ${this.wire.epoch}:${revision}\ndata: {"path":"/","data":`
    const form: JsonForm = { isExport: this.isExport, isPretty: false }
    const pieces = jsonPieces(value, form, before, '}\n\n')
    this.#pieces = this.#parts.answers.carryPieces(this.#client, value, pieces, this.#out!)
    this.#pump()
  }

  #pump(): void {
    while (this.#pieces !== null && !this.#isFull && !this.#isOver) {
      const piece = this.#pieces.next()
      if (piece.done === true) this.#pieces = null
      else this.#write(piece.value)
    }
  }

  #write(text: string | Uint8Array): void {
    if (this.#isOver || this.#out!.write(text)) return
    this.#isFull = true
    if (this.#deadline !== null) return
    const { counters, limits } = this.#parts
    counters.slowConsumers += 1
    this.#deadline = setTimeout(() => this.#out?.abort(), limits.slowConsumerDeadlineMs)
  }

  #writable(): void {
    this.#isFull = false
    this.#pump()
    if (this.#isFull || this.#pieces !== null) return
    if (this.#isBehind) this.#catchUp()
    else this.#endDeadline()
  }

  #endDeadline(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    this.#deadline = null
  }

  #catchUp(): void {
    if (this.#isOver) return
    if (!this.#database.isReadable) {
      setImmediate(() => this.#catchUp())
      return
    }
    if (this.#isFull || this.#pieces !== null) return
    if (this.#parts.answers.isFull && this.#client !== null) {
      // It has read all it was sent: what it waits for are others.
      this.#endDeadline()
      this.#retry ??= setTimeout(() => {
        this.#retry = null
        this.#catchUp()
      }, FULL_MS).unref()
      return
    }
    this.#isBehind = false
    let now: ReadResult
    try {
      now = this.#database.snapshotOf(this.#listener)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      // It has grown past what one read may take.
      this.#finish(eventText('cancel', error.message))
      return
    }
    this.#put(now.value, now.revision)
    if (!this.#isFull && this.#pieces === null) this.#endDeadline()
  }

  /** Says why, and ends the stream. */
  #finish(event: string): void {
    if (this.#isOver) return
    this.#end()
    const out = this.#out
    if (out === null) return
    // Within a value nothing else can be said: the client sees the stream break and asks again.
    if (this.#pieces !== null) {
      out.abort()
      return
    }
    out.write(event)
    out.end()
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#pieces?.return?.()
    this.#endDeadline()
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#expiry?.cancel()
    this.wire.remove(this.#listener.live, this)
    this.#database.unlisten(this.#listener)
    this.#ended()
  }
}

/** The events of some writes, oldest first: `put` where a write changed one place, `patch` where it changed several. */
function eventsOf(steps: readonly Step[], id: string, isExport: boolean): string {
  const events: [event: string, data: unknown][] = []
  for (const step of steps) {
    const changes: [path: string, value: Value][] = []
    for (let i = 0; i < step.length; i += 2) {
      const path = step[i] as string
      // A plain stream has no priorities.
      if (!isExport && isPriorityPath(path.split('/'))) continue
      changes.push([path, step[i + 1] as Value])
    }
    const shown = (value: Value): unknown => (isExport ? value : restValue(value))
    const isPatch = changes.length > 1 && changes.every(([path]) => path !== '')
    if (isPatch) {
      const data = Object.fromEntries(changes.map(([path, value]) => [path, shown(value)]))
      events.push(['patch', { path: '/', data }])
    } else {
      for (const [path, value] of changes) events.push(['put', { path: `/${path}`, data: shown(value) }])
    }
  }
  // Only the last vouches for the revision: a stream that breaks before it is resumed from the one before.
  return events
    .map(([event, data], i) => eventText(event, data, i === events.length - 1 ? id : null))
    .join('')
}

function eventText(event: string, data: unknown, id: string | null = null): string {
  return `event: ${event}\n${id === null ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}
