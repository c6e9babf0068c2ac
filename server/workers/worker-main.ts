/**
 * The program of a worker thread: runs a follower until it is told to end, until something breaks that nobody catches, or
 * until its memory is nearly used up. Then it closes its sockets, ends, and is replaced: its state may be half changed.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { finishLog, withoutTokens } from '../log.ts'
import { type FollowerData, type RunningFollower, runFollower } from './follower.ts'
import { watchHeap } from './heap-watch.ts'

let follower: RunningFollower | null = null

function end(code: number): void {
  process.exit(code)
}

function broken(error: unknown): void {
  giveUp((error instanceof Error ? error.stack : undefined) ?? String(error))
}

function giveUp(what: string): void {
  process.stderr.write(withoutTokens(`hearth worker: ${what}\n`))
  follower?.abandon()
  finishLog().finally(() => end(1))
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) process.on(event, broken)

watchHeap(giveUp)

runFollower(parentPort!, workerData as FollowerData, end, (running) => {
  follower = running
}).catch(broken)
