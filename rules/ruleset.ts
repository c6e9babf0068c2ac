/**
 * Ruleset: walks the tree of rules from the root to a path and decides reads and writes.
 *
 *   read  /rooms/r1/messages     / -> rooms -> $room -> messages     the first `.read` that is true grants
 *   write /rooms/r1/messages/m1  the same with `.write`, for each location of the operation; then `.validate`
 *                                on the way down to it, at it, and below it on all that the write carries
 *
 * A literal key wins over its `$` sibling, with no way back. Below the last matching node nothing applies.
 */
import type { Path } from '../protocol/index.ts'
import { type DataView, OBJECT } from './data-view.ts'
import { type Decision, denied } from './decision.ts'
import type { Dependencies } from './dependencies.ts'
import { Evaluation, type Tracer } from './evaluation.ts'
import { type IndexPattern, indexPatterns } from './index-patterns.ts'
import { defaultLimits, type RulesLimits } from './limits.ts'
import { noQuery, type RuleQuery } from './query.ts'
import { noUses, type Rule, type Uses } from './rule.ts'

export interface ReadRequest {
  path: Path
  /** What rules see as `auth`: plain JSON, or null when signed out. */
  auth: unknown
  nowMs: number
  data: DataView
  query?: RuleQuery | null | undefined
  /** Filled with what the decision rested on. */
  dependencies?: Dependencies | null | undefined
  tracer?: Tracer | null | undefined
}

export interface WriteRequest {
  /** Absolute paths the operation writes; an update without any keys names its base. */
  locations: readonly Path[]
  /** An update without any keys: `.write` must grant at its base, and there is nothing to validate. */
  isEmpty?: boolean | undefined
  auth: unknown
  nowMs: number
  data: DataView
  /** The whole tree as it would be after the write, all locations applied and server values resolved. */
  newData: DataView
  tracer?: Tracer | null | undefined
}

export interface Ruleset {
  checkRead(request: ReadRequest): Decision
  checkWrite(request: WriteRequest): Decision
  /** `.indexOn` in force for the children of `path`: child keys, child paths or `.value`. */
  indexesAt(path: Path): readonly string[]
  /** Every `.indexOn` with the paths it holds for. */
  readonly indexPatterns: readonly IndexPattern[]
  /** What the `.read` rules along `path` can depend on, known without evaluating them. */
  readUses(path: Path): Readonly<Uses>
  /** Every rule, parents before children. */
  readonly rules: readonly Rule[]
  /** The text this was loaded from. */
  readonly source: string
}

/** One node of the tree with its rules; built by the loader. */
export interface RulesetNode {
  key: string
  children: ReadonlyMap<string, RulesetNode>
  capture: RulesetNode | null
  read: Rule | null
  write: Rule | null
  validate: Rule | null
  /** Whether any node below has a `.validate`. */
  hasValidateBelow: boolean
  indexOn: readonly string[]
}

const NO_INDEXES: readonly string[] = []
const ALLOWED: Decision = Object.freeze({ allowed: true, reason: 'granted', rule: null, path: null })

export class CompiledRuleset implements Ruleset {
  readonly source: string
  readonly rules: readonly Rule[]
  private readonly root: RulesetNode
  private readonly limits: RulesLimits
  private readonly evaluation = new Evaluation()
  /** A view that asks the rules again while it is read would otherwise overwrite the state it interrupts. */
  private isLent = false

  constructor(
    source: string,
    root: RulesetNode,
    rules: readonly Rule[],
    limits: RulesLimits = defaultLimits,
  ) {
    this.source = source
    this.root = root
    this.rules = rules
    this.limits = limits
  }

  checkRead(request: ReadRequest): Decision {
    const evaluation = this.lend(request)
    evaluation.query = request.query ?? noQuery
    const { dependencies } = request
    if (dependencies != null) {
      evaluation.dependencies = dependencies
      evaluation.data = dependencies.recording(request.data)
    }
    try {
      return this.read(request.path, evaluation)
    } finally {
      this.takeBack(evaluation)
    }
  }

