/**
 * Evaluation: the state of one check while the ruleset walks the tree. One object is lent out again and again,
 * so a check allocates nothing of its own.
 */
import type { Path } from '../protocol/index.ts'
import type { DataView } from './data-view.ts'
import type { Dependencies } from './dependencies.ts'
import { type Environment, interpret, type Observer, RuleFailure } from './interpreter.ts'
import { noQuery, type RuleQuery } from './query.ts'
import type { Rule } from './rule.ts'
import { Budget, FAILED, OVER_BUDGET } from './runtime.ts'
import { nextChangeMs } from './time-bound.ts'

export type Outcome = 'true' | 'false' | 'error' | 'budget'

/** Sees every rule a check evaluates; while one listens, rules run in the interpreter. */
export interface Tracer {
  started(rule: Rule, path: Path): Observer
  ended(rule: Rule, path: Path, outcome: Outcome, failure: RuleFailure | null): void
}

/** Stands in where an operation has no data of its own; rules that reach it were refused by the checker. */
const NOTHING: DataView = {
  valueAt: () => null,
  priorityAt: () => null,
  childKeysAt: () => [],
}

export class Evaluation {
  auth: unknown = null
  nowMs = 0
  data: DataView = NOTHING
  newData: DataView = NOTHING
  query: RuleQuery = noQuery
  dependencies: Dependencies | null = null
  tracer: Tracer | null = null
  readonly budget = new Budget()

  evaluate(rule: Rule, path: Path): Outcome {
    if (this.dependencies !== null) this.record(rule, path, this.dependencies)
    if (this.tracer !== null) return this.traced(rule, path, this.tracer)
    if (rule.constant !== null) return rule.constant ? 'true' : 'false'
    const { budget } = this
    budget.steps -= rule.steps
    if (budget.steps < 0) return 'budget'
    try {
      return rule.run(path, this.auth, this.nowMs, this.data, this.newData, this.query, budget)
        ? 'true'
        : 'false'
    } catch (error) {
      return outcomeOf(error)
    }
  }

  /** Lets go of everything that belongs to the caller. */
  release(): void {
    this.auth = null
    this.data = NOTHING
    this.newData = NOTHING
    this.query = noQuery
    this.dependencies = null
    this.tracer = null
  }

  private record(rule: Rule, path: Path, dependencies: Dependencies): void {
    for (const field of rule.uses.authFields) dependencies.authFields.add(field)
    if (!rule.uses.now) return
    dependencies.timeDependent = true
    const changesAtMs = nextChangeMs(rule.expression!, this.environment(rule, path))
    dependencies.changesAtMs = Math.min(dependencies.changesAtMs, changesAtMs)
  }

  private traced(rule: Rule, path: Path, tracer: Tracer): Outcome {
    const observer = tracer.started(rule, path)
    let outcome: Outcome
    let failure: RuleFailure | null = null
    if (rule.expression === null) outcome = rule.constant === true ? 'true' : 'false'
    else {
      try {
        this.budget.spend(rule.steps)
        outcome = interpret(rule.expression, this.environment(rule, path), observer) ? 'true' : 'false'
      } catch (error) {
        if (error instanceof RuleFailure) failure = error
        outcome = error instanceof RuleFailure ? 'error' : outcomeOf(error)
      }
    }
    tracer.ended(rule, path, outcome, failure)
    return outcome
  }

  private environment(rule: Rule, path: Path): Environment {
    const { auth, nowMs: now, data, newData, query, budget } = this
    return { scope: rule.scope, path, auth, now, data, newData, query, budget }
  }
}

function outcomeOf(error: unknown): Outcome {
  if (error === FAILED || error instanceof RuleFailure) return 'error'
  if (error === OVER_BUDGET) return 'budget'
  // Not a rule's doing: the view failed to read, or this is a bug.
  throw error
}
