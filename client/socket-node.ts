/**
 * The WebSocket for Node before 22, which has none of its own: package `ws`, without compression, since frames are
 * small and mostly binary.
 */
import { WebSocket as WsWebSocket } from 'ws'

export const NodeWebSocket = class extends WsWebSocket {
  constructor(url: string) {
    super(url, { perMessageDeflate: false })
  }
} as unknown as new (
  url: string,
) => WebSocket
