import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

/** What a browser may have to load for all of the client. */
const GZIP_BYTES_MAX = 15 * 1024

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

test('the whole client is at most 15 KiB gzipped', async () => {
  const { bytes } = await bundle(`export * from './index.ts'`)

  const size = gzipSync(bytes, { level: 9 }).length

  console.log(`client: ${bytes.length} bytes minified, ${size} gzipped`)
  expect(size).toBeLessThanOrEqual(GZIP_BYTES_MAX)
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
