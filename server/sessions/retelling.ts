/**
 * Retelling: which listens of a Firebase client are told again what is there, since the client, by what it was told and
 * in which order, may show something else. It is told in turns, so that nobody else waits for it.
 */
import { isAtOrAbove, type Path, RequestError } from '../../protocol/index.ts'
import type { Database } from '../database.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import type { Write } from '../log/log.ts'
import { locationOf } from '../write-entries.ts'
import { type Listen, messagesOf } from './firebase-listen.ts'
import type { Outbox } from './firebase-outbox.ts'
import { catchUpPushes } from './firebase-wire.ts'
import { Places } from './places.ts'

/** The session that the listens belong to. */
export interface Retold {
  readonly listens: Iterable<Listen>
  /** Asks for a turn to tell the rest in. */
  standInLine(): void
  /** The listen shows more than one read may take. */
  outgrown(listen: Listen, error: RequestError): void
}

/** What a listen is to be told again. */
interface Owed {
  /** Places it may show otherwise than they are; its own path alone for all it shows. */
  readonly places: readonly Path[]
  /** Places its client wrote, which it may show though its window does not. */
  readonly own: readonly Path[]
}

/** Places kept for a listen that is owed something; with more it is told all it shows. */
const OWED_MAX = 1000
/** Telling listens again holds the loop for everyone: after this long the rest waits for its turn. */
const TELL_MS = 2

export class Retelling {
  readonly #database: Database
  readonly #outbox: Outbox
  readonly #session: Retold
  readonly #owed = new Map<Listen, Owed>()
  /** Listens to queries, which may be windows, by the text of their path: a client may have a thousand other listens. */
  readonly #queries = new Map<string, Set<Listen>>()
  #isInLine = false

  constructor(database: Database, outbox: Outbox, session: Retold) {
    this.#database = database
    this.#outbox = outbox
    this.#session = session
  }

  /**
   * After the answers to these writes of the client's own. Pushes of a group come before them: a client that is told of a later
   * write before its own is answered goes on showing its own where the later one left nothing, or a leaf above, or what
   * has come to lie outside a window; and where its own deletion emptied a place that another fills, it has forgotten the
   * priority.
   */
  oweContended(settled: readonly Write[]): void {
    if (settled.length === 0) return
    const own = settled.flatMap(placesOf)
    // What is held back comes behind all that others write until then.
    const met = this.#outbox.isSlow ? own : this.#database.contended(settled, placesOf)
    const ranked = this.#database.prioritiesAbove(settled.flatMap(({ entries }) => entries))
    const contended = new Places([...met, ...ranked])
    const ownPlaces = new Places(own)
    for (const listen of this.#session.listens) {
      const { path, listener } = listen
      if (contended.isEmpty && listener.live.window === null) continue
      const isAbove = contended.hasAtOrAbove(path)
      const places = isAbove ? [path] : contended.within(path)
      const ownWithin = isAbove || listener.live.window === null ? [] : ownPlaces.within(path)
      if (places.length + ownWithin.length > 0) this.#owe(listen, { places, own: ownWithin })
    }
  }

