/**
 * Socket: a WebSocket reduced to what the connection needs. Browsers have one built in; Node 20 does not, so there
 * `ws` is loaded, by a dynamic import that browsers never run.
 */
export interface SocketEvents {
  received(bytes: Uint8Array): void
  /** Once, also when the socket never opened. */
  closed(code: number, reason: string): void
}

export interface Socket {
  send(bytes: Uint8Array): void
  close(): void
}

/** @returns At once; the socket opens later or reports that it closed. */
export type OpenSocket = (url: string, events: SocketEvents) => Socket

interface NodePackage {
  WebSocket: new (url: string, options: { perMessageDeflate: boolean }) => WebSocket
}

const NODE_PACKAGE = [...'ws'].join('')

/** What browsers say when a connection ends without a close frame. */
const ABNORMAL = 1006

export const openWebSocket: OpenSocket = (url, events) => {
  let socket: WebSocket | null = null
  let isClosed = false
  const closed = (code: number, reason: string): void => {
    if (isClosed) return
    isClosed = true
    events.closed(code, reason)
  }

  const open = (make: () => WebSocket): void => {
    if (isClosed) return
    try {
      socket = make()
    } catch (error) {
      closed(ABNORMAL, String(error))
      return
    }
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }) => {
      if (!isClosed) events.received(new Uint8Array(data as ArrayBuffer))
    }
    socket.onclose = ({ code, reason }) => closed(code, reason)
    // `close` follows every error and says more; without a handler `ws` would throw.
    socket.onerror = () => {}
  }

  if (globalThis.WebSocket !== undefined) queueMicrotask(() => open(() => new WebSocket(url)))
  else {
    // A name that no bundler can work out: it would follow it and put the package into pages.
    import(/* @vite-ignore */ /* webpackIgnore: true */ NODE_PACKAGE).then(
      (ws: NodePackage) => open(() => new ws.WebSocket(url, { perMessageDeflate: false })),
      (error: unknown) => closed(ABNORMAL, `package ${NODE_PACKAGE} does not load: ${error}`),
    )
  }

  return {
    send: (bytes) => socket?.send(bytes as Uint8Array<ArrayBuffer>),
    close() {
      isClosed = true
      socket?.close(1000)
    },
  }
}
