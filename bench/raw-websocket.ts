/**
 * Bare WebSocket on a bare connection. Sends with an all-zero mask, which the protocol allows and which saves masking
 * each byte.
 */
import { Connection } from './connection.ts'

export async function openWebSocket(port: number, path: string): Promise<Connection> {
  const connection = await Connection.open(port, cutHead)
  connection.write(
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  )
  await connection.until((head) => {
    const status = head.toString('latin1', 0, head.indexOf('\r\n'))
    if (!status.includes(' 101 ')) throw new Error(`upgrade refused: ${status}`)
    return true
  })
  return connection
}

export function sendBinary(connection: Connection, payload: Uint8Array): void {
  connection.write(frame(payload, 0x82))
}

export function sendText(connection: Connection, text: string): void {
  connection.write(frame(Buffer.from(text), 0x81))
}

function cutHead(connection: Connection, data: Buffer): number {
  const end = data.indexOf('\r\n\r\n')
  if (end < 0) return 0
  connection.framing = cutFrame
  connection.emit(data.subarray(0, end))
  return end + 4
}

function cutFrame(connection: Connection, data: Buffer): number {
  if (data.length < 2) return 0
  let length = data[1]! & 0x7f
  let head = 2
  if (length === 126) {
    if (data.length < 4) return 0
    length = data.readUInt16BE(2)
    head = 4
  } else if (length === 127) {
    if (data.length < 10) return 0
    length = Number(data.readBigUInt64BE(2))
    head = 10
  }
  const end = head + length
  if (data.length < end) return 0
  const opcode = data[0]! & 0x0f
  if (opcode <= 2) connection.emit(data.subarray(head, end))
  else if (opcode === 9) connection.write(frame(data.subarray(head, end), 0x8a))
  return end
}

/** One frame, masked with zeros. */
function frame(payload: Uint8Array, head: number): Buffer {
  const length = payload.length
  const headBytes = length < 126 ? 6 : length < 65536 ? 8 : 14
  const bytes = Buffer.alloc(headBytes + length)
  bytes[0] = head
  if (length < 126) bytes[1] = 0x80 | length
  else if (length < 65536) {
    bytes[1] = 0x80 | 126
    bytes.writeUInt16BE(length, 2)
  } else {
    bytes[1] = 0x80 | 127
    bytes.writeBigUInt64BE(BigInt(length), 2)
  }
  bytes.set(payload, headBytes)
  return bytes
}
