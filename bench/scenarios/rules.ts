/**
 * Rules: what deciding costs. Ten conditions as they stand in real rules files, each against the same condition
 * hand-written as a TypeScript function over the same DataView, and against targaryen 3.1.0 where it is
 * installed: `npm install --no-save targaryen@3.1.0`, or `--targaryen FILE` for its main file elsewhere.
 */
import { type Path, parsePath, parseValue, type Value } from '../../protocol/index.ts'
import { afterWrites, type DataView, jsonView, loadRuleset, type Ruleset } from '../../rules/index.ts'
import type { ScenarioOptions, Table } from '../table.ts'

const NOW = 1_760_000_000_000
const AUTH = {
  uid: 'u1',
  provider: 'password',
  token: { email: 'a@example.com', email_verified: true, role: 'editor' },
}

const STORED = {
  users: { u1: { name: 'Ada', role: 'admin', banned: false }, u2: { name: 'Bob', role: 'reader' } },
  rooms: { r1: { members: { u1: true, u2: true }, open: false, owner: 'u1' } },
  messages: { r1: { m1: { text: 'hi', from: 'u1', at: 1_750_000_000_000 } } },
  scores: { u1: { best: 10 } },
}

interface Case {
  name: string
  /** The rule as in a rules file, at `pattern`. */
  kind: '.read' | '.write' | '.validate'
  pattern: string
  rule: string
  path: string
  value?: unknown
  /** The same condition by hand. */
  byHand(view: DataView, after: DataView, auth: typeof AUTH | null, path: Path, now: number): boolean
}

