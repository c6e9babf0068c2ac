/**
 * Waiting room: what the requests that wait for their turn take, over all sessions of a thread. Each connection has a limit of
 * its own, but thousands of them could fill the memory together.
 */

/** What a request that waits takes beside its bytes. */
const REQUEST_BYTES = 256

export class WaitingRoom {
  readonly #bytesMax: number
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  /** @param bytes Of the messages the requests came in. */
  enter(bytes: number): void {
    this.#bytes += bytes + REQUEST_BYTES
  }

  leave(bytes: number, requests = 1): void {
    this.#bytes -= bytes + requests * REQUEST_BYTES
  }
}
