/**
 * Messages to bytes and back. Decoding checks the shape of all it reads: types, counts, paths. Values are
 * checked by `parseValue` where they are used, since their depth limit depends on the path.
 */
import { encodeDelivery, parseDelivery } from './delivery.ts'
import { RequestError } from './errors.ts'
import { FRAME_VALUES_MAX, MsgpackError } from './msgpack.ts'
import { Decoder } from './msgpack-decoder.ts'
import type { Encoder } from './msgpack-encoder.ts'
import { type Path, parsePath, quoteInput } from './path.ts'
import { encodeQuery, parseQuery, type Query } from './query.ts'
import { type Limits, type Step, type ToClient, ToClientType } from './to-client.ts'
import { type ResumePoint, type ToServer, ToServerType, type UpdateEntries } from './to-server.ts'
import type { Value } from './value.ts'

/** A frame that is no message at all: the connection cannot go on. */
export class FrameError extends Error {}

/** A message with a readable id that is wrong otherwise: only that request fails. */
export interface Rejected {
  type: 'rejected'
  id: number
  error: RequestError
}

/**
 * Decodes a client's frame, all its messages in order.
 * @throws {FrameError} when the bytes are not msgpack arrays that begin with a type and an id.
 */
export function decodeToServer(frame: Uint8Array): (ToServer | Rejected)[] {
  const decoder = new Decoder(frame, FRAME_VALUES_MAX)
  const messages: (ToServer | Rejected)[] = []
  if (decoder.isAtEnd) throw new FrameError('the frame is empty')
  while (!decoder.isAtEnd) {
    let raw: unknown
    try {
      raw = decoder.value()
    } catch (error) {
      if (error instanceof MsgpackError) throw new FrameError(error.message)
      throw error
    }
    messages.push(toServer(raw))
  }
  return messages
}

function toServer(raw: unknown): ToServer | Rejected {
  if (!Array.isArray(raw)) throw new FrameError('a message is not an array')
  const [type, id] = raw as unknown[]
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 1) {
    // Becomes the reason of a close frame, 123 bytes at most: nothing a client chose stands in it.
    throw new FrameError('a message id is not a positive integer')
  }
  try {
    return shape(type, id, raw)
  } catch (error) {
    if (error instanceof RequestError) return { type: 'rejected', id, error }
    throw error
  }
}

function shape(type: unknown, id: number, raw: unknown[]): ToServer {
  switch (type) {
    case ToServerType.auth:
      fields(raw, 3, 'auth')
      return { type: 'auth', id, token: text(raw[2], 'token') }
    case ToServerType.unauth:
      fields(raw, 2, 'unauth')
      return { type: 'unauth', id }
    case ToServerType.listen:
      return listen(id, raw)
    case ToServerType.unlisten:
      fields(raw, 4, 'unlisten')
      return { type: 'unlisten', id, path: path(raw[2]), query: parseQuery(raw[3]) }
    case ToServerType.get:
      fields(raw, 4, 'get')
      return { type: 'get', id, path: path(raw[2]), query: parseQuery(raw[3]) }
    case ToServerType.set:
      fields(raw, 4, 'set')
      return { type: 'set', id, path: path(raw[2]), value: raw[3] }
    case ToServerType.update:
      fields(raw, 4, 'update')
      return { type: 'update', id, path: path(raw[2]), entries: entries(raw[3]) }
    case ToServerType.remove:
      fields(raw, 3, 'remove')
      return { type: 'remove', id, path: path(raw[2]) }
    case ToServerType.push:
      fields(raw, 4, 'push')
      return { type: 'push', id, path: path(raw[2]), value: raw[3] }
    case ToServerType.compareAndSet:
      fields(raw, 5, 'compareAndSet')
      return { type: 'compareAndSet', id, path: path(raw[2]), revision: revision(raw[3]), value: raw[4] }
    case ToServerType.onDisconnectSet:
      fields(raw, 4, 'onDisconnectSet')
      return { type: 'onDisconnectSet', id, path: path(raw[2]), value: raw[3] }
    case ToServerType.onDisconnectUpdate:
      fields(raw, 4, 'onDisconnectUpdate')
      return { type: 'onDisconnectUpdate', id, path: path(raw[2]), entries: entries(raw[3]) }
    case ToServerType.onDisconnectCancel:
      fields(raw, 3, 'onDisconnectCancel')
      return { type: 'onDisconnectCancel', id, path: path(raw[2]) }
    case ToServerType.ping:
      fields(raw, 2, 'ping')
      return { type: 'ping', id }
    case ToServerType.send:
      fields(raw, 4, 'send')
      return { type: 'send', id, path: path(raw[2]), value: raw[3] }
    case ToServerType.listenMessages:
      fields(raw, 3, 'listenMessages')
      return { type: 'listenMessages', id, path: path(raw[2]) }
    case ToServerType.unlistenMessages:
      fields(raw, 3, 'unlistenMessages')
      return { type: 'unlistenMessages', id, path: path(raw[2]) }
    case ToServerType.presenceSet:
      fields(raw, 5, 'presenceSet')
      return { type: 'presenceSet', id, path: path(raw[2]), value: raw[3], ttlMs: ttl(raw[4]) }
    case ToServerType.presenceEnd:
      fields(raw, 3, 'presenceEnd')
      return { type: 'presenceEnd', id, path: path(raw[2]) }
    default:
      throw new RequestError('invalidMessage', `message type \`${quoteInput(type)}\` is unknown`)
  }
}

