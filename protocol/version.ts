/**
 * The native protocol's version. A client of another version is refused by the upgrade path: `/v1`.
 * When the hash in schema.test.ts moves, the wire changed: raise the version and add a line.
 *
 *   1  first version
 */
export const PROTOCOL_VERSION = 1
