/**
 * The codec against msgpackr, the usual choice, on frames as they occur: how long one takes to encode or decode.
 * Both sides take turns in one process; each figure is the median of many short runs, since the machine is shared.
 * msgpackr takes the texts out of large frames with a native addon; MSGPACKR_NATIVE_ACCELERATION_DISABLED=true
 * shows it without, where ours is ahead in every row of decoding.
 */
import { Packr } from 'msgpackr'
import {
  Decoder,
  decodeToClient,
  decodeToServer,
  Encoder,
  encodeToClient,
  encodeToServer,
  type Step,
  type ToClient,
  ToClientType,
  type Value,
} from '../../protocol/index.ts'

interface Duel {
  name: string
  bytes: number
  own(): unknown
  msgpackr(): unknown
}

/** Long enough for the clock, short enough that most runs see no interruption. */
const RUN_MS = 2

/** @returns Median microseconds of one operation, for each duel. */
export async function run(
  options: { seconds?: number } = {},
): Promise<{ title: string; columns: string[]; rows: (string | number)[][] }> {
  const duels = frames()
  const msEach = ((options.seconds ?? 10) * 1000) / duels.length
  const rows = duels.map(({ name, bytes, own, msgpackr }) => {
    const [ownUs, msgpackrUs] = medians([own, msgpackr], msEach)
    return [name, bytes, round(ownUs!), round(msgpackrUs!), round(ownUs! / msgpackrUs!)]
  })
  return {
    title: 'codec: median microseconds of one operation',
    columns: ['frame', 'bytes', 'own us', 'msgpackr us', 'own / msgpackr'],
    rows,
  }
}

function frames(): Duel[] {
  const encoder = new Encoder()
  const packr = new Packr({ useRecords: false })

  const set = encoded((to) =>
    encodeToServer(to, {
      type: 'set',
      id: 70_001,
      path: ['users', 'u1042', 'status'],
      value: 'x'.repeat(100),
    }),
  )
  const patch: ToClient = { type: 'patch', queryId: 7, revision: 123_456, steps: steps(50) }
  const patchFrame = encoded((to) => encodeToClient(to, patch))
  const snapshot: ToClient = { type: 'snapshot', id: 3, queryId: 7, revision: 123_456, value: room(100) }
  const snapshotFrame = encoded((to) => encodeToClient(to, snapshot))
  const wide: ToClient = { type: 'snapshot', id: 4, queryId: 8, revision: 123_456, value: wideText(33) }
  const wideFrame = encoded((to) => encodeToClient(to, wide))

  return [
    {
      name: 'set of a 100-byte text: decode and check',
      bytes: set.length,
      own: () => decodeToServer(set),
      msgpackr: () => packr.unpack(set),
    },
    decodeDuel('set of a 100-byte text: decode', set),
    encodeDuel('patch of 50 steps: encode', patch, patchFrame.length),
    decodeDuel('patch of 50 steps: decode', patchFrame),
    encodeDuel('snapshot of a chat room: encode', snapshot, snapshotFrame.length),
    {
      ...decodeDuel('snapshot of a chat room: decode', snapshotFrame),
      own: () => decodeToClient(snapshotFrame),
    },
    encodeDuel('snapshot of texts beyond ASCII: encode', wide, wideFrame.length),
    decodeDuel('snapshot of texts beyond ASCII: decode', wideFrame),
  ]

  function decodeDuel(name: string, frame: Uint8Array): Duel {
    return {
      name,
      bytes: frame.length,
      own: () => {
        const decoder = new Decoder(frame)
        decoder.startNumbering()
        return decoder.value()
      },
      msgpackr: () => packr.unpack(frame),
    }
  }

  /** Neither side copies its bytes out: a server sends them in place. */
  function encodeDuel(name: string, message: ToClient, bytes: number): Duel {
    const { type, ...rest } = message
    const items = [ToClientType[type], ...Object.values(rest)]
    return {
      name,
      bytes,
      own: () => {
        encoder.reset()
        encodeToClient(encoder, message)
        return encoder.view()
      },
      msgpackr: () => packr.pack(items),
    }
  }
}

function encoded(encode: (encoder: Encoder) => void): Uint8Array {
  const encoder = new Encoder()
  encode(encoder)
  return encoder.take()
}

/** As a chat room sees them: short keys, push ids, small objects and texts. */
function steps(count: number): Step[] {
  return Array.from({ length: count }, (_, i) => [pushId(i), message(i)])
}

/** 100 messages make about 10 KB. */
function room(count: number): Value {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [pushId(i), message(i)]))
}

function message(i: number): Value {
  return {
    from: `user${i % 9}`,
    at: 1_730_000_000_000 + i * 977,
    text: `message ${i}, with a dozen words or so in it`,
    seen: i % 3 === 0,
  }
}

function wideText(count: number): Value {
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [pushId(i), `Grüße ${i}: ${'日本語のテキスト、'.repeat(10)}`]),
  )
}

function pushId(i: number): string {
  return `-OAbCdEf${String(i).padStart(4, '0')}ghIJklMN`
}

function medians(operations: readonly (() => unknown)[], ms: number): number[] {
  const perRun = operations.map((operation) => calibrate(operation))
  const samples: number[][] = operations.map(() => [])
  const endMs = performance.now() + ms
  while (performance.now() < endMs || samples[0]!.length < 5) {
    operations.forEach((operation, at) => {
      const count = perRun[at]!
      const startMs = performance.now()
      for (let i = 0; i < count; i++) operation()
      samples[at]!.push(((performance.now() - startMs) * 1000) / count)
    })
  }
  return samples.map((of) => of.sort((a, b) => a - b)[of.length >> 1]!)
}

/** Warms up, then finds how many operations fill one run. */
function calibrate(operation: () => unknown): number {
  let count = 1
  for (;;) {
    const startMs = performance.now()
    for (let i = 0; i < count; i++) operation()
    if (performance.now() - startMs >= RUN_MS && count > 256) return count
    count *= 2
  }
}

function round(value: number): number {
  return Number(value.toPrecision(3))
}