function fields(raw: unknown[], count: number, name: string): void {
  if (raw.length !== count) {
    throw new RequestError('invalidMessage', `${name} has ${raw.length} fields; it takes ${count}`)
  }
}

function listen(id: number, raw: unknown[]): ToServer {
  if (raw.length !== 5) fields(raw, 4, 'listen')
  const at = { type: 'listen' as const, id, path: path(raw[2]), query: parseQuery(raw[3]) }
  // What a server does not know of the options, it leaves aside.
  const map = options(raw[4] ?? null)
  const delivery = parseDelivery(map)
  const { r } = map
  return {
    ...at,
    ...(delivery === null ? {} : { delivery }),
    ...(r === undefined ? {} : { resume: resumePoint(r) }),
  }
}

function resumePoint(raw: unknown): ResumePoint {
  if (!Array.isArray(raw) || raw.length !== 2) {
    throw new RequestError('invalidMessage', 'what a listen resumes from is not an epoch and a revision')
  }
  return { epoch: text(raw[0], 'epoch'), revision: revision(raw[1]) }
}

function options(raw: unknown): Record<string, unknown> {
  if (raw === null) return {}
  if (typeof raw !== 'object' || Array.isArray(raw)) {
    throw new RequestError('invalidMessage', 'the options of a listen are not a map or nil')
  }
  return raw as Record<string, unknown>
}

/** Its bounds are the server's business. */
function ttl(raw: unknown): number | null {
  if (raw === null) return null
  if (typeof raw !== 'number' || !Number.isSafeInteger(raw) || raw < 1) {
    throw new RequestError('invalidMessage', `time to live \`${quoteInput(raw)}\` is no milliseconds`)
  }
  return raw
}

function text(raw: unknown, name: string): string {
  if (typeof raw !== 'string') throw new RequestError('invalidMessage', `${name} is not a string`)
  return raw
}

function path(raw: unknown): Path {
  return parsePath(text(raw, 'path'))
}

function revision(raw: unknown): number {
  if (typeof raw !== 'number' || !Number.isSafeInteger(raw) || raw < 0) {
    throw new RequestError(
      'invalidMessage',
      `revision \`${quoteInput(raw)}\` is not a whole number from 0 to 2^53 - 1`,
    )
  }
  return raw
}

function entries(raw: unknown): UpdateEntries {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new RequestError('invalidMessage', 'the children of an update are not a map of path to value')
  }
  return Object.entries(raw).map(([key, value]) => {
    const child = parsePath(key)
    if (child.length === 0) throw new RequestError('invalidPath', 'a child path of an update is empty')
    return [child, value] as const
  })
}

