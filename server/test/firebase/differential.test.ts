/**
 * Firebase's SDKs against a plain model: two clients of `firebase/database`, one of `firebase-admin`, and REST write at
 * random what meets often, listen with queries of all kinds, go away, leave writes behind and come back. Whenever all is
 * quiet, each listener shows what the model says, in its order and with its priorities; and what others wrote it has
 * shown in states that were there, by events that lead from each value to the next.
 *
 * SEED runs another, STEPS makes it longer. What is left out is the SDK's own, with its reason.
 */
import { expect, test, vi } from 'vitest'
import { type Cleanup, OPEN, serve, type TestServer } from '../harness.ts'
import { type Client, type Constraint, clientKinds, type EventName, type Snapshot } from './clients.ts'
import {
  type Json,
  jsonOf,
  type Node,
  nodeAt,
  nodeOf,
  type PlainQuery,
  type Rank,
  type State,
  selected,
  withNode,
  withRank,
} from './plain-model.ts'

for (const method of ['log', 'warn'] as const) vi.spyOn(console, method).mockImplementation(() => {})

const NOW_MS = 1_700_000_000_000
const ORDERS = ['.value', 'n', 'n/m']
const INDEXED = { '.indexOn': ORDERS, $x: { '.indexOn': ORDERS, $y: { '.indexOn': ORDERS } } }
const LISTS = [[], ['l'], ['l'], ['l', 'a'], ['l', 'b']]
const KEYS = [
  'a',
  'b',
  'c',
  '1',
  '2',
  'n',
  'm',
  'a',
  'b',
  'n',
  '01',
  '10',
  '-1',
  '2147483648',
  'é',
  '\ufffd',
  '😀',
]
const LEAVES = [
  0,
  1,
  2,
  -1,
  1.5,
  2 ** 53 - 1,
  3.9999999999999996,
  true,
  false,
  'a',
  'b',
  '',
  '😀',
  '\ufffd',
  'é',
]
const RANKS: Rank[] = [null, null, null, 1, 2, -1.5, 'p', 'q']

