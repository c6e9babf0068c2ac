import { expect, test } from 'vitest'
import type { HttpRequest } from './http.ts'
import { BodyBudget, type RawRequest, type RawResponse, serveExchange } from './http-exchange.ts'

const BODY_BYTES_MAX = 1000
const DEADLINE_MS = 30_000

/** Requests whose bodies come as the test says, by a clock of its own. */
function setUp(): { clock: { ms: number }; send(headers: Record<string, string>): Sending } {
  const clock = { ms: 1000 }
  const budget = new BodyBudget(BODY_BYTES_MAX, DEADLINE_MS, () => clock.ms)
  return {
    clock,
    send(headers) {
      let receive: (chunk: ArrayBuffer, isLast: boolean) => void = () => {}
      const response = {
        getRemoteAddressAsText: () => new ArrayBuffer(0),
        onAborted() {},
        onData: (call: typeof receive) => {
          receive = call
        },
      } as unknown as RawResponse
      const request: RawRequest = {
        getMethod: () => 'put',
        getUrl: () => '/',
        getQuery: () => '',
        forEach: (call) => {
          for (const [name, value] of Object.entries(headers)) call(name, value)
        },
      }
      const sending: Sending = { isEnded: false, bytes: (count) => receive(new ArrayBuffer(count), false) }
      const handler = async (exchange: HttpRequest): Promise<never> => {
        await exchange.body(BODY_BYTES_MAX).catch(() => {
          sending.isEnded = true
        })
        return new Promise(() => {})
      }
      serveExchange(response, request, { handler, bodyBytesMax: BODY_BYTES_MAX, onBug() {} }, budget)
      return sending
    },
  }
}

interface Sending {
  isEnded: boolean
  bytes(count: number): void
}

test('a body whose length is not said counts by how fast it comes, as any other', async () => {
  const { clock, send } = setUp()
  const chunked = send({ 'transfer-encoding': 'chunked' })
  const declared = send({ 'content-length': '1000' })
  chunked.bytes(100)
  declared.bytes(300)
  clock.ms += DEADLINE_MS
  chunked.bytes(800)
  declared.bytes(100)

  const next = send({ 'content-length': '800' })
  next.bytes(800)
  await Promise.resolve()

  expect([chunked.isEnded, declared.isEnded, next.isEnded]).toEqual([false, true, false])
})
