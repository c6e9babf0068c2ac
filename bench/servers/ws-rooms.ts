/**
 * ws-rooms: `ws` and a Map of rooms. A socket opened at `/topic` gets every `topic text` that any socket sends.
 */
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'

const rooms = new Map<string, Set<WebSocket>>()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
server.on('connection', (socket, request) => {
  const topic = request.url!.slice(1)
  const room = rooms.get(topic) ?? new Set()
  rooms.set(topic, room.add(socket))
  socket.on('close', () => room.delete(socket))
  socket.on('message', (data) => {
    const bytes = data as Buffer
    const space = bytes.indexOf(32)
    const text = bytes.subarray(space + 1)
    // As text from the start, since `ws` would turn a string into bytes once for each socket.
    for (const member of rooms.get(bytes.toString('latin1', 0, space)) ?? [])
      member.send(text, { binary: false })
  })
  socket.send('joined')
})
server.on('listening', () => console.log(`127.0.0.1:${(server.address() as AddressInfo).port}`))
