/**
 * What was said of each option while the configuration is being read: the strongest of it, and everything wrong with it.
 *
 * INVARIANT: nothing is ignored. An unknown key or a bad value, wherever it stands, becomes a problem that refuses the
 * start by name.
 */
import { isAbsolute, join } from 'node:path'
import { nearest } from '../rules/did-you-mean.ts'
import { optionAt } from './config.ts'
import { path, Refusal } from './config-kinds.ts'

/** Where a value may come from, the strongest first. */
export type Layer = 'flags' | 'environment' | 'file'
const LAYERS: readonly Layer[] = ['flags', 'environment', 'file']

export interface Found {
  layer: Layer
  /** How the user wrote it: a flag, a variable, a place in the file. */
  where: string
  raw: unknown
}

/** What each layer said. Keeps the strongest, and all complaints. */
export class Gathered {
  readonly problems: string[] = []
  readonly #found = new Map<string, Found>()

  /** @param folder Where a path that is not absolute starts, if not where the process runs. */
  add(layer: Layer, name: string, where: string, raw: unknown, folder = ''): void {
    const option = optionAt(name)
    const kind = option?.kind ?? path()
    let value: unknown
    try {
      value = kind.parse(raw)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.problems.push(`${where}: ${error.message}`)
      return
    }
    // Paths in a config file start at that file, so that it works from every folder.
    if (kind.placeholder === 'path' && folder !== '' && !isAbsolute(value as string))
      value = join(folder, value as string)
    const before = this.#found.get(name)
    const found: Found = { layer, where, raw: value }
    // Of two in one layer the first stays.
    if (before === undefined || isStronger(found, before)) this.#found.set(name, found)
  }

  get(name: string): Found | undefined {
    return this.#found.get(name)
  }

  /** @param known Words one of which may have been meant. */
  complainOfUnknown(where: string, word: string, known: readonly string[]): void {
    const near = nearestOption(word, known)
    this.problems.push(`${where}: unknown option${near === null ? '' : `; did you mean \`${near}\`?`}`)
  }
}

/** What all variables begin with makes none of them alike. */
function nearestOption(word: string, known: readonly string[]): string | null {
  const prefix = 'HEARTH_'
  if (!word.startsWith(prefix)) return nearest(word, known)
  const near = nearest(
    word.slice(prefix.length),
    known.map((name) => name.slice(prefix.length)),
  )
  return near === null ? null : prefix + near
}

/** Whether one was said where it counts more than the other. */
export function isStronger(one: Found, other: Found): boolean {
  return LAYERS.indexOf(one.layer) < LAYERS.indexOf(other.layer)
}
