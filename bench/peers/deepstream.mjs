/**
 * deepstream PORT: deepstream.io on uWebSockets.js, open to everyone.
 */
import { Deepstream } from '@deepstream/server'

const server = new Deepstream({
  logLevel: 'OFF',
  showLogo: false,
  telemetry: { type: 'deepstreamIO', options: { enabled: false } },
  auth: [{ type: 'none', options: {} }],
  permission: { type: 'none', options: {} },
  httpServer: {
    type: 'uws',
    options: { host: '127.0.0.1', port: Number(process.argv[2]), healthCheckPath: '/', allowAllOrigins: true },
  },
  // The values of its own example configuration.
  connectionEndpoints: [
    {
      type: 'ws-binary',
      options: {
        urlPath: '/deepstream',
        heartbeatInterval: 30_000,
        outgoingBufferTimeout: 0,
        maxBufferByteSize: 100_000,
        maxMessageSize: 1_048_576,
        unauthenticatedClientTimeout: 180_000,
        maxAuthAttempts: 3,
      },
    },
  ],
})
server.start()
