/**
 * Store layouts side by side, in this process: what a write, a read, a deletion and a byte on disk cost when
 *
 *   leaf rows    every leaf is a row, keyed by its whole path
 *   child rows   every child is a row under its parent's id; nothing is packed
 *   packed N     objects of up to N bytes are one row (what Hearth does, with the N chosen here)
 *
 * CPU is the process's own, all threads, so lmdb's write thread is in it. Medians over groups.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isLeaf, type Path, type Value, type ValueObject } from '../../protocol/index.ts'
import { decodePacked } from '../../server/store/row-codec.ts'
import { RowBatch } from '../../server/store/rows.ts'
import type { Store } from '../../server/store/store.ts'
import { LmdbRows, openLmdbStore } from '../../server/store/store-lmdb.ts'
import type { Table } from '../table.ts'

/** What the workloads need of a layout. */
interface Layout {
  stage(path: Path, value: Value): void
  flush(): Promise<void>
  read(path: Path): Value
  /** The last `count` children with their values. */
  last(path: Path, count: number): Value[]
  /** Removes what deletions left behind. */
  collectAll(): Promise<void>
  close(): Promise<void>
}

type OpenLayout = (folder: string) => Promise<Layout>

class TreeLayout implements Layout {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  stage(path: Path, value: Value): void {
    this.#store.stage([{ path, value }])
  }

  flush(): Promise<void> {
    return this.#store.flush()
  }

  read(path: Path): Value {
    return this.#store.flushed.read(path)
  }

  last(path: Path, count: number): Value[] {
    const { flushed } = this.#store
    return [...flushed.keys(path, { reverse: true, limit: count })].map((key) => flushed.read([...path, key]))
  }

  async collectAll(): Promise<void> {
    while (this.#store.hasGarbage) {
      this.#store.collectGarbage(2000)
      await this.#store.flush()
    }
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}

/** The losing layout, as short as it can be; it even leaves out priorities and the pruning of empty parents. */
class LeafRowLayout implements Layout {
  readonly #rows: LmdbRows
  readonly #batch = new RowBatch()

  constructor(rows: LmdbRows) {
    this.#rows = rows
  }

  stage(path: Path, value: Value): void {
    const key = path.join('/')
    // What the path held before has to go, leaf by leaf.
    for (const below of this.#rows.keys(LEAVES, within(key))) this.#batch.remove(LEAVES, below)
    this.#put(key, value)
  }

  #put(key: string, value: Value): void {
    if (value === null) return
    if (!isLeaf(value)) {
      for (const child of Object.keys(value)) this.#put(`${key}/${child}`, value[child]!)
      return
    }
    const { encoder } = this.#batch
    const start = encoder.length
    encoder.value(value)
    this.#batch.put(LEAVES, key, start, encoder.length)
  }

  async flush(): Promise<void> {
    await this.#rows.commit(this.#batch)
    this.#rows.advance()
    this.#batch.reset()
  }

  read(path: Path): Value {
    const value: ValueObject = {}
    this.#rows.scan(LEAVES, within(path.join('/')), (key, bytes) => {
      place(value, key.split('/'), path.length, bytes)
    })
    return value
  }

  last(path: Path, count: number): Value[] {
    const values: Value[] = []
    let to = within(path.join('/')).to
    while (values.length < count) {
      const [last] = this.#rows.keys(LEAVES, { from: `${path.join('/')}/`, to, reverse: true, limit: 1 })
      if (last === undefined) break
      const child = last.split('/').slice(0, path.length + 1)
      values.push(this.read(child))
      to = child.join('/')
    }
    return values
  }

  async collectAll(): Promise<void> {}

  close(): Promise<void> {
    return this.#rows.close()
  }
}

const LEAVES = 99

function within(key: string): { from: string; to: string } {
  return { from: key, to: `${key}/\uffff` }
}

function place(value: ValueObject, keys: readonly string[], depth: number, bytes: Uint8Array): void {
  let at = value
  for (const key of keys.slice(depth, -1)) {
    at[key] ??= {}
    at = at[key] as ValueObject
  }
  at[keys[keys.length - 1]!] = decodePacked(bytes)
}

const treeLayout =
  (packedBytesMax: number): OpenLayout =>
  async (folder) =>
    new TreeLayout(await openLmdbStore({ folder, packedBytesMax }))

