/**
 * bench <scenario> [--seconds 5] [--json FILE]: warms up, measures, prints a table, writes JSON.
 * bench report: runs those that compare systems and writes docs/benchmarks.md.
 */
import { writeFileSync } from 'node:fs'
import { report } from './report.ts'
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
  latency: {
    question: 'write to last subscriber at 20, 200 and 2,000 updates a second',
    load: () => import('./scenarios/latency.ts'),
  },
  rooms: {
    question: 'the shape of a chat: 1,000 rooms of 10 members',
    load: () => import('./scenarios/rooms.ts'),
  },
  game: {
    question: 'the shape of a game: 20 rooms of 50 players at 20 Hz',
    load: () => import('./scenarios/game.ts'),
  },
  join: {
    question: 'listens a second, with snapshots of 10 KB and 1 MB',
    load: () => import('./scenarios/join.ts'),
  },
  idle: {
    question: 'memory of 10,000 idle subscribed connections',
    load: () => import('./scenarios/idle.ts'),
  },
  storm: {
    question: 'thousands of sessions reconnect within a second',
    load: () => import('./scenarios/storm.ts'),
  },
  'slow-disk': {
    question: 'delay of the socket loop while flushes take 20 ms',
    load: () => import('./scenarios/slow-disk.ts'),
  },
  rules: {
    question: 'nanoseconds a decision',
    load: () => import('./scenarios/rules.ts'),
  },
  'rules-cost': {
    question: 'a delivery and a write with rules on, against rules open',
    load: () => import('./scenarios/rules-cost.ts'),
  },
  query: {
    question: 'what a live, indexed limitToLast(50) on a million children costs',
    load: () => import('./scenarios/query.ts'),
  },
  codec: { question: 'the wire codec against msgpackr', load: () => import('./scenarios/codec.ts') },
}

const [name, ...rest] = process.argv.slice(2)
const flags = readFlags(rest)
if (name === 'report') {
  report(flags)
  process.exit()
}
const scenario = name === undefined ? undefined : scenarios[name]
if (scenario === undefined) {
  const list = Object.entries(scenarios).map(([key, { question }]) => `  ${key.padEnd(12)} ${question}`)
  const what = name === undefined ? 'name a scenario' : `no scenario \`${name}\`; there are`
  console.error(
    `bench: ${what}\n\n${list.join('\n')}\n  report       runs those that compare systems and writes docs/benchmarks.md\n`,
  )
  console.error('options: --seconds N, --json FILE; where several systems run: --systems a,b --rounds N')
  console.error(
    'fan-out: --subscribers N --in-flight 1,50 --bytes N --shape place,chat; others in the head of their file',
  )
  process.exit(2)
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

function readFlags(args: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {}
  for (let i = 0; i < args.length; i++) {
    const flag = args[i]!
    if (!flag.startsWith('--')) continue
    const [key, inline] = flag.slice(2).split('=', 2)
    found[key!] = inline ?? args[++i] ?? 'true'
  }
  return found
}