/** @param message Values and paths are sent as they are; the server checks them. */
export function encodeToServer(encoder: Encoder, message: ToServer): void {
  switch (message.type) {
    case 'auth':
      head(encoder, 3, message)
      return encoder.string(message.token)
    case 'unauth':
    case 'ping':
      return head(encoder, 2, message)
    case 'listen': {
      const options = wireOptions(message)
      head(encoder, options === null ? 4 : 5, message)
      encoder.string(message.path.join('/'))
      encoder.value(wireQuery(message.query))
      if (options !== null) encoder.value(options)
      return
    }
    case 'unlisten':
    case 'get':
      head(encoder, 4, message)
      encoder.string(message.path.join('/'))
      return encoder.value(wireQuery(message.query))
    case 'set':
    case 'push':
    case 'send':
    case 'onDisconnectSet':
      head(encoder, 4, message)
      encoder.string(message.path.join('/'))
      return encoder.value(message.value)
    case 'update':
    case 'onDisconnectUpdate':
      head(encoder, 4, message)
      encoder.string(message.path.join('/'))
      encoder.map(message.entries.length)
      for (const [child, value] of message.entries) {
        encoder.string(child.join('/'))
        encoder.value(value)
      }
      return
    case 'presenceSet':
      head(encoder, 5, message)
      encoder.string(message.path.join('/'))
      encoder.value(message.value)
      return encoder.value(message.ttlMs)
    case 'remove':
    case 'onDisconnectCancel':
    case 'listenMessages':
    case 'unlistenMessages':
    case 'presenceEnd':
      head(encoder, 3, message)
      return encoder.string(message.path.join('/'))
    case 'compareAndSet':
      head(encoder, 5, message)
      encoder.string(message.path.join('/'))
      encoder.number(message.revision)
      return encoder.value(message.value)
  }
}

function head(encoder: Encoder, count: number, message: ToServer): void {
  encoder.array(count)
  encoder.number(ToServerType[message.type])
  encoder.number(message.id)
}

function wireQuery(query: Query | null): unknown {
  return query === null ? null : encodeQuery(query)
}

function wireOptions({ delivery, resume }: Extract<ToServer, { type: 'listen' }>): unknown {
  if (delivery === undefined && resume === undefined) return null
  return {
    ...(delivery === undefined ? {} : encodeDelivery(delivery)),
    ...(resume === undefined ? {} : { r: [resume.epoch, resume.revision] }),
  }
}

/** A value as a message to a client holds it: for `encodeSnapshot`, any number of times. */
export function encodeValue(encoder: Encoder, value: Value): void {
  encoder.startNumbering()
  encoder.value(value)
  encoder.endNumbering()
}

/** A snapshot whose value is there already, from `encodeValue`. */
export function encodeSnapshot(
  encoder: Encoder,
  message: Omit<Extract<ToClient, { type: 'snapshot' }>, 'value'>,
  value: Uint8Array,
): void {
  const { id, queryId, revision, warning } = message
  encoder.array(warning === undefined ? 5 : 6)
  encoder.number(ToClientType.snapshot)
  encoder.number(id)
  encoder.number(queryId)
  encoder.number(revision)
  encoder.raw(value)
  if (warning !== undefined) encoder.string(warning)
}

export function encodeToClient(encoder: Encoder, message: ToClient): void {
  switch (message.type) {
    case 'hello':
      return items(encoder, message, [
        message.version,
        message.serverTimeMs,
        message.sessionId,
        message.epoch,
        message.revision,
        message.pingIntervalMs,
        message.limits,
      ])
    case 'ack':
      encoder.array(2 + message.ids.length)
      encoder.number(ToClientType.ack)
      encoder.number(message.revision)
      for (const id of message.ids) encoder.number(id)
      return
    case 'error':
      return items(encoder, message, [
        message.id,
        message.code,
        message.name,
        message.message,
        message.retryAfterMs,
      ])
    case 'snapshot':
      return items(encoder, message, [
        message.id,
        message.queryId,
        message.revision,
        message.value,
        ...(message.warning === undefined ? [] : [message.warning]),
      ])
    case 'value':
      return items(encoder, message, [message.id, message.revision, message.value])
    case 'patch':
      return stepsMessage(encoder, message, [message.queryId, message.revision], message.steps)
    case 'cancel':
      return items(encoder, message, [message.queryId, message.code, message.name, message.message])
    case 'resync':
      return items(encoder, message, [message.queryId, message.revision, message.value])
    case 'pong':
      return items(encoder, message, [message.id, message.serverTimeMs])
    case 'pushed':
      return items(encoder, message, [message.id, message.revision, message.key])
    case 'authRevoked':
      return items(encoder, message, [message.code, message.name, message.message])
    case 'goingAway':
      return items(encoder, message, [message.reason, message.delayMs])
    case 'message':
      return items(encoder, message, [message.queryId, message.revision, message.values])
    case 'resumed':
      return stepsMessage(encoder, message, [message.id, message.queryId, message.revision], message.steps)
  }
}

