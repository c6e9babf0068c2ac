/**
 * HTTP beside the WebSockets: health and metrics.
 */

export interface HttpRequestHead {
  method: string
  path: string
}

export interface HttpReply {
  /** Code and reason, such as `200 OK`. */
  status: string
  contentType: string
  body: string
}

export type HttpHandler = (request: HttpRequestHead) => Promise<HttpReply>

export interface HttpSources {
  /** Whether new clients are welcome: false while starting and draining. */
  isReady(): boolean
  metrics(): Promise<{ contentType: string; text: string }>
}

export function httpHandler(sources: HttpSources): HttpHandler {
  return async ({ method, path }) => {
    if (method !== 'GET' && method !== 'HEAD')
      return plain('405 Method Not Allowed', `${method} is not served here\n`)
    switch (path) {
      case '/health/live':
        return plain('200 OK', 'live\n')
      case '/health/ready':
        return sources.isReady()
          ? plain('200 OK', 'ready\n')
          : plain('503 Service Unavailable', 'not ready\n')
      case '/metrics': {
        const { contentType, text } = await sources.metrics()
        return { status: '200 OK', contentType, body: text }
      }
      default:
        return plain('404 Not Found', 'nothing here; clients connect to /v1 by WebSocket\n')
    }
  }
}

function plain(status: string, body: string): HttpReply {
  return { status, contentType: 'text/plain; charset=utf-8', body }
}
