/**
 * Random groups: what tests of live queries have a database do, whoever hears of it. Writes of places that meet often,
 * of a few kinds of lists, with priorities, server values and values that change their kind; and between them, in the
 * middle of their group or while it is on its way to the disk, listens, other rules and writes that are refused.
 */
import fc from 'fast-check'
import {
  isAtOrAbove,
  isObject,
  leafOf,
  type Path,
  type Priority,
  type Query,
  type Value,
  valueAt,
  withPriority,
  withValueAt,
} from '../../protocol/index.ts'
import { type DataView, loadRuleset, OBJECT, type Ruleset } from '../../rules/index.ts'
import { admin } from '../identity.ts'
import type { Write, WriteOrigin } from '../log/log.ts'
import { TEXT_UNITS_MAX } from '../store/index-keys.ts'
import type { RowBatch } from '../store/rows.ts'
import { type Entry, StoreUnavailableError } from '../store/store.ts'
import { MemoryRows } from '../store/store-memory.ts'
import { isDeletion, isPriority, resolveEntries } from '../write-entries.ts'

export const NOW_MS = 7

export const LISTS: Path[] = [[], ['l'], ['l', 'a']]
const OPEN = { '.read': true, '.write': true }
export const rulesets = {
  indexed: rulesetOf({
    ...OPEN,
    '.indexOn': ['.value', 'n', 'n/m'],
    l: { '.indexOn': ['.value', 'n', 'n/m'], $x: { '.indexOn': ['.value', 'n', 'n/m'] } },
  }),
  partly: rulesetOf({ ...OPEN, l: { '.indexOn': ['n'] } }),
  bare: rulesetOf(OPEN),
}

function rulesetOf(rules: object): Ruleset {
  const loaded = loadRuleset(JSON.stringify({ rules }))
  if (!loaded.ok) throw new Error(String(loaded.errors[0]))
  return loaded.ruleset
}

const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'c', '1', 'n', 'm') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('01', '10', '-1', '2147483648', 'é', '\ufffd', '😀', 'constructor', '!'),
  },
)
const path = fc
  .tuple(
    fc.constantFrom<Path[]>(...(LISTS.map((list) => [list]) as Path[][])),
    fc.array(key, { maxLength: 3 }),
  )
  .map(([[list], rest]) => [...list!, ...rest])
const LONG = 'x'.repeat(TEXT_UNITS_MAX)
const leaf: fc.Arbitrary<Value> = fc.oneof(
  fc.integer({ min: -2, max: 2 }),
  fc.boolean(),
  fc.constantFrom('', 'a', 'b', '😀', '\ufffd', LONG, `${LONG}a`, `${LONG}b`),
)
const SERVER_VALUES: Value[] = [{ '.sv': 'timestamp' }, { '.sv': { increment: 1 } }]
const priority = fc.constantFrom<Priority | null>(null, null, 1, 2, 'p')
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc
    .tuple(
      fc.oneof(
        { maxDepth: 2 },
        { weight: 8, arbitrary: leaf },
        { weight: 1, arbitrary: fc.constantFrom<Value>(...SERVER_VALUES) },
        {
          weight: 8,
          arbitrary: fc.dictionary(key, tie('value'), { minKeys: 1, maxKeys: 6, noNullPrototype: true }),
        },
      ),
      priority,
    )
    .map(([node, rank]) => (isObject(node) && '.sv' in node ? node : withPriority(node, rank))),
})).value

const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ path, value: fc.oneof(fc.constant(null), value) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      path: path.map((at) => [...at, '.priority']),
      value: priority as fc.Arbitrary<Value>,
    }),
  },
)

const boundValue = fc.oneof(fc.constant(null), leaf) as fc.Arbitrary<number>
const bound = fc.record(
  { value: boundValue, key, inclusive: fc.boolean() },
  { requiredKeys: ['value', 'inclusive'] },
)
const keyBound = fc.record({ value: key, inclusive: fc.boolean() })
const limit = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  from: fc.constantFrom('first' as const, 'last' as const),
})
export const query: fc.Arbitrary<Query> = fc.oneof(
  fc.record(
    { orderBy: fc.constant('key' as const), start: keyBound, end: keyBound, limit },
    { requiredKeys: ['orderBy'] },
  ),
  fc.record(
    {
      orderBy: fc.constantFrom<Query['orderBy']>(
        'value',
        'priority',
        { child: ['n'] },
        { child: ['n', 'm'] },
      ),
      start: bound,
      end: bound,
      limit,
    },
    { requiredKeys: ['orderBy'] },
  ),
) as fc.Arbitrary<Query>