  checkWrite(request: WriteRequest): Decision {
    const evaluation = this.lend(request)
    evaluation.newData = request.newData
    try {
      return this.write(request.locations, request.isEmpty === true, evaluation)
    } finally {
      this.takeBack(evaluation)
    }
  }

  get indexPatterns(): readonly IndexPattern[] {
    return indexPatterns(this.root)
  }

  indexesAt(path: Path): readonly string[] {
    let node: RulesetNode | null = this.root
    for (let i = 0; i < path.length && node !== null; i++) node = childOf(node, path[i]!)
    return node === null ? NO_INDEXES : node.indexOn
  }

  readUses(path: Path): Uses {
    const uses = noUses()
    const fields = new Set<string>()
    let node: RulesetNode | null = this.root
    for (let i = 0; node !== null; i++) {
      if (node.read !== null) {
        uses.data ||= node.read.uses.data
        uses.now ||= node.read.uses.now
        uses.auth ||= node.read.uses.auth
        uses.query ||= node.read.uses.query
        for (const field of node.read.uses.authFields) fields.add(field)
        // Nothing below a rule that always grants is ever asked.
        if (node.read.constant === true) break
      }
      node = i < path.length ? childOf(node, path[i]!) : null
    }
    return { ...uses, authFields: [...fields] }
  }

  private lend(request: ReadRequest | WriteRequest): Evaluation {
    const evaluation = this.isLent ? new Evaluation() : this.evaluation
    this.isLent = true
    evaluation.auth = request.auth ?? null
    evaluation.nowMs = request.nowMs
    evaluation.data = request.data
    evaluation.tracer = request.tracer ?? null
    evaluation.budget.steps = this.limits.stepsMax
    return evaluation
  }

  private takeBack(evaluation: Evaluation): void {
    if (evaluation !== this.evaluation) return
    evaluation.release()
    this.isLent = false
  }

  private read(path: Path, evaluation: Evaluation): Decision {
    let node: RulesetNode | null = this.root
    let last: Rule | null = null
    let isError = false
    for (let depth = 0; ; depth++) {
      const rule: Rule | null = node.read
      if (rule !== null) {
        const outcome = evaluation.evaluate(rule, path)
        if (outcome === 'true') return rule.granted
        if (outcome === 'budget') return denied('budget', rule.place, path.slice(0, depth))
        last = rule
        isError = outcome === 'error'
      }
      node = depth < path.length ? childOf(node, path[depth]!) : null
      if (node === null) break
    }
    return denied(last === null ? 'no_rule' : isError ? 'error' : 'false', last?.place ?? null, path)
  }

  private write(locations: readonly Path[], isEmpty: boolean, evaluation: Evaluation): Decision {
    if (locations.length === 0) return denied('no_rule', null, [])
    // Locations of one update mostly share their upper levels. Whatever a rule up there said for the location
    // before holds for this one too: both see the same `data` and `newData` at that level.
    let before: Path | null = null
    let grantDepth = 0
    let granted: Decision | null = null
    for (const location of locations) {
      const shared: number = before === null ? -1 : sharedKeys(before, location)
      before = location
      if (granted !== null && grantDepth <= shared) continue
      const decision = this.grant(location, shared + 1, evaluation)
      if (!decision.allowed) return decision
      grantDepth = this.grantDepth
      granted = decision
    }
    if (!isEmpty && (this.root.validate !== null || this.root.hasValidateBelow)) {
      const failure = this.validate(locations, evaluation)
      if (failure !== null) return failure
    }
    return granted ?? ALLOWED
  }

  /** Where `grant` found its answer: keys from the root. Beside the decision, which is shared and constant. */
  private grantDepth = 0

