/**
 * Percentiles of recorded times.
 */
export class Histogram {
  readonly #values: number[] = []

  record(value: number): void {
    this.#values.push(value)
  }

  reset(): void {
    this.#values.length = 0
  }

  get count(): number {
    return this.#values.length
  }

  /** @param share 0.5 for the median. */
  percentile(share: number): number {
    if (this.#values.length === 0) return Number.NaN
    this.#values.sort((a, b) => a - b)
    return this.#values[Math.min(this.#values.length - 1, Math.floor(this.#values.length * share))]!
  }
}
