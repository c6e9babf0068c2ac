/**
 * One window of time in which a load is measured: what was delivered, and what it cost the server.
 */
import type { Histogram } from './histogram.ts'
import { pause, type ServerProcess } from './server-process.ts'

export interface Load {
  readonly deliveries: number
  readonly latency: Histogram
}

export interface Measured extends Record<string, number> {
  deliveriesPerSecond: number
  /** CPU of the server for each delivered update, microseconds. */
  cpuMicros: number
  p50Ms: number
  p99Ms: number
  p999Ms: number
  /** CPU seconds a second of this process, which publishes and receives. */
  clientBusy: number
}

/** Until what a server runs most is compiled; with little CPU to be had that takes seconds, and is not what is asked. */
const WARM_UP_SECONDS_MAX = 3

/** Lets the load warm up, then measures it. */
export async function measureWindow(server: ServerProcess, load: Load, seconds: number): Promise<Measured> {
  await pause(Math.min(WARM_UP_SECONDS_MAX, seconds / 2))
  load.latency.reset()
  const cpuBefore = server.cpuMicros()
  const ownCpuBefore = process.cpuUsage()
  const deliveriesBefore = load.deliveries
  const startMs = performance.now()
  await pause(seconds)
  const elapsedMs = performance.now() - startMs
  const deliveries = load.deliveries - deliveriesBefore
  const ownCpu = process.cpuUsage(ownCpuBefore)
  return {
    deliveriesPerSecond: (deliveries / elapsedMs) * 1000,
    cpuMicros: (server.cpuMicros() - cpuBefore) / deliveries,
    p50Ms: load.latency.percentile(0.5),
    p99Ms: load.latency.percentile(0.99),
    p999Ms: load.latency.percentile(0.999),
    clientBusy: (ownCpu.user + ownCpu.system) / 1000 / elapsedMs,
  }
}
