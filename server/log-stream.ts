/**
 * Log stream: lines on their way to standard error. The loop never waits for who reads them: a reader that is stuck costs a
 * bounded memory, one that has gone costs its lines, and neither keeps the process from ending. Only a terminal stopped by
 * hand (Ctrl-S) holds the end up until it goes on: there a write blocks the thread that does it.
 *
 * pino's own destination ends the process where a disk is full, and tries for ever in its exit handler where the reader
 * is stuck or has gone.
 */
import { write, writeSync } from 'node:fs'

/** Lines kept while the reader is stuck, as characters; past it further ones are lost, not memory. */
const WAITING_LENGTH_MAX = 8 * 1024 * 1024
/** POSIX takes so much into a pipe as a whole or not at all, so that lines of several threads do not mix. */
const CHUNK_BYTES = 4096
/** A pipe that is full says so at once, not when it has room again. */
const RETRY_MS = 100

export class LogStream {
  /** Told how many lines were lost, once lines are taken again and none waits: to be said in a line of its own. */
  onLost: (lines: number) => void = () => {}
  readonly #fd: number
  #lines: string[] = []
  #length = 0
  /** What is being written. */
  #chunk: Buffer | null = null
  #linesInChunk = 0
  #linesLost = 0
  #linesLostTold = 0
  #idle: (() => void)[] = []

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Characters that wait for the reader. */
  get waitingLength(): number {
    return this.#length
  }

  get linesLost(): number {
    return this.#linesLost
  }

  write(line: string): void {
    if (this.#length + line.length > WAITING_LENGTH_MAX) {
      this.#linesLost += 1
      return
    }
    this.#lines.push(line)
    this.#length += line.length
    if (this.#chunk === null) this.#writeNext()
  }

  /** Resolves when nothing waits any more, or so much later. */
  finished(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#chunk === null) return resolve()
      this.#idle.push(resolve)
      // It keeps the process alive: one that waits here and has nothing else to do is not at its end.
      setTimeout(resolve, withinMs)
    })
  }

  /** What the process has no time to wait for: writes what is taken at once. For the end of the process. */
  writeRest(): void {
    // The chunk is with a thread of Node's, which ends before the process does.
    while (this.#lines.length > 0) {
      try {
        let rest = this.#takeChunk()
        while (rest.length > 0) rest = rest.subarray(writeSync(this.#fd, rest))
      } catch {
        return
      }
    }
  }

  #takeChunk(): Buffer {
    let bytes = Buffer.byteLength(this.#lines[0]!)
    let count = 1
    for (; count < this.#lines.length; count++) {
      bytes += Buffer.byteLength(this.#lines[count]!)
      if (bytes > CHUNK_BYTES) break
    }
    const text = this.#lines.splice(0, count).join('')
    this.#linesInChunk = count
    this.#length -= text.length
    return Buffer.from(text)
  }

  #writeNext(isTaken = true): void {
    if (this.#lines.length > 0) {
      this.#writeChunk(this.#takeChunk())
      return
    }
    this.#chunk = null
    // Not to a reader that has gone: its own line would be lost, and told, for ever.
    const lost = this.#linesLost - this.#linesLostTold
    if (isTaken && lost > 0) {
      this.#linesLostTold = this.#linesLost
      this.onLost(lost)
      if (this.#chunk !== null) return
    }
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #writeChunk(chunk: Buffer): void {
    this.#chunk = chunk
    write(this.#fd, chunk, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#writeChunk(chunk), RETRY_MS).unref()
        return
      }
      if (error === null && written < chunk.length) {
        this.#writeChunk(chunk.subarray(written))
        return
      }
      // Gone, or a full disk: these lines are lost. The next ones are tried again, since either may be mended.
      if (error !== null) this.#linesLost += this.#linesInChunk
      this.#writeNext(error === null)
    })
  }
}
