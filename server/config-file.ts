/**
 * Config file: hearth.config.json, JSON with comments. Gathers what stands in it, each value with its line.
 */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { findNodeAtLocation, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser'
import { clip } from '../protocol/index.ts'
import { groups, inputs } from './config.ts'
import type { Gathered } from './config-gathered.ts'

/** @param isNamed Whether it has to be there. */
export function gatherFile(gathered: Gathered, file: string, isNamed: boolean): void {
  let source: string
  try {
    source = readFileSync(file, 'utf8')
  } catch (error) {
    if (isNamed || codeOf(error) !== 'ENOENT') gathered.problems.push(`${file}: ${readProblem(error)}`)
    return
  }
  const errors: ParseError[] = []
  const root = parseTree(source, errors, { allowTrailingComma: true })
  const first = errors[0]
  if (first !== undefined) {
    const problem = spaced(printParseErrorCode(first.error))
    gathered.problems.push(`${placeAt(file, source, first.offset)}: not JSON: ${problem}`)
    return
  }
  if (root?.type !== 'object') {
    gathered.problems.push(`${file}: the configuration is not an object`)
    return
  }
  gatherNode(gathered, root, '', { file, source, folder: dirname(file) })
}

interface FileContext {
  file: string
  source: string
  folder: string
}

function gatherNode(gathered: Gathered, node: Node, prefix: string, context: FileContext): void {
  const seen = new Set<string>()
  for (const property of node.children ?? []) {
    const key = property.children![0]!.value as string
    const value = property.children![1]!
    const name = prefix + key
    const where = `${placeAt(context.file, context.source, property.offset)} \`${clip(name)}\``
    const input = inputs.find((known) => known.name === name)
    const isGroup = inputs.some((known) => known.name.startsWith(`${name}.`))
    if (seen.has(key)) gathered.problems.push(`${where}: stands twice in the file`)
    else if (isGroup && value.type === 'object') gatherNode(gathered, value, `${name}.`, context)
    else if (isGroup) gathered.problems.push(`${where}: is a group of options, so its value is an object`)
    else if (name === '$schema') continue
    else if (input === undefined) gathered.complainOfUnknown(where, name, [...fileNames(), ...groups])
    else if (!input.isInFile) {
      gathered.problems.push(
        `${where}: a secret does not belong in the configuration; set ${input.env} or \`${name}File\``,
      )
    } else gathered.add('file', name, where, plain(value), context.folder)
    seen.add(key)
  }
}

function fileNames(): string[] {
  return inputs.filter((input) => input.isInFile).map((input) => input.name)
}

function plain(node: Node): unknown {
  if (node.type === 'array') return (node.children ?? []).map(plain)
  // No option takes an object; the text of one is only quoted back.
  return node.type === 'object' ? {} : (findNodeAtLocation(node, [])?.value as unknown)
}

function placeAt(file: string, source: string, offset: number): string {
  const before = source.slice(0, offset)
  return `${file}:${before.split('\n').length}:${offset - before.lastIndexOf('\n')}`
}

function spaced(name: string): string {
  return name.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).toLowerCase()
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

/** Why a file could not be read. */
export function readProblem(error: unknown): string {
  const code = codeOf(error)
  if (code === 'ENOENT') return 'the file does not exist'
  if (code === 'EACCES') return 'the file may not be read'
  if (code === 'EISDIR') return 'is a folder, not a file'
  return `cannot be read (${code ?? 'unknown reason'})`
}
