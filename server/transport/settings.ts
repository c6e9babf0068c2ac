/**
 * Settings: the paths by which Firebase's tools manage a database, and those of its emulator.
 *
 *   /.settings/rules.json        rules of one database: upload, read back, try out
 *   /.settings/….json            what cannot be set otherwise here, and what there is nothing of
 *   /.settings/explain.json      what the rules say to an operation, and why
 *   /.inspect/databases.json     names of the databases there are
 *   /.inspect/coverage[.json]    how often which rule and each of its expressions had which value (`--dev`)
 */
import { firebaseMessage } from '../../rules/index.ts'
import type { Verifier } from '../auth.ts'
import { type Databases, DEFAULT_DATABASE } from '../databases.ts'
import type { RulesSource } from '../rules-source.ts'
import { assertMayExplain, explainRequest } from './explain.ts'
import { type HttpReply, type HttpRequest, type HttpRoute, jsonError } from './http.ts'
import { assertAdmin, identify } from './http-auth.ts'
import { errorReply, HttpError } from './http-error.ts'
import { strictJson } from './strict-json.ts'

export interface SettingsParts {
  databases: Databases
  rules: RulesSource
  verifier: Verifier
  isDev: boolean
  /** Unix milliseconds. */
  nowMs(): number
}

/** Twice what the rules engine takes, which then says so itself. */
const RULES_BYTES_MAX = 16 * 1024 * 1024
const SETTING_BYTES_MAX = 1024

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
    case '/.settings/explain.json': {
      if (!isDev) assertMayExplain((await identify(request, verifier)).identity.isAdmin)
      const { database } = await databases.open(request.query.get('ns') || DEFAULT_DATABASE)
      return json(await explainRequest(request, database, parts.nowMs()))
    }
    case '/.settings/functionTriggers.json':
      // There are no functions to trigger; whoever registers them is told that all is well.
      await assertAdmin(request, verifier)
      return json({ status: 'ok' })
    case '/.settings/defaultWriteSizeLimit.json':
      await assertAdmin(request, verifier)
      return serveFixed(request, 'unlimited', 'a write is limited by its size alone: --limits-body-bytes-max')
    case '/.settings/strictTriggerValidation.json':
      await assertAdmin(request, verifier)
      return serveFixed(request, true, 'there are no triggers here')
    case '/.settings/profile.json':
      return jsonError('404 Not Found', 'operations are not profiled one by one; see /metrics')
    case '/.settings/rulesets.json':
    case '/.settings/ruleset_labels.json':
      return jsonError(
        '404 Not Found',
        'a database has one ruleset, with no history: /.settings/rules.json; keep it under version control',
      )
    case '/.inspect/databases.json':
      // The emulator's web page asks without a token. Names of databases are nobody's business elsewhere.
      if (!isDev) await assertAdmin(request, verifier)
      return json(databases.names.map((name) => ({ name })))
    case '/.inspect/coverage':
    case '/.inspect/coverage.json':
      return serveCoverage(parts, request)
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
      const dryRun = request.query.get('dryRun') ?? 'false'
      // Whoever writes `dryRun=1` does not want the rules to hold.
      if (dryRun !== 'true' && dryRun !== 'false')
        return jsonError('400 Bad Request', '`dryRun` is `true` or `false`')
      const text = await request.body(RULES_BYTES_MAX)
      const loaded = dryRun === 'true' ? rules.check(text) : rules.install(name, text)
      if (loaded.ok) return json({ status: 'ok' })
      return jsonError('400 Bad Request', firebaseMessage(loaded.errors[0]!))
    }
    case 'DELETE':
      rules.uninstall(name)
      return json({ status: 'ok' })
    default:
      throw methodNotAllowed('rules are read with GET and uploaded with PUT', 'GET, PUT, DELETE')
  }
}

/** A setting that is as it is. To set it to that is fine, so that tools which set up a database go on. */
async function serveFixed(request: HttpRequest, value: string | boolean, why: string): Promise<HttpReply> {
  if (request.method === 'GET') return json(value)
  if (request.method !== 'PUT')
    throw methodNotAllowed('a setting is read with GET and set with PUT', 'GET, PUT')
  const text = (await request.body(SETTING_BYTES_MAX)).toString().trim()
  if (text === JSON.stringify(value)) return json(value)
  return jsonError('400 Bad Request', `only \`${JSON.stringify(value)}\` can be set: ${why}`)
}

function methodNotAllowed(message: string, allowed: string): HttpError {
  return new HttpError('405 Method Not Allowed', message, [['Allow', allowed]])
}

/** As the emulator: without a token, and of a database that is named. */
async function serveCoverage({ databases, isDev }: SettingsParts, request: HttpRequest): Promise<HttpReply> {
  if (!isDev) {
    return jsonError(
      '404 Not Found',
      'only a server with --dev counts which rules were used; see also: hearth rules test --coverage',
    )
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw methodNotAllowed('coverage is read with GET; it starts anew with new rules', 'GET, HEAD')
  }
  const name = request.query.get('ns')
  if (name === null || name === '')
    return jsonError('400 Bad Request', 'the query names no database: ?ns=...')
  const { database } = await databases.open(name)
  const coverage = database.coverage!
  if (request.path.endsWith('.json')) return json(coverage.report())
  return {
    status: '200 OK',
    headers: [
      ['Content-Type', 'text/html; charset=utf-8'],
      ['Cache-Control', 'no-cache'],
      ['X-Content-Type-Options', 'nosniff'],
      // The page quotes what clients sent. It is escaped; and nothing of it could run.
      ['Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'"],
    ],
    body: coverage.page(name),
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
