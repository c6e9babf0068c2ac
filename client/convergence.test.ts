import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Path, type Value, valueAt } from '../protocol/index.ts'
import {
  type Database,
  type DataSnapshot,
  getDatabase,
  goOnline,
  increment,
  limitToFirst,
  limitToLast,
  onChildAdded,
  onChildChanged,
  onChildMoved,
  onChildRemoved,
  onValue,
  orderByChild,
  orderByKey,
  orderByValue,
  type Query,
  query,
  ref,
  serverTimestamp,
  set,
  setWithPriority,
  startAt,
  update,
} from './index.ts'
import { ModelServer } from './test/model-server.ts'
import { settle } from './test/scripted-server.ts'
import { orderedChildKeys, windowOf } from './window.ts'

/** Few keys, so that paths meet often. */
const key = fc.constantFrom('a', 'b', '1', 'constructor')
const path = fc.array(key, { maxLength: 3 })
const leaf = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom(true, 'text', 'forbidden'))
const value = fc.oneof(
  leaf,
  fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf, { maxKeys: 2 })), { maxKeys: 3 }),
)

const QUERIES = [
  [],
  [],
  [orderByKey(), limitToFirst(1)],
  [limitToLast(2)],
  [orderByChild('a')],
  [orderByChild('a'), limitToLast(1)],
  [orderByValue(), startAt(1)],
]

const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('set' as const), path, value: fc.option(value) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('setWithPriority' as const), path, value, by: fc.nat(2) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('update' as const),
      path,
      values: fc.dictionary(key, fc.option(value)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('increment' as const, 'timestamp' as const), path }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('theirs' as const), path, value: fc.option(value) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('listen' as const), path, which: fc.nat(QUERIES.length - 1) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('listenSecret' as const), path }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('unlisten' as const), index: fc.nat(20) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('takeIn' as const, 'letOut' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'runTimers' as const) }) },
)

/** A listener that keeps what its events tell, and notes where they contradict each other. */
class Recorder {
  readonly query: Query
  value: unknown
  /** Children as replayed from child events, in the order they tell. */
  children: [key: string, value: unknown][] = []
  readonly problems: string[] = []
  readonly #stops: (() => void)[]

  constructor(query: Query) {
    this.query = query
    this.#stops = [
      onChildRemoved(query, ({ key }) => this.#takeOut('removed', key), ignore),
      onChildAdded(
        query,
        (snapshot, previous) => {
          if (this.children.some(([key]) => key === snapshot.key)) this.#note(`${snapshot.key} added twice`)
          this.#place(snapshot, previous)
        },
        ignore,
      ),
      onChildMoved(
        query,
        (snapshot, previous) => {
          this.#takeOut('moved', snapshot.key)
          this.#place(snapshot, previous)
        },
        ignore,
      ),
      onChildChanged(
        query,
        (snapshot) => {
          const child = this.children.find(([key]) => key === snapshot.key)
          if (child === undefined) this.#note(`${snapshot.key} changed, but is not there`)
          else child[1] = snapshot.exportVal()
        },
        ignore,
      ),
      onValue(
        query,
        (snapshot) => {
          const value = snapshot.exportVal()
          if (equals(value, this.value)) this.#note(`the same value twice: ${JSON.stringify(value)}`)
          this.value = value
          if (!equals(this.children, childrenOf(value, query))) {
            this.#note(`value ${JSON.stringify(value)}, children ${JSON.stringify(this.children)}`)
          }
        },
        ignore,
      ),
    ]
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  #place(snapshot: DataSnapshot, previous: string | null): void {
    const index = previous === null ? 0 : this.children.findIndex(([key]) => key === previous) + 1
    if (previous !== null && index === 0) this.#note(`${snapshot.key} after ${previous}, which is not there`)
    this.children.splice(index, 0, [snapshot.key!, snapshot.exportVal()])
  }

  #takeOut(what: string, key: string | null): void {
    const index = this.children.findIndex(([other]) => other === key)
    if (index < 0) this.#note(`${key} ${what}, but is not there`)
    else this.children.splice(index, 1)
  }

  #note(problem: string): void {
    this.problems.push(`/${this.query.path.join('/')} ${JSON.stringify(this.query.spec)}: ${problem}`)
  }
}

function equals(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b)
}

function childrenOf(value: Value, { spec }: Query): [string, unknown][] {
  return orderedChildKeys(value, spec.orderBy).map((key) => [key, valueAt(value, [key])])
}

function ignore(): void {}

type Action = typeof action extends fc.Arbitrary<infer A> ? A : never

function act(db: Database, server: ModelServer, recorders: Recorder[], step: Action): void {
  const at = (path: Path): ReturnType<typeof ref> => ref(db, path.join('/'))
  switch (step.do) {
    case 'set':
      return void set(at(step.path), step.value).catch(ignore)
    case 'setWithPriority':
      return void setWithPriority(at(step.path), step.value, step.by).catch(ignore)
    case 'update':
      return void update(at(step.path), step.values).catch(ignore)
    case 'increment':
      return void set(at(step.path), increment(1)).catch(ignore)
    case 'timestamp':
      return void set(at(step.path), serverTimestamp()).catch(ignore)
    case 'theirs':
      return server.write([[step.path, prune(step.value)]])
    case 'listen':
      return void recorders.push(new Recorder(query(at(step.path), ...QUERIES[step.which]!)))
    case 'listenSecret':
      return void onValue(at([...step.path, 'secret']), ignore, ignore)
    case 'unlisten':
      return recorders.splice(step.index % (recorders.length + 1), 1)[0]?.stop()
    default:
      return server[step.do]()
  }
}

/** As a server would store it: no empty objects. */
function prune(value: unknown): Value {
  if (typeof value !== 'object' || value === null) return value as Value
  const entries = Object.entries(value).map(([key, child]) => [key, prune(child)] as const)
  const kept = entries.filter(([, child]) => child !== null)
  return kept.length === 0 ? null : Object.fromEntries(kept)
}

test('whatever is written, listened to, denied and cut off: in the end every listener has what the server has', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 80, size: 'max' }), async (steps) => {
      const server = new ModelServer(() => 0.5)
      const db = getDatabase('http://model.test', { environment: server.environment })
      const recorders: Recorder[] = []
      goOnline(db)

      for (const step of steps) {
        act(db, server, recorders, step)
        await settle()
      }
      for (let rounds = 0; server.isBusy; rounds++) {
        expect(rounds).toBeLessThan(1000)
        if (server.isCut) server.runTimers()
        server.takeIn()
        server.letOut()
        await settle()
      }

      expect(recorders.flatMap(({ problems }) => problems)).toEqual([])
      for (const { query, value, children } of recorders) {
        const expected = windowOf(valueAt(server.value, query.path), query.spec)
        expect(value ?? null).toEqual(expected)
        expect(children).toEqual(childrenOf(expected, query))
      }
    }),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
})
