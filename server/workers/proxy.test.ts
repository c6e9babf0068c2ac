/**
 * What the threads that follow do with answers of the thread that writes.
 */
import { expect, test } from 'vitest'
import type { HttpReply, HttpRequest } from '../transport/http.ts'
import { Answers } from '../transport/rest-answers.ts'
import { proxyRoute } from './proxy.ts'

const LONG = 'x'.repeat(100_000)

async function proxied(method: string, path: string): Promise<{ reply: HttpReply; answers: Answers }> {
  const limits = { readBytesPerSecondMax: 0, answerBytesMax: 1024 * 1024, slowConsumerDeadlineMs: 1000 }
  const answers = new Answers(limits, { rateLimited: 0, slowConsumers: 0 })
  const route = proxyRoute(
    () => true,
    answers,
    async () => ({ status: '200 OK', headers: [], body: LONG }),
    () => {},
  )
  const request: HttpRequest = {
    method,
    path,
    query: new URLSearchParams(),
    remoteAddress: '127.0.0.1',
    header: () => '',
    body: async () => Buffer.alloc(0),
    isGone: false,
    whenGone: () => {},
    abort: () => {},
  }
  return { reply: (await route(request)) as HttpReply, answers }
}

test('a long answer to a long poll counts until it is read', async () => {
  const { answers } = await proxied('GET', '/.lp')

  expect(answers.bytesUnderWay).toBe(LONG.length)
})

test('any other is handed on whole, so that HEAD is answered with its length and no body', async () => {
  const { reply, answers } = await proxied('HEAD', '/.inspect/coverage.json')

  expect(reply.body).toBe(LONG)
  expect(answers.bytesUnderWay).toBe(0)
})
