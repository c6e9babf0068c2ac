/**
 * Rules cost: the same load on a server with the benchmark's rules and on one whose rules are `true`, in turn, so that
 * what else the machine does meets both alike. Server CPU for each delivered update and for each acked write.
 */
import { inRounds, median } from '../rounds.ts'
import { hearth, hearthWithOpenRules } from '../systems/hearth.ts'
import type { System } from '../systems/system.ts'
import type { ScenarioOptions, Table } from '../table.ts'
import { measureFanOut } from './fan-out.ts'
import { measureWrites } from './write.ts'

const IN_FLIGHTS = [1, 50]
const WRITES_IN_FLIGHT = 64
/** What the same server twice differs by from run to run is evened out by rounds. */
const ROUNDS = 5

type Costs = Record<'one' | 'fifty' | 'write', number>

export async function run({ seconds, flags }: ScenarioOptions): Promise<Table> {
  const subscribers = Number(flags['subscribers'] ?? 1000)
  const bytes = Number(flags['bytes'] ?? 100)
  const rounds = Number(flags['rounds'] ?? ROUNDS)
  const measure = async (system: System): Promise<Costs> => {
    const fanOut = await measureFanOut(system, {
      subscribers,
      bytes,
      windows: IN_FLIGHTS.map((inFlight) => ({ shape: 'place' as const, inFlight })),
      seconds,
    })
    const write = await measureWrites(await system.start(), { seconds, inFlight: WRITES_IN_FLIGHT })
    return { one: fanOut[0]!.cpuMicros, fifty: fanOut[1]!.cpuMicros, write: write.cpuMicrosPerAck }
  }
  const { measured } = await inRounds(rounds, [hearth, hearthWithOpenRules], measure)
  const [on, open] = measured.map(({ results }) => results)
  const row = (what: string, cost: keyof Costs): (string | number)[] => {
    // Of one round, which both ran beside each other: the machine's pace changes by a third within minutes.
    const ratios = on!.map((costs, round) => costs[cost] / open![round]![cost])
    const medianOf = (rounds: readonly Costs[]): number => median(rounds.map((costs) => costs[cost]))
    return [what, medianOf(on!), medianOf(open!), median(ratios), Math.min(...ratios), Math.max(...ratios)]
  }
  return {
    title: `rules on and rules open: microseconds of server CPU, median of ${rounds} rounds of ${seconds} s`,
    columns: ['what', 'rules on', 'rules open', 'on / open of a round', 'least', 'most'],
    rows: [
      row(`delivery to one of ${subscribers}, one update in flight`, 'one'),
      row(`delivery to one of ${subscribers}, fifty in flight`, 'fifty'),
      row(`acked write, 8 x ${WRITES_IN_FLIGHT} in flight`, 'write'),
    ],
  }
}
