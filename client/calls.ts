/**
 * Calls of the app's callbacks: one after the other, whatever they do.
 */

/** One call the app is owed. */
export type Call = () => void

/** Calls made from within a callback come after those already owed. */
export class CallQueue {
  readonly #owed: Call[] = []
  #next = 0

  run(calls: Call[]): void {
    for (const call of calls) this.#owed.push(call)
    while (this.#next < this.#owed.length) tell(this.#owed[this.#next++]!)
    this.#owed.length = 0
    this.#next = 0
  }
}

/** The app's own error must surface, but not keep others from what they are owed. */
export function tell(call: Call): void {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
