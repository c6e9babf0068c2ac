/**
 * Message listens: who hears the messages of which path. A message is told at exactly its path, so a map will do. Its live
 * queries are like those of values, but nothing is stored for them to show.
 */
import type { Path, Value } from '../../protocol/index.ts'
import type { Commit } from '../log/log.ts'
import { ListenerTree, type LiveQuery, type QueryIds } from './listener-tree.ts'

/** What a group brought to each path that is listened to, oldest first. */
export type Told = Map<LiveQuery, Value[]>

export class MessageListens {
  readonly #tree: ListenerTree

  /** @param ids Shared with the queries of values: one connection may hold both, told apart by these alone. */
  constructor(ids: QueryIds) {
    this.#tree = new ListenerTree(ids)
  }

  /** The live query, made if it is the first of its path. */
  open(path: Path): LiveQuery {
    const live = this.#tree.add(path, null)
    live.isMessages = true
    return live
  }

  close(live: LiveQuery): void {
    this.#tree.remove(live)
  }

  all(): Iterable<LiveQuery> {
    return this.#tree.all()
  }

  toldBy(commits: readonly Commit[]): Told {
    const told: Told = new Map()
    if (this.#tree.size === 0) return told
    for (const { messages = [] } of commits) {
      for (const { path, value } of messages) {
        const live = this.#tree.find(path, null)
        if (live === undefined) continue
        const values = told.get(live)
        if (values === undefined) told.set(live, [value])
        else values.push(value)
      }
    }
    return told
  }
}