/** A small generator of random numbers, the same for the same seed. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(count: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count
  }

  isOneIn(count: number): boolean {
    return this.below(count) === 0
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }
}

type Op =
  | { do: 'set'; path: string[]; value: Json }
  | { do: 'update'; path: string[]; values: Record<string, Json> }
  | { do: 'rank'; path: string[]; rank: Rank }
  | { do: 'transaction'; path: string[] }

interface Writer {
  readonly name: string
  write(op: Op): Promise<unknown>
}

interface Asked {
  path: string[]
  query: PlainQuery | null
  constraints: Constraint[]
}

function anyOp(random: Random): Op {
  const path = anyPath(random)
  switch (random.below(12)) {
    case 0:
      return { do: 'set', path, value: null }
    case 1:
    case 2:
    case 3: {
      const values: Record<string, Json> = {}
      const at = random.isOneIn(3) ? path.slice(0, 2) : path.slice(0, 1)
      for (let i = random.below(4); i >= 0; i--) {
        const keys = [random.of(KEYS), ...(random.isOneIn(2) ? [random.of(KEYS)] : [])]
        if (random.isOneIn(5)) keys.push('.priority')
        const isApart = Object.keys(values).every((other) => {
          const rest = other.split('/')
          return rest.some((key, i) => i < keys.length && key !== keys[i])
        })
        if (isApart)
          values[keys.join('/')] = keys.includes('.priority') ? random.of(RANKS) : anyValue(random, 1)
      }
      return { do: 'update', path: at, values }
    }
    case 4:
    case 5:
      return { do: 'rank', path, rank: random.of(RANKS) }
    case 6:
      return { do: 'transaction', path }
    default:
      return { do: 'set', path, value: anyValue(random, random.of([1, 2, 2, 3])) }
  }
}

function anyPath(random: Random): string[] {
  const path = [...random.of(LISTS)]
  for (let i = random.below(3); i > 0; i--) path.push(random.of(KEYS))
  return path
}

function anyValue(random: Random, depth: number): Json {
  const kind = random.below(12)
  if (kind === 0) return null
  if (kind === 1) return { '.sv': random.isOneIn(2) ? 'timestamp' : { increment: 1 } }
  const rank = random.of(RANKS)
  if (kind < 7 || depth === 0) {
    const leaf = random.of(LEAVES)
    return rank === null ? leaf : { '.value': leaf, '.priority': rank }
  }
  const value: Json = rank === null ? {} : { '.priority': rank }
  for (let i = random.below(3); i >= 0; i--) value[random.of(KEYS)] = anyValue(random, depth - 1)
  return value
}

/** The SDK fails at a list in the order of a child or of values that was a leaf (`Server snap not indexed`). */
function anyAsked(random: Random, mayBeLeaves: boolean): Asked {
  const path = [...random.of(LISTS)]
  if (random.isOneIn(4)) return { path, query: null, constraints: [] }
  const orders = ['key', 'priority', '', ...(mayBeLeaves ? [] : ['value', 'n', 'n/m', 'a', 'a'])]
  const name = random.of(orders)
  const constraints: Constraint[] = []
  let by: PlainQuery['by']
  if (name === 'key') constraints.push(['orderByKey'])
  else if (name === 'value') constraints.push(['orderByValue'])
  else if (name === 'priority') constraints.push(['orderByPriority'])
  else if (name !== '') constraints.push(['orderByChild', name])
  if (name === 'key') by = { key: true }
  else if (name === 'value') by = { value: true }
  else by = name === 'priority' || name === '' ? { priority: true } : { child: name }
  const query: PlainQuery = { by }
  const bound = (): { value: Json; key?: string } => {
    if ('key' in by) return { value: random.of(KEYS) }
    const value = 'priority' in by ? random.of(RANKS) : random.of([null, ...LEAVES])
    return random.isOneIn(3) ? { value, key: random.of(KEYS) } : { value }
  }
  const args = (at: { value: Json; key?: string }): Json[] => [
    at.value,
    ...(at.key === undefined ? [] : [at.key]),
  ]
  if (random.isOneIn(6)) {
    const at = bound()
    query.start = { ...at, isAfter: false }
    query.end = { ...at, isBefore: false }
    constraints.push(['equalTo', ...args(at)])
  } else {
    if (random.isOneIn(3)) {
      query.start = { ...bound(), isAfter: random.isOneIn(2) }
      constraints.push([query.start.isAfter ? 'startAfter' : 'startAt', ...args(query.start)])
    }
    if (random.isOneIn(3)) {
      query.end = { ...bound(), isBefore: random.isOneIn(2) }
      constraints.push([query.end.isBefore ? 'endBefore' : 'endAt', ...args(query.end)])
    }
  }
  if (random.isOneIn(2)) {
    query.limit = { count: 1 + random.below(4), isLast: random.isOneIn(2) }
    constraints.push([query.limit.isLast ? 'limitToLast' : 'limitToFirst', query.limit.count])
  }
  return { path, query, constraints }
}

// The model

function after(state: State, op: Op): State {
  switch (op.do) {
    case 'set':
      return withNode(state, op.path, resolved(op.value, nodeAt(state, op.path)))
    case 'rank':
      return withRank(state, op.path, op.rank)
    case 'transaction': {
      const before = nodeAt(state, op.path)
      return withNode(state, op.path, { ...nodeOf(counted(plainOf(before)))!, rank: before?.rank ?? null })
    }
    case 'update': {
      let next = state
      const entries = Object.entries(op.values).map(([key, value]) => ({ keys: key.split('/'), value }))
      const nodes = entries
        .filter(({ keys }) => !keys.includes('.priority'))
        .map(({ keys, value }) => {
          const path = [...op.path, ...keys]
          return { path, node: resolved(value, nodeAt(state, path)) }
        })
      // What is left in a place keeps its priority.
      for (const { path, node } of nodes) if (node !== null) next = withNode(next, path, node)
      for (const { path, node } of nodes) if (node === null) next = withNode(next, path, null)
      for (const { keys, value } of entries) {
        if (keys.includes('.priority')) next = withRank(next, [...op.path, ...keys.slice(0, -1)], value)
      }
      return next
    }
  }
}

function resolved(value: Json, before: State): State {
  return nodeOf(withoutServerValues(value, before))
}

function withoutServerValues(value: Json, before: State): Json {
  if (value === null || typeof value !== 'object') return value
  if (value['.sv'] === 'timestamp') return NOW_MS
  if (value['.sv'] !== undefined) return (typeof before?.leaf === 'number' ? before.leaf : 0) + 1
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [
      key,
      withoutServerValues(child, before?.children?.[key] ?? null),
    ]),
  )
}

