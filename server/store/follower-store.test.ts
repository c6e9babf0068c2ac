import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Value } from '../../protocol/index.ts'
import type { IndexPattern } from '../../rules/index-patterns.ts'
import type { FollowerStore } from './follower-store.ts'
import type { Entry, Store } from './store.ts'
import { openLmdbFollower, openLmdbStore } from './store-lmdb.ts'

const SEED = Number(process.env['HEARTH_SEED'] ?? Math.floor(Math.random() * 1e9))

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

async function openBoth(): Promise<{ writer: Store; follower: FollowerStore }> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-'))
  const writer = await openLmdbStore({ folder })
  const follower = openLmdbFollower(folder, {
    cacheBytes: 1024 * 1024,
    epoch: writer.epoch,
    runs: writer.changes.runs.list,
    changeLogBytes: 0,
    changeLogMs: 0,
  })
  onTestFinished(async () => {
    await follower.close()
    await writer.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { writer, follower }
}

type Change = { entries: Entry[] } | { priorityAt: string[]; priority: number | null }

function stage(store: Pick<Store, 'stage' | 'stagePriority'>, change: Change): void {
  if ('entries' in change) store.stage(change.entries)
  else store.stagePriority(change.priorityAt, change.priority)
}

test('a follower shows what the writer wrote, group by group, whatever the writes', async () => {
  const random = randomFrom(SEED)
  const pick = (count: number): number => Math.floor(random() * count)
  const keys = ['a', 'b', 'c', '1', '20']
  const pathOf = (): string[] => Array.from({ length: 1 + pick(4) }, () => keys[pick(keys.length)]!)
  const value = (depth = 0): Value => {
    const kind = pick(depth > 2 ? 3 : 6)
    if (kind === 0) return null
    if (kind === 1) return pick(1000)
    if (kind === 2) return 'x'.repeat(pick(700))
    const object: Record<string, Value> = {}
    const count = kind === 5 && depth === 0 ? 100 : 1 + pick(4)
    for (let i = 0; i < count; i++) {
      const child = value(depth + 1)
      if (child !== null) object[count === 100 ? `k${i}` : keys[pick(keys.length)]!] = child
    }
    return Object.keys(object).length === 0 ? null : object
  }
  const { writer, follower } = await openBoth()
  const patterns: IndexPattern[] = [
    { steps: [{ except: [] }], indexOn: 'a' },
    { steps: ['a', { except: [] }], indexOn: '.value' },
  ]

  for (let round = 0; round < 120; round++) {
    const changes: Change[] = []
    // Sometimes several groups at once, as for a follower that was busy.
    for (let group = 1 + pick(3); group > 0; group--) {
      if (pick(20) === 0) writer.declareIndexes(patterns.slice(pick(3)))
      for (let i = 1 + pick(6); i > 0; i--) {
        const change: Change =
          pick(8) === 0
            ? { priorityAt: pathOf(), priority: pick(3) === 0 ? null : pick(5) }
            : { entries: [{ path: pathOf(), value: value() }] }
        stage(writer, change)
        changes.push(change)
      }
      writer.workOnIndexes(50)
      writer.collectGarbage(20)
      await writer.flush()
    }
    if (pick(20) === 0) follower.declareIndexes(patterns)

    expect(follower.pin(), `seed ${SEED}, round ${round}`).toBe(writer.flushedRevision)
    for (const change of changes) stage(follower, change)
    const staged = follower.head.read([])
    follower.advance()

    expect(staged, `seed ${SEED}, round ${round}`).toEqual(writer.flushed.read([]))
    for (const path of [[], pathOf(), pathOf()]) {
      const where = `seed ${SEED}, round ${round}, /${path.join('/')}`
      expect(follower.flushed.read(path), where).toEqual(writer.flushed.read(path))
      expect(follower.flushed.valueAt(path), where).toEqual(writer.flushed.valueAt(path))
      expect(follower.flushed.priorityAt(path), where).toBe(writer.flushed.priorityAt(path))
      const inOrder = writer.indexed(path, '.priority', {})
      expect([...(follower.indexed(path, '.priority', {}) ?? [])], where).toEqual([...(inOrder ?? [])])
    }
    expect(follower.flushedRevision).toBe(writer.flushedRevision)
  }
})

test('a follower reads an index once the writer has built it, and no longer once it is dropped', async () => {
  const { writer, follower } = await openBoth()
  const patterns: IndexPattern[] = [{ steps: ['list'], indexOn: 'age' }]
  const list = Object.fromEntries(
    Array.from({ length: 200 }, (_, i) => [`k${i}`, { age: 200 - i, text: 'x'.repeat(20) }]),
  )
  const entries = [{ path: ['list'], value: list }]
  writer.stage(entries)
  await writer.flush()
  const follow = (): void => {
    follower.pin()
    follower.advance()
  }
  follower.declareIndexes(patterns)
  follow()
  const before = follower.indexed(['list'], 'age', {})

  writer.declareIndexes(patterns)
  while (writer.hasIndexWork) {
    writer.workOnIndexes(1000)
    await writer.flush()
  }
  follow()
  const built = [...follower.indexed(['list'], 'age', {})!].slice(0, 2)
  writer.declareIndexes([])
  writer.workOnIndexes(1000)
  await writer.flush()
  follow()

  expect(before).toBeNull()
  expect(built).toEqual(['k199', 'k198'])
  expect(follower.indexed(['list'], 'age', {})).toBeNull()
})