const cases: Case[] = [
  {
    name: 'signed in',
    kind: '.read',
    pattern: 'rooms',
    rule: 'auth != null',
    path: 'rooms',
    byHand: (_view, _after, auth) => auth !== null,
  },
  {
    name: 'own node',
    kind: '.read',
    pattern: 'users/$uid',
    rule: 'auth != null && auth.uid === $uid',
    path: 'users/u1',
    byHand: (_view, _after, auth, path) => auth !== null && auth.uid === path[1],
  },
  {
    name: 'member of the room',
    kind: '.read',
    pattern: 'messages/$room',
    rule: "auth != null && root.child('rooms').child($room).child('members').child(auth.uid).exists()",
    path: 'messages/r1',
    byHand: (view, _after, auth, path) =>
      auth !== null && view.valueAt(['rooms', path[1]!, 'members', auth.uid]) !== null,
  },
  {
    name: 'admin by stored role',
    kind: '.read',
    pattern: 'scores',
    rule: "auth != null && root.child('users/' + auth.uid + '/role').val() == 'admin'",
    path: 'scores',
    byHand: (view, _after, auth) => auth !== null && view.valueAt(['users', auth.uid, 'role']) === 'admin',
  },
  {
    name: 'admin by claim',
    kind: '.read',
    pattern: 'scores',
    rule: "auth != null && (auth.token.role === 'admin' || auth.token.role === 'editor') && auth.token.email_verified === true",
    path: 'scores',
    byHand: (_view, _after, auth) =>
      auth !== null &&
      (auth.token.role === 'admin' || auth.token.role === 'editor') &&
      auth.token.email_verified === true,
  },
  {
    name: 'new message',
    kind: '.write',
    pattern: 'messages/$room/$message',
    rule: "auth != null && !data.exists() && newData.child('from').val() === auth.uid && root.child('rooms/' + $room + '/members/' + auth.uid).val() === true",
    path: 'messages/r1/m2',
    value: { text: 'hello', from: 'u1', at: NOW },
    byHand: (view, after, auth, path) =>
      auth !== null &&
      view.valueAt(['messages', path[1]!, path[2]!]) === null &&
      after.valueAt(['messages', path[1]!, path[2]!, 'from']) === auth.uid &&
      view.valueAt(['rooms', path[1]!, 'members', auth.uid]) === true,
  },
  {
    name: 'required children',
    kind: '.validate',
    pattern: 'messages/$room/$message',
    rule: "newData.hasChildren(['text', 'from', 'at']) && newData.child('text').isString() && newData.child('text').val().length <= 1000 && newData.child('at').val() <= now",
    path: 'messages/r1/m2',
    value: { text: 'hello', from: 'u1', at: NOW },
    byHand(_view, after, _auth, path, now) {
      const text = after.valueAt(['messages', path[1]!, path[2]!, 'text'])
      const at = after.valueAt(['messages', path[1]!, path[2]!, 'at'])
      return (
        text !== null &&
        after.valueAt(['messages', path[1]!, path[2]!, 'from']) !== null &&
        at !== null &&
        typeof text === 'string' &&
        text.length <= 1000 &&
        typeof at === 'number' &&
        at <= now
      )
    },
  },
  {
    name: 'a higher score only',
    kind: '.validate',
    pattern: 'scores/$uid/best',
    rule: 'newData.isNumber() && newData.val() >= 0 && (!data.exists() || newData.val() > data.val())',
    path: 'scores/u1/best',
    value: 11,
    byHand(view, after, _auth, path) {
      const best = after.valueAt(['scores', path[1]!, 'best'])
      const before = view.valueAt(['scores', path[1]!, 'best'])
      return (
        typeof best === 'number' &&
        best >= 0 &&
        (before === null || (typeof before === 'number' && best > before))
      )
    },
  },
  {
    name: 'e-mail by pattern',
    kind: '.validate',
    pattern: 'users/$uid/email',
    rule: 'newData.isString() && newData.val().matches(/^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$/)',
    path: 'users/u1/email',
    value: 'ada.lovelace@example.com',
    byHand(_view, after, _auth, path) {
      const email = after.valueAt(['users', path[1]!, 'email'])
      return typeof email === 'string' && /^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$/.test(email)
    },
  },
  {
    name: 'owner or admin, field kept',
    kind: '.write',
    pattern: 'rooms/$room',
    rule: "auth != null && (data.child('owner').val() === auth.uid || root.child('users').child(auth.uid).child('role').val() === 'admin') && newData.child('owner').val() === data.child('owner').val()",
    path: 'rooms/r1',
    value: { members: { u1: true }, open: true, owner: 'u1' },
    byHand(view, after, auth, path) {
      const owner = view.valueAt(['rooms', path[1]!, 'owner'])
      return (
        auth !== null &&
        (owner === auth.uid || view.valueAt(['users', auth.uid, 'role']) === 'admin') &&
        after.valueAt(['rooms', path[1]!, 'owner']) === owner
      )
    },
  },
]

/** A rules file with the one rule; a `.validate` needs a `.write` that grants. */
function rulesOf({ kind, pattern, rule }: Case): Record<string, unknown> {
  let node: unknown = { [kind]: rule }
  for (const key of parsePath(pattern.replaceAll('$', '')).toReversed()) {
    const name = pattern.split('/').find((part) => part === `$${key}`) ?? key
    node = { [name]: node }
  }
  return { rules: kind === '.validate' ? { '.write': true, ...(node as object) } : node } as Record<
    string,
    unknown
  >
}

interface Targaryen {
  database(rules: unknown, data: unknown, now: number): TargaryenDatabase
}
interface TargaryenDatabase {
  as(auth: unknown): TargaryenDatabase
  read(path: string, options: { now: number }): { allowed: boolean }
  write(path: string, value: unknown, options: { now: number }): { allowed: boolean }
}

