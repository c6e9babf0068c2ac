/**
 * Raw client: speaks Firebase's wire frame by frame, so that tests see what travels, and may send what no SDK would.
 */
import WebSocket from 'ws'
import type { Cleanup } from '../harness.ts'

// biome-ignore lint/suspicious/noExplicitAny: whatever the server sends is for the test to look at.
export type Message = any

export interface RawOptions {
  /** Namespace; the query of the URL for null. */
  ns?: string | null
  /** More of the URL's query, such as `&ls=…`. */
  query?: string
  /** The control message to wait for: `h`, hello, unless told. */
  until?: string
}

export class RawClient {
  /** Messages in order, put together from their frames. */
  readonly heard: Message[] = []
  readonly frames: string[] = []
  readonly socket: WebSocket
  readonly closed: Promise<{ code: number; reason: string }>
  #awaited = 0
  #pieces = ''
  #nextNumber = 1
  #waiting: { matches: (message: Message) => boolean; resolve: (message: Message) => void }[] = []

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) throw new Error('a binary frame')
      this.#add(data.toString())
    })
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
    socket.on('error', () => {})
  }

  /** Connects and waits for hello, or for the connection to end. */
  static async connect(t: Cleanup, server: { url: string }, options: RawOptions = {}): Promise<RawClient> {
    const { ns = 'demo', query = '', until = 'h' } = options
    const namespace = ns === null ? '' : `&ns=${ns}`
    const client = new RawClient(
      new WebSocket(`${server.url.replace('http', 'ws')}/.ws?v=5${query}${namespace}`),
    )
    t.onTestFinished(() => client.socket.terminate())
    await Promise.race([client.next((message) => message.t === 'c' && message.d.t === until), client.closed])
    return client
  }

  get sessionId(): string {
    return this.heard[0].d.d.s
  }

  /** Pushes heard: action and body. */
  get pushes(): [action: string, body: Message][] {
    return this.heard.filter((message) => message.d.a !== undefined).map(({ d }) => [d.a, d.b])
  }

  /** What was heard since hello, briefly: `d path`, `ok 3`, `permission_denied 4`. */
  get log(): string[] {
    return this.heard.slice(1).map((message) => {
      if (message.t === 'c') return `control ${message.d.t}`
      const { a: action, b: body, r: number } = message.d
      return action === undefined ? `${body.s} ${number}` : `${action} ${body.p ?? body.s ?? ''}`.trim()
    })
  }

  next(matches: (message: Message) => boolean): Promise<Message> {
    const found = this.heard.find(matches)
    if (found !== undefined) return Promise.resolve(found)
    return new Promise((resolve) => this.#waiting.push({ matches, resolve }))
  }

  /** The first push of an action. */
  async push(action: string, matches: (body: Message) => boolean = () => true): Promise<Message> {
    return (await this.next(({ d }) => d.a === action && matches(d.b))).d.b
  }

  /** Sends a request. @returns Its number. */
  send(action: string, body: object): number {
    const number = this.#nextNumber++
    this.sendText(JSON.stringify({ t: 'd', d: { r: number, a: action, b: body } }))
    return number
  }

  /** Sends a request and resolves with its answer, `{s, d}`. */
  ask(action: string, body: object): Promise<{ s: string; d: Message }> {
    return this.answer(this.send(action, body))
  }

  async answer(number: number): Promise<{ s: string; d: Message }> {
    return (await this.next(({ t, d }) => t === 'd' && d.r === number)).d.b
  }

  /** Sends one frame as it is. */
  sendText(text: string): void {
    this.socket.send(text)
  }

  #add(frame: string): void {
    this.frames.push(frame)
    if (this.#awaited === 0 && frame.length <= 6 && /^\d+$/.test(frame)) {
      this.#awaited = Number(frame)
      return
    }
    this.#pieces += frame
    if (this.#awaited > 0) this.#awaited -= 1
    if (this.#awaited > 0) return
    const message = JSON.parse(this.#pieces)
    this.#pieces = ''
    this.heard.push(message)
    for (const waiter of [...this.#waiting]) {
      if (!waiter.matches(message)) continue
      this.#waiting = this.#waiting.filter((other) => other !== waiter)
      waiter.resolve(message)
    }
  }
}
