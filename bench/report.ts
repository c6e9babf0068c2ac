/**
 * bench report [--only a,b] [--rerun false] [--seconds N] [--rounds N]: runs every scenario that compares systems, keeps what they measured in
 * bench/results, and writes docs/benchmarks.md with its charts from what is kept there.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Bar, barChart } from './chart.ts'
import { formatCell, type Table } from './table.ts'

interface Section {
  scenario: string
  args: readonly string[]
  /** What the reader learns before the table. */
  text: string
  /** Which column is drawn, turned around into updates for each second of CPU. */
  charts?: readonly { file: string; title: string; inFlight?: number }[]
}

type Result = Table & { machine: Record<string, string | number> }

const ROUNDS = ['--seconds', '3', '--rounds', '2']
const CPU_COLUMN = 'CPU us/delivery'

const sections: readonly Section[] = [
  {
    scenario: 'fan-out',
    args: ROUNDS,
    text:
      'One publisher, 1,000 subscribers of one path. With one update in flight every server pays for one socket write ' +
      'a subscriber; with 50 it matters who puts many updates into one write.',
    charts: [
      { file: 'fan-out-50.svg', title: 'Fan-out to 1,000 subscribers, 50 updates in flight', inFlight: 50 },
      { file: 'fan-out-1.svg', title: 'Fan-out to 1,000 subscribers, one update in flight', inFlight: 1 },
    ],
  },
  {
    scenario: 'rooms',
    args: ROUNDS,
    text: 'The shape of a chat: many small rooms. A message reaches few, so the cost of the write itself shows.',
    charts: [{ file: 'rooms.svg', title: 'Chat: 1,000 rooms of 10 members' }],
  },
  {
    scenario: 'game',
    args: ROUNDS,
    text: 'The shape of a game: large rooms in which all move all the time.',
    charts: [{ file: 'game.svg', title: 'Game: 20 rooms of 50 players at 20 Hz' }],
  },
  { scenario: 'latency', args: ROUNDS, text: 'How long an update takes to the last of 100 subscribers.' },
  { scenario: 'join', args: ['--seconds', '5'], text: 'What a listen costs that is answered with a value.' },
  { scenario: 'idle', args: ['--seconds', '5'], text: 'What connections cost on which nothing happens.' },
  { scenario: 'storm', args: [], text: 'Everyone lost the connection and comes back.' },
  {
    scenario: 'write',
    args: ['--seconds', '5'],
    text: 'Writes that are acknowledged once they are on disk, against LMDB alone with nothing around it.',
  },
]

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const RESULTS = `${ROOT}bench/results`
const RUN = fileURLToPath(new URL('./run.js', import.meta.url))

export function report(flags: Readonly<Record<string, string>>): void {
  mkdirSync(RESULTS, { recursive: true })
  const only = flags['only']?.split(',')
  for (const { scenario, args } of sections) {
    if (flags['rerun'] === 'false' || (only !== undefined && !only.includes(scenario))) continue
    // A process of its own: nothing that one scenario left in memory slows the next.
    const shorter = ['seconds', 'rounds'].flatMap((name) =>
      name in flags ? [`--${name}`, flags[name]!] : [],
    )
    // What comes later counts.
    const command = [RUN, scenario, ...args, ...shorter, '--json', resultFile(scenario)]
    const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' })
    if (status !== 0) console.error(`bench: ${scenario} failed; its earlier result stays`)
  }
  const parts = sections.filter(({ scenario }) => existsSync(resultFile(scenario))).map(sectionText)
  writeFileSync(`${ROOT}docs/benchmarks.md`, [HEAD, ...parts].join('\n'))
}

const HEAD = `# Benchmarks

Written by \`npm run bench:report\`; do not edit. \`npm run bench:peers\` first installs the systems that come from npm; brokers
(\`apt-get install redis-server nats-server mosquitto\`) are measured where they are installed.

**What is measured.** The same numbered updates go through each system, each server in a process of its own. Subscribers are bare
sockets that find the updates in the bytes by one and the same code, and fail the run when one is missing, doubled or out of
order. CPU is what the operating system counts for the server's process, all threads, user and system. Systems take turns, round
by round, and the median counts.

**What is not.** Networks: everything runs on one machine over loopback, and the process that plays all clients shares its
processors with the server, so deliveries a second and latencies are limited by both; CPU for each delivery is what compares. TLS
and compression are off. Client libraries are not measured. Most of the others store nothing, Hearth flushes each update to
disk and asks rules before anyone sees it.
`

function resultFile(scenario: string): string {
  return `${RESULTS}/${scenario}.json`
}

function sectionText(section: Section): string {
  const result = JSON.parse(readFileSync(resultFile(section.scenario), 'utf8')) as Result
  const { machine } = result
  const images = (section.charts ?? []).map(({ file, title, inFlight }) => {
    writeFileSync(
      `${ROOT}docs/${file}`,
      barChart(title, 'updates delivered for each second of server CPU', bars(result, inFlight)),
    )
    return `![${title}](${file})\n`
  })
  return [
    `## ${result.title}\n`,
    `${section.text}\n`,
    ...images,
    markdownTable(result),
    ...(result.notes ?? []).map((note) => `* ${note}`),
    `* ${String(machine['date']).slice(0, 10)}, Hearth ${machine['hearth']} at ${machine['commit']}, Node ${machine['node']}, ` +
      `${machine['cpu']}, ${machine['memoryGiB']} GiB, Linux ${machine['kernel']}`,
    `* \`npm run bench -- ${[section.scenario, ...section.args].join(' ')}\`\n`,
  ].join('\n')
}

function markdownTable({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rule = columns.map((_, i) => (i === 0 ? ':--' : '--:'))
  const body = rows.map((row) => line(row.map(formatCell)))
  return [line(columns), line(rule), ...body, ''].join('\n')
}

function bars({ columns, rows }: Table, inFlight: number | undefined): Bar[] {
  const [cpu, flight] = [columns.indexOf(CPU_COLUMN), columns.indexOf('in flight')]
  return rows
    .filter((row) => inFlight === undefined || row[flight] === inFlight)
    .map((row) => ({
      label: String(row[0]),
      value: 1e6 / Number(row[cpu]),
      isHearth: String(row[0]).startsWith('Hearth'),
    }))
}
