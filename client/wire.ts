/**
 * Wire: the client's half of the protocol's codec, made small. `protocol/codec.ts` serves both directions and is
 * tuned for a server; it alone would take a sixth of what a browser may load. Here the server is trusted to send
 * well-formed frames of the forms `protocol/msgpack-encoder.ts` writes, so nothing is checked twice, and each message is put
 * together from a table of its fields.
 *
 * INVARIANT: the same frames as `protocol/codec.ts` writes and reads; wire.test.ts holds the two against each other.
 */
import { type Delivery, encodeDelivery } from '../protocol/delivery.ts'
import type { Path } from '../protocol/path.ts'
import { encodeQuery, type Query } from '../protocol/query.ts'
import type { ToClient } from '../protocol/to-client.ts'
import { type ResumePoint, type ToServer, ToServerType, type UpdateEntries } from '../protocol/to-server.ts'

/** Each message's name and fields in wire order, at its number in `ToClientType`. An ack's ids are the rest of the array. */
const FORMS = [
  '',
  'hello version serverTimeMs sessionId epoch revision pingIntervalMs limits',
  'ack revision',
  'error id code name message retryAfterMs',
  'snapshot id queryId revision value warning',
  'value id revision value',
  'patch queryId revision steps',
  'cancel queryId code name message',
  'resync queryId revision value',
  'pong id serverTimeMs',
  'pushed id revision key',
  'authRevoked code name message',
  'goingAway reason delayMs',
  'resumed id queryId revision steps',
  'message queryId revision values',
]

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder('utf-8', { ignoreBOM: true })

interface AnyToServer {
  type: ToServer['type']
  id: number
  token: string
  path: Path
  revision: number
  query: Query | null
  value: unknown
  entries: UpdateEntries
  ttlMs: number | null
  delivery: Delivery
  resume: ResumePoint
}

/** One message as bytes. */
export function encodeMessage(message: ToServer): Uint8Array {
  // Every message takes some of these, in this order.
  const { id, type, token, path, revision, query, value, entries, ttlMs, delivery, resume } =
    message as Partial<AnyToServer>
  const map = entries && Object.fromEntries(entries.map(([at, child]) => [at.join('/'), child]))
  const fields = [token, path?.join('/'), revision, query && encodeQuery(query), value, map, ttlMs]
  const options = {
    ...(delivery && encodeDelivery(delivery)),
    ...(resume && { r: [resume.epoch, resume.revision] }),
  }
  if (delivery || resume) fields.push(options)
  let bytes = new Uint8Array(256)
  let view = new DataView(bytes.buffer)
  let length = 0

  /** Makes room. @returns Where it begins; `bytes` and `view` may be others than before. */
  const reserve = (count: number): number => {
    const at = length
    length += count
    if (length > bytes.length) {
      const larger = new Uint8Array(length * 2)
      larger.set(bytes)
      bytes = larger
      view = new DataView(bytes.buffer)
    }
    return at
  }
  const byte = (value: number): void => {
    const at = reserve(1)
    bytes[at] = value
  }
  /** A type and what it counts, in the smallest of the forms there are: within the byte, 8, 16 or 32 bits. */
  const header = (count: number, fix: number, fixMax: number, narrow: number, wide: number): void => {
    if (count <= fixMax) byte(fix | count)
    else if (narrow > 0 && count < 0x100) {
      byte(narrow)
      byte(count)
    } else {
      const size = count < 0x10000 ? 2 : 4
      byte(size === 2 ? wide : wide + 1)
      const at = reserve(size)
      if (size === 2) view.setUint16(at, count)
      else view.setUint32(at, count)
    }
  }
  const put = (item: unknown): void => {
    if (item === null) byte(0xc0)
    else if (typeof item === 'boolean') byte(item ? 0xc3 : 0xc2)
    else if (typeof item === 'string') {
      const text = textEncoder.encode(item)
      header(text.length, 0xa0, 31, 0xd9, 0xda)
      const at = reserve(text.length)
      bytes.set(text, at)
    } else if (typeof item === 'number') {
      if (item >>> 0 === item) header(item, 0, 127, 0xcc, 0xcd)
      else {
        byte(0xcb)
        const at = reserve(8)
        view.setFloat64(at, item)
      }
    } else if (Array.isArray(item)) {
      header(item.length, 0x90, 15, 0, 0xdc)
      item.forEach(put)
    } else {
      const pairs = Object.entries(item as object)
      header(pairs.length, 0x80, 15, 0, 0xde)
      for (const pair of pairs) pair.forEach(put)
    }
  }
  put([ToServerType[type!], id, ...fields.filter((field) => field !== undefined)])
  return bytes.subarray(0, length)
}

