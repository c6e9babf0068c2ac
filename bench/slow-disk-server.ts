/**
 * slow-disk-server FOLDER FLUSH_DELAY_MS: Hearth with every flush held back by that long. Prints its address, then once
 * a second one JSON line: how late a 1 ms timer of the serving loop fired (ms), and the size of commit groups.
 */
import { fileURLToPath } from 'node:url'
import { configFrom, startServer } from '../server/index.ts'
import { openLmdbStore } from '../server/store/store-lmdb.ts'

const [folder, delay] = process.argv.slice(2)
const config = configFrom({
  port: 0,
  data: folder!,
  rules: fileURLToPath(new URL('../../bench/database.rules.json', import.meta.url)),
  log: { level: 'warn' },
})
const server = await startServer(config, {
  openStore: (path) => openLmdbStore({ folder: path, flushDelayMs: Number(delay) }),
})
console.log(server.url)

const lateMs: number[] = []
let expectedMs = performance.now() + 1
setInterval(() => {
  const nowMs = performance.now()
  lateMs.push(Math.max(0, nowMs - expectedMs))
  expectedMs = nowMs + 1
}, 1)
setInterval(() => {
  lateMs.sort((a, b) => a - b)
  console.log(
    JSON.stringify({
      p50: lateMs[Math.floor(lateMs.length * 0.5)],
      p99: lateMs[Math.floor(lateMs.length * 0.99)],
    }),
  )
  lateMs.length = 0
}, 1000)
