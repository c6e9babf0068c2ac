/**
 * Messages: told to whoever listens to a path at this moment, and stored nowhere.
 */
import type { Path } from '../protocol/path.ts'
import { tell } from './calls.ts'
import { type Database, readValue, type Watcher } from './client.ts'
import type { Pushed } from './connection.ts'
import { type HearthError, requestFailed } from './errors.ts'
import type { CancelCallback, Unsubscribe } from './read.ts'
import type { DatabaseReference } from './ref.ts'
import { DataSnapshot } from './snapshot.ts'
import { assertWritable, type Writable } from './write.ts'

/**
 * Tells everyone who listens to messages at exactly this place, this client too if it listens. Waits for a connection; it
 * is not sent again if that is lost before the answer. Messages are told in the order they were sent, and behind writes made
 * before, with one exception: what the server refuses for now is sent again once it may be, and what was sent after it and
 * taken at once has been told by then.
 * @returns Resolves once the server has passed it on.
 * @throws {HearthError} `permission_denied`, `too_large`, `disconnect`
 */
export function send<T>(ref: DatabaseReference<T>, message: Writable<T>): Promise<void> {
  const { db, path } = ref
  assertWritable(path, 'send')
  const value = readValue('send', message, path)
  return new Promise((resolve, reject) => {
    db.connection.send({
      body: { type: 'send', path, value },
      kind: 'once',
      done: () => resolve(),
      failed: reject,
    })
  })
}

/**
 * Hears the messages sent to this place from now on. After a lost connection it goes on with those that come then.
 * @param cancel Called once if the server ends or refuses the listener; nothing follows it.
 */
export function onMessage<T>(
  ref: DatabaseReference<T>,
  callback: (message: T) => unknown,
  cancel?: CancelCallback,
): Unsubscribe {
  const { db, path } = ref
  assertWritable(path, 'onMessage')
  const listens = listensOf(db)
  const key = path.join('/')
  let listen = listens.byPath.get(key)
  if (listen === undefined) {
    listen = { path, queryId: -1, hearers: new Set() }
    listens.byPath.set(key, listen)
    listens.ask(listen)
  }
  const hearer: Hearer = {
    // A snapshot turns the form it travels in into what the app knows.
    hear: (value) => callback(new DataSnapshot(ref, value).val() as T),
    cancel: cancel ?? ((error) => warn(key, error)),
  }
  listen.hearers.add(hearer)
  return () => listens.remove(listen, hearer)
}

function warn(path: string, error: HearthError): void {
  if (error.code !== 'terminated') console.warn(`hearth: messages of ${path} ended: ${error.message}`)
}

interface Hearer {
  hear(value: Extract<Pushed, { type: 'message' }>['values'][number]): void
  cancel(error: HearthError): void
}

interface MessageListen {
  path: Path
  /** As the server named it; -1 while it has not answered on this connection. */
  queryId: number
  hearers: Set<Hearer>
}

const ofDatabase = new WeakMap<Database, MessageListens>()

function listensOf(db: Database): MessageListens {
  let listens = ofDatabase.get(db)
  if (listens === undefined) {
    listens = new MessageListens(db)
    ofDatabase.set(db, listens)
    db.watchers.add(listens)
  }
  return listens
}

class MessageListens implements Watcher {
  readonly byPath = new Map<string, MessageListen>()
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  renew(): void {
    for (const listen of this.byPath.values()) this.ask(listen)
  }

  ask(listen: MessageListen): void {
    listen.queryId = -1
    this.#db.connection.send({
      body: { type: 'listenMessages', path: listen.path },
      kind: 'live',
      done: (answer) => {
        if (answer.type === 'snapshot') listen.queryId = answer.queryId
      },
      failed: (error) => this.#end(listen, error),
    })
  }

  remove(listen: MessageListen, hearer: Hearer): void {
    if (!listen.hearers.delete(hearer) || listen.hearers.size > 0) return
    const { path } = listen
    if (!this.#forget(listen)) return
    this.#db.connection.send({
      body: { type: 'unlistenMessages', path },
      kind: 'live',
      done() {},
      failed() {},
    })
  }

  pushed(message: Pushed): void {
    for (const listen of this.byPath.values()) {
      if (listen.queryId !== message.queryId) continue
      if (message.type === 'message') {
        for (const value of message.values)
          for (const { hear } of [...listen.hearers]) tell(() => hear(value))
      } else if (message.type === 'cancel' && this.#db.connection.isReady) {
        // Else the token is being renewed, and with the new one it is asked for again.
        this.#end(listen, requestFailed(listen.path, message.name, message.message))
      }
      return
    }
  }

  stopped(error: HearthError): void {
    for (const listen of this.byPath.values()) this.#end(listen, error)
  }

  #end(listen: MessageListen, error: HearthError): void {
    if (!this.#forget(listen)) return
    for (const { cancel } of listen.hearers) tell(() => cancel(error))
  }

  #forget(listen: MessageListen): boolean {
    const key = listen.path.join('/')
    return this.byPath.get(key) === listen && this.byPath.delete(key)
  }
}