/** What transactions here do. */
function counted(value: Json): Json {
  if (typeof value === 'number') return value === 1 ? { n: 1, c: { m: 2 } } : 1
  return value === null ? 2 : { n: 3 }
}

function plainOf(node: State): Json {
  if (node === null) return null
  return node.children === undefined ? node.leaf : {}
}

function unranked(node: State): State {
  if (node?.children === undefined) return node === null ? null : { ...node, rank: null }
  const children: Record<string, Node> = {}
  for (const [key, child] of Object.entries(node.children)) children[key] = unranked(child)!
  return { children, rank: null }
}

interface Shown {
  value: Json
  keys: string[]
}

function shownBy(state: State, { path, query }: Asked): Shown {
  const node = nodeAt(state, path)
  if (query === null || isWhole(query)) {
    const all = selected(node, query ?? { by: { priority: true } })
    return { value: jsonOf(node), keys: all.map(([key]) => key) }
  }
  const children = selected(node, query)
  const value = children.length === 0 ? null : { children: Object.fromEntries(children), rank: null }
  return { value: jsonOf(value), keys: children.map(([key]) => key) }
}

function isWhole({ start, end, limit }: PlainQuery): boolean {
  return start === undefined && end === undefined && limit === undefined
}

// The clients

/** One listener, with all that it was told. */
class Watch {
  readonly asked: Asked
  readonly client: string
  shown: Shown[] = []
  problem: string | null = null
  canceled: Error | null = null
  #children: [key: string, json: string][] = []
  #batch = new Set<EventName>()
  readonly #stops: (() => void)[]

  constructor(client: { name: string; sdk: Client }, asked: Asked) {
    this.client = client.name
    this.asked = asked
    const path = `t/${asked.path.join('/')}`
    const events: EventName[] = ['child_added', 'child_changed', 'child_moved', 'child_removed', 'value']
    this.#stops = events.map((event) =>
      client.sdk.on(
        event,
        path,
        asked.constraints,
        (snapshot, previous) => this.#hear(event, snapshot, previous ?? null),
        (error) => {
          this.canceled = error
        },
      ),
    )
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  get what(): string {
    return `${this.client} at /${this.asked.path.join('/')} ${JSON.stringify(this.asked.constraints)}`
  }

  #hear(event: EventName, snapshot: Snapshot, previous: string | null): void {
    if (event === 'value') {
      this.#heardValue(snapshot)
      return
    }
    this.#batch.add(event)
    const key = snapshot.key!
    const at = this.#children.findIndex(([other]) => other === key)
    if ((event === 'child_added') !== (at === -1)) this.#complain(`${event} of ${key}, which is ${at}`)
    if (event === 'child_changed') {
      if (at !== -1) this.#children[at]![1] = textOf(snapshot)
      return
    }
    if (at !== -1) this.#children.splice(at, 1)
    if (event === 'child_removed') return
    const behind = previous === null ? -1 : this.#children.findIndex(([other]) => other === previous)
    if (previous !== null && behind === -1) this.#complain(`${event} of ${key} behind ${previous}`)
    this.#children.splice(behind + 1, 0, [key, textOf(snapshot)])
  }

  #heardValue(snapshot: Snapshot): void {
    const children: [string, string][] = []
    snapshot.forEach((child) => {
      children.push([child.key!, textOf(child)])
    })
    const sorted = (list: [string, string][]): string => JSON.stringify(list.map(String).sort())
    if (sorted(children) !== sorted(this.#children)) {
      this.#complain(`events made ${JSON.stringify(this.#children)} of ${JSON.stringify(children)}`)
    }
    // What is added is told before what has moved, so that places of both at once follow from neither.
    if (!this.#batch.has('child_moved') && String(children) !== String(this.#children)) {
      this.#complain(
        `events led to ${JSON.stringify(this.#children)}, the order is ${JSON.stringify(children)}`,
      )
    }
    this.#batch.clear()
    this.#children = children
    this.shown.push({
      value: JSON.parse(textOf(snapshot)),
      keys: children.map(([key]) => key),
    })
  }

  #complain(problem: string): void {
    this.problem ??= problem
  }
}

