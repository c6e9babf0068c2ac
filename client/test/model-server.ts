/**
 * A server small enough to be seen to be right: one value, writes applied in the order they arrive, patches before
 * acks. What it would send waits in a queue, so that a test decides when each message arrives.
 */
import {
  decodeToServer,
  Encoder,
  encodeToClient,
  hasOwn,
  isAtOrAbove,
  isObject,
  type Path,
  PROTOCOL_VERSION,
  type Query,
  queryKey,
  resolveServerValues,
  sameValue,
  type ToClient,
  type ToServer,
  type Value,
  valueAt,
  withValueAt,
} from '../../protocol/index.ts'
import type { Environment } from '../environment.ts'
import type { SocketEvents } from '../socket.ts'
import { windowOf } from '../window.ts'

interface Listener {
  path: Path
  query: Query | null
  queryId: number
}

export class ModelServer {
  value: Value = null
  nowMs = 1_700_000_000_000
  #revision = 0
  /** Values by revision: what a client that resumes may hold. */
  readonly #values: Value[] = [null]
  #lastQueryId = 0
  #connection: {
    events: SocketEvents
    in: Uint8Array[]
    out: Uint8Array[]
    listeners: Map<string, Listener>
  } | null = null
  #timers: (() => void)[] = []
  readonly #random: () => number

  constructor(random: () => number) {
    this.#random = random
  }

  readonly environment: Environment = {
    nowMs: () => this.nowMs,
    random: () => this.#random(),
    schedule: (_delayMs, task) => {
      this.#timers.push(task)
      return () => {
        this.#timers = this.#timers.filter((other) => other !== task)
      }
    },
    openSocket: (_url, events) => {
      const connection = { events, in: [] as Uint8Array[], out: [] as Uint8Array[], listeners: new Map() }
      this.#connection = connection
      this.#send({
        type: 'hello',
        version: PROTOCOL_VERSION,
        serverTimeMs: this.nowMs,
        sessionId: 's',
        epoch: 'e',
        revision: this.#revision,
        pingIntervalMs: 20_000,
        limits: { frameBytesMax: 1e9, listensMax: 1e9 },
      })
      return {
        send: (bytes) => connection.in.push(bytes),
        close: () => {
          if (this.#connection === connection) this.#connection = null
        },
      }
    },
    onNetworkBack: () => () => {},
  }

  get isCut(): boolean {
    return this.#connection === null
  }

  get isBusy(): boolean {
    const at = this.#connection
    return at === null || at.in.length + at.out.length > 0
  }

  /** One frame from the client is worked through. */
  takeIn(): void {
    const frame = this.#connection?.in.shift()
    if (frame === undefined) return
    for (const message of decodeToServer(frame)) {
      if (message.type === 'rejected') throw message.error
      this.#serve(message)
    }
  }

  /** One frame reaches the client. */
  letOut(): void {
    const at = this.#connection
    const frame = at?.out.shift()
    if (frame !== undefined) at!.events.received(frame)
  }

  /** The connection breaks; what was on its way is lost, in both directions. */
  cut(): void {
    const at = this.#connection
    if (at === null) return
    this.#connection = null
    at.events.closed(1006, '')
  }

  runTimers(): void {
    for (const task of this.#timers.splice(0)) task()
  }

  /** Somebody else writes. */
  write(entries: readonly (readonly [Path, Value])[]): void {
    const before = this.value
    for (const [path, value] of entries) {
      this.value = withValueAt(
        this.value,
        path,
        resolveServerValues(value, valueAt(before, path), this.nowMs),
      )
    }
    if (sameValue(before, this.value)) return
    this.#revision += 1
    this.#values.push(this.value)
    for (const { path, query, queryId } of this.#connection?.listeners.values() ?? []) {
      const step =
        query === null
          ? wholeStep(path, entries, before, this.value)
          : windowStep(windowOf(valueAt(before, path), query), windowOf(valueAt(this.value, path), query))
      if (step.length > 0) this.#send({ type: 'patch', queryId, revision: this.#revision, steps: [step] })
    }
  }

  #serve(message: ToServer): void {
    const { id } = message
    const listeners = this.#connection!.listeners
    switch (message.type) {
      case 'listen': {
        const { path, query } = message
        if (path.includes('secret')) return this.#deny(id)
        this.#lastQueryId += 1
        listeners.set(listenKey(message), { path, query, queryId: this.#lastQueryId })
        const whole = valueAt(this.value, path)
        const value = query === null ? whole : windowOf(whole, query)
        const answer = { id, queryId: this.#lastQueryId, revision: this.#revision }
        const held = message.resume
        // Sometimes the log no longer reaches back.
        if (held === undefined || this.#random() < 0.3)
          return this.#send({ type: 'snapshot', ...answer, value })
        const before = valueAt(this.#values[held.revision]!, path)
        const step = query === null ? valueStep(before, whole) : windowStep(windowOf(before, query), value)
        return this.#send({ type: 'resumed', ...answer, steps: step.length > 0 ? [step] : [] })
      }
      case 'ping':
        return this.#send({ type: 'pong', id, serverTimeMs: this.nowMs })
      case 'unlisten':
        listeners.delete(listenKey(message))
        return this.#ack(id)
      case 'set':
      case 'remove':
      case 'update': {
        const { path } = message
        const entries =
          message.type === 'update'
            ? message.entries.map(([below, value]) => [[...path, ...below], value as Value] as const)
            : [[path, message.type === 'set' ? (message.value as Value) : null] as const]
        if (JSON.stringify(entries).includes('forbidden')) return this.#deny(id)
        this.write(entries)
        return this.#ack(id)
      }
      default:
        throw new Error(`the model knows no ${message.type}`)
    }
  }

  #ack(id: number): void {
    this.#send({ type: 'ack', revision: this.#revision, ids: [id] })
  }

  #deny(id: number): void {
    this.#send({
      type: 'error',
      id,
      code: 101,
      name: 'permission_denied',
      message: 'denied',
      retryAfterMs: null,
    })
  }

  #send(message: ToClient): void {
    const encoder = new Encoder()
    encodeToClient(encoder, message)
    this.#connection!.out.push(encoder.take())
  }
}

function listenKey({ path, query }: { path: Path; query: Query | null }): string {
  return `${path.join('/')}?${queryKey(query)}`
}

/** What a write did below a path: the whole value, where it was above; else each place with its new value. */
function wholeStep(
  path: Path,
  entries: readonly (readonly [Path, Value])[],
  before: Value,
  after: Value,
): (string | Value)[] {
  if (sameValue(valueAt(before, path), valueAt(after, path))) return []
  if (entries.some(([at]) => isAtOrAbove(at, path))) return ['', valueAt(after, path)]
  return entries
    .filter(([at]) => isAtOrAbove(path, at))
    .flatMap(([at]) => [at.slice(path.length).join('/'), valueAt(after, at)])
}

function windowStep(before: Value, after: Value): (string | Value)[] {
  const keys = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])
  return [...keys].flatMap((key) => {
    const value = valueAt(after, [key])
    return sameValue(valueAt(before, [key]), value) ? [] : [key, value]
  })
}

/** From one value to another: child by child where that is possible, so that what is held is needed. */
function valueStep(before: Value, after: Value): (string | Value)[] {
  const isPlain = (value: Value): boolean => isObject(value) && !hasOwn(value, '.priority')
  if (sameValue(before, after)) return []
  return isPlain(before) && isPlain(after) ? windowStep(before, after) : ['', after]
}
