/**
 * An update without any entries writes nothing, and is still refused to those who may not write at its base: on
 * every wire alike.
 */
import { expect, test } from 'vitest'
import { RawClient } from './firebase/raw-client.ts'
import { BareClient, path, serve } from './harness.ts'
import { AS_ADMIN, ask, serveRest } from './rest/rest-harness.ts'

// What is stored at `mine` never validates: an empty update carries nothing that could be validated.
const RULES = {
  mine: { '.write': true, '.validate': false, a: { '.write': true } },
  others: { '.write': false },
}

test('over the native protocol', async (t) => {
  const server = await serve(t, { rules: RULES })
  const client = await BareClient.connect(t, server)

  const answers = [
    await client.ask({ type: 'update', path: path('mine'), entries: [] }),
    await client.ask({ type: 'update', path: path('others'), entries: [] }),
    await client.ask({ type: 'onDisconnectUpdate', path: path('mine'), entries: [] }),
    await client.ask({ type: 'onDisconnectUpdate', path: path('others'), entries: [] }),
  ]

  expect(answers.map((answer) => (answer.type === 'error' ? answer.name : answer.type))).toEqual([
    'ack',
    'permission_denied',
    'ack',
    'permission_denied',
  ])
})

test('over the Firebase wire', async (t) => {
  const server = await serve(t, { rules: RULES })
  const client = await RawClient.connect(t, server, { ns: null })

  const answers = [
    await client.ask('m', { p: '/mine', d: {} }),
    await client.ask('m', { p: '/others', d: {} }),
    await client.ask('om', { p: '/mine', d: {} }),
    await client.ask('om', { p: '/others', d: {} }),
  ]

  expect(answers.map(({ s }) => s)).toEqual(['ok', 'permission_denied', 'ok', 'permission_denied'])
})

test('over REST, in each form of a PATCH; an admin passes', async (t) => {
  const server = await serveRest(t, { rules: RULES })
  const merge = { 'Content-Type': 'application/merge-patch+json' }

  const answers = [
    await ask(server, '/mine.json', { method: 'PATCH', body: '{}' }),
    await ask(server, '/others.json', { method: 'PATCH', body: '{}' }),
    await ask(server, '/mine.json', { method: 'PATCH', body: '{}', headers: merge }),
    await ask(server, '/others.json', { method: 'PATCH', body: '{}', headers: merge }),
    await ask(server, '/others.json', { method: 'PATCH', body: '{}', headers: AS_ADMIN }),
  ]

  expect(answers.map(({ status }) => status)).toEqual([200, 401, 200, 401, 200])
})
