/**
 * Rights keeper: has the rules asked again whether a listener may go on, when a commit, the clock, its identity or the
 * rules may have changed the answer, and ends it before it hears of anything that it may not.
 *
 * INVARIANT 4: a listener that lost its right hears a cancel before anything of the commit that took it.
 */
import type { Path } from '../../protocol/index.ts'
import type { Authorizer } from '../authorizer.ts'
import type { Store, TreeView } from '../store/store.ts'
import type { Listener } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'
import { ReadRights } from './read-rights.ts'

export interface RightsKeeperOptions {
  authorizer: Authorizer
  store: Store
  /** Whether a group is under way. */
  isBusy(): boolean
  nowMs(): number
  /** Ends a listener that lost its right; `denial` holds the decision that took it. */
  cancel(listener: Listener): void
}

const TIME_CHECK_MS = 1000

export class RightsKeeper {
  readonly #options: RightsKeeperOptions
  readonly #rights = new ReadRights()
  /** Listeners decided anew within the group under way. */
  #askedInGroup = new Set<Listener>()
  /** Listeners registered while a group was under way: they were not asked about its commits. */
  #askAfterGroup = new Set<Listener>()
  #timeCheck: NodeJS.Timeout | null = null

  constructor(options: RightsKeeperOptions) {
    this.#options = options
  }

  add(listener: Listener): void {
    this.#rights.add(listener)
    if (this.#options.isBusy()) this.#askAfterGroup.add(listener)
    this.#keepTimeCheck()
  }

  remove(listener: Listener): void {
    this.#rights.remove(listener)
    this.#askedInGroup.delete(listener)
    this.#askAfterGroup.delete(listener)
  }

  /** A commit of the group under way wrote at a path: whose right rests on it is asked on the state it left. */
  staged(path: Path): void {
    const { head } = this.#options.store
    this.#rights.touchedBy(path, head, (listener) => {
      this.#askedInGroup.add(listener)
      // Once lost within a group it stays lost, even if a later write of the group would give it back.
      if (!listener.isRevoked) listener.isRevoked = !this.#renew(listener, head)
    })
  }

  /** The group is flushed: whoever lost its right within it is told so, before anything of the group is delivered. */
  flushed(): void {
    for (const listener of this.#askedInGroup) if (listener.isRevoked) this.#options.cancel(listener)
    this.#askedInGroup.clear()
    const registered = this.#askAfterGroup
    this.#askAfterGroup = new Set()
    for (const listener of registered) this.ask(listener)
  }

  /** The disk refused the group: what was decided about listeners within it never happened. */
  discarded(): void {
    const asked = this.#askedInGroup
    this.#askedInGroup = new Set()
    for (const listener of asked) {
      listener.isRevoked = false
      this.ask(listener)
    }
  }

  /** Its identity or the rules are others now. */
  ask(listener: Listener): void {
    if (listener.isRevoked) return
    const { store, isBusy, cancel } = this.#options
    if (!this.#renew(listener, store.flushed)) cancel(listener)
    else if (isBusy()) this.#askAfterGroup.add(listener)
  }

  /** Before anything is delivered to the listeners of these queries. */
  askWhoseTimeHasCome(queries: Iterable<LiveQuery>): void {
    const { timeDependent } = this.#rights
    if (timeDependent.size === 0) return
    const nowMs = this.#options.nowMs()
    for (const live of queries) {
      for (const listener of [...(timeDependent.get(live) ?? [])]) {
        if (listener.grant.changesAtMs <= nowMs) this.ask(listener)
      }
    }
  }

  close(): void {
    if (this.#timeCheck !== null) clearInterval(this.#timeCheck)
    this.#timeCheck = null
  }

  /** Decides a listener's right anew and remembers what it now rests on. @returns Whether it may go on. */
  #renew(listener: Listener, data: TreeView): boolean {
    const { path, query } = listener.live
    const grant = this.#options.authorizer.tryGrantRead(listener.subscriber.identity, path, query, data)
    if (!('sights' in grant)) {
      listener.denial = grant
      return false
    }
    this.#rights.remove(listener)
    listener.grant = grant
    this.#rights.add(listener)
    this.#keepTimeCheck()
    return true
  }

  /** What nobody writes to has to be asked about as well. */
  #keepTimeCheck(): void {
    const { timeDependent } = this.#rights
    if (this.#timeCheck !== null || timeDependent.size === 0) return
    this.#timeCheck = setInterval(() => {
      this.askWhoseTimeHasCome([...timeDependent.keys()])
      if (timeDependent.size === 0) this.close()
    }, TIME_CHECK_MS)
    this.#timeCheck.unref()
  }
}
