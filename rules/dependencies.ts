/**
 * Dependencies: what a read decision rested on, so that the decision can be made again exactly when its answer
 * may have changed.
 */
import type { Leaf, Path, Priority } from '../protocol/index.ts'
import type { DataView, OBJECT } from './data-view.ts'

/** What a rule looked at. Values change when the path, something above it or its first child is written. */
export type Aspect = 'value' | 'priority' | 'children'

export interface Sight {
  path: Path
  aspect: Aspect
  /** What was there: the value, the priority, or the number of children. */
  value: Leaf | Priority | typeof OBJECT | null
}

export class Dependencies {
  /** Everything looked at through `data` and `root`, each path and aspect once. */
  readonly sights: Sight[] = []
  /** An evaluated rule reads the clock. */
  timeDependent = false
  /** Unix milliseconds: the first moment at which the answer may change by the clock alone; Infinity for never. */
  changesAtMs = Number.POSITIVE_INFINITY
  /** Members of `auth` that evaluated rules mention, like `uid` and `token.email`; empty text for `auth` itself. */
  readonly authFields = new Set<string>()
  /** Further paths and aspects that were looked at, past `sightsMax`. */
  omitted = 0
  private readonly known = new Set<string>()
  private readonly sightsMax: number

  /** @param sightsMax What is looked at past this many is counted and not kept. */
  constructor(sightsMax = Number.POSITIVE_INFINITY) {
    this.sightsMax = sightsMax
  }

  /** An evaluated rule reads `auth`. */
  get auth(): boolean {
    return this.authFields.size > 0
  }

  /** The paths looked at, each once, whatever was looked at there. */
  get paths(): Path[] {
    const paths = new Map<string, Path>()
    for (const { path } of this.sights) paths.set(path.join('/'), path)
    return [...paths.values()]
  }

  /** The same view, with everything that is read through it recorded here. */
  recording(view: DataView): DataView {
    return new RecordingView(view, this)
  }

  add(path: Path, aspect: Aspect, value: Sight['value']): void {
    const id = `${aspect}/${path.join('/')}`
    if (this.known.has(id)) return
    if (this.sights.length >= this.sightsMax) {
      this.omitted += 1
      return
    }
    this.known.add(id)
    this.sights.push({ path, aspect, value })
  }
}

class RecordingView implements DataView {
  private readonly view: DataView
  private readonly dependencies: Dependencies

  constructor(view: DataView, dependencies: Dependencies) {
    this.view = view
    this.dependencies = dependencies
  }

  valueAt(path: Path): Leaf | typeof OBJECT | null {
    const value = this.view.valueAt(path)
    this.dependencies.add(path, 'value', value)
    return value
  }

  priorityAt(path: Path): Priority | null {
    const priority = this.view.priorityAt(path)
    this.dependencies.add(path, 'priority', priority)
    return priority
  }

  childKeysAt(path: Path): Iterable<string> {
    const keys = [...this.view.childKeysAt(path)]
    this.dependencies.add(path, 'children', keys.length)
    return keys
  }
}
