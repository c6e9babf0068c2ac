/**
 * Places: paths in an order in which one comes right before all that lie within it, so that those within a path are found
 * without a look at each: one client may write ten thousand places while it has a thousand listens.
 */
import { compareByKeys, isAtOrAbove, type Path } from '../../protocol/index.ts'

export class Places {
  readonly #sorted: readonly Path[]

  constructor(places: readonly Path[]) {
    this.#sorted = places.length < 2 ? places : [...places].sort(compareByKeys)
  }

  get isEmpty(): boolean {
    return this.#sorted.length === 0
  }

  /** Whether one of them is at a path or above it. */
  hasAtOrAbove(path: Path): boolean {
    for (let length = 0; length <= path.length; length++) {
      const above = path.slice(0, length)
      const found = this.#sorted[this.#countUntil((place) => compareByKeys(place, above) >= 0)]
      if (found?.length === length && isAtOrAbove(found, path)) return true
    }
    return false
  }

  /** Those at a path or below it. */
  within(path: Path): readonly Path[] {
    const start = this.#countUntil((place) => compareByKeys(place, path) >= 0)
    const end = this.#countUntil((place) => compareByKeys(place, path) > 0 && !isAtOrAbove(path, place))
    return start < end ? this.#sorted.slice(start, end) : []
  }

  /** How many come before the first that is behind some point of the order. */
  #countUntil(isBehind: (place: Path) => boolean): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBehind(this.#sorted[middle]!)) high = middle
      else low = middle + 1
    }
    return low
  }
}