/**
 * The messages of a server's frame. Types this client does not know are left out.
 * @throws When the bytes are not messages.
 */
export function decodeFrame(bytes: Uint8Array): ToClient[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let position = 0

  /** Map keys written out in this message. */
  let keys: string[] = []

  const skip = (count: number): number => {
    const at = position
    position += count
    if (position > bytes.length) throw new Error('a frame ends early')
    return at
  }
  const count = (type: number, narrow: number): number => {
    if (type === narrow) return view.getUint8(skip(1))
    return type === narrow + 1 ? view.getUint16(skip(2)) : view.getUint32(skip(4))
  }
  const text = (length: number): string => {
    const start = skip(length)
    return textDecoder.decode(bytes.subarray(start, position))
  }
  const list = (length: number): unknown[] => {
    const items: unknown[] = []
    for (let i = 0; i < length; i++) items.push(take())
    return items
  }
  const map = (size: number): Record<string, unknown> => {
    const object: Record<string, unknown> = {}
    for (let i = 0; i < size; i++) {
      const key = named(take(), keys)
      if (key === '__proto__') throw new Error('key `__proto__` is reserved')
      object[key] = take()
    }
    return object
  }
  const take = (): unknown => {
    const type = view.getUint8(skip(1))
    if (type < 0x80) return type
    if (type < 0x90) return map(type & 15)
    if (type < 0xa0) return list(type & 15)
    if (type < 0xc0) return text(type & 31)
    if (type >= 0xe0) return type - 0x100
    if (type === 0xc0) return null
    if (type === 0xc2 || type === 0xc3) return type === 0xc3
    if (type === 0xcb) return view.getFloat64(skip(8))
    if (type >= 0xcc && type <= 0xce) return count(type, 0xcc)
    if (type === 0xd0) return view.getInt8(skip(1))
    if (type === 0xd1) return view.getInt16(skip(2))
    if (type === 0xd2) return view.getInt32(skip(4))
    if (type >= 0xde) return map(count(type, 0xdd))
    if (type >= 0xdc) return list(count(type, 0xdb))
    if (type >= 0xd9) return text(count(type, 0xd9))
    throw new Error(`type 0x${type.toString(16)} has no place in a frame`)
  }

  const messages: ToClient[] = []
  while (position < bytes.length) {
    keys = []
    const [number, ...items] = take() as unknown[]
    const form = FORMS[number as number]
    if (!form) continue
    const [type, ...fields] = form.split(' ')
    const message: Record<string, unknown> = { type }
    fields.forEach((field, index) => {
      message[field] = items[index]
    })
    const paths: string[] = []
    for (const step of (message['steps'] as unknown[][] | undefined) ?? []) {
      for (let i = 0; i < step.length; i += 2) step[i] = named(step[i], paths)
    }
    if (type === 'ack') message['ids'] = items.slice(1)
    messages.push(message as ToClient)
  }
  return messages
}

/** A text, or that of its number among those written out before. */
function named(item: unknown, written: string[]): string {
  const text = written[typeof item === 'string' ? written.push(item) - 1 : (item as number)]
  if (text === undefined) throw new Error(`nothing has the number ${item}`)
  return text
}
