/**
 * Firebase's wire against a model: a client that applies pushes as Firebase's SDK does shows, after each message, what
 * its query selects of a state that was there, and after each group of the newest one.
 *
 * The SDK takes the members of a merge in the order of their keys, those of children it holds first; ignores what lies
 * deep in a child that it does not hold; and keeps a limit by itself.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  applyQuery,
  isInRange,
  isObject,
  leafOf,
  orderedKeys,
  orderedValue,
  type Path,
  type Query,
  sameValue,
  showsAll,
  type Value,
  valueAt,
  withValueAt,
} from '../../protocol/index.ts'
import { Database } from '../database.ts'
import type { Entry } from '../store/store.ts'
import { TreeStore, type TreeStoreOptions } from '../store/tree-store.ts'
import {
  type Act,
  apart,
  asWrite,
  type Group,
  group,
  LISTS,
  NOW_MS,
  query,
  rulesets,
  SlowRows,
  statesOf,
  storeOptions,
} from '../test/random-groups.ts'
import { FirebaseSession, type FirebaseSessionContext } from './firebase-session.ts'
import { FirebaseSnapshots } from './firebase-snapshots.ts'
import { FirebaseWire } from './firebase-wire.ts'
import type { Publisher, Sink } from './sink.ts'
import { Turns } from './turns.ts'
import { WaitingRoom } from './waiting-room.ts'

interface Asked {
  path: Path
  /** Null for the whole value. */
  query: Query | null
}

interface Turn extends Group {
  /** Every fifth client, from this one on, reads nothing meanwhile. */
  slow: number
  /** Asked for by a client that does not read. */
  late: Asked | null
}

const FULL_BYTES = 1e6
const LIMITS = {
  frameBytesMax: 1 << 20,
  listensMax: 1000,
  slowConsumerSoftBytes: 1000,
  slowConsumerHardBytes: 1 << 20,
  slowConsumerDeadlineMs: 60_000,
  messagesPerSecondMax: 0,
  messageBytesPerSecondMax: 0,
  readBytesPerSecondMax: 0,
}

/** What the SDK keeps for one listen. */
interface View extends Asked {
  tag: number | null
  /** Whether it holds only what the query shows. */
  isFiltered: boolean
  /** Undefined before the first value. */
  held: Value | undefined
  shown: Value[]
}

/** Publishes to all connections. */
class Hub implements Publisher {
  readonly clients = new Set<Client>()

  publish(topic: string, bytes: Uint8Array): void {
    for (const client of this.clients) client.published(topic, bytes)
  }
}

/**
 * A connection with one listen: those of one SDK share pushes without a tag, so that what one is told the others have
 * seen before.
 */
class Client implements Sink {
  readonly view: View
  readonly session: FirebaseSession
  bufferedBytes = 0
  #topics = new Set<string>()

  constructor(context: FirebaseSessionContext, { path, query }: Asked, isSlow: boolean) {
    const tag = query === null || showsAll(query) ? null : 3
    this.view = {
      path,
      query: tag === null ? null : query,
      tag,
      isFiltered: false,
      held: undefined,
      shown: [],
    }
    // Alone in its line, so that what it asks is served at once.
    const turns = new Turns({ bytesInFlightMax: Number.POSITIVE_INFINITY, onBug: context.onBug })
    const options = { id: 'session', sink: this, host: 'test', isBack: false, afterwards: null }
    const waitingRoom = new WaitingRoom(Number.POSITIVE_INFINITY)
    this.session = new FirebaseSession({ ...context, turns, waitingRoom }, options)
    this.session.open()
    if (isSlow) this.bufferedBytes = FULL_BYTES
    const body = { p: `/${path.join('/')}`, h: '', ...(tag === null ? {} : { q: wireQuery(query!), t: tag }) }
    this.session.receive(Buffer.from(JSON.stringify({ t: 'd', d: { r: 1, a: 'q', b: body } })))
  }

  /** It reads again. */
  drain(): void {
    this.bufferedBytes = 0
    this.session.drained()
  }

  published(topic: string, bytes: Uint8Array): void {
    if (!this.#topics.has(topic)) return
    if (this.bufferedBytes > 0) this.session.dropped()
    else this.#hear(Buffer.from(bytes).toString())
  }

  send(bytes: Uint8Array): boolean {
    this.#hear(Buffer.from(bytes).toString())
    return true
  }

  cork(call: () => void): void {
    call()
  }

  subscribe(topic: string): void {
    this.#topics.add(topic)
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic)
  }

  close(): void {
    throw new Error('the connection was closed')
  }

  #hear(text: string): void {
    const { t, d } = JSON.parse(text)
    if (t !== 'd') return
    const { view } = this
    if (d.r !== undefined) {
      expect(d.b.s).toBe('ok')
      // Answered without a value: there is none.
      view.held ??= null
    } else {
      const { p, t: tag = null, d: data } = d.b
      if (tag !== null) expect(tag).toBe(view.tag)
      apply(view, d.a, keysOf(p).slice(view.path.length), data, tag !== null)
    }
    if (view.held !== undefined) view.shown.push(applyQuery(view.held, view.query))
  }
}

