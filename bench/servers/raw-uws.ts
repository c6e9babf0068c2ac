/**
 * raw-uws: uWebSockets.js alone. A socket opened at `/topic` gets every `topic text` that any socket sends.
 * The floor of the fan-out scenario: no storage, no order across publishers, no rules.
 */
import uws from 'uWebSockets.js'

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
  message: (_, message) => {
    const bytes = Buffer.from(message)
    const space = bytes.indexOf(32)
    app.publish(bytes.toString('latin1', 0, space), bytes.subarray(space + 1))
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket) console.log(`127.0.0.1:${uws.us_socket_local_port(socket)}`)
})
