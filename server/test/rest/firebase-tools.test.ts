/**
 * Firebase's own tools against the settings surface, unmodified: rules by firebase-admin and by rules-unit-testing.
 */
import { assertFails, assertSucceeds, initializeTestEnvironment } from '@firebase/rules-unit-testing'
import { type App, deleteApp, initializeApp } from 'firebase-admin/app'
import { getDatabase } from 'firebase-admin/database'
import { expect, test } from 'vitest'
import type { Cleanup, TestServer } from '../harness.ts'
import { ask, serveRest } from './rest-harness.ts'

const RULES = `{
  // Own data only.
  "rules": { "users": { "$uid": { ".read": "auth.uid === $uid", ".write": "auth.uid === $uid" } } }
}`

function serveDev(t: Cleanup): Promise<TestServer> {
  return serveRest(t, { rules: {}, config: { dev: true } })
}

/** A firebase-admin app whose credential is the emulator's. */
function adminApp(t: Cleanup, server: TestServer): App {
  const credential = { getAccessToken: async () => ({ access_token: 'owner', expires_in: 1e5 }) }
  const app = initializeApp({ credential, databaseURL: `${server.url}?ns=demo` }, server.url)
  t.onTestFinished(() => deleteApp(app))
  return app
}

test('firebase-admin sets rules, and reads them back as text and as JSON', async (t) => {
  const server = await serveDev(t)
  const database = getDatabase(adminApp(t, server))

  await database.setRules(RULES)

  expect(await database.getRules()).toBe(RULES)
  expect(await database.getRulesJSON()).toEqual(JSON.parse(RULES.replace(/\/\/.*/, '')))
})

test('firebase-admin is told where rules are wrong', async (t) => {
  const server = await serveDev(t)
  const database = getDatabase(adminApp(t, server))

  const setting = database.setRules('{"rules": {".read": "tru"}}')

  await expect(setting).rejects.toThrow(/1:22: Unknown variable 'tru'/)
})

test('rules-unit-testing loads rules for its project, and they decide', async (t) => {
  const server = await serveDev(t)
  const { hostname: host, port } = new URL(server.url)
  const environment = await initializeTestEnvironment({
    projectId: 'demo-project',
    database: { host, port: Number(port), rules: RULES },
  })
  t.onTestFinished(() => environment.cleanup())

  const ann = environment.authenticatedContext('ann').database()
  await assertSucceeds(ann.ref('users/ann').set('here'))
  await assertFails(ann.ref('users/bob').set('here'))
  await assertFails(environment.unauthenticatedContext().database().ref('users/ann').get())
  const stored = await ask(server, '/users.json?ns=demo-project', {
    headers: { Authorization: 'Bearer owner' },
  })
  await environment.clearDatabase()
  const cleared = await ask(server, '/.json?ns=demo-project', { headers: { Authorization: 'Bearer owner' } })

  expect(stored.body).toEqual({ ann: 'here' })
  expect(cleared.body).toBe(null)
})
