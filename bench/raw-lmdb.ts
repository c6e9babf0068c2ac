/**
 * raw-lmdb FOLDER SECONDS: puts 100-byte rows in flushed groups of 512 and prints what that costs, as JSON.
 * The floor of the write scenario: no network, no rules, no tree.
 */
import { open } from 'lmdb'

const [folder, seconds] = process.argv.slice(2)
const GROUP = 512
const db = open({ path: `${folder}/raw.mdb`, encoding: 'binary', keyEncoding: 'binary' })
const value = Buffer.alloc(102, 'x')
let next = 0

async function group(): Promise<void> {
  for (let i = 0; i < GROUP; i++) {
    const number = next++ % 160_000
    const key = Buffer.allocUnsafe(17)
    key.writeUIntBE(16, 0, 1)
    key.writeUIntBE(number & 7, 1, 6)
    key.write(`key${String(number >> 3).padStart(7, '0')}`, 7, 'latin1')
    value.write(String(next).padStart(8, '0'), 90, 'latin1')
    void db.put(key, Buffer.from(value))
  }
  await db.flushed
}

const warmUpEndMs = performance.now() + 500
while (performance.now() < warmUpEndMs) await group()
const cpuBefore = process.cpuUsage()
const startMs = performance.now()
const groupMs: number[] = []
while (performance.now() - startMs < Number(seconds) * 1000) {
  const atMs = performance.now()
  await group()
  groupMs.push(performance.now() - atMs)
}
const elapsedMs = performance.now() - startMs
const cpu = process.cpuUsage(cpuBefore)
groupMs.sort((a, b) => a - b)
const writes = groupMs.length * GROUP
console.log(
  JSON.stringify({
    name: `raw lmdb, groups of ${GROUP}`,
    acksPerSecond: (writes / elapsedMs) * 1000,
    cpuMicrosPerAck: (cpu.user + cpu.system) / writes,
    p50Ms: groupMs[Math.floor(groupMs.length * 0.5)],
    p99Ms: groupMs[Math.floor(groupMs.length * 0.99)],
  }),
)
await db.close()
