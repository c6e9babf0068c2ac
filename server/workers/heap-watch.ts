/**
 * Heap watch: tells when a thread's heap is nearly full, while the thread can still close its sockets. One that V8 ends for
 * want of memory cannot, and takes the process with it.
 *
 * Looked at after full collections only, since before them most of a full heap may be garbage. What fills the rest of the heap
 * within one event turn is not noticed in time.
 */
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import { resourceLimits } from 'node:worker_threads'

/** Of what V8 allows. With less left a thread does little but collect. */
const NEARLY_FULL = 0.9
const MiB = 1024 * 1024

export function watchHeap(nearlyFull: (message: string) => void): void {
  // The statistics' limit includes the young generation, which what lives on does not get.
  const youngMax = (resourceLimits.maxYoungGenerationSizeMb ?? 0) * MiB
  const observer = new PerformanceObserver((list) => {
    const entries = list.getEntries() as { detail?: { kind?: number } }[]
    if (!entries.some(({ detail }) => detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR)) return
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    if (used < NEARLY_FULL * (limit - youngMax)) return
    observer.disconnect()
    const [usedMiB, limitMiB] = [used, limit - youngMax].map((bytes) => Math.round(bytes / MiB))
    nearlyFull(`out of memory: ${usedMiB} MiB of ${limitMiB} MiB are in use after a full collection`)
  })
  observer.observe({ entryTypes: ['gc'] })
}
