/**
 * A system under test: how to start it, subscribe to a topic and publish to it. One file for each system.
 */
import type { Connection } from '../connection.ts'
import type { ServerProcess } from '../server-process.ts'

export interface System {
  /** As `--systems` takes it. */
  readonly id: string
  readonly name: string
  /** What runs here, or null when it is not installed. */
  version(): string | null
  /** What makes `version` answer. */
  readonly install: string
  start(): Promise<ServerProcess>
  /** Settles once every later update of the topic will arrive. The updates are found by `updateReader`. */
  subscribe(server: ServerProcess, topic: string): Promise<Connection>
  publisher(server: ServerProcess): Promise<Connection>
  /**
   * @param key Where in the topic, in systems that store a tree; others send the text alone.
   */
  publish(connection: Connection, topic: string, text: string, key?: string): void
  /** What precedes an update's text in a subscriber's bytes, where the text occurs in other roles too. */
  readonly textBefore?: string
  /** A subscriber's connection cannot publish. */
  readonly publishesApart?: boolean
  /** Does not send an update to the connection it came from. */
  readonly skipsSender?: boolean
  /** Subscribers hear the latest of each key, not every update: some never arrive. */
  readonly isConflated?: boolean
  /** Further subscribers that never read, as a share of those that do. */
  readonly deafShare?: number
}
