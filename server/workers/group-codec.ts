/**
 * Group codec: commits and write operations between threads, as bytes. Threads of one process trust each other, so
 * shapes are not checked again.
 */
import { Decoder, type Encoder, type Path, type Value } from '../../protocol/index.ts'
import type { Identity } from '../identity.ts'
import type { Commit, Write } from '../log/log.ts'
import type { Entry } from '../store/store.ts'

export function encodeCommits(encoder: Encoder, commits: readonly Commit[]): void {
  encoder.array(commits.length)
  for (const { revision, timestampMs, entries, messages = [] } of commits) {
    encoder.number(revision)
    encoder.number(timestampMs)
    encodeEntries(encoder, entries)
    encodeEntries(encoder, messages)
  }
}

export function decodeCommits(bytes: Uint8Array): Commit[] {
  const decoder = new Decoder(bytes)
  const commits: Commit[] = []
  for (let left = decoder.array(); left > 0; left--) {
    const revision = decoder.value() as number
    const timestampMs = decoder.value() as number
    const entries = decodeEntries(decoder)
    const messages = decodeEntries(decoder)
    commits.push({ revision, timestampMs, entries, ...(messages.length === 0 ? {} : { messages }) })
  }
  return commits
}

export function encodeEntries(encoder: Encoder, entries: readonly Entry[]): void {
  encoder.array(entries.length)
  for (const { path, value } of entries) {
    encodePath(encoder, path)
    encoder.value(value)
  }
}

export function decodeEntries(decoder: Decoder): Entry[] {
  const entries: Entry[] = []
  for (let left = decoder.array(); left > 0; left--) {
    const path = decoder.value() as Path
    entries.push({ path, value: decoder.value() as Value })
  }
  return entries
}

function encodePath(encoder: Encoder, path: Path): void {
  encoder.array(path.length)
  for (const key of path) encoder.string(key)
}

/** What a follower asks of the writer, in order. `number` is the follower's own for what is answered. */
export type Operation =
  | {
      type: 'write'
      number: number
      identity: Identity
      entries: readonly Entry[]
      /** What few writes have, as the fields of a write. */
      rest: WriteRest
    }
  | {
      type: 'register'
      number: number
      identity: Identity
      sessionId: string
      entries: readonly Entry[]
    }
  | { type: 'cancel'; number: number; sessionId: string; path: Path }
  | { type: 'run'; number: number; sessionId: string }
  | {
      type: 'setPresence'
      number: number
      identity: Identity
      sessionId: string
      path: Path
      state: unknown
    }
  | { type: 'endPresence'; number: number; sessionId: string; path: Path }
  | { type: 'leavePresence'; number: number; sessionId: string }

export type WriteRest = Partial<
  Pick<Write, 'expectedRevision' | 'expectedHash' | 'expectedAt' | 'isCheckOnly' | 'isMessage' | 'emptyAt'>
> & { bytes?: number }

const TYPES = ['write', 'register', 'cancel', 'run', 'setPresence', 'endPresence', 'leavePresence'] as const

export function encodeOperation(encoder: Encoder, operation: Operation): void {
  encoder.number(TYPES.indexOf(operation.type))
  encoder.number(operation.number)
  switch (operation.type) {
    case 'write': {
      encodeIdentity(encoder, operation.identity)
      encodeEntries(encoder, operation.entries)
      encoder.value(operation.rest)
      return
    }
    case 'register':
      encodeIdentity(encoder, operation.identity)
      encoder.string(operation.sessionId)
      encodeEntries(encoder, operation.entries)
      return
    case 'setPresence':
      encodeIdentity(encoder, operation.identity)
      encoder.string(operation.sessionId)
      encodePath(encoder, operation.path)
      encoder.value(operation.state)
      return
    case 'cancel':
    case 'endPresence':
      encoder.string(operation.sessionId)
      encodePath(encoder, operation.path)
      return
    case 'run':
    case 'leavePresence':
      encoder.string(operation.sessionId)
  }
}

export function* decodeOperations(bytes: Uint8Array): Iterable<Operation> {
  const decoder = new Decoder(bytes)
  while (!decoder.isAtEnd) {
    const type = TYPES[decoder.value() as number]!
    const number = decoder.value() as number
    switch (type) {
      case 'write':
        yield {
          type,
          number,
          identity: decodeIdentity(decoder),
          entries: decodeEntries(decoder),
          rest: decoder.value() as WriteRest,
        }
        break
      case 'register':
        yield {
          type,
          number,
          identity: decodeIdentity(decoder),
          sessionId: decoder.value() as string,
          entries: decodeEntries(decoder),
        }
        break
      case 'setPresence':
        yield {
          type,
          number,
          identity: decodeIdentity(decoder),
          sessionId: decoder.value() as string,
          path: decoder.value() as Path,
          state: decoder.value(),
        }
        break
      case 'cancel':
      case 'endPresence':
        yield { type, number, sessionId: decoder.value() as string, path: decoder.value() as Path }
        break
      case 'run':
      case 'leavePresence':
        yield { type, number, sessionId: decoder.value() as string }
    }
  }
}

/** Claims as JSON: made once for each identity, and read once for each text while it is in use. */
const texts = new WeakMap<Identity, string>()
const identities = new Map<string, Identity>()
const IDENTITIES_MAX = 10_000

function encodeIdentity(encoder: Encoder, identity: Identity): void {
  let text = texts.get(identity)
  if (text === undefined) {
    text = JSON.stringify(identity)
    texts.set(identity, text)
  }
  encoder.string(text)
}

function decodeIdentity(decoder: Decoder): Identity {
  const text = decoder.value() as string
  let identity = identities.get(text)
  if (identity === undefined) {
    if (identities.size >= IDENTITIES_MAX) identities.clear()
    identity = JSON.parse(text) as Identity
    identities.set(text, identity)
  }
  return identity
}