function apply(view: View, action: string, at: Path, data: Value, isTagged: boolean): void {
  if (action === 'd') {
    if (at.length === 0) {
      view.isFiltered = isTagged
      view.held = isTagged ? applyQuery(data, view.query) : data
    } else if (view.held !== undefined) overwrite(view, at, data)
    return
  }
  expect(action).toBe('m')
  if (view.held === undefined) return
  view.isFiltered ||= isTagged
  const members = Object.entries(data as Record<string, Value>)
    .map(([path, value]) => ({ path: [...at, ...keysOf(path)], value }))
    .sort((a, b) => compareAsSdk(a.path, b.path))
  const children = new Map<string, typeof members>()
  for (const member of members) {
    const child = member.path[0]!
    children.set(child, [...(children.get(child) ?? []), member])
  }
  const before = view.held
  for (const isHeld of [true, false]) {
    for (const [child, ofChild] of children) {
      const wasHeld = valueAt(before, [child]) !== null
      if (wasHeld !== isHeld && child !== '.priority') continue
      if (child === '.priority') {
        if (!isHeld) overwrite(view, [child], ofChild[0]!.value)
        continue
      }
      const isWhole = ofChild[0]!.path.length === 1
      if (!wasHeld && !isWhole && view.isFiltered) continue
      let node: Value = valueAt(before, [child])
      for (const { path, value } of ofChild) node = withValueAt(node, path.slice(1), value)
      overwrite(view, [child], node)
    }
  }
}

function overwrite(view: View, at: Path, value: Value): void {
  const { query, isFiltered } = view
  const held = view.held!
  if (!isFiltered || query === null) {
    view.held = withValueAt(held, at, value)
    return
  }
  const key = at[0]!
  // The priority of the list is no part of a window.
  if (key === '.priority') return
  if (at.length > 1 && valueAt(held, [key]) === null) return
  const child = valueAt(withValueAt(held, at, value), [key])
  const isIn = child !== null && isInRange(query, key, orderedValue(query.orderBy, child))
  const count = isObject(held) ? orderedKeys(held).length : 0
  const isNew = valueAt(held, [key]) === null
  view.held = withValueAt(held, [key], isIn ? child : null)
  if (query.limit !== undefined && isNew && isIn && count === query.limit.count)
    view.held = applyQuery(view.held, query)
}

function compareAsSdk(a: Path, b: Path): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1
  return b.length - a.length
}

function keysOf(path: string): string[] {
  return path.split('/').filter((key) => key !== '')
}

function wireQuery({ orderBy, start, end, limit }: Query): object {
  const name = typeof orderBy === 'string' ? `.${orderBy}` : orderBy.child.join('/')
  return {
    ...(orderBy === 'priority' ? {} : { i: name }),
    ...(start === undefined ? {} : { sp: start.value, sin: start.inclusive }),
    ...(start?.key === undefined ? {} : { sn: start.key }),
    ...(end === undefined ? {} : { ep: end.value, ein: end.inclusive }),
    ...(end?.key === undefined ? {} : { en: end.key }),
    ...(start !== undefined && start.key === undefined && !start.inclusive && orderBy !== 'key'
      ? { sn: '[MAX_NAME]' }
      : {}),
    ...(end !== undefined && end.key === undefined && !end.inclusive && orderBy !== 'key'
      ? { en: '[MIN_NAME]' }
      : {}),
    ...(limit === undefined ? {} : { l: limit.count, vf: limit.from === 'first' ? 'l' : 'r' }),
  }
}

