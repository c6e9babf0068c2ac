/**
 * Denials: says why the rules said no, to those who may know. Under `--dev` the client is told; otherwise it gets an
 * opaque id and the log has the line that resolves it.
 */

import { formatPath, type Path } from '../protocol/index.ts'
import { type Decision, describeDecision } from '../rules/index.ts'
import { type Identity, identityTag } from './identity.ts'
import type { Logger } from './log.ts'
import { randomId } from './random-id.ts'

export interface Denial {
  database: string
  verb: 'read' | 'write'
  path: Path
  identity: Identity
  decision: Decision
}

/** @returns What is added to the client's error message. */
export type ExplainDenial = (denial: Denial) => string

/** A client that is denied in a loop must not fill the disk with lines: past this the message has no id. */
const LINES_PER_SECOND_MAX = 20

export function denialExplainer(options: { dev: boolean; logger: Logger; nowMs(): number }): ExplainDenial {
  let second = 0
  let lines = 0
  return ({ database, verb, path, identity, decision }) => {
    if (options.dev) return `: ${describeDecision(decision)}`
    const now = Math.floor(options.nowMs() / 1000)
    if (now !== second) {
      second = now
      lines = 0
    }
    lines += 1
    if (lines > LINES_PER_SECOND_MAX) return ''
    const denial = randomId(10)
    options.logger.info(
      {
        denial,
        database,
        verb,
        path: formatPath(path),
        user: identityTag(identity),
        why: describeDecision(decision),
      },
      'denied by rules',
    )
    return ` (denial ${denial})`
  }
}
