/**
 * Settings: the paths by which Firebase's tools manage a database, and those of its emulator.
 *
 *   /.settings/rules.json        rules of one database: upload, read back, try out
 *   /.inspect/databases.json     names of the databases there are
 */
import { firebaseMessage } from '../../rules/index.ts'
import type { Verifier } from '../auth.ts'
import { type Databases, DEFAULT_DATABASE } from '../databases.ts'
import type { RulesSource } from '../rules-source.ts'
import { type HttpReply, type HttpRequest, type HttpRoute, jsonError } from './http.ts'
import { assertAdmin } from './http-auth.ts'
import { errorReply, HttpError } from './http-error.ts'
import { strictJson } from './strict-json.ts'

export interface SettingsParts {
  databases: Databases
  rules: RulesSource
  verifier: Verifier
  isDev: boolean
}

/** Twice what the rules engine takes, which then says so itself. */
const RULES_BYTES_MAX = 16 * 1024 * 1024

export function settingsRoute(parts: SettingsParts): HttpRoute {
  const serve = async (request: HttpRequest): Promise<HttpReply> => {
    try {
      return await serveSettings(parts, request)
    } catch (error) {
      return errorReply(error)
    }
  }
  return (request) => (/^\/\.(settings|inspect)\//.test(request.path) ? serve(request) : null)
}

async function serveSettings(parts: SettingsParts, request: HttpRequest): Promise<HttpReply> {
  const { databases, verifier, isDev } = parts
  switch (request.path) {
    case '/.settings/rules.json':
      await assertAdmin(request, verifier)
      return serveRules(parts, request)
    case '/.settings/functionTriggers.json':
      // There are no functions to trigger; whoever registers them is told that all is well.
      await assertAdmin(request, verifier)
      return json({ status: 'ok' })
    case '/.settings/defaultWriteSizeLimit.json':
      await assertAdmin(request, verifier)
      return json('unlimited')
    case '/.inspect/databases.json':
      // The emulator's web page asks without a token. Names of databases are nobody's business elsewhere.
      if (!isDev) await assertAdmin(request, verifier)
      return json(databases.names.map((name) => ({ name })))
    case '/.inspect/coverage':
    case '/.inspect/coverage.json':
      return jsonError(
        '501 Not Implemented',
        'a running server does not count which rules were used; see: hearth rules test --coverage',
      )
    default:
      return jsonError('404 Not Found', 'there is no such setting')
  }
}

async function serveRules({ databases, rules }: SettingsParts, request: HttpRequest): Promise<HttpReply> {
  const name = request.query.get('ns') || DEFAULT_DATABASE
  // By the policy for names; and rules of a database that is open take effect at once.
  await databases.open(name)
  switch (request.method) {
    case 'GET': {
      const { source } = rules.rulesetOf(name)
      return rulesText(request.query.get('format') === 'strict' ? strictJson(source) : source)
    }
    case 'PUT': {
      const text = await request.body(RULES_BYTES_MAX)
      const isDryRun = request.query.get('dryRun') === 'true'
      const loaded = isDryRun ? rules.check(text) : rules.install(name, text)
      if (loaded.ok) return json({ status: 'ok' })
      return jsonError('400 Bad Request', firebaseMessage(loaded.errors[0]!))
    }
    case 'DELETE':
      rules.uninstall(name)
      return json({ status: 'ok' })
    default:
      throw new HttpError('405 Method Not Allowed', 'rules are read with GET and uploaded with PUT', [
        ['Allow', 'GET, PUT, DELETE'],
      ])
  }
}

function json(value: unknown): HttpReply {
  return rulesText(JSON.stringify(value))
}

function rulesText(body: string): HttpReply {
  return {
    status: '200 OK',
    headers: [
      ['Content-Type', 'application/json; charset=utf-8'],
      ['Cache-Control', 'no-cache'],
      ['X-Content-Type-Options', 'nosniff'],
    ],
    body,
  }
}