function items(encoder: Encoder, message: ToClient, rest: readonly unknown[]): void {
  encoder.array(1 + rest.length)
  encoder.number(ToClientType[message.type])
  encoder.startNumbering()
  for (const item of rest) encoder.value(item)
  encoder.endNumbering()
}

/** Steps come last. What repeats in them, paths and keys, is written once. */
function stepsMessage(
  encoder: Encoder,
  message: ToClient,
  head: readonly number[],
  steps: readonly Step[],
): void {
  encoder.array(2 + head.length)
  encoder.number(ToClientType[message.type])
  for (const field of head) encoder.number(field)
  encoder.array(steps.length)
  encoder.startNumbering()
  for (const step of steps) {
    encoder.array(step.length)
    for (let i = 0; i < step.length; i += 2) {
      encoder.path(step[i] as string)
      encoder.value(step[i + 1])
    }
  }
  encoder.endNumbering()
}

/** Steps as they were before paths that repeat became numbers. */
function withPaths(steps: unknown): Step[] {
  const paths: string[] = []
  if (!Array.isArray(steps)) throw new FrameError('the steps of a message are not an array')
  for (const step of steps as unknown[]) {
    if (!Array.isArray(step)) throw new FrameError('a step is not an array')
    for (let i = 0; i < step.length; i += 2) {
      const path = step[i]
      if (typeof path === 'string') {
        paths.push(path)
        continue
      }
      const known = paths[path as number]
      if (known === undefined) throw new FrameError(`no path has the number \`${quoteInput(path)}\``)
      step[i] = known
    }
  }
  return steps as Step[]
}

/**
 * Decodes a server's frame. The server is trusted to send the shapes of `ToClient`; messages of a type this
 * client does not know are skipped, so that a server may learn new ones.
 * @throws {FrameError}
 */
export function decodeToClient(frame: Uint8Array): ToClient[] {
  const decoder = new Decoder(frame)
  const messages: ToClient[] = []
  try {
    while (!decoder.isAtEnd) {
      decoder.startNumbering()
      const raw = decoder.value()
      if (!Array.isArray(raw)) throw new FrameError('a message is not an array')
      const message = toClient(raw)
      if (message !== null) messages.push(message)
    }
  } catch (error) {
    throw error instanceof MsgpackError ? new FrameError(error.message) : error
  }
  return messages
}

// biome-ignore lint/suspicious/noExplicitAny: the one place where wire items become typed fields.
function toClient(m: any[]): ToClient | null {
  switch (m[0]) {
    case ToClientType.hello:
      return {
        type: 'hello',
        version: m[1],
        serverTimeMs: m[2],
        sessionId: m[3],
        epoch: m[4],
        revision: m[5],
        pingIntervalMs: m[6],
        limits: m[7] as Limits,
      }
    case ToClientType.ack:
      return { type: 'ack', revision: m[1], ids: m.slice(2) as number[] }
    case ToClientType.error:
      return { type: 'error', id: m[1], code: m[2], name: m[3], message: m[4], retryAfterMs: m[5] }
    case ToClientType.snapshot:
      return {
        type: 'snapshot',
        id: m[1],
        queryId: m[2],
        revision: m[3],
        value: m[4] as Value,
        ...(m.length > 5 ? { warning: m[5] } : {}),
      }
    case ToClientType.value:
      return { type: 'value', id: m[1], revision: m[2], value: m[3] as Value }
    case ToClientType.patch:
      return { type: 'patch', queryId: m[1], revision: m[2], steps: withPaths(m[3]) }
    case ToClientType.cancel:
      return { type: 'cancel', queryId: m[1], code: m[2], name: m[3], message: m[4] }
    case ToClientType.resync:
      return { type: 'resync', queryId: m[1], revision: m[2], value: m[3] as Value }
    case ToClientType.pong:
      return { type: 'pong', id: m[1], serverTimeMs: m[2] }
    case ToClientType.pushed:
      return { type: 'pushed', id: m[1], revision: m[2], key: m[3] }
    case ToClientType.authRevoked:
      return { type: 'authRevoked', code: m[1], name: m[2], message: m[3] }
    case ToClientType.goingAway:
      return { type: 'goingAway', reason: m[1], delayMs: m[2] }
    case ToClientType.message:
      return { type: 'message', queryId: m[1], revision: m[2], values: m[3] as Value[] }
    case ToClientType.resumed:
      return { type: 'resumed', id: m[1], queryId: m[2], revision: m[3], steps: withPaths(m[4]) }
    default:
      return null
  }
}
