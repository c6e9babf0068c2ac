/**
 * rules-load: reads a file of 3,000 rules as a server does when it starts, in a process that has done nothing before,
 * and prints what that and JSON.parse of the same text took, as JSON.
 */
import { loadRuleset } from '../rules/index.ts'
import { largeFile } from './rules-cases.ts'

const text = largeFile()

function measured(call: () => unknown): { wallMs: number; cpuMs: number } {
  const cpuBefore = process.cpuUsage()
  const startMs = performance.now()
  call()
  const wallMs = performance.now() - startMs
  const { user, system } = process.cpuUsage(cpuBefore)
  return { wallMs, cpuMs: (user + system) / 1000 }
}

let rules = 0
const parse = measured(() => JSON.parse(text))
const load = measured(() => {
  const result = loadRuleset(text)
  if (!result.ok) throw new Error(result.errors[0]!.message)
  rules = result.ruleset.rules.length
})
console.log(JSON.stringify({ rules, characters: text.length, parse, load }))
