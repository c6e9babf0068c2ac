/**
 * bench <scenario> [--seconds 5] [--json FILE]: warms up, measures, prints a table, writes JSON.
 */
import { writeFileSync } from 'node:fs'
import { formatTable, machineFacts, type Scenario } from './table.ts'

const scenarios: Record<string, { question: string; load(): Promise<{ run: Scenario }> }> = {
  store: {
    question: 'which layout keeps a tree cheapest in LMDB',
    load: () => import('./scenarios/store.ts'),
  },
  write: {
    question: 'acked, flushed writes a second, against raw LMDB',
    load: () => import('./scenarios/write.ts'),
  },
  'fan-out': {
    question: 'server CPU for each delivered update',
    load: () => import('./scenarios/fan-out.ts'),
  },
  'slow-disk': {
    question: 'delay of the socket loop while flushes take 20 ms',
    load: () => import('./scenarios/slow-disk.ts'),
  },
  rules: {
    question: 'nanoseconds a decision',
    load: () => import('./scenarios/rules.ts'),
  },
  query: {
    question: 'what a live, indexed limitToLast(50) on a million children costs',
    load: () => import('./scenarios/query.ts'),
  },
  codec: { question: 'the wire codec against msgpackr', load: () => import('./scenarios/codec.ts') },
}

const [name, ...rest] = process.argv.slice(2)
const scenario = name === undefined ? undefined : scenarios[name]
if (scenario === undefined) {
  const list = Object.entries(scenarios).map(([key, { question }]) => `  ${key.padEnd(12)} ${question}`)
  console.error(`bench: name a scenario\n\n${list.join('\n')}\n\noptions: --seconds N, --json FILE`)
  process.exit(2)
}

const flags: Record<string, string> = {}
for (let i = 0; i < rest.length; i++) {
  const flag = rest[i]!
  if (!flag.startsWith('--')) continue
  const [key, inline] = flag.slice(2).split('=', 2)
  flags[key!] = inline ?? rest[++i] ?? 'true'
}
const seconds = Number(flags['seconds'] ?? 5)
if (!(seconds > 0)) {
  console.error(`bench: --seconds \`${flags['seconds']}\` is not a positive number`)
  process.exit(2)
}

const { run } = await scenario.load()
const table = await run({ seconds, flags })
const machine = machineFacts()
console.log(`\n${formatTable(table)}\n`)
console.log(
  `${machine['cpu']}, ${machine['memoryGiB']} GiB, Linux ${machine['kernel']}, Node ${machine['node']}`,
)
if (flags['json'] !== undefined) {
  writeFileSync(flags['json'], `${JSON.stringify({ scenario: name, machine, ...table }, null, 2)}\n`)
}