function textOf(snapshot: Snapshot): string {
  return JSON.stringify(jsonOf(nodeOf(snapshot.exportVal())))
}

function sdkWriter(name: string, sdk: Client): Writer & { sdk: Client } {
  return {
    name,
    sdk,
    write(op) {
      const path = `t/${op.path.join('/')}`
      if (op.do === 'set') return op.value === null ? sdk.remove(path) : sdk.set(path, op.value)
      if (op.do === 'update') return sdk.update(path, op.values)
      if (op.do === 'rank') return sdk.setPriority(path, op.rank)
      return sdk.transaction(path, counted)
    },
  }
}

function restWriter(server: TestServer): Writer {
  return {
    name: 'REST',
    async write(op) {
      if (op.do === 'transaction') return
      const path = ['t', ...op.path, ...(op.do === 'rank' ? ['.priority'] : [])]
        .map(encodeURIComponent)
        .join('/')
      const method = op.do === 'update' ? 'PATCH' : op.do === 'set' && op.value === null ? 'DELETE' : 'PUT'
      const body = op.do === 'update' ? op.values : op.do === 'rank' ? op.rank : op.value
      const answer = await fetch(`${server.url}/${path}.json?ns=demo`, {
        method,
        ...(method === 'DELETE' ? {} : { body: JSON.stringify(body) }),
      })
      if (!answer.ok) throw new Error(`${method} ${path} ${JSON.stringify(body)}: ${await answer.text()}`)
    },
  }
}

async function stored(server: TestServer): Promise<State> {
  const answer = await fetch(`${server.url}/t.json?ns=demo&format=export`)
  return nodeOf(await answer.json())
}

/** All ways in which the lists, each in its order, may have come one after the other. */
function interleaved(state: State, lists: readonly (readonly Op[])[], ends: Map<string, State>): void {
  let isEnd = true
  for (const [i, [first, ...rest]] of lists.entries()) {
    if (first === undefined) continue
    isEnd = false
    interleaved(after(state, first), lists.with(i, rest), ends)
  }
  if (isEnd) ends.set(JSON.stringify(jsonOf(state)), state)
}

