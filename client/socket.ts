/**
 * Socket: a WebSocket reduced to what the connection needs, over the one that browsers (and Node from 22) have built in.
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

/** What WebSockets say when a connection ends without a close frame. */
export const ABNORMAL = 1006

export const openWebSocket: OpenSocket = openWith((url) => new WebSocket(url))

/** Sockets over any WebSocket of the standard's shape. */
export function openWith(make: (url: string) => WebSocket | Promise<WebSocket>): OpenSocket {
  return (url, events) => {
    let socket: WebSocket | null = null
    let isClosed = false
    const closed = (code: number, reason: string): void => {
      if (!isClosed) events.closed(code, reason)
      isClosed = true
    }
    const open = async (): Promise<void> => {
      socket = await make(url)
      socket.binaryType = 'arraybuffer'
      socket.onmessage = ({ data }) => {
        if (!isClosed) events.received(new Uint8Array(data as ArrayBuffer))
      }
      socket.onclose = ({ code, reason }) => closed(code, reason)
      // `close` follows every error and says more; package `ws` would throw without a handler.
      socket.onerror = () => {}
      if (isClosed) socket.close()
    }
    open().catch((error: unknown) => closed(ABNORMAL, String(error)))
    return {
      send: (bytes) => socket?.send(bytes as Uint8Array<ArrayBuffer>),
      close() {
        isClosed = true
        socket?.close(1000)
      },
    }
  }
}
