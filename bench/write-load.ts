/**
 * A stream of writes: connections that keep a number of 100-byte writes in flight each.
 */
import { decodeToClient } from '../protocol/index.ts'
import type { Histogram } from './histogram.ts'
import { openWebSocket } from './raw-websocket.ts'
import { sendMessage } from './systems/hearth.ts'

const VALUE = 'x'.repeat(92)
/** Distinct keys each connection writes in turn, so that rows are both made and replaced. */
const KEYS = 20_000
const SAMPLE_EVERY = 16

export interface WriteLoad {
  /** Writes acked so far. */
  readonly acks: number
  stop(): void
}

/** @param latency Gets the milliseconds from sending to ack of every sixteenth write. */
export async function streamWrites(
  port: number,
  options: { connections: number; inFlight: number; latency: Histogram },
): Promise<WriteLoad> {
  const { connections, inFlight, latency } = options
  let acks = 0
  let isRunning = true
  const clients = await Promise.all(
    Array.from({ length: connections }, async (_, n) => {
      const client = await openWebSocket(port, '/v1')
      const sentAt = new Map<number, number>()
      let nextId = 1
      const sendOne = (): void => {
        const id = nextId++
        const path = ['bench', `c${n}`, `key${id % KEYS}`]
        if (id % SAMPLE_EVERY === 0) sentAt.set(id, performance.now())
        sendMessage(client, { type: 'set', id, path, value: VALUE + String(id).padStart(8, '0') })
      }
      const sendMany = (count: number): void => {
        client.corked(() => {
          for (let i = 0; i < count; i++) sendOne()
        })
      }
      client.onFrame = (payload) => {
        let answered = 0
        for (const message of decodeToClient(payload)) {
          if (message.type === 'error') throw new Error(message.message)
          if (message.type !== 'ack') continue
          answered += message.ids.length
          for (const id of message.ids) {
            const at = sentAt.get(id)
            if (at === undefined) continue
            latency.record(performance.now() - at)
            sentAt.delete(id)
          }
        }
        acks += answered
        if (isRunning) sendMany(answered)
      }
      sendMany(inFlight)
      return client
    }),
  )
  return {
    get acks() {
      return acks
    },
    stop() {
      isRunning = false
      for (const client of clients) client.close()
    },
  }
}