/** @param name The package, or the path of its folder where it is installed elsewhere. */
async function loadTargaryen(name: string): Promise<Targaryen | null> {
  try {
    const module = (await import(name)) as { default?: Targaryen } & Targaryen
    return module.default ?? module
  } catch {
    return null
  }
}

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const targaryen = await loadTargaryen(flags['targaryen'] ?? 'targaryen')
  const stored = parseValue(STORED)
  const data = jsonView(stored)
  const budgetMs = (seconds * 1000) / cases.length
  const rows = cases.map((entry) => {
    const path = parsePath(entry.path)
    const rules = rulesOf(entry)
    const ruleset = mustLoad(JSON.stringify(rules))
    const written: Value = entry.value === undefined ? null : parseValue(entry.value)
    const newData = jsonView(afterWrites(stored, entry.value === undefined ? [] : [[path, written]]))
    const locations = [path]
    const check =
      entry.value === undefined
        ? () => ruleset.checkRead({ path, auth: AUTH, nowMs: NOW, data }).allowed
        : () => ruleset.checkWrite({ locations, auth: AUTH, nowMs: NOW, data, newData }).allowed
    const peer = targaryen === null ? null : targaryenCheck(targaryen, rules, entry)
    const byHand = () => entry.byHand(data, newData, AUTH, path, NOW)
    const calls = peer === null ? [check, byHand] : [check, byHand, peer]
    const [rulesNs = 0, handNs = 0, peerNs = null] = nanosPerCall(calls, budgetMs)
    return { name: entry.name, rulesNs, handNs, peerNs }
  })
  return {
    title: 'rules: one decision, compiled, hand-written and by targaryen',
    columns: [
      'rule',
      'checks/s',
      'ns a check',
      'by hand ns',
      'x by hand',
      'targaryen ns',
      'x faster than targaryen',
    ],
    rows: [
      ...rows.map((row) => [
        row.name,
        Math.round(1e9 / row.rulesNs),
        round(row.rulesNs),
        round(row.handNs),
        round(row.rulesNs / row.handNs),
        row.peerNs === null ? 'not installed' : Math.round(row.peerNs),
        row.peerNs === null ? '' : Math.round(row.peerNs / row.rulesNs),
      ]),
      [
        'median',
        '',
        round(median(rows.map((row) => row.rulesNs))),
        round(median(rows.map((row) => row.handNs))),
        round(median(rows.map((row) => row.rulesNs / row.handNs))),
        targaryen === null ? '' : Math.round(median(rows.map((row) => row.peerNs!))),
        targaryen === null ? '' : Math.round(median(rows.map((row) => row.peerNs! / row.rulesNs))),
      ],
    ],
    notes: [
      'all three ask the same stored tree; Hearth and the hand-written functions read it through one DataView',
      'a `.validate` row includes asking the `.write` above it, the hand-written function does not',
    ],
  }
}

function mustLoad(text: string): Ruleset {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error(`bench rule does not load: ${result.errors[0]!.message}`)
  return result.ruleset
}

function targaryenCheck(targaryen: Targaryen, rules: unknown, entry: Case): () => boolean {
  const database = targaryen.database(rules, STORED, NOW).as(AUTH)
  if (entry.value === undefined) return () => database.read(`/${entry.path}`, { now: NOW }).allowed
  return () => database.write(`/${entry.path}`, entry.value, { now: NOW }).allowed
}

/**
 * Nanoseconds a call of each takes. Batches take turns, so that what else the machine does falls on all alike,
 * and the median of the batches leaves out the collections.
 */
function nanosPerCall(calls: readonly (() => boolean)[], milliseconds: number): number[] {
  const perBatch = calls.map((call) => {
    if (!call()) throw new Error('bench rule denies what it should allow')
    let times = 1
    while (timed(call, times) < 2_000_000n) times *= 2
    return times
  })
  const batches: number[][] = calls.map(() => [])
  const end = performance.now() + milliseconds
  while (performance.now() < end || batches[0]!.length < 5) {
    for (const [i, call] of calls.entries())
      batches[i]!.push(Number(timed(call, perBatch[i]!)) / perBatch[i]!)
  }
  return batches.map(median)
}

function timed(call: () => boolean, times: number): bigint {
  const start = process.hrtime.bigint()
  let allowed = 0
  for (let i = 0; i < times; i++) if (call()) allowed += 1
  const elapsed = process.hrtime.bigint() - start
  if (allowed !== times) throw new Error('bench rule changed its mind')
  return elapsed
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 10) / 10
}
