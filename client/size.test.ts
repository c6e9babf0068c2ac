import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

/** What a browser may have to load for the core. */
const CORE_GZIP_BYTES_MAX = 15 * 1024

/** What nearly every app uses. Anything newer has to be left out by a bundler when an app does not import it. */
const CORE = [
  ...['getDatabase', 'goOffline', 'goOnline', 'ref', 'child', 'get'],
  ...['set', 'setWithPriority', 'update', 'remove', 'push', 'serverTimestamp', 'increment', 'runTransaction'],
  ...['onValue', 'onChildAdded', 'onChildChanged', 'onChildMoved', 'onChildRemoved', 'off', 'onDisconnect'],
]

interface Bundle {
  bytes: Uint8Array
  /** Files that went into it. */
  inputs: string[]
  /** What it would still import at run time. */
  imports: string[]
}

async function bundle(entry: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: entry, resolveDir: new URL('.', import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: 'esm',
    // A Node built-in in the graph fails this build.
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
  })
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path))
  return { bytes: outputFiles[0]!.contents, inputs: Object.keys(metafile.inputs), imports }
}

test('the core of the client is at most 15 KiB gzipped', async () => {
  const core = await bundle(`export { ${CORE.join(', ')} } from './index.ts'`)
  const all = await bundle(`export * from './index.ts'`)

  const coreSize = gzipSync(core.bytes, { level: 9 }).length

  console.log(`client core: ${core.bytes.length} bytes minified, ${coreSize} gzipped`)
  console.log(
    `all of the client: ${all.bytes.length} bytes minified, ${gzipSync(all.bytes, { level: 9 }).length} gzipped`,
  )
  expect(coreSize).toBeLessThanOrEqual(CORE_GZIP_BYTES_MAX)
})

test('a browser bundle holds the client and the protocol, no package and nothing of Node', async () => {
  const { inputs, imports } = await bundle(`export * from './index.ts'`)

  expect(inputs.filter((path) => !/^(client|protocol)\/[\w-]+\.ts$|^<stdin>$/.test(path))).toEqual([])
  expect(imports).toEqual([])
})

test('an app that only reads pays for neither transactions, queries nor writes', async () => {
  const { bytes } = await bundle(`export { getDatabase, ref, onValue } from './index.ts'`)
  const all = await bundle(`export * from './index.ts'`)

  expect(bytes.length).toBeLessThan(all.bytes.length * 0.85)
})
