/**
 * The program of a worker thread: runs a follower until it is told to end, or until something breaks that nobody
 * catches. Then its state may be half changed: it closes its sockets, ends, and is replaced.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { finishLog, withoutTokens } from '../log.ts'
import { type FollowerData, type RunningFollower, runFollower } from './follower.ts'

let follower: RunningFollower | null = null

function end(code: number): void {
  process.exit(code)
}

function broken(error: unknown): void {
  const what = error instanceof Error ? error.stack : String(error)
  process.stderr.write(withoutTokens(`hearth worker: ${what}\n`))
  follower?.abandon()
  finishLog().finally(() => end(1))
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) process.on(event, broken)

runFollower(parentPort!, workerData as FollowerData, end, (running) => {
  follower = running
}).catch(broken)
