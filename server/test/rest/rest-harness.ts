/**
 * What REST tests share: one request as a line of a table, and a client of event streams that keeps what it heard.
 */
import { type ClientRequest, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { ConfigValues } from '../../config.ts'
import type { ServerParts } from '../../server.ts'
import { type Cleanup, OPEN, serve, type TestServer } from '../harness.ts'

export const ADMIN_KEY = 'the admin key that the REST tests use'
export const AS_ADMIN = { Authorization: `Bearer ${ADMIN_KEY}` }

/** A server with an admin key, by default with everything open. */
export function serveRest(
  t: Cleanup,
  options: { rules?: object; config?: ConfigValues; parts?: ServerParts } = {},
): Promise<TestServer> {
  const { rules = OPEN, config = {}, parts } = options
  return serve(t, {
    rules,
    config: { adminKey: ADMIN_KEY, ...config },
    ...(parts === undefined ? {} : { parts }),
  })
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  /** The body as JSON; the text where it is none. */
  body: unknown
}

export interface Asked {
  method?: string
  /** Sent as JSON, unless it is text or bytes. */
  body?: unknown
  headers?: Record<string, string>
}

export async function ask(server: { url: string }, path: string, asked: Asked = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body } = asked
  const isRaw = typeof body === 'string' || body instanceof Uint8Array
  const sent = body === undefined ? null : isRaw ? (body as BodyInit) : JSON.stringify(body)
  const response = await fetch(server.url + path, { method, headers, body: sent })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, body: parsed(text) }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The text of an error answer, which has no other member. */
export function errorOf({ body }: Answer): unknown {
  return Object.keys(body as object).join() === 'error' ? (body as { error: unknown }).error : body
}

export interface StreamEvent {
  event: string
  data: unknown
  id: string | null
}

/** An open event stream. */
export class EventClient {
  readonly heard: StreamEvent[] = []
  readonly ended: Promise<void>
  readonly response: IncomingMessage
  readonly #request: ClientRequest
  #text = ''
  #waiting: (() => void)[] = []

  private constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request
    this.response = response
    response.setEncoding('utf8')
    response.on('data', (text: string) => this.#take(text))
    response.on('error', () => {})
    this.ended = new Promise((resolve) => response.on('close', resolve))
  }

  static open(
    t: Cleanup,
    server: { url: string },
    path: string,
    headers: Record<string, string> = {},
  ): Promise<EventClient> {
    return new Promise((resolve, reject) => {
      const request = get(server.url + path, { headers: { Accept: 'text/event-stream', ...headers } })
      request.on('error', reject)
      request.on('response', (response) => resolve(new EventClient(request, response)))
      t.onTestFinished(() => request.destroy())
    })
  }

  get status(): number {
    return this.response.statusCode!
  }

  close(): void {
    this.#request.destroy()
  }

  /** The events up to and with the n-th, once they are there. */
  async first(count: number): Promise<StreamEvent[]> {
    while (this.heard.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return this.heard.slice(0, count)
  }

  /** The first event that fits. */
  async next(fits: (event: StreamEvent) => boolean): Promise<StreamEvent> {
    for (let at = 0; ; at++) {
      const event = (await this.first(at + 1))[at]!
      if (fits(event)) return event
    }
  }

  #take(text: string): void {
    this.#text += text
    const events = this.#text.split('\n\n')
    this.#text = events.pop()!
    for (const lines of events) {
      const field = (name: string): string | null =>
        lines
          .split('\n')
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2) ?? null
      this.heard.push({ event: field('event')!, data: JSON.parse(field('data')!), id: field('id') })
    }
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** Sends bytes as they are and gives what came back until the connection closed, or until `isEnough`. */
export function askRaw(
  server: { url: string },
  text: string | Buffer,
  isEnough: (answer: string, socket: Socket) => boolean = () => false,
): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    let answer = ''
    socket.on('data', (bytes) => {
      answer += bytes.toString()
      if (isEnough(answer, socket)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
    socket.write(text)
  })
}
