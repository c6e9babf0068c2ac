/**
 * What the client takes from the world around it: clock, randomness, timers and sockets. Tests bring their own.
 */
import { type OpenSocket, openWebSocket } from './socket.ts'

export interface Environment {
  /** Unix milliseconds. */
  nowMs(): number
  /** At least 0, below 1. */
  random(): number
  /** Runs `task` once after `delayMs`. @returns Calls it off. */
  schedule(delayMs: number, task: () => void): () => void
  openSocket: OpenSocket
  /** Calls `task` when the network seems to be back. @returns Stops that. */
  onNetworkBack(task: () => void): () => void
}

export const realEnvironment: Environment = {
  nowMs: () => Date.now(),
  random: () => Math.random(),
  schedule(delayMs, task) {
    const timer = setTimeout(task, delayMs)
    return () => clearTimeout(timer)
  },
  openSocket: openWebSocket,
  onNetworkBack(task) {
    // Only browsers tell; elsewhere the next attempt comes by the clock.
    globalThis.addEventListener?.('online', task)
    return () => globalThis.removeEventListener?.('online', task)
  },
}