  /** @param from Levels above this one have been asked already, and did not grant. */
  private grant(location: Path, from: number, evaluation: Evaluation): Decision {
    let node: RulesetNode | null = this.root
    let last: Rule | null = null
    let isError = false
    for (let depth = 0; ; depth++) {
      const rule: Rule | null = node.write
      if (rule !== null) {
        last = rule
        if (depth >= from) {
          const outcome = evaluation.evaluate(rule, location)
          if (outcome === 'true') {
            this.grantDepth = depth
            return rule.granted
          }
          if (outcome === 'budget') return denied('budget', rule.place, location.slice(0, depth))
          isError = outcome === 'error'
        }
      }
      node = depth < location.length ? childOf(node, location[depth]!) : null
      if (node === null) break
    }
    return denied(last === null ? 'no_rule' : isError ? 'error' : 'false', last?.place ?? null, location)
  }

  private validate(locations: readonly Path[], evaluation: Evaluation): Decision | null {
    let before: Path | null = null
    for (const location of locations) {
      const failure = this.validateDownTo(
        location,
        before === null ? -1 : sharedKeys(before, location),
        evaluation,
      )
      if (failure !== null) return failure
      before = location
    }
    return null
  }

  /** @param done Levels down to this one were validated with the location before. */
  private validateDownTo(location: Path, done: number, evaluation: Evaluation): Decision | null {
    const { newData } = evaluation
    const written = newData.valueAt(location)
    let node: RulesetNode | null = this.root
    for (let depth = 0; ; depth++) {
      const rule: Rule | null = node.validate
      if (rule !== null && depth > done) {
        // What is above something is something; above a deletion there may be nothing left to validate.
        const isThere = written !== null || newData.valueAt(location.slice(0, depth)) !== null
        if (isThere) {
          const failure = this.validateAt(rule, location, depth, evaluation)
          if (failure !== null) return failure
        }
      }
      if (!node.hasValidateBelow) return null
      if (depth === location.length) break
      node = childOf(node, location[depth]!)
      if (node === null) return null
    }
    return written === OBJECT ? this.validateBelow(node, location, evaluation) : null
  }

  private validateAt(rule: Rule, path: Path, depth: number, evaluation: Evaluation): Decision | null {
    const outcome = evaluation.evaluate(rule, path)
    if (outcome === 'true') return null
    return denied(outcome === 'budget' ? 'budget' : 'validate', rule.place, path.slice(0, depth))
  }

  private validateBelow(node: RulesetNode, path: Path, evaluation: Evaluation): Decision | null {
    const { newData, budget } = evaluation
    const { capture } = node
    if (capture !== null && (capture.validate !== null || capture.hasValidateBelow)) {
      for (const key of newData.childKeysAt(path)) {
        budget.steps -= 1
        const child = node.children.get(key) ?? capture
        const failure = this.validateChild(child, [...path, key], evaluation)
        if (failure !== null) return failure
      }
      return null
    }
    // Only these keys can have rules: asking for each is cheaper than listing what may be a million children.
    for (const child of node.children.values()) {
      if (child.validate === null && !child.hasValidateBelow) continue
      const childPath = [...path, child.key]
      if (newData.valueAt(childPath) === null) continue
      const failure = this.validateChild(child, childPath, evaluation)
      if (failure !== null) return failure
    }
    return null
  }

  private validateChild(child: RulesetNode, path: Path, evaluation: Evaluation): Decision | null {
    if (child.validate !== null) {
      const failure = this.validateAt(child.validate, path, path.length, evaluation)
      if (failure !== null) return failure
    }
    if (!child.hasValidateBelow || evaluation.newData.valueAt(path) !== OBJECT) return null
    return this.validateBelow(child, path, evaluation)
  }
}

function childOf(node: RulesetNode, key: string): RulesetNode | null {
  return node.children.get(key) ?? node.capture
}

/** Leading keys two paths have in common. */
function sharedKeys(a: Path, b: Path): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i
  return length
}
