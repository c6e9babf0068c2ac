/**
 * socket-io: a Socket.IO server. `join` enters a room, `publish` sends a text to a room's members.
 */
import { createServer } from 'node:http'
import { Server } from 'socket.io'

const http = createServer()
// A ping is one more frame for each client every 25 s; one minute keeps short runs free of them.
const io = new Server(http, { transports: ['websocket'], pingInterval: 60_000, pingTimeout: 60_000, serveClient: false })
io.on('connection', (socket) => {
  socket.on('join', (topic) => {
    socket.join(topic)
    socket.emit('joined')
  })
  socket.on('publish', (topic, text) => io.to(topic).emit('update', text))
})
http.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${http.address().port}`))
