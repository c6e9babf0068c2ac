/**
 * What a scenario gives back, and how it looks in a terminal and in JSON.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export interface Table {
  title: string
  columns: string[]
  rows: (string | number)[][]
  /** What a reader must know to judge the numbers: what was left out, what a column means. */
  notes?: string[]
}

export interface ScenarioOptions {
  /** Seconds each measured system runs, warm-up not counted. */
  seconds: number
  /** Further `--name value` options of the scenario. */
  flags: Readonly<Record<string, string>>
}

export type Scenario = (options: ScenarioOptions) => Promise<Table>

export function formatTable({ title, columns, rows, notes = [] }: Table): string {
  const cells = [columns, ...rows.map((row) => row.map(formatCell))]
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? '').length)))
  const line = (row: string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  const [head, ...body] = cells
  return [title, '', line(head!), rule, ...body.map(line), '', ...notes.map((note) => `* ${note}`)].join('\n')
}

export function formatCell(cell: string | number): string {
  if (typeof cell === 'string') return cell
  if (Number.isNaN(cell)) return '-'
  if (Number.isInteger(cell) || Math.abs(cell) >= 1000) return Math.round(cell).toLocaleString('en-US')
  return cell.toPrecision(3)
}

/** The machine and versions a result was measured on. Results of different machines do not compare. */
export function machineFacts(): Record<string, string | number> {
  const info = cpus()
  return {
    cpu: `${info[0]?.model.trim() ?? 'unknown'} x ${info.length}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    hearth: JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
      .version as string,
    commit: gitCommit(),
    date: new Date().toISOString(),
  }
}

function gitCommit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}
