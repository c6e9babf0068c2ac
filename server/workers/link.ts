/**
 * Link: what two threads say to each other over one port, in order: notices, and requests with one answer each.
 */
import type { MessagePort, Worker } from 'node:worker_threads'
import { RequestError, type RequestErrorKind } from '../../protocol/index.ts'

/** A worker on one side, its parent port on the other. */
export type LinkPort = MessagePort | Worker

type Handler<T, R> = (params: T) => R | Promise<R>

/** Requests by name: what is sent and what is answered, both as structured clones. */
export type Requests = Record<string, [params: unknown, answer: unknown]>
export type Handlers<R extends Requests> = { [K in keyof R]: Handler<R[K][0], R[K][1]> }

interface Failure {
  kind: RequestErrorKind | null
  message: string
}

type Envelope =
  | { to: 'notice'; notice: unknown }
  | { to: 'ask'; id: number; name: string; params: unknown }
  | { to: 'answer'; id: number; answer: unknown }
  | { to: 'failure'; id: number; failure: Failure }

/** The other thread has ended. */
export class LinkClosedError extends Error {}

interface LinkOptions<Notice, Served extends Requests> {
  port: LinkPort
  heard(notice: Notice): void
  serve: Handlers<Served>
}

/** @template Asked What the other side serves. @template Served What this one does. */
export class Link<Sent, Heard, Asked extends Requests, Served extends Requests> {
  readonly #port: MessagePort
  readonly #waiting = new Map<number, { resolve(answer: never): void; reject(error: Error): void }>()
  #nextId = 1
  #isClosed = false

  constructor({ port, heard, serve }: LinkOptions<Heard, Served>) {
    this.#port = port as MessagePort
    this.#port.on('message', (envelope: Envelope) => {
      if (this.#isClosed) return
      switch (envelope.to) {
        case 'notice':
          return heard(envelope.notice as Heard)
        case 'ask':
          return this.#serve(serve[envelope.name]!, envelope.id, envelope.params)
        case 'answer':
          return this.#take(envelope.id)?.resolve(envelope.answer as never)
        case 'failure':
          return this.#take(envelope.id)?.reject(errorFrom(envelope.failure))
      }
    })
  }

  send(notice: Sent, transfer?: readonly ArrayBuffer[]): void {
    if (!this.#isClosed) this.#post({ to: 'notice', notice }, transfer)
  }

  /** @throws {RequestError} as the other side threw it; {LinkClosedError} */
  ask<K extends keyof Asked & string>(name: K, params: Asked[K][0]): Promise<Asked[K][1]> {
    if (this.#isClosed) return Promise.reject(new LinkClosedError('the other thread has ended'))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#post({ to: 'ask', id, name, params })
    })
  }

  /** Requests that wait for their answer. */
  get pending(): number {
    return this.#waiting.size
  }

  close(): void {
    this.#isClosed = true
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(new LinkClosedError('the other thread has ended'))
  }

  #take(id: number): { resolve(answer: never): void; reject(error: Error): void } | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    return waiting
  }

  #serve(handler: Handler<never, unknown>, id: number, params: unknown): void {
    const answering = new Promise((resolve) => resolve(handler(params as never)))
    answering.then(
      (answer) => {
        if (!this.#isClosed) this.#post({ to: 'answer', id, answer })
      },
      (error: unknown) => {
        const kind = error instanceof RequestError ? error.kind : null
        const message = error instanceof Error ? error.message : String(error)
        if (!this.#isClosed) this.#post({ to: 'failure', id, failure: { kind, message } })
      },
    )
  }

  #post(envelope: Envelope, transfer?: readonly ArrayBuffer[]): void {
    this.#port.postMessage(envelope, transfer)
  }
}

function errorFrom({ kind, message }: Failure): Error {
  return kind === null ? new Error(message) : new RequestError(kind, message)
}
