/**
 * Live queries against a model: whoever applies the steps of a listen holds what its query shows of the whole value,
 * after each commit, with and without an index, through failing disks, changing rules, indexes built in slices, and
 * listens, refusals and rules within a group.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  applyQuery,
  isAtOrAbove,
  type Path,
  type Query,
  type Step,
  sameValue,
  type Value,
  valueAt,
  withValueAt,
} from '../../protocol/index.ts'
import { Database } from '../database.ts'
import { admin } from '../identity.ts'
import type { WriteOrigin } from '../log/log.ts'
import type { Entry } from '../store/store.ts'
import { openMemoryStore } from '../store/store-memory.ts'
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
import type { Listener, Subscriber, Wire } from './listener.ts'
import type { LiveQuery } from './listener-tree.ts'

/** One listener, and what a client would hold by what it was sent. */
interface Client {
  path: Path
  query: Query
  listener: Listener
  held: Value
  /** What it held, step by step, in the group under way. */
  seen: Value[]
}

class Recorder implements Wire, Subscriber {
  readonly name = 'recorder'
  readonly wire: Wire = this
  readonly identity = admin
  clients: Client[] = []

  deliver(live: LiveQuery, steps: readonly Step[]): void {
    for (const client of this.clients) {
      if (client.listener.live !== live) continue
      for (const step of steps) this.#apply(client, step)
    }
  }

  #apply(client: Client, step: Step): void {
    const before = client.held
    for (let i = 0; i < step.length; i += 2) {
      const at = step[i] as string
      client.held = withValueAt(client.held, at === '' ? [] : at.split('/'), step[i + 1]!)
    }
    // Nothing is sent of children that are not shown.
    if (client.listener.live.window !== null && step[0] !== '') {
      for (let i = 0; i < step.length; i += 2) {
        const child = [(step[i] as string).split('/')[0]!]
        if (valueAt(before, child) === null) expect(valueAt(client.held, child)).not.toBeNull()
      }
    }
    client.seen.push(client.held)
  }

  canceled(): void {
    expect.fail('no listener is canceled')
  }
}

async function follow(
  groups: readonly Group[],
  first: { path: Path; query: Query }[],
  rules: keyof typeof rulesets,
  options: Partial<TreeStoreOptions>,
  rowsPerSlice: number,
) {
  const rows = new SlowRows()
  const store = new TreeStore(rows, options)
  const work = store.workOnIndexes.bind(store)
  store.workOnIndexes = () => work(rowsPerSlice)
  const recorder = new Recorder()
  const bugs: unknown[] = []
  const database = new Database({
    name: 'test',
    store,
    ruleset: rulesets[rules],
    counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
    nowMs: () => NOW_MS,
    readNodesMax: 1000,
    writeQueueMax: 1000,
    onBug: (error) => bugs.push(error),
  } as ConstructorParameters<typeof Database>[0])
  database.addWire(recorder)
  let flushed: Value = null

  const listen = ({ path, query }: { path: Path; query: Query }): void => {
    const { listener, value, warning } = database.listen(recorder, path, query)
    const isOld = recorder.clients.some((client) => client.listener.live === listener.live)
    if (!isOld && warning === null && listener.live.window !== null)
      expect(value).toEqual(applyQuery(valueAt(flushed, path), query))
    recorder.clients.push({ path, query, listener, held: value, seen: [value] })
  }
  const doNow = (act: Act): void => {
    try {
      if (act.do === 'listen') listen(act)
      else if (act.do === 'rules') database.replaceRuleset(rulesets[act.which])
      else if (act.do === 'unlisten') {
        const [client] = recorder.clients.splice(act.which % (recorder.clients.length + 1), 1)
        if (client !== undefined) database.unlisten(client.listener)
      }
    } catch (error) {
      // Told once the group is over: thrown here it would count as the group's.
      bugs.push(error)
    }
  }

  for (const at of first) listen(at)
  for (const { rules: changed, acts, duringFlush, isRefused } of groups) {
    if (changed !== null) {
      database.replaceRuleset(rulesets[changed])
      await database.idle()
    }
    for (const client of recorder.clients) client.seen = [client.held]
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
    const isSameKind = ![...acts, duringFlush].some((act) => act?.do === 'rules')
    for (const client of recorder.clients) assertFollowed(client, states, accepted, isSameKind)
  }
  await database.close()
}