async function run(t: Cleanup, seed: number, steps: number): Promise<void> {
  const random = new Random(seed)
  const rules = { ...OPEN, t: INDEXED }
  const server = await serve(t, { rules, config: { dev: true }, parts: { nowMs: () => NOW_MS } })
  const open = async (kind: number): Promise<Client> => clientKinds[kind]!.open(t, server, {}, 'demo', rules)
  const listening = [sdkWriter('A', await open(0)), sdkWriter('B', await open(0))]
  const admin = sdkWriter('admin', await open(1))
  const writers: Writer[] = [...listening, admin, restWriter(server)]
  const watches: Watch[] = []
  const watchesMax = random.of([3, 3, 6, 16])
  let state: State = null
  let log: string[] = []

  /** One client's writes, each sent behind the one before; transactions alone. */
  const program = async (writer: Writer, ops: readonly Op[]): Promise<void> => {
    const pending: Promise<unknown>[] = []
    for (const op of ops) {
      const isAlone = op.do === 'transaction' || writer.name === 'REST'
      if (isAlone) await Promise.all(pending.splice(0))
      pending.push(writer.write(op))
      if (isAlone) await Promise.all(pending.splice(0))
    }
    await Promise.all(pending)
  }
  const mayBeLeaves = random.isOneIn(3)
  const isAllowed = (op: Op, writer: Writer): boolean => {
    if (op.do === 'transaction' && writer.name === 'REST') return false
    if (mayBeLeaves) return true
    if (writer.name !== 'REST' && ranksList(op)) return false
    // What a transaction guesses before it knows the list is a leaf, too.
    if (op.do === 'transaction' && LISTS.some((list) => list.join('/') === op.path.join('/'))) return false
    const next = after(state, op)
    return LISTS.every((list) => nodeAt(next, list)?.leaf === undefined)
  }
  const opsFor = (writer: Writer, count: number): Op[] =>
    Array.from({ length: count }, () => anyOp(random)).filter((op) => isAllowed(op, writer))
  const changeListens = (): void => {
    if (random.isOneIn(3)) {
      const [watch] = watches.splice(random.below(watches.length + 1), 1)
      watch?.stop()
      if (watch !== undefined) log.push(`stop ${watch.what}`)
    }
    if (watches.length < watchesMax && random.isOneIn(2)) {
      const watch = new Watch(random.of([...listening, ...listening, admin]), anyAsked(random, mayBeLeaves))
      log.push(`listen ${watch.what}`)
      watches.push(watch)
    }
  }
  /** All that was written has been answered: what was pushed before is heard once the next answer is. */
  const settle = async (): Promise<void> => {
    await Promise.all([...listening, admin].map(({ sdk }) => sdk.get('nothing')))
  }
  const complain = (what: string, actual: unknown, wanted: unknown): void => {
    const problem = `seed ${seed}: ${what}\n${log.slice(-12).join('\n')}`
    expect(actual, problem).toEqual(wanted)
  }
  const check = (states: readonly State[], writing: ReadonlySet<string>): void => {
    for (const watch of watches) {
      const { asked, shown, what } = watch
      complain(`${what} was canceled`, watch.canceled, null)
      complain(what, watch.problem, null)
      if (isPickedBySdk(watch.client, asked, watches)) {
        watch.shown = shown.slice(-1)
        continue
      }
      complain(`${what} shows`, shown.at(-1), shownBy(states.at(-1)!, asked))
      // Listens of one client that overlap tell it of one write one after the other; a priority may come a message behind
      // the place it is given to.
      const isByPriority = asked.query !== null && 'priority' in asked.query.by
      if (!writing.has(watch.client) && !isByPriority && !watches.some((other) => overlap(watch, other))) {
        const were = states.map((each) => plainly(shownBy(each, asked).value))
        for (const { value } of shown) {
          if (!were.some((each) => isSame(each, plainly(value)))) complain(`${what} showed`, value, were)
        }
      }
      watch.shown = shown.slice(-1)
    }
  }

  for (let step = 0; step < steps; step++) {
    const kind = random.below(10)
    const states = [state]
    const writing = new Set<string>()
    const take = (op: Op): void => {
      state = after(state, op)
      states.push(state)
    }
    if (kind < 6) {
      const writer = random.of(writers)
      const ops = opsFor(writer, 1 + random.below(4))
      log.push(`${step} ${writer.name}: ${JSON.stringify(ops)}`)
      for (const op of ops) take(op)
      writing.add(writer.name)
      changeListens()
      const written = program(writer, ops)
      changeListens()
      await written
      await settle()
    } else if (kind < 8) {
      const lists = writers.map((writer) => opsFor(writer, random.below(3)))
      log.push(`${step} together: ${JSON.stringify(lists)}`)
      for (const { name } of writers) writing.add(name)
      changeListens()
      await Promise.all(writers.map((writer, i) => program(writer, lists[i]!)))
      await settle()
      const ends = new Map<string, State>()
      interleaved(state, lists, ends)
      const now = await stored(server)
      if (!ends.has(JSON.stringify(jsonOf(now)))) complain('stored is', jsonOf(now), [...ends.keys()])
      state = now
      states.push(state)
    } else {
      // One goes away, and what it leaves is done; others write, it goes on for itself, and comes back.
      const [gone, other] = random.isOneIn(2) ? listening : listening.toReversed()
      const plain = opsFor(gone!, random.below(4)).filter(
        (op) => (op.do === 'set' || op.do === 'update') && !JSON.stringify(op).includes('.sv'),
      )
      const meanwhile = opsFor(other!, random.below(3))
      const queued = opsFor(gone!, random.below(3)).filter((op) => op.do !== 'transaction')
      log.push(`${step} ${gone!.name} leaves ${JSON.stringify([plain, meanwhile, queued])}`)
      writing.add(gone!.name).add(other!.name)
      const registered = plain.map((op) => {
        const later = gone!.sdk.onDisconnect(`t/${op.path.join('/')}`)
        if (op.do === 'set') return op.value === null ? later.remove() : later.set(op.value)
        return later.update((op as Op & { do: 'update' }).values)
      })
      await Promise.all([...registered, gone!.sdk.onDisconnect('gone').set(step)])
      const isGone = new Promise<void>((resolve) => {
        const stop = other!.sdk.on('value', 'gone', [], (snapshot) => {
          if (snapshot.val() !== step) return
          setImmediate(() => {
            stop()
            resolve()
          })
        })
      })
      gone!.sdk.goOffline()
      for (const op of plain) take(op)
      await isGone
      const returned = program(gone!, queued)
      changeListens()
      await program(other!, meanwhile)
      for (const op of meanwhile) take(op)
      gone!.sdk.goOnline()
      for (const op of queued) take(op)
      changeListens()
      await returned
      await settle()
    }
    complain('stored is', jsonOf(await stored(server)), jsonOf(state))
    check(states, writing)
    if (random.isOneIn(4)) await compareGets()
    log = log.slice(-60)
  }

  async function compareGets(): Promise<void> {
    const asked = anyAsked(random, mayBeLeaves)
    const { query } = asked
    if (query !== null && isUnindexed(query)) return
    const client = random.of([...listening, admin])
    if (spoilsWindow(client.name, asked, watches) || isPickedBySdk(client.name, asked, watches)) return
    const snapshot = await client.sdk.get(`t/${asked.path.join('/')}`, ...asked.constraints)
    complain(`get of ${JSON.stringify(asked)}`, JSON.parse(textOf(snapshot)), shownBy(state, asked).value)
  }
}