/** What arrives while a group comes together: in the log's queue writes, between the log's slices all else. */
export type Act =
  | { do: 'write' | 'writeStale' | 'check'; entries: Entry[] }
  | { do: 'listen'; path: Path; query: Query }
  | { do: 'unlisten'; which: number }
  | { do: 'rules'; which: keyof typeof rulesets }

const RULES = fc.constantFrom('indexed' as const, 'partly' as const, 'bare' as const)
const entries = fc.array(entry, { minLength: 1, maxLength: 3 })
const listenAct = fc.record({ do: fc.constant('listen' as const), path: fc.constantFrom(...LISTS), query })
const rulesAct = fc.record({ do: fc.constant('rules' as const), which: RULES })
const unlistenAct = fc.record({ do: fc.constant('unlisten' as const), which: fc.nat({ max: 9 }) })
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 20, arbitrary: fc.record({ do: fc.constant('write' as const), entries }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('writeStale' as const), entries }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('check' as const), entries }) },
  { weight: 2, arbitrary: listenAct },
  { weight: 1, arbitrary: unlistenAct },
  { weight: 1, arbitrary: rulesAct },
)

export interface Group {
  rules: keyof typeof rulesets | null
  acts: Act[]
  /** While the group is on its way to the disk. */
  duringFlush: Act | null
  isRefused: boolean
}

export const group: fc.Arbitrary<Group> = fc.record({
  rules: fc.option(RULES, { freq: 10 }),
  acts: fc.array(act, { minLength: 1, maxLength: 6 }),
  duringFlush: fc.option(fc.oneof(listenAct, unlistenAct, rulesAct), { freq: 4 }) as fc.Arbitrary<Act | null>,
  isRefused: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
})

export const storeOptions = fc.record({
  packedBytesMax: fc.constantFrom(0, 60),
  indexedAtOnce: fc.constantFrom(0, 1000),
  cacheBytes: fc.constantFrom(300, 1 << 20),
})

/** Rows on a disk that takes its time, and may be full. */
export class SlowRows extends MemoryRows {
  duringCommit = (): void => {}
  isRefusing = false

  override async commit(batch: RowBatch): Promise<void> {
    this.duringCommit()
    if (this.isRefusing) throw new StoreUnavailableError('full')
    return super.commit(batch)
  }
}

export function asWrite(act: Act, doNow: (act: Act) => void, written: (entries: Entry[]) => void): Write {
  const origin: WriteOrigin = {
    written: () => 'entries' in act && written(act.entries),
    refused() {},
    groupSettled() {},
  }
  const common = { expectedRevision: null, records: null, origin, id: 0 }
  if ('entries' in act) {
    return {
      ...common,
      entries: act.entries,
      identity: admin,
      isCheckOnly: act.do === 'check',
      ...(act.do === 'writeStale' ? { expectedHash: 'of something else' } : {}),
    }
  }
  return {
    ...common,
    entries: [],
    isCheckOnly: true,
    // Asked for when the log comes to this place of its queue: what is before it is staged then.
    get identity() {
      doNow(act)
      act = { do: 'check', entries: [] }
      return admin
    },
  }
}

function viewOf(model: Value): DataView {
  return {
    valueAt(path: Path) {
      const value = valueAt(model, path)
      return isObject(value) ? OBJECT : leafOf(value)
    },
  } as DataView
}

/** The states that the writes made, first the one they began with, and the entries of each as they were stored. */
export function statesOf(
  before: Value,
  writes: readonly Act[],
  written: ReadonlySet<Entry[]>,
): { states: Value[]; accepted: (readonly Entry[])[] } {
  let model = before
  const states = [model]
  const accepted: (readonly Entry[])[] = []
  for (const act of writes) {
    if (act.do !== 'write' || !written.has(act.entries)) continue
    const resolved = resolveEntries(inStoredOrder(act.entries), viewOf(model), NOW_MS)
    accepted.push(resolved)
    for (const { path, value } of resolved) model = withValueAt(model, path, value)
    states.push(model)
  }
  return { states, accepted }
}

/** A place where something is left keeps its priority, whatever the order of the entries. */
function inStoredOrder(entries: readonly Entry[]): Entry[] {
  return [
    ...entries.filter((entry) => !isDeletion(entry) && !isPriority(entry)),
    ...entries.filter(isDeletion),
    ...entries.filter(isPriority),
  ]
}

export function apart(entries: readonly Entry[]): Entry[] {
  const kept: Entry[] = []
  for (const entry of entries) {
    const isApart = kept.every(({ path }) => !isAtOrAbove(path, entry.path) && !isAtOrAbove(entry.path, path))
    if (isApart) kept.push(entry)
  }
  return kept
}