function assertFollowed(
  { path, query, listener, held, seen }: Client,
  states: readonly Value[],
  writes: readonly (readonly Entry[])[],
  isSameKind: boolean,
): void {
  const shows = (state: Value): Value => applyQuery(valueAt(state, path), query)
  const shown = listener.live.window === null ? applyQuery(held, query) : held
  expect(shown).toEqual(shows(states[states.length - 1]!))
  if (listener.live.window === null) return
  const wanted = distinct(states.map(shows))
  // A query that was served whole until now held more than it shows.
  const got = distinct(seen.map((value) => applyQuery(value, query)))
  // What replaces the whole list, other rules, and a listen within the group take the rest of it in one step.
  const isWhole = writes.some((entries) => entries.some((entry) => isAtOrAbove(entry.path, path)))
  if (isSameKind && !isWhole && sameValue(got[0]!, wanted[0]!) && !isYoung(seen, wanted))
    expect(got).toEqual(wanted)
  else expect(isSubsequence(got, wanted)).toBe(true)
}

/** Whether the listener came within the group: then it saw one step at most. */
function isYoung(seen: readonly Value[], wanted: readonly Value[]): boolean {
  return seen.length === 2 && wanted.length > 2
}

function distinct(values: readonly Value[]): Value[] {
  return values.filter((value, i) => i === 0 || !sameValue(value, values[i - 1]!))
}

function isSubsequence(part: readonly Value[], whole: readonly Value[]): boolean {
  let at = 0
  for (const value of whole) if (at < part.length && sameValue(part[at]!, value)) at += 1
  return at === part.length
}

test('a listener that applies its steps holds what its query shows, after each commit', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(group, { minLength: 1, maxLength: 8 }),
      fc.array(fc.record({ path: fc.constantFrom(...LISTS), query }), { minLength: 1, maxLength: 5 }),
      fc.constantFrom('indexed' as const, 'indexed' as const, 'partly' as const, 'bare' as const),
      storeOptions,
      fc.constantFrom(1, 3, 500),
      follow,
    ),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
}, 60_000)

/** A database whose reads may take ten values. */
async function smallReads(onBug: (error: unknown) => void): Promise<Database> {
  return new Database({
    name: 'test',
    store: await openMemoryStore(),
    ruleset: rulesets.indexed,
    counters: { writes: 0, denials: 0, budgetOverruns: 0, reads: 0 },
    nowMs: () => 0,
    readNodesMax: 10,
    writeQueueMax: 1000,
    onBug,
  } as ConstructorParameters<typeof Database>[0])
}

async function writeTooLarge(database: Database): Promise<void> {
  const large = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`k${i}`, i]))
  const origin: WriteOrigin = { written() {}, refused() {}, groupSettled() {} }
  database.submit({
    entries: [{ path: ['l', 'large'], value: large }],
    identity: admin,
    expectedRevision: null,
    isCheckOnly: false,
    records: null,
    origin,
    id: 0,
  })
  await database.idle()
}

test('a window that comes to show more than one read may take ends, and its listeners are told why', async () => {
  const ended: string[] = []
  const database = await smallReads((error) => {
    throw error
  })
  const wire: Wire = { name: 'none', deliver: () => expect.fail('nothing of it is sent') }
  const subscriber: Subscriber = { identity: admin, wire, canceled: (_, error) => ended.push(error.codeName) }
  database.listen(subscriber, ['l'], { orderBy: 'key', limit: { count: 2, from: 'last' } })
  database.addWire(wire)

  await writeTooLarge(database)

  expect(ended).toEqual(['too_large'])
  expect(database.listenerCount).toBe(0)
  await database.close()
})

test('a client that ends for one window that grew too large ends with its others that the group touched', async () => {
  const bugs: unknown[] = []
  const database = await smallReads((error) => bugs.push(error))
  const wire: Wire = { name: 'none', deliver: () => expect.fail('nothing of it is sent') }
  database.addWire(wire)
  const queries: Query[] = [
    ...[1, 2, 3].map((count): Query => ({ orderBy: 'key', limit: { count, from: 'last' } })),
    { orderBy: { child: ['n'] }, limit: { count: 1, from: 'last' } },
  ]
  const listeners: Listener[] = []
  // As a socket that is full is closed: within the send.
  const canceled = (): void => {
    for (const listener of listeners) database.unlisten(listener)
  }
  const subscriber: Subscriber = { identity: admin, wire, canceled }
  for (const query of queries) listeners.push(database.listen(subscriber, ['l'], query).listener)

  await writeTooLarge(database)

  expect(bugs).toEqual([])
  expect(database.listenerCount).toBe(0)
  await database.close()
})
