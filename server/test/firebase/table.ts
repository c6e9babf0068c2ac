/**
 * The conformance table: one row is one behaviour that an app relies on, whatever the client it was written for.
 */
import type { Cleanup, TestServer } from '../harness.ts'
import type { Client, ClientKind, Constraint, EventName, Identity, Snapshot } from './clients.ts'

export interface Row {
  /** A true sentence. */
  name: string
  /** Content of `rules`; without it everything is open. */
  rules?: object
  /** Clients it does not apply to, with the reason. */
  except?: Partial<Record<ClientKind['name'], string>>
  run(scene: Scene): Promise<void>
}

/** What a row works with. */
export interface Scene {
  t: Cleanup
  server: TestServer
  /** Another client of the same kind, on a connection of its own; nobody in particular unless told. */
  open(identity?: Identity): Promise<Client>
}

/** Values a listener was told, in order. */
export class Heard {
  // biome-ignore lint/suspicious/noExplicitAny: rows compare them with what they wrote.
  readonly values: any[] = []
  readonly snapshots: Snapshot[] = []
  canceled: Error | null = null
  #waiting: { until: (heard: Heard) => boolean; resolve: () => void }[] = []

  add(snapshot: Snapshot): void {
    this.snapshots.push(snapshot)
    this.values.push(snapshot.val())
    this.#wake()
  }

  cancel(error: Error): void {
    this.canceled = error
    this.#wake()
  }

  // biome-ignore lint/suspicious/noExplicitAny: see `values`.
  get last(): any {
    return this.values.at(-1)
  }

  /** Resolves once this holds; the test's own deadline ends it else. */
  until(holds: (heard: Heard) => boolean): Promise<void> {
    if (holds(this)) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ until: holds, resolve }))
  }

  #wake(): void {
    for (const waiter of [...this.#waiting]) {
      if (!waiter.until(this)) continue
      this.#waiting = this.#waiting.filter((other) => other !== waiter)
      waiter.resolve()
    }
  }
}

/** Listens, and resolves with the first value heard. */
export async function listen(client: Client, path: string, ...constraints: Constraint[]): Promise<Heard> {
  const heard = record(client, 'value', path, ...constraints)
  await heard.until(({ values, canceled }) => values.length > 0 || canceled !== null)
  return heard
}

export function record(
  client: Client,
  event: EventName,
  path: string,
  ...constraints: Constraint[]
): Heard & { stop(): void } {
  const heard = new Heard() as Heard & { stop(): void }
  heard.stop = client.on(
    event,
    path,
    constraints,
    (snapshot) => heard.add(snapshot),
    (error) => heard.cancel(error),
  )
  return heard
}

export function keysOf(snapshot: Snapshot): string[] {
  const keys: string[] = []
  snapshot.forEach((child) => {
    keys.push(child.key!)
  })
  return keys
}
