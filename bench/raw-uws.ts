/**
 * raw-uws: uWebSockets.js alone. Publishes every binary message from `/publish` to all sockets on `/subscribe`.
 * The floor of the fan-out scenario: no storage, no order across publishers, no rules.
 */
import uws from 'uWebSockets.js'

const app = uws.App()
app.ws('/subscribe', {
  maxBackpressure: 64 * 1024 * 1024,
  open: (ws) => {
    ws.subscribe('updates')
  },
})
app.ws('/publish', {
  message: (ws, message) => {
    app.publish('updates', message, true)
    // As Hearth does, the publisher hears that its update is out.
    ws.send('ok')
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket) console.log(`127.0.0.1:${uws.us_socket_local_port(socket)}`)
})
