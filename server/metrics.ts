/**
 * Metrics: what /metrics shows, in Prometheus' text form. The hot path adds to plain numbers; prom-client reads
 * them when somebody asks. Only histograms are told of events, once for each commit group and not for each write.
 * One registry for each server, so that two servers in a process do not share numbers.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import {
  AggregatorRegistry,
  Counter,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client'
import { logLinesLost } from './log.ts'

/** Numbers that only grow. Add to them directly. */
const COUNTERS = {
  connectionsOpened: ['hearth_connections_opened_total', 'Connections opened.'],
  connectionsRefused: [
    'hearth_connections_refused_total',
    'Connections refused with 503: too many are open, or wait to be served.',
  ],
  reads: ['hearth_reads_total', 'Reads and listens that reached the rules.'],
  writes: ['hearth_writes_total', 'Writes committed.'],
  denials: ['hearth_denials_total', 'Reads, listens and writes the rules denied.'],
  budgetOverruns: [
    'hearth_rules_budget_overruns_total',
    'Denials because a rule took more steps than one check may.',
  ],
  errors: ['hearth_errors_total', 'Requests answered with an error, denials included.'],
  deliveries: ['hearth_fanout_deliveries_total', 'Patches handed to connections, one for each connection.'],
  deliveredBytes: ['hearth_fanout_bytes_total', 'Bytes of these patches.'],
  rateLimited: [
    'hearth_rate_limited_total',
    'Requests refused for now: past a budget, or while too many wait.',
  ],
  slowConsumers: [
    'hearth_slow_consumers_total',
    'Times a connection fell behind and was brought up to date later.',
  ],
  workerRestarts: ['hearth_worker_restarts_total', 'Worker threads that ended and were replaced.'],
  bugs: ['hearth_bugs_total', 'Internal errors; each has a line in the log.'],
} as const satisfies Record<string, readonly [name: string, help: string]>

/** Numbers that go up and down: set by whoever owns them, or read by a function when asked. */
const GAUGES = {
  connections: ['hearth_connections', 'Connections open, and requests of REST being served.'],
  listeners: ['hearth_listeners', 'Listeners held by connections.'],
  sessionsWaiting: ['hearth_sessions_waiting', 'Connections in line to have a read or a listen served.'],
  waitingBytes: ['hearth_waiting_bytes', 'Requests that wait for their turn or for a write before them.'],
  answerBytesInFlight: [
    'hearth_answer_bytes_in_flight',
    'Answers waiting in sockets, for which reads and listens wait.',
  ],
  restAnswerBytes: [
    'hearth_rest_answer_bytes',
    'Answers of REST and long polls held until their clients have read them.',
  ],
  databases: ['hearth_databases', 'Databases open.'],
  indexesBuilding: ['hearth_indexes_building', 'Indexes that rules declare and that are not built yet.'],
} as const satisfies Record<string, readonly [name: string, help: string]>

/** The metrics of one thread, to be handed to another. */
export type MetricsPart = MetricObjectWithValues<MetricValue<string>>[]

export type Counters = Record<keyof typeof COUNTERS, number>
export type GaugeName = keyof typeof GAUGES

/** From a group of one write decided in memory (0.1 ms) to a flush on a slow cloud disk. */
const SECONDS_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5]
const GROUP_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
const LOOP_RESOLUTION_MS = 10

export class Metrics {
  readonly counters: Counters = Object.fromEntries(Object.keys(COUNTERS).map((key) => [key, 0])) as Counters
  readonly #registry = new Registry()
  readonly #gauges = new Map<GaugeName, () => number>()
  readonly #decide: Histogram
  readonly #flush: Histogram
  readonly #publish: Histogram
  readonly #commit: Histogram
  readonly #groupSize: Histogram
  readonly #loopDelay: IntervalHistogram

