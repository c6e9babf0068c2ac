/**
 * Rules: what deciding costs. Ten conditions of public rules files, each against the same condition hand-written as a
 * TypeScript function over the same DataView, and against targaryen 3.1.0 where bench/peers is installed, or
 * `--targaryen FOLDER` names it elsewhere. And what loading a file of 3,000 rules costs, in processes of their own.
 */
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { parsePath, parseValue, type Value } from '../../protocol/index.ts'
import { afterWrites, Budget, jsonView, loadRuleset, noQuery, type Ruleset } from '../../rules/index.ts'
import { AUTH, type Case, cases, NOW, STORED } from '../rules-cases.ts'
import { benchProgram } from '../server-process.ts'
import { PEERS } from '../systems/installed.ts'
import type { ScenarioOptions, Table } from '../table.ts'

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

/** @param folder Of the installed package. */
async function loadTargaryen(folder: string): Promise<Targaryen | null> {
  try {
    const main = createRequire(import.meta.url).resolve(folder)
    const module = (await import(pathToFileURL(main).href)) as { default?: Targaryen } & Targaryen
    return module.default ?? module
  } catch {
    return null
  }
}

const LOADS = 5

/** The median of several processes. */
function loadNote(): string {
  const [program, ...args] = benchProgram('rules-load')
  const loads = Array.from(
    { length: LOADS },
    () =>
      JSON.parse(execFileSync(program!, args, { encoding: 'utf8' })) as {
        rules: number
        characters: number
        parse: { wallMs: number }
        load: { wallMs: number; cpuMs: number }
      },
  )
  const { rules, characters } = loads[0]!
  const wallMs = median(loads.map(({ load }) => load.wallMs))
  const cpuMs = median(loads.map(({ load }) => load.cpuMs))
  const parseMs = median(loads.map(({ parse }) => parse.wallMs))
  return (
    `loading ${rules} rules in ${characters} characters, cold, median of ${LOADS} processes: ${wallMs.toFixed(0)} ms, ` +
    `${cpuMs.toFixed(0)} ms of CPU with V8's helper threads; JSON.parse of the same text ${parseMs.toFixed(1)} ms`
  )
}

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const load = loadNote()
  const targaryen = await loadTargaryen(flags['targaryen'] ?? `${PEERS}/node_modules/targaryen`)
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
    const rule = ruleset.rules.find(({ place }) => `.${place.kind}` === entry.kind && place.pattern !== '/')!
    const budget = new Budget()
    const condition = (): boolean => {
      budget.steps = 1_000_000
      return rule.run(path, AUTH, NOW, data, newData, noQuery, budget)
    }
    const peer = targaryen === null ? null : targaryenCheck(targaryen, rules, entry)
    const byHand = (): boolean => entry.byHand(data, newData, AUTH, path, NOW)
    const calls = [condition, byHand, check, ...(peer === null ? [] : [peer])]
    const [ruleNs = 0, handNs = 0, checkNs = 0, peerNs = null] = nanosPerCall(calls, budgetMs)
    return { name: entry.name, ruleNs, handNs, checkNs, peerNs }
  })
  const medianOf = (value: (row: (typeof rows)[number]) => number): number => round(median(rows.map(value)))
  return {
    title: 'rules: one condition compiled and hand-written; one decision, and that of targaryen',
    columns: [
      'rule (file of the corpus)',
      'condition ns',
      'by hand ns',
      'x by hand',
      'decision ns',
      'decisions/s',
      'x by hand',
      'targaryen ns',
      'x faster than targaryen',
    ],
    rows: [
      ...rows.map(({ name, ruleNs, handNs, checkNs, peerNs }) => [
        name,
        round(ruleNs),
        round(handNs),
        round(ruleNs / handNs),
        round(checkNs),
        Math.round(1e9 / checkNs),
        round(checkNs / handNs),
        peerNs === null ? 'not installed' : Math.round(peerNs),
        peerNs === null ? '' : Math.round(peerNs / checkNs),
      ]),
      [
        'median',
        medianOf(({ ruleNs }) => ruleNs),
        medianOf(({ handNs }) => handNs),
        medianOf(({ ruleNs, handNs }) => ruleNs / handNs),
        medianOf(({ checkNs }) => checkNs),
        '',
        medianOf(({ checkNs, handNs }) => checkNs / handNs),
        targaryen === null ? '' : medianOf(({ peerNs }) => peerNs!),
        targaryen === null ? '' : medianOf(({ peerNs, checkNs }) => peerNs! / checkNs),
      ],
    ],
    notes: [
      'all ask the same stored tree; Hearth and the hand-written functions read it through one DataView',
      'a decision finds the rules on the way to the path, asks them, and says which one decided; targaryen does the same',
      'a `.validate` decision includes asking the `.write` above it, the hand-written function does not',
      load,
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