const layouts: [name: string, open: OpenLayout][] = [
  ['leaf rows', async (folder) => new LeafRowLayout(new LmdbRows({ folder }, () => {}))],
  ['child rows', treeLayout(0)],
  ['packed 512', treeLayout(512)],
  ['packed 1024', treeLayout(1024)],
  ['packed 2048', treeLayout(2048)],
  ['packed 4096', treeLayout(4096)],
]

/** A push key: 8 characters of time, 12 of chance, in order. */
function pushKey(n: number): string {
  return `-O${n.toString(36).padStart(6, '0')}${((n * 2654435761) >>> 0).toString(36).padStart(7, 'z')}abcde`
}

function message(n: number): Value {
  return {
    uid: `user-${n % 997}-${(n * 7919) % 100003}`,
    name: `Name ${n % 997}`,
    text: 'The quick brown fox jumps over the lazy dog, again and again.',
    sentAt: 1_700_000_000_000 + n,
  }
}

function player(n: number): Value {
  return {
    name: `Player ${n}`,
    team: n % 2 === 0 ? 'red' : 'blue',
    hp: 100 - (n % 30),
    pos: { x: n * 1.5, y: n * 2.5, z: 0.25 },
  }
}

function game(): Value {
  const players: ValueObject = {}
  for (let n = 0; n < 50; n++) players[`player-${n}`] = player(n)
  return { state: 'running', round: 3, players }
}

/** Of about so many bytes: one is split at 512, the other at 1,024 too. */
const PROFILE_BYTES = [800, 1800]

function profile(n: number, bytes: number): Value {
  const about: ValueObject = {}
  for (let field = 0; field * 40 + 100 < bytes; field++)
    about[`field-${field}`] = `text of ${n}, number ${field}, ok`
  return { name: `Name ${n}`, email: `name.${n}@example.com`, isActive: true, about }
}

/** Deterministic: the same keys for each layout. */
function random(seed: number): (max: number) => number {
  let state = seed
  return (max) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 0x1_0000_0000) * max)
  }
}

/** CPU microseconds of this process, all threads, for each of `count` operations; the median of `times` runs. */
async function cpuUs(times: number, count: number, run: (time: number) => unknown): Promise<number> {
  const runs: number[] = []
  for (let time = 0; time < times; time++) {
    const before = process.cpuUsage()
    await run(time)
    const { user, system } = process.cpuUsage(before)
    runs.push((user + system) / count)
  }
  return median(runs)
}

async function wallMs(run: () => unknown): Promise<number> {
  const startMs = performance.now()
  await run()
  return performance.now() - startMs
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!
}

/** @param options.seconds Under 5: smaller lists, to see that it runs. */
export async function run(options: { seconds?: number } = {}): Promise<Table> {
  const isShort = (options.seconds ?? 10) < 5
  const listSize = isShort ? 20_000 : 1_000_000
  const root = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
  const measureIn = async (open: OpenLayout, size: number, times: number): Promise<Measured> => {
    const folder = mkdtempSync(join(root, 'layout-'))
    const measured = await measure(open, folder, size, times)
    rmSync(folder, { recursive: true, force: true })
    return measured
  }
  const results: Measured[] = []
  try {
    // The first layouts would pay for the compiler otherwise.
    for (const [, open] of layouts.slice(0, isShort ? 0 : 3)) await measureIn(open, 10_000, 5)
    for (const [, open] of layouts) results.push(await measureIn(open, listSize, isShort ? 3 : 25))
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  return {
    title: `Store layouts, N = ${listSize.toLocaleString('en')}`,
    columns: ['us of CPU each, unless said otherwise', ...layouts.map(([name]) => name)],
    rows: Object.keys(results[0]!).map((what) => [what, ...results.map((result) => rounded(result[what]!))]),
    notes: [
      'CPU of this process, all threads; medians over groups of 1,000 messages, 512 leaves, 500 pushes, 100 fields',
      'a random write into N dirties a page of its own, so in a group it costs what a page costs, in any B-tree',
      'leaf rows have no priorities and do not prune empty parents',
    ],
  }
}

/** By workload. */
type Measured = Record<string, number>

function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3))
}