  /** @param options.isFollower Of a thread beside others: what is the whole process's is left out. */
  constructor(options: { isFollower?: boolean } = {}) {
    const registers = [this.#registry]
    for (const [key, [name, help]] of Object.entries(COUNTERS)) {
      const read = (): number => this.counters[key as keyof Counters]
      new Counter({ name, help, registers, collect: collectFrom(read) })
    }
    for (const [key, [name, help]] of Object.entries(GAUGES)) {
      const read = (): number => this.#gauges.get(key as GaugeName)?.() ?? 0
      new Gauge({ name, help, registers, collect: collectFrom(read) })
    }
    const seconds = (name: string, help: string): Histogram =>
      new Histogram({ name, help, registers, buckets: SECONDS_BUCKETS })
    this.#commit = seconds(
      'hearth_commit_seconds',
      'A commit group from its first decision to its last patch.',
    )
    this.#decide = seconds('hearth_decide_seconds', 'Rules and staging of one commit group.')
    this.#flush = seconds('hearth_flush_seconds', 'One commit group to disk.')
    this.#publish = seconds('hearth_publish_seconds', 'Patches of one commit group to all listeners.')
    this.#groupSize = new Histogram({
      name: 'hearth_commit_group_writes',
      help: 'Writes committed together.',
      registers,
      buckets: GROUP_BUCKETS,
    })
    new Counter({
      name: 'hearth_log_lines_lost_total',
      help: 'Log lines lost because the log was not read, or its disk was full.',
      registers,
      collect: collectFrom(logLinesLost),
    })
    this.#loopDelay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
    this.#loopDelay.enable()
    addLoopMetrics(this.#registry, this.#loopDelay)
    if (options.isFollower !== true) addProcessMetrics(this.#registry)
  }

  /** One commit group, in milliseconds. */
  observeGroup(group: { writes: number; decideMs: number; flushMs: number; publishMs: number }): void {
    this.#groupSize.observe(group.writes)
    this.#decide.observe(group.decideMs / 1000)
    this.#flush.observe(group.flushMs / 1000)
    this.#publish.observe(group.publishMs / 1000)
    this.#commit.observe((group.decideMs + group.flushMs + group.publishMs) / 1000)
  }

  /** A group that another thread has written, shown by this one, in milliseconds. */
  observePublish(publishMs: number): void {
    this.#publish.observe(publishMs / 1000)
  }

  /** Where a gauge is read when somebody asks; until then it is 0. */
  gauge(name: GaugeName, read: () => number): void {
    this.#gauges.set(name, read)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }

  async part(): Promise<MetricsPart> {
    return (await this.#registry.getMetricsAsJSON()) as MetricsPart
  }

  /** One text of several threads' metrics, each with the label `worker`. */
  static merged(parts: readonly (readonly [worker: string, part: MetricsPart])[]): Promise<string> {
    const labelled = parts.map(([worker, part]) =>
      part.map((metric) => ({
        ...metric,
        values: metric.values.map((value) => ({ ...value, labels: { ...value.labels, worker } })),
      })),
    )
    return AggregatorRegistry.aggregate(labelled).metrics()
  }

  close(): void {
    this.#loopDelay.disable()
  }
}

/** A counter or gauge whose value is kept elsewhere. */
function collectFrom(read: () => number): (this: Counter | Gauge) => void {
  return function (): void {
    if (this instanceof Counter) {
      this.reset()
      this.inc(read())
    } else this.set(read())
  }
}

/** The few process figures that say whether a server is well, under the names dashboards know. */
function addProcessMetrics(registry: Registry): void {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({ name, help, registers, collect: collectFrom(read) })
  }
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time used, in seconds.',
    registers,
    collect: collectFrom(() => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    }),
  })
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss())
  gauge('process_start_time_seconds', 'Start of the process, Unix time.', () =>
    Math.round(performance.timeOrigin / 1000),
  )
}

function addLoopMetrics(registry: Registry, loopDelay: IntervalHistogram): void {
  const registers = [registry]
  new Gauge({
    name: 'nodejs_heap_size_used_bytes',
    help: 'JavaScript heap in use.',
    registers,
    collect: collectFrom(() => process.memoryUsage().heapUsed),
  })
  new Gauge({
    name: 'hearth_event_loop_delay_seconds',
    help: 'How late the event loop was, since the last time somebody asked.',
    labelNames: ['quantile'],
    registers,
    collect() {
      // The monitor measures the whole gap between two of its timers, so an idle loop shows the resolution.
      const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - LOOP_RESOLUTION_MS / 1000)
      this.set({ quantile: '0.5' }, late(loopDelay.percentile(50)))
      this.set({ quantile: '0.99' }, late(loopDelay.percentile(99)))
      this.set({ quantile: '1' }, late(loopDelay.max))
      loopDelay.reset()
    },
  })
}
