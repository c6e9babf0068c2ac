/**
 * A bare WebSocket client over a TCP socket, cheap enough that a thousand of them in one process do not become
 * what is measured. Sends with an all-zero mask, which the protocol allows and which saves masking each byte.
 */
import { createConnection, type Socket } from 'node:net'

export class RawWebSocket {
  readonly socket: Socket
  /** Payload of each data frame; valid only during the call. */
  onFrame: (payload: Buffer) => void = () => {}
  #pending: Buffer | null = null

  private constructor(socket: Socket) {
    this.socket = socket
  }

  static connect(port: number, path: string): Promise<RawWebSocket> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ port, host: '127.0.0.1', noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.write(
          `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
            'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
        )
      })
      let head = Buffer.alloc(0)
      const onHead = (chunk: Buffer): void => {
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        socket.off('data', onHead)
        const status = head.toString('latin1', 0, head.indexOf('\r\n'))
        if (!status.includes(' 101 ')) {
          reject(new Error(`upgrade refused: ${status}`))
          return
        }
        const client = new RawWebSocket(socket)
        socket.on('data', (data: Buffer) => client.#read(data))
        resolve(client)
        const rest = head.subarray(end + 4)
        // Delivered after the caller has set onFrame.
        if (rest.length > 0) setImmediate(() => client.#read(rest))
      }
      socket.on('data', onHead)
    })
  }

  /** A binary frame with an all-zero mask. */
  static frame(payload: Uint8Array, opcode = 0x82): Buffer {
    const length = payload.length
    const headBytes = length < 126 ? 6 : length < 65536 ? 8 : 14
    const frame = Buffer.alloc(headBytes + length)
    frame[0] = opcode
    if (length < 126) frame[1] = 0x80 | length
    else if (length < 65536) {
      frame[1] = 0x80 | 126
      frame.writeUInt16BE(length, 2)
    } else {
      frame[1] = 0x80 | 127
      frame.writeBigUInt64BE(BigInt(length), 2)
    }
    frame.set(payload, headBytes)
    return frame
  }

  send(payload: Uint8Array): void {
    this.socket.write(RawWebSocket.frame(payload))
  }

  close(): void {
    this.socket.destroy()
  }

  #read(chunk: Buffer): void {
    let data = this.#pending === null ? chunk : Buffer.concat([this.#pending, chunk])
    this.#pending = null
    while (data.length >= 2) {
      let length = data[1]! & 0x7f
      let head = 2
      if (length === 126) {
        if (data.length < 4) break
        length = data.readUInt16BE(2)
        head = 4
      } else if (length === 127) {
        if (data.length < 10) break
        length = Number(data.readBigUInt64BE(2))
        head = 10
      }
      if (data.length < head + length) break
      const opcode = data[0]! & 0x0f
      const payload = data.subarray(head, head + length)
      if (opcode === 1 || opcode === 2) this.onFrame(payload)
      else if (opcode === 9) this.socket.write(RawWebSocket.frame(payload, 0x8a))
      data = data.subarray(head + length)
    }
    if (data.length > 0) this.#pending = Buffer.from(data)
  }
}
