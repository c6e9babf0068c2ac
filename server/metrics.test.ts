import { expect, onTestFinished, test } from 'vitest'
import { Metrics } from './metrics.ts'

function openMetrics(): Metrics {
  const metrics = new Metrics()
  onTestFinished(() => metrics.close())
  return metrics
}

/** The value of one line of the text, such as `hearth_writes_total 3`. */
async function valueOf(metrics: Metrics, series: string): Promise<number> {
  const line = (await metrics.text()).split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return Number(line?.slice(series.length + 1))
}

test('a counter is a plain number that the text shows as it is', async () => {
  const metrics = openMetrics()

  metrics.counters.writes += 3
  metrics.counters.deliveredBytes += 1000
  const first = await valueOf(metrics, 'hearth_writes_total')
  metrics.counters.writes += 1

  expect(first).toBe(3)
  expect(await valueOf(metrics, 'hearth_writes_total')).toBe(4)
  expect(await valueOf(metrics, 'hearth_fanout_bytes_total')).toBe(1000)
  expect(await valueOf(metrics, 'hearth_denials_total')).toBe(0)
})

test('a gauge is read when somebody asks', async () => {
  const metrics = openMetrics()
  const before = await valueOf(metrics, 'hearth_connections')
  let open = 2
  metrics.gauge('connections', () => open)

  open = 7

  expect(before).toBe(0)
  expect(await valueOf(metrics, 'hearth_connections')).toBe(7)
})

test('commit groups fill the histograms in seconds', async () => {
  const metrics = openMetrics()

  metrics.observeGroup({ writes: 3, decideMs: 0.2, flushMs: 20, publishMs: 1 })
  metrics.observeGroup({ writes: 1, decideMs: 0.2, flushMs: 2, publishMs: 1 })

  expect(await valueOf(metrics, 'hearth_commit_group_writes_sum')).toBe(4)
  expect(await valueOf(metrics, 'hearth_flush_seconds_bucket{le="0.0025"}')).toBe(1)
  expect(await valueOf(metrics, 'hearth_flush_seconds_bucket{le="0.025"}')).toBe(2)
  expect(await valueOf(metrics, 'hearth_commit_seconds_sum')).toBeCloseTo(0.0244)
})

test('the process shows its processor time, memory and event-loop delay', async () => {
  const metrics = openMetrics()

  const text = await metrics.text()

  expect(await valueOf(metrics, 'process_cpu_seconds_total')).toBeGreaterThan(0)
  expect(await valueOf(metrics, 'process_resident_memory_bytes')).toBeGreaterThan(1_000_000)
  expect(text).toContain('hearth_event_loop_delay_seconds{quantile="0.99"}')
  expect(text).not.toContain('NaN')
})

test('two servers in a process do not share numbers', async () => {
  const [one, other] = [openMetrics(), openMetrics()]

  one.counters.reads += 5

  expect(await valueOf(one, 'hearth_reads_total')).toBe(5)
  expect(await valueOf(other, 'hearth_reads_total')).toBe(0)
})

test('the text is what Prometheus expects', async () => {
  const metrics = openMetrics()

  expect(metrics.contentType).toContain('text/plain; version=0.0.4')
  for (const line of (await metrics.text()).split('\n')) {
    expect(line).toMatch(/^(|# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+="[^"]+"\})? [-+.e\d]+)$/i)
  }
})
