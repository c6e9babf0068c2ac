/**
 * firebase-server: Firebase's wire protocol over Firebase's own client as the store, rules open.
 */
const FirebaseServer = require('firebase-server')

const server = new FirebaseServer({ port: 0, address: '127.0.0.1' }, 'localhost')
server.wss.on('listening', () => console.log(`127.0.0.1:${server.getPort()}`))