  /**
   * After a listen to the whole of `path` has ended. What it was told without a tag is in the windows at and below it, too, and
   * nobody keeps that current any more.
   */
  oweWindowsBelow(path: Path): void {
    const whole = new Set<string>()
    for (const { path, tag } of this.#session.listens) if (tag === null) whole.add(path.join('/'))
    const isCovered = (at: Path): boolean => {
      for (let length = 0; length <= at.length; length++) {
        if (whole.has(at.slice(0, length).join('/'))) return true
      }
      return false
    }
    for (const listen of this.#session.listens) {
      const { live } = listen.listener
      // One within a listen to the whole is about to end, and goes on by what that one is told.
      if (live.window === null || !isAtOrAbove(path, live.path) || isCovered(live.path)) continue
      this.#owe(listen, { places: [listen.path], own: [] })
    }
  }

  /**
   * While a group is told, after what it did to a query that is told without a tag. Windows above take that in, too, before what
   * they are told of the group themselves. For a child that comes into a window so they drop the last one, which does not
   * leave; and a child in which nothing else was than what went leaves them, and does not come back by what they are told of
   * a place deep in it.
   */
  oweWindowsAbove({ path }: LiveQuery, isDeletion: boolean): void {
    if (this.#queries.size === 0) return
    let text = ''
    for (let length = 0; length < path.length; length++) {
      for (const listen of this.#queries.get(text) ?? []) {
        const { window } = listen.listener.live
        if (window === null) continue
        const child = path.slice(0, length + 1)
        if (window.hasEntered(path[length]!)) this.#owe(listen, { places: [listen.path], own: [] })
        else if (isDeletion && this.#database.isNewInGroup(child)) {
          this.#owe(listen, { places: [child], own: [] })
        }
      }
      text += `/${path[length]!}`
    }
    // Once the rest of the group is told, and before what is asked then.
    if (this.#owed.size > 0) this.#standInLine()
  }

  #owe(listen: Listen, more: Owed): void {
    const before = this.#owed.get(listen)
    if (before?.places[0] === listen.path) return
    const places = before === undefined ? more.places : before.places.concat(more.places)
    const own = before === undefined ? more.own : before.own.concat(more.own)
    const isWhole = more.places[0] === listen.path || places.length + own.length > OWED_MAX
    this.#owed.set(listen, isWhole ? { places: [listen.path], own: [] } : { places, own })
  }

  /** The listen has begun. */
  follow(listen: Listen): void {
    if (listen.listener.live.query === null) return
    const text = textOf(listen)
    const others = this.#queries.get(text)
    if (others === undefined) this.#queries.set(text, new Set([listen]))
    else others.add(listen)
  }

  /** The listen is over. */
  forget(listen: Listen): void {
    this.#owed.delete(listen)
    const others = this.#queries.get(textOf(listen))
    if (others?.delete(listen) && others.size === 0) this.#queries.delete(textOf(listen))
  }

  /** The turn that was asked for. */
  takeTurn(): void {
    this.#isInLine = false
    this.tell()
  }

  /**
   * Each listen is told what is there by then, so it does not matter when. One that was told is owed nothing more: to begin
   * anew wherever the socket is full would never come to an end.
   */
  tell(): void {
    const untilMs = performance.now() + TELL_MS
    for (const [listen, owed] of this.#owed) {
      if (this.#outbox.isSlow) return
      if (!this.#database.isReadable || performance.now() > untilMs) break
      this.#owed.delete(listen)
      try {
        const unsent = this.#toldAgain(listen, owed).findIndex((message) => !this.#outbox.trySend(message))
        if (unsent < 0) continue
        // A whole value is one message, and goes on where it was broken off.
        this.#owed.set(listen, unsent === 0 ? owed : { places: [listen.path], own: [] })
        return
      } catch (error) {
        if (!(error instanceof RequestError)) throw error
        this.#session.outgrown(listen, error)
      }
    }
    // Not within the turn that was used up.
    if (this.#owed.size > 0) setImmediate(() => this.#standInLine())
  }

  #standInLine(): void {
    if (this.#isInLine) return
    this.#isInLine = true
    this.#session.standInLine()
  }

  /** @throws {RequestError} `too_large` */
  #toldAgain({ path, tag, listener }: Listen, { places, own }: Owed): string[] {
    const { live } = listener
    const unshown = this.#database.unshown(listener, own)
    if (places.length === 0) {
      const step = unshown.flatMap((key) => [key, null])
      return catchUpPushes(live, step, tag)
    }
    const all = places.concat(unshown.map((key) => [...path, key]))
    return messagesOf(live, this.#database.current(listener, all), tag)
  }
}

function textOf({ path }: Listen): string {
  return path.map((key) => `/${key}`).join('')
}

function placesOf({ entries }: Write): Path[] {
  return entries.map(locationOf)
}
