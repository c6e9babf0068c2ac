/**
 * Hearth over its native protocol: rules on, durability flushed.
 */
import { readFileSync } from 'node:fs'
import {
  type Delivery,
  decodeToClient,
  Encoder,
  encodeToServer,
  type ResumePoint,
  type ToServer,
} from '../../protocol/index.ts'
import type { Connection } from '../connection.ts'
import { openWebSocket, sendBinary } from '../raw-websocket.ts'
import { ServerProcess } from '../server-process.ts'
import type { System } from './system.ts'

const encoder = new Encoder()

export const hearth: System = {
  id: 'hearth',
  name: 'Hearth',
  version: hearthVersion,
  install: 'npm run build',
  start: () => ServerProcess.hearth(),
  async subscribe(server, topic) {
    const connection = await openWebSocket(server.port, '/v1')
    await listenTo(connection, ['rooms', topic])
    return connection
  },
  async publisher(server) {
    const connection = await openWebSocket(server.port, '/v1')
    connection.onFrame = (payload) => {
      for (const message of decodeToClient(payload)) {
        if (message.type === 'error') throw new Error(`hearth: ${message.message}`)
      }
    }
    return connection
  },
  publish(connection, topic, text, key) {
    const path = key === undefined ? ['rooms', topic] : ['rooms', topic, key]
    sendMessage(connection, { type: 'set', id: ++connection.lastRequest, path, value: text })
  },
}

/** Two threads with sockets on the one port: what does the second cost? */
export const hearthWithWorkers: System = {
  ...hearth,
  id: 'hearth-2',
  name: 'Hearth, 2 workers',
  start: () => ServerProcess.hearth({ HEARTH_WORKERS: '2' }),
}

/** Whoever asks may: what rules cost is the difference. */
export const hearthWithOpenRules: System = {
  ...hearth,
  id: 'hearth-open',
  name: 'Hearth, rules open',
  start: () => ServerProcess.hearth({}, 'open.rules.json'),
}

/** States of what each server has been asked for: the first that was told of a topic. */
const told = new WeakMap<ServerProcess, Map<string, ResumePoint>>()

/** Whoever comes back to a topic names the state it was told, and is sent what it missed. */
export const hearthResuming: System = {
  ...hearth,
  id: 'hearth-resume',
  name: 'Hearth, resuming',
  async subscribe(server, topic) {
    const states = told.get(server) ?? new Map<string, ResumePoint>()
    told.set(server, states)
    const connection = await openWebSocket(server.port, '/v1')
    let epoch = ''
    await connection.until((payload) =>
      decodeToClient(payload).some((message) => {
        if (message.type === 'hello') epoch = message.epoch
        return message.type === 'hello'
      }),
    )
    const resume = states.get(topic)
    const options = resume === undefined ? {} : { resume }
    const revision = await listenTo(connection, ['rooms', topic], options)
    if (!states.has(topic)) states.set(topic, { epoch, revision })
    return connection
  },
}

/** One subscriber more for each ten, and it never reads: what do the others notice? */
export const hearthWithDeaf: System = {
  ...hearth,
  id: 'hearth-deaf',
  name: 'Hearth, a tenth more never read',
  deafShare: 0.1,
}

/** Subscribers ask for the latest of each path, 20 times a second: what a game shows. */
export const hearthLatest: System = {
  ...hearth,
  id: 'hearth-latest',
  name: 'Hearth, delivery { maxHz: 20 }',
  isConflated: true,
  async subscribe(server, topic) {
    const connection = await openWebSocket(server.port, '/v1')
    await listenTo(connection, ['rooms', topic], { delivery: { maxHz: 20 } })
    return connection
  },
}

export function sendMessage(connection: Connection, message: ToServer): void {
  encoder.reset()
  encodeToServer(encoder, message)
  sendBinary(connection, encoder.view())
}

/** Settles with the answer, at its revision. */
export async function listenTo(
  connection: Connection,
  path: readonly string[],
  options: { delivery?: Delivery; resume?: ResumePoint } = {},
): Promise<number> {
  sendMessage(connection, { type: 'listen', id: ++connection.lastRequest, path, query: null, ...options })
  let revision = 0
  await connection.until((payload) =>
    decodeToClient(payload).some((message) => {
      if (message.type === 'error') throw new Error(`hearth: ${message.message}`)
      if (message.type !== 'snapshot' && message.type !== 'resumed') return false
      revision = message.revision
      return true
    }),
  )
  return revision
}

export function hearthVersion(): string {
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
