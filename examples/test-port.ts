/**
 * Port: one to come back on after a restart.
 */
import { type AddressInfo, createServer } from 'node:net'

/** A port to come back on: the one a first server got by asking for 0 stays reserved for a while after it closed. */
export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
