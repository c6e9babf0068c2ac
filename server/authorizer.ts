/**
 * Authorizer: asks the rules in force, on behalf of someone, and counts and explains what they deny.
 */
import { formatPath, type Path, type Query, RequestError } from '../protocol/index.ts'
import { type DataView, type Decision, Dependencies, LiveCoverage, type Ruleset } from '../rules/index.ts'
import type { ExplainDenial } from './denials.ts'
import type { Identity } from './identity.ts'
import { type Grant, grantFrom, UNCONDITIONAL } from './listeners/read-rights.ts'
import type { Write } from './log/log.ts'
import { overlayView } from './overlay-view.ts'
import { ruleQuery } from './rule-query.ts'
import type { Entry, TreeView } from './store/store.ts'
import { locationOf } from './write-entries.ts'

export interface DenialCounters {
  denials: number
  /** Of the denials, those for a check that went over its budget of steps. */
  budgetOverruns: number
}

export interface AuthorizerOptions {
  /** Name of the database. */
  name: string
  ruleset: Ruleset
  counters: DenialCounters
  /** Unix milliseconds. */
  nowMs(): number
  /** Says why, as far as the client may know: added to the message of a denial. */
  explainDenial?: ExplainDenial
  /** Counts what rules are asked and answer, at ten times their cost: for developers. */
  countsCoverage?: boolean
}

export class Authorizer {
  readonly #options: AuthorizerOptions
  #ruleset: Ruleset
  #coverage: LiveCoverage | null

  constructor(options: AuthorizerOptions) {
    this.#options = options
    this.#ruleset = options.ruleset
    this.#coverage = this.#newCoverage()
  }

  get ruleset(): Ruleset {
    return this.#ruleset
  }

  /** What the rules in force were asked; null where nobody counts. */
  get coverage(): LiveCoverage | null {
    return this.#coverage
  }

  replaceRuleset(ruleset: Ruleset): void {
    this.#ruleset = ruleset
    this.#coverage = this.#newCoverage()
  }

  #newCoverage(): LiveCoverage | null {
    const { countsCoverage = false, nowMs } = this.#options
    return countsCoverage ? new LiveCoverage(this.#ruleset, nowMs()) : null
  }

  /** For a question of the server's own: a no is nobody's attempt, so it is neither counted nor explained. */
  mayRead(identity: Identity, path: Path, data: DataView): boolean {
    return identity.isAdmin || this.#checkRead(identity, path, null, data, null, null).allowed
  }

  /** @throws {RequestError} `permission_denied` */
  assertMayRead(identity: Identity, path: Path, query: Query | null, data: DataView): void {
    if (identity.isAdmin) return
    const decision = this.#checkRead(identity, path, query, data, null)
    if (!decision.allowed) throw this.denied('read', path, identity, decision)
  }

  /** The right to read and to go on reading, with what it rests on. @throws {RequestError} `permission_denied` */
  grantRead(identity: Identity, path: Path, query: Query | null, data: DataView): Grant {
    const grant = this.tryGrantRead(identity, path, query, data)
    if ('sights' in grant) return grant
    throw this.denied('read', path, identity, grant)
  }

  /** The same; a denial is returned, and counts once it is told. */
  tryGrantRead(identity: Identity, path: Path, query: Query | null, data: DataView): Grant | Decision {
    if (identity.isAdmin) return UNCONDITIONAL
    const dependencies = new Dependencies()
    const decision = this.#checkRead(identity, path, query, data, dependencies)
    return decision.allowed ? grantFrom(dependencies) : decision
  }

  #checkRead(
    identity: Identity,
    path: Path,
    query: Query | null,
    data: DataView,
    dependencies: Dependencies | null,
    tracer: LiveCoverage | null = this.#coverage,
  ): Decision {
    return this.#ruleset.checkRead({
      tracer,
      path,
      auth: identity.auth,
      nowMs: this.#options.nowMs(),
      data,
      query: ruleQuery(query),
      dependencies,
    })
  }

  /**
   * @param entries What is asked for, its server values resolved.
   * @param head The state that the writes before it left.
   * @throws {RequestError} `permission_denied`
   */
  assertMayWrite(
    { identity, emptyAt }: Write,
    entries: readonly Entry[],
    head: TreeView,
    nowMs: number,
  ): void {
    const isEmpty = entries.length === 0
    // Records alone are the server's own affair.
    if (isEmpty && emptyAt === undefined) return
    const locations = isEmpty
      ? [emptyAt!]
      : entries.length === 1
        ? [locationOf(entries[0]!)]
        : entries.map(locationOf)
    const newData = isEmpty ? head : overlayView(head, entries)
    const decision = this.#ruleset.checkWrite({
      tracer: this.#coverage,
      locations,
      isEmpty,
      auth: identity.auth,
      nowMs,
      data: head,
      newData,
    })
    if (!decision.allowed) throw this.denied('write', decision.path ?? locations[0]!, identity, decision)
  }

  /** Counts a denial. @returns What the client is told of it. */
  denied(verb: 'read' | 'write', path: Path, identity: Identity, decision: Decision): RequestError {
    const { name, counters, explainDenial } = this.#options
    counters.denials += 1
    if (decision.reason === 'budget') counters.budgetOverruns += 1
    const why = explainDenial?.({ database: name, verb, path, identity, decision }) ?? ''
    return new RequestError('permissionDenied', `no permission to ${verb} \`${formatPath(path)}\`${why}`)
  }
}