async function measure(open: OpenLayout, folder: string, listSize: number, times: number): Promise<Measured> {
  const measured: Measured = {}
  let layout = await open(folder)
  const pick = random(1)
  const group = async (count: number, write: (i: number) => void): Promise<void> => {
    for (let i = 0; i < count; i++) write(i)
    await layout.flush()
  }
  const fill = async (list: string, size: number): Promise<void> => {
    for (let n = 0; n < size; n += 10_000) {
      await group(Math.min(10_000, size - n), (i) => layout.stage([list, pushKey(n + i)], message(n + i)))
    }
  }

  let sent = 0
  const send = () => layout.stage(['room', pushKey(sent)], message(sent++))
  measured['insert a 4-leaf message'] = await cpuUs(times, 1000, () => group(1000, send))
  while (sent < 10_000) await group(1000, send)

  const text = 'x'.repeat(98)
  await group(10_000, (i) => layout.stage(['bench', `k${i}`], text))
  measured['write a 100-byte leaf'] = await cpuUs(times, 512, (time) =>
    group(512, () => layout.stage(['bench', `k${pick(10_000)}`], text + time)),
  )

  await group(50, (i) => layout.stage(['games', `g${i}`], game()))
  measured['write a field of a game of 50 players'] = await cpuUs(times, 100, (time) =>
    group(100, () => {
      const path = ['games', `g${pick(50)}`, 'players', `player-${pick(50)}`, 'pos', 'x']
      layout.stage(path, time + pick(1000) / 8)
    }),
  )
  for (const bytes of PROFILE_BYTES) {
    await group(500, (i) => layout.stage([`profiles${bytes}`, `u${i}`], profile(i, bytes)))
    measured[`write a field of a ${bytes}-byte profile`] = await cpuUs(times, 100, (time) =>
      group(100, () =>
        layout.stage([`profiles${bytes}`, `u${pick(500)}`, 'about', 'field-3'], `now ${time}`),
      ),
    )
  }

  await fill('small', 1000)
  await fill('large', listSize)
  // Opened anew, so that no layout reads from what its writes left in memory.
  await layout.close()
  measured['MB on disk, mostly N messages'] = statSync(join(folder, 'data.mdb')).size / 1e6
  measured['open and read one, ms'] = await wallMs(async () => {
    layout = await open(folder)
    layout.read(['large', pushKey(5)])
  })

  measured['read a message of N'] = await cpuUs(times, 2000, () => {
    for (let i = 0; i < 2000; i++) layout.read(['large', pushKey(pick(listSize))])
  })
  for (const bytes of PROFILE_BYTES) {
    let next = 0
    measured[`read a ${bytes}-byte profile`] = await cpuUs(10, 50, () => {
      for (let i = 0; i < 50; i++) layout.read([`profiles${bytes}`, `u${next++}`])
    })
  }
  const lastOf = (list: string) =>
    cpuUs(times, 20, () => {
      for (let i = 0; i < 20; i++) layout.last([list], 50)
    })
  measured['read the last 50 of 1,000'] = await lastOf('small')
  measured['read the last 50 of N'] = await lastOf('large')
  measured['read 10,000 at once'] = await cpuUs(Math.min(times, 5), sent, () => layout.read(['room']))

  const sizes: Record<string, number> = { small: 1000, large: listSize }
  const pushTo = (list: string) =>
    cpuUs(times, 500, () =>
      group(500, () => layout.stage([list, pushKey(sizes[list]!)], message(sizes[list]!++))),
    )
  measured['push into 1,000'] = await pushTo('small')
  measured['push into N'] = await pushTo('large')
  const writeIn = (list: string, size: number, writes: number) =>
    cpuUs(times, writes, (time) =>
      group(writes, () => layout.stage([list, pushKey(pick(size)), 'text'], `text ${time}`)),
    )
  measured['random field in 1,000, alone in its group'] = await writeIn('small', 1000, 1)
  measured['random field in N, alone in its group'] = await writeIn('large', listSize, 1)
  measured['random field in 1,000, group of 500'] = await writeIn('small', 1000, 500)
  measured['random field in N, group of 500'] = await writeIn('large', listSize, 500)

  const doomed = Math.min(100_000, listSize)
  await fill('doomed', doomed)
  measured['delete 100,000 messages, ms to disk'] = await wallMs(() =>
    group(1, () => layout.stage(['doomed'], null)),
  )
  measured['collect what was deleted, each'] = await cpuUs(1, doomed, () => layout.collectAll())
  await layout.close()
  return measured
}
