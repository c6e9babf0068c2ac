/**
 * A bare TCP connection, cut into frames by a rule, cheap enough that ten thousand of them in one process do not become
 * what is measured. While nobody listens (`onFrame` is null) what arrives is kept.
 */
import { createConnection, type Socket } from 'node:net'

/**
 * Hands the first whole frame of `data` to `connection.onFrame` and says how many bytes it took; 0 when more are needed.
 * Called only while `onFrame` is set.
 */
export type Framing = (connection: Connection, data: Buffer) => number

// Node calls back between a read and the next one, so all sockets can read into one buffer. A buffer of its own for
// each read, as Node does it otherwise, is a quarter of what a small read costs.
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024)

/** Connections from one source address. Linux gives an address about 28,000 ports; far fewer leave room for others. */
const CONNECTIONS_PER_ADDRESS = 8000
let opened = 0
const open = new Set<Connection>()

export class Connection {
  framing: Framing
  /** Number of the last request sent, for systems that number them. */
  lastRequest = 0
  /** The other side ended it. */
  onEnd: () => void = () => {
    throw new Error('the server closed a connection')
  }
  /** Answers a ping that looks like any other frame, and says that it was one. */
  answerPing: (payload: Buffer) => boolean = () => false
  readonly #socket: Socket
  #onFrame: ((payload: Buffer) => void) | null = null
  #kept: Buffer | null = null

  private constructor(framing: Framing, port: number) {
    this.framing = framing
    const sourceAddress = `127.0.0.${1 + (Math.floor(opened++ / CONNECTIONS_PER_ADDRESS) % 250)}`
    this.#socket = createConnection({
      port,
      host: '127.0.0.1',
      localAddress: sourceAddress,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (bytes, buffer) => {
          this.#read(Buffer.from(buffer.buffer, buffer.byteOffset, bytes))
          return true
        },
      },
    })
  }

  static open(port: number, framing: Framing): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const connection = new Connection(framing, port)
      const socket = connection.#socket
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.on('error', () => {})
        socket.once('close', () => {
          open.delete(connection)
          connection.onEnd()
        })
        open.add(connection)
        resolve(connection)
      })
    })
  }

  /** Gets each payload; it is valid only during the call. */
  set onFrame(onFrame: ((payload: Buffer) => void) | null) {
    this.#onFrame = onFrame
    const kept = this.#kept
    if (onFrame === null || kept === null) return
    this.#kept = null
    this.#cut(kept)
  }

  emit(payload: Buffer): void {
    if (!this.answerPing(payload)) this.#onFrame!(payload)
  }

  /** Waits for a payload that passes the test; later ones are kept. */
  until(test: (payload: Buffer) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.onFrame = (payload) => {
        try {
          if (!test(payload)) return
          resolve()
        } catch (error) {
          reject(error)
        }
        this.onFrame = null
      }
    })
  }

  write(bytes: Uint8Array | string): void {
    this.#socket.write(bytes)
  }

  /** Sends what `call` writes in as few system calls as possible. */
  corked(call: () => void): void {
    this.#socket.cork()
    call()
    this.#socket.uncork()
  }

  /** From now on what the server sends stays in the system's buffers, and then in the server. */
  stopReading(): void {
    this.onEnd = () => {}
    this.#socket.pause()
  }

  close(): void {
    this.onEnd = () => {}
    open.delete(this)
    this.#socket.destroy()
  }

  static closeAll(): void {
    for (const connection of open) connection.close()
  }

  #read(chunk: Buffer): void {
    if (this.#kept === null) {
      this.#cut(chunk)
      return
    }
    const data = Buffer.concat([this.#kept, chunk])
    this.#kept = null
    this.#cut(data)
  }

  #cut(data: Buffer): void {
    let at = 0
    while (at < data.length && this.#onFrame !== null) {
      const used = this.framing(this, at === 0 ? data : data.subarray(at))
      if (used === 0) break
      at += used
    }
    // A copy: the read buffer is used again.
    if (at < data.length) this.#kept = Buffer.from(data.subarray(at))
  }
}
