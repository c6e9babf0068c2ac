/**
 * What server tests share: a whole server on port 0 with a real store in a temporary folder, and a bare client that
 * speaks the native protocol frame by frame, so that tests see exactly what travels.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import WebSocket from 'ws'
import {
  decodeToClient,
  Encoder,
  encodeToServer,
  type ToClient,
  type ToServer,
} from '../../protocol/index.ts'
import type { ConfigValues } from '../config.ts'
import { configFrom } from '../config-load.ts'
import { type RunningServer, type ServerParts, startServer } from '../server.ts'
import { workerEntry } from './worker-entry.ts'

/** The part of vitest's test context that these helpers use. */
export interface Cleanup {
  onTestFinished(call: () => unknown): void
}

export const SECRET = 'a secret of at least thirty-two bytes!'

/** Threads of the servers that tests start: the suites of whole servers run with one and with two. */
export const TEST_WORKERS = Number(process.env['TEST_WORKERS'] ?? 1)

export interface TestServer extends RunningServer {
  folder: string
  rulesFile: string
}

/** @param rules Content of `rules` in the rules file; without it everything is denied. */
export async function serve(
  t: Cleanup,
  options: { rules?: object; config?: ConfigValues; parts?: ServerParts; folder?: string } = {},
): Promise<TestServer> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'hearth-'))
  const rulesFile = join(folder, 'rules.json')
  if (options.rules !== undefined) writeFileSync(rulesFile, JSON.stringify({ rules: options.rules }))
  // A test that stands in for the clock or the disk does so for one thread.
  const workers = options.parts === undefined ? TEST_WORKERS : 1
  const config = configFrom({
    workers,
    port: 0,
    data: join(folder, 'data'),
    rules: rulesFile,
    log: { level: 'silent' },
    ...options.config,
  })
  const entry = config.workers > 1 ? { workerEntry: workerEntry() } : {}
  const server = await startServer(config, { ...options.parts, ...entry })
  t.onTestFinished(async () => {
    await server.close()
    if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
  })
  return { ...server, folder, rulesFile }
}

/** Rules that allow everything. */
export const OPEN = { '.read': true, '.write': true }

type Request = ToServer extends infer M ? (M extends ToServer ? Omit<M, 'id'> : never) : never

/** A connection that keeps all it heard, in order. */
export class BareClient {
  readonly heard: ToClient[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  readonly socket: WebSocket
  /** Called with each message, once it is kept. */
  onMessage: (message: ToClient) => void = () => {}
  #nextId = 1
  #waiting: { matches: (message: ToClient) => boolean; resolve: (message: ToClient) => void }[] = []

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.binaryType = 'nodebuffer'
    socket.on('message', (data: Buffer) => {
      for (const message of decodeToClient(data)) {
        this.heard.push(message)
        this.onMessage(message)
        for (const waiter of [...this.#waiting]) {
          if (!waiter.matches(message)) continue
          this.#waiting = this.#waiting.filter((other) => other !== waiter)
          waiter.resolve(message)
        }
      }
    })
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
    socket.on('error', () => {})
  }

  static async connect(t: Cleanup, server: { url: string }, query = ''): Promise<BareClient> {
    const client = new BareClient(new WebSocket(`${server.url.replace('http', 'ws')}/v1${query}`))
    t.onTestFinished(() => client.socket.terminate())
    await Promise.race([client.next('hello'), client.closed])
    return client
  }

  /** The first message of a type, heard already or still to come. */
  next<T extends ToClient['type']>(
    type: T,
    matches: (message: Extract<ToClient, { type: T }>) => boolean = () => true,
  ): Promise<Extract<ToClient, { type: T }>> {
    const fits = (message: ToClient): boolean =>
      message.type === type && matches(message as Extract<ToClient, { type: T }>)
    const found = this.heard.find(fits)
    if (found !== undefined) return Promise.resolve(found as Extract<ToClient, { type: T }>)
    return new Promise((resolve) => {
      this.#waiting.push({
        matches: fits,
        resolve: (message) => resolve(message as Extract<ToClient, { type: T }>),
      })
    })
  }

  /** Sends a request and resolves with its answer, whichever it is. */
  ask(request: Request): Promise<ToClient> {
    const id = this.send(request)
    return this.answer(id)
  }

  answer(id: number): Promise<ToClient> {
    const isAnswer = (message: ToClient): boolean =>
      ('id' in message && message.id === id) || (message.type === 'ack' && message.ids.includes(id))
    const found = this.heard.find(isAnswer)
    if (found !== undefined) return Promise.resolve(found)
    return new Promise((resolve) => this.#waiting.push({ matches: isAnswer, resolve }))
  }

  /** @returns The id it was sent with. */
  send(request: Request): number {
    const id = this.#nextId++
    const encoder = new Encoder()
    encodeToServer(encoder, { ...request, id } as ToServer)
    this.socket.send(encoder.take())
    return id
  }

  sendBytes(bytes: Uint8Array | string): void {
    this.socket.send(bytes)
  }
}

export function path(text: string): string[] {
  return text.split('/').filter((key) => key !== '')
}

/** As the emulator's tools make it: not signed, and expired in 1970. */
export function unsignedToken(uid: string, claims: Record<string, unknown> = {}): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const payload = {
    iss: 'https://securetoken.google.com/demo',
    aud: 'demo',
    iat: 0,
    exp: 3600,
    auth_time: 0,
    sub: uid,
    user_id: uid,
    firebase: { sign_in_provider: 'custom', identities: {} },
    ...claims,
  }
  return `${part({ alg: 'none', type: 'JWT' })}.${part(payload)}.`
}
