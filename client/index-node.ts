/** The client SDK as Node gets it: the same, with a WebSocket where Node has none. */
export * from './index.ts'
export { getDatabase } from './node.ts'
