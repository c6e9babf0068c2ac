/**
 * The program of worker threads for tests: threads load no TypeScript, so it is bundled once before all tests run.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Where test processes, which inherit it, find the bundle. */
const VARIABLE = 'TEST_WORKER_ENTRY'

/** Run by vitest. @returns What removes the bundle after the tests. */
export default async function setup(): Promise<() => void> {
  // Inside the tree, so that packages are found.
  const folder = mkdtempSync(join(ROOT, 'node_modules/.hearth-worker-'))
  const outfile = join(folder, 'worker-main.mjs')
  await build({
    entryPoints: [join(ROOT, 'server/workers/worker-main.ts')],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    // A thread that loads one file starts in a third of the time; what has binaries or programs of its own stays outside.
    external: ['lmdb', 'uWebSockets.js', 'pino', 'jsonc-parser'],
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)",
    },
    logLevel: 'error',
  })
  process.env[VARIABLE] = pathToFileURL(outfile).href
  return () => rmSync(folder, { recursive: true, force: true })
}

export function workerEntry(): URL {
  return new URL(process.env[VARIABLE]!)
}
