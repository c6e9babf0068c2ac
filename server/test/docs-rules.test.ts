/**
 * What docs/rules.md shows: each `$ hearth rules ...` in it is run from the root of the repository, and must print what
 * stands below it. A line of `...` stands for any lines, and times are not compared. Commands on public rules files are left
 * out where the corpus is not beside the project.
 */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { expect, test } from 'vitest'
import { addRulesCommands } from '../../rules/cli.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DOCS = readFileSync(`${ROOT}/docs/rules.md`, 'utf8')

/** A command as typed, and what is shown below it. */
const shown = [
  ...DOCS.matchAll(/^```text\n\$ (hearth rules (?:.*\\\n)*.*)\n([^`]*(?:`(?!``)[^`]*)*)```$/gm),
].map(([, command, output]) => [command!, output!] as const)

/** As a shell splits it: single quotes, and a backslash at the end of a line. */
function wordsOf(command: string): string[] {
  return [...command.replaceAll('\\\n', ' ').matchAll(/'([^']*)'|([^\s']+)/g)].map(
    ([, quoted, plain]) => quoted ?? plain!,
  )
}

async function outputOf(command: string): Promise<string> {
  const lines: string[] = []
  const program = new Command().exitOverride()
  addRulesCommands(program, {
    out: (text) => lines.push(text),
    fail: (text) => lines.push(text),
    exit() {},
  })
  await program.parseAsync(wordsOf(command).slice(1), { from: 'user' })
  return `${lines.join('\n')}\n`
}

const withoutTimes = (text: string): string => text.replaceAll(/\bin \d+ ms\b/g, 'in 0 ms')

function patternOf(output: string): RegExp {
  const parts = withoutTimes(output).split(/^ *\.\.\.\n/m)
  const escaped = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&'))
  return new RegExp(`^${escaped.join('(?:.*\\n)*')}$`)
}

test('the page shows each command of `hearth rules`', () => {
  const commands = new Set(shown.map(([command]) => wordsOf(command)[2]))

  expect([...commands].sort()).toEqual(['check', 'compile', 'explain', 'test'])
})

const hasCorpus = existsSync(`${ROOT}../shared/rules-corpus`)
if (!hasCorpus) console.log(`public rules files are not at ${ROOT}../shared/rules-corpus: skipped`)
const isOnCorpus = (command: string): boolean => /\.\.\/shared\/rules-corpus\/| rules\/corpus\//.test(command)
const runnable = shown.filter(([command]) => hasCorpus || !isOnCorpus(command))

test.each(runnable)('%s', async (command, output) => {
  const before = process.cwd()
  process.chdir(ROOT)
  try {
    expect(withoutTimes(await outputOf(command))).toMatch(patternOf(output))
  } finally {
    process.chdir(before)
  }
})
