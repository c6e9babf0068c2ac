/**
 * raw-uws [FILE]: uWebSockets.js alone. A socket opened at `/topic` gets every `topic text` that any socket sends.
 * The floor of the fan-out scenario: no storage, no order across publishers, no rules. With a FILE, updates are written
 * to it and flushed before they are published, those that arrive meanwhile together: the floor of a durable server.
 */
import uws from 'uWebSockets.js'
import { fdatasync, fdatasyncSync, openSync, write, writeSync } from 'node:fs'

/** Written once before, over and over afterwards: a flush then has no size of a file to note. */
const FILE_BYTES = 64 * 1024 * 1024

const app = uws.App()
app.ws<{ topic: string }>('/*', {
  // What is dropped here would be a lost update.
  maxBackpressure: 64 * 1024 * 1024,
  upgrade(response, request, context) {
    response.upgrade(
      { topic: request.getUrl().slice(1) },
      request.getHeader('sec-websocket-key'),
      request.getHeader('sec-websocket-protocol'),
      request.getHeader('sec-websocket-extensions'),
      context,
    )
  },
  open: (ws) => {
    ws.subscribe(ws.getUserData().topic)
    ws.send('joined')
  },
  message: (_, message) => take(message),
})
const file = process.argv[2]
const take = file === undefined ? (message: ArrayBuffer) => publish(Buffer.from(message)) : flushedFirst(file)
app.listen('127.0.0.1', 0, (socket) => {
  if (socket) console.log(`127.0.0.1:${uws.us_socket_local_port(socket)}`)
})

function publish(update: Buffer): void {
  const space = update.indexOf(32)
  app.publish(update.toString('latin1', 0, space), update.subarray(space + 1))
}

function flushedFirst(path: string): (message: ArrayBuffer) => void {
  const fd = openSync(path, 'w')
  const piece = Buffer.alloc(64 * 1024)
  for (let bytes = 0; bytes < FILE_BYTES; bytes += piece.length) writeSync(fd, piece)
  fdatasyncSync(fd)
  let position = 0
  let waiting: Buffer[] = []
  let isFlushing = false
  const flush = (): void => {
    isFlushing = true
    const group = waiting
    waiting = []
    const bytes = Buffer.concat(group)
    if (position + bytes.length > FILE_BYTES) position = 0
    const at = position
    position += bytes.length
    const written = (error: Error | null): void => {
      if (error !== null) throw error
      for (const update of group) publish(update)
      isFlushing = false
      if (waiting.length > 0) flush()
    }
    write(fd, bytes, 0, bytes.length, at, (error) => (error ? written(error) : fdatasync(fd, written)))
  }
  return (message) => {
    waiting.push(Buffer.from(message.slice(0)))
    if (!isFlushing) flush()
  }
}