/**
 * Whether it is for a list's own priority, which the SDK fails at where it shows the list in the order of a child or of values
 * while nothing is in it, whatever a server says: it guesses the priority of nothing to be a node that has no such order
 * (`Event snap not indexed`), and does so once more as the write is answered (`Server snap not indexed`).
 */
function ranksList(op: Op): boolean {
  const ranked: string[] = []
  if (op.do === 'rank') ranked.push(op.path.join('/'))
  if (op.do === 'update') {
    for (const key of Object.keys(op.values)) {
      if (key.endsWith('/.priority')) ranked.push([...op.path, ...key.split('/').slice(0, -1)].join('/'))
    }
  }
  return ranked.some((place) => LISTS.some((list) => list.join('/') === place))
}

/**
 * So many of a list that the client holds whole: which they are is the SDK's to say, and it errs (sdk-faults.test.ts). Where no
 * child has the value of the order, it misses some of the last before a value; and where it listens to the whole as well, it
 * may show a child as it was.
 */
function isPickedBySdk(client: string, asked: Asked, watches: readonly Watch[]): boolean {
  const { path, query } = asked
  if (query?.limit === undefined) return false
  const { end, limit } = query
  if (isUnindexed(query) && limit.isLast && end !== undefined && end.value !== null) return true
  return watches.some((watch) => {
    const other = watch.asked
    const isWholeHeld = other.query === null || isWhole(other.query) || isUnindexed(other.query)
    const isElse = watch.client === client && other !== asked
    return isElse && isWholeHeld && other.path.every((key, i) => key === path[i])
  })
}

function isUnindexed({ by }: PlainQuery): boolean {
  return 'child' in by && by.child === 'a'
}

/** A `get` of all that is in a list leaves more in the SDK's windows there than it keeps current (sdk-faults.test.ts). */
function spoilsWindow(client: string, { path, query }: Asked, watches: readonly Watch[]): boolean {
  if (query !== null && !isWhole(query)) return false
  return watches.some((watch) => {
    const { asked } = watch
    const isWindow = asked.query !== null && !isWhole(asked.query)
    return watch.client === client && isWindow && path.every((key, i) => key === asked.path[i])
  })
}

/** Without priorities. */
function plainly(json: Json): Json {
  return jsonOf(unranked(nodeOf(json)))
}

function isSame(a: Json, b: Json): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function overlap(watch: Watch, other: Watch): boolean {
  if (other === watch || other.client !== watch.client) return false
  const [a, b] = [watch.asked.path, other.asked.path]
  return a.every((key, i) => i >= b.length || key === b[i])
}

/** Those that once failed, each for a reason of its own. */
const SEEDS = process.env['SEED'] === undefined ? [2, 125, 229, 260, 315, 388] : [Number(process.env['SEED'])]
const STEPS = Number(process.env['STEPS'] ?? 60)

for (const seed of SEEDS) {
  test(
    `what Firebase’s SDKs show is what was written, whoever wrote it and whoever was away (seed ${seed})`,
    (t) => run(t, seed, STEPS),
    STEPS * 300 + 20_000,
  )
}