async function follow(
  groups: readonly Turn[],
  first: readonly Asked[],
  rules: keyof typeof rulesets,
  options: Partial<TreeStoreOptions>,
  rowsPerSlice: number,
) {
  const rows = new SlowRows()
  const store = new TreeStore(rows, options)
  const work = store.workOnIndexes.bind(store)
  store.workOnIndexes = () => work(rowsPerSlice)
  const bugs: unknown[] = []
  const onBug = (error: unknown): void => void bugs.push(error)
  const database = new Database({
    name: 'test',
    store,
    ruleset: rulesets[rules],
    counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
    nowMs: () => NOW_MS,
    readNodesMax: 1000,
    writeQueueMax: 1000,
    onBug,
  } as ConstructorParameters<typeof Database>[0])
  const hub = new Hub()
  const wire = new FirebaseWire('test', hub, { deliveries: 0, deliveredBytes: 0 } as never)
  const snapshots = new FirebaseSnapshots()
  for (const each of [wire, snapshots]) database.addWire(each)
  const context = {
    database,
    wire,
    snapshots,
    onDisconnect: { settling: null, run() {} },
    nowMs: () => NOW_MS,
    limits: LIMITS,
    counters: { errors: 0, slowConsumers: 0 },
    isDev: false,
    ended() {},
    onBug,
  } as unknown as FirebaseSessionContext
  const clients: Client[] = []
  let flushed: Value = null
  // The one thing the order of the SDK's own changes: a place that a push takes the last child of, and gives another,
  // may keep its priority where it should lose it, or lose it.
  let hasDeletions = false

  const listen = (at: Asked, isSlow = false): void => {
    clients.push(new Client(context, at, isSlow))
    hub.clients.add(clients.at(-1)!)
  }
  const doNow = (act: Act): void => {
    if (act.do === 'listen') listen(act)
    else if (act.do === 'rules') database.replaceRuleset(rulesets[act.which])
    else if (act.do === 'unlisten') {
      const [client] = clients.splice(act.which % (clients.length + 1), 1)
      client?.session.closed()
    }
  }

  for (const at of first) listen(at)
  for (const { rules: changed, acts, duringFlush, isRefused, slow, late } of groups) {
    if (changed !== null) {
      database.replaceRuleset(rulesets[changed])
      await database.idle()
    }
    if (late !== null) listen(late, true)
    for (const { view } of clients) view.shown = view.shown.slice(-1)
    for (const [i, client] of clients.entries()) if (i % 5 === slow) client.bufferedBytes = FULL_BYTES
    const written = new Set<Entry[]>()
    rows.isRefusing = isRefused
    rows.duringCommit = () => {
      rows.duringCommit = () => {}
      if (duringFlush !== null) doNow(duringFlush)
    }
    const writes = acts.map((act) => ('entries' in act ? { ...act, entries: apart(act.entries) } : act))
    for (const act of writes) database.submit(asWrite(act, doNow, (entries) => written.add(entries)))
    await database.idle()
    rows.isRefusing = false
    rows.duringCommit = () => {}
    if (bugs.length > 0) throw bugs[0]

    const { states, accepted } = statesOf(flushed, writes, written)
    flushed = states.at(-1)!
    hasDeletions ||= accepted.some((entries) => entries.some(({ value }) => value === null))
    for (const [i, client] of clients.entries()) {
      if (client.bufferedBytes === 0) assertShown(client.view, states, hasDeletions)
      else if (i % 5 !== slow) {
        client.drain()
        assertShown(client.view, [flushed], hasDeletions, false)
      }
    }
  }
  for (const client of clients) {
    client.drain()
    assertShown(client.view, [flushed], hasDeletions, false)
    client.session.closed()
  }
  await database.close()
}

function assertShown(
  { path, query, held, shown }: View,
  states: readonly Value[],
  isPlain: boolean,
  isStepwise = true,
): void {
  const what = `/${path.join('/')} ${JSON.stringify(query)}`
  const wanted = states.map((state) => applyQuery(valueAt(state, path), query))
  expect(held, what).toBeDefined()
  const kept = isPlain ? unprioritised : (value: Value): Value => value
  if (!isPlain || query?.orderBy !== 'priority')
    expect(kept(applyQuery(held!, query)), what).toEqual(kept(wanted.at(-1)!))
  if (!isStepwise || (isPlain && query?.orderBy === 'priority')) return
  // A priority may come a message behind the place it is given to.
  const plain = wanted.map(unprioritised)
  for (const value of shown) {
    if (!plain.some((other) => sameValue(unprioritised(value), other))) expect(value, what).toEqual(wanted)
  }
}

function unprioritised(value: Value): Value {
  if (!isObject(value)) return leafOf(value)
  return Object.fromEntries(orderedKeys(value).map((key) => [key, unprioritised(value[key]!)]))
}

const asked = fc.record({ path: fc.constantFrom(...LISTS), query: fc.option(query, { freq: 3 }) })

test('a client of Firebase’s wire shows what its queries select, after each message and each group', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc
          .tuple(group, fc.nat({ max: 9 }), fc.option(asked, { freq: 9 }))
          .map(([group, slow, late]) => ({ ...group, slow, late })),
        { minLength: 1, maxLength: 8 },
      ),
      fc.array(fc.record({ path: fc.constantFrom(...LISTS), query: fc.option(query, { freq: 3 }) }), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.constantFrom('indexed' as const, 'indexed' as const, 'partly' as const, 'bare' as const),
      storeOptions,
      fc.constantFrom(1, 3, 500),
      follow,
    ),
    { numRuns: Number(process.env['RUNS'] ?? 150) },
  )
}, 60_000)

test('a client that reads nothing while it begins to listen, and what it listens to begins to be, holds all of it', async () => {
  const late: Asked = { path: ['l'], query: { orderBy: 'key', limit: { count: 2, from: 'last' } } }
  const write: Act = { do: 'write', entries: [{ path: ['l', 'a', 'b'], value: 1 }] }
  const turn = { rules: null, acts: [write], duringFlush: null, isRefused: false }

  await follow([{ ...turn, slow: 0, late }], [], 'bare', {}, 1)
})
