/** The client SDK: the functions of `firebase/database` over Hearth's own protocol. */
export {
  Database,
  type DatabaseOptions,
  getDatabase,
  goOffline,
  goOnline,
  setAuth,
  terminate,
  unauth,
} from './client.ts'
export type { AuthSource } from './connection.ts'
export type { Delivery } from './delivery.ts'
export type { Environment } from './environment.ts'
export { HearthError } from './errors.ts'
export { onMessage, send } from './messages.ts'
export { OnDisconnect, onDisconnect } from './on-disconnect.ts'
export { onPatch, type PatchOperation } from './patch.ts'
export { type Presence, type PresenceOptions, presence } from './presence.ts'
export {
  endAt,
  endBefore,
  equalTo,
  limitToFirst,
  limitToLast,
  orderByChild,
  orderByKey,
  orderByPriority,
  orderByValue,
  type QueryConstraint,
  query,
  startAfter,
  startAt,
} from './query.ts'
export {
  type CancelCallback,
  type GetOptions,
  get,
  type ListenOptions,
  off,
  onChildAdded,
  onChildChanged,
  onChildMoved,
  onChildRemoved,
  onValue,
  type Unsubscribe,
} from './read.ts'
export { child, DatabaseReference, Query, ref } from './ref.ts'
export { DataSnapshot } from './snapshot.ts'
export type { Socket, SocketEvents } from './socket.ts'
export {
  runTransaction,
  setPriority,
  type TransactionOptions,
  type TransactionResult,
} from './transaction.ts'
export type { EventType } from './view.ts'
export {
  increment,
  push,
  remove,
  type ServerValue,
  serverTimestamp,
  set,
  setWithPriority,
  type ThenableReference,
  update,
  type Writable,
} from './write.ts'
