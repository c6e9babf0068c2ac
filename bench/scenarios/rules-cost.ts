/**
 * Rules cost: the same load on a server with the benchmark's rules and on one whose rules are `true`, in turn, so that
 * what else the machine does meets both alike. Server CPU for each delivered update and for each acked write.
 */
import { inRounds, medians } from '../rounds.ts'
import { hearth, hearthWithOpenRules } from '../systems/hearth.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { measureFanOut } from './fan-out.ts'
import { measureWrites } from './write.ts'

const IN_FLIGHTS = [1, 50]
const WRITES_IN_FLIGHT = 64
/** What the same server twice differs by from run to run is evened out by rounds. */
const ROUNDS = 3

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const subscribers = Number(flags['subscribers'] ?? 1000)
  const bytes = Number(flags['bytes'] ?? 100)
  const rounds = Number(flags['rounds'] ?? ROUNDS)
  const { measured } = await inRounds(rounds, [hearth, hearthWithOpenRules], async (system) => {
    const fanOut = await measureFanOut(system, {
      subscribers,
      bytes,
      windows: IN_FLIGHTS.map((inFlight) => ({ shape: 'place' as const, inFlight })),
      seconds,
    })
    const write = await measureWrites(await system.start(), { seconds, inFlight: WRITES_IN_FLIGHT })
    return { one: fanOut[0]!.cpuMicros, fifty: fanOut[1]!.cpuMicros, write: write.cpuMicrosPerAck }
  })
  const [on, open] = measured.map(({ results }) => medians(results))
  const row = (what: string, withRules: number, without: number): (string | number)[] => [
    what,
    withRules,
    without,
    withRules / without,
  ]
  return {
    title: `rules on and rules open: microseconds of server CPU, median of ${rounds} rounds of ${seconds} s`,
    columns: ['what', 'rules on', 'rules open', 'on / open'],
    rows: [
      row(`delivery to one of ${subscribers}, one update in flight`, on!.one, open!.one),
      row(`delivery to one of ${subscribers}, fifty in flight`, on!.fifty, open!.fifty),
      row(`acked write, 8 x ${WRITES_IN_FLIGHT} in flight`, on!.write, open!.write),
    ],
  }
}
