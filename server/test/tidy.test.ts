/**
 * Tidy: what the tree promises, checked. Imports point one way, each outside library has one importer, no file is
 * dead, each folder's index only re-exports, every file says what it is for, and nothing names a machine.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLDERS = ['protocol', 'rules', 'server', 'client', 'bench', 'examples']

interface Import {
  /** As written: `../protocol/index.ts`, `jose`, `node:fs`. */
  from: string
  /** Path from the root for relative imports, else null. */
  file: string | null
  isTypeOnly: boolean
}

interface SourceFile {
  path: string
  text: string
  imports: Import[]
}

function filesUnder(folder: string): string[] {
  const at = join(ROOT, folder)
  if (!existsSync(at)) return []
  return readdirSync(at).flatMap((name) => {
    const path = `${folder}/${name}`
    if (name === 'node_modules' || name === 'dist' || path === 'bench/peers') return []
    return statSync(join(ROOT, path)).isDirectory() ? filesUnder(path) : [path]
  })
}

/** Imports of every form, and files named beside the importer: programs for processes of their own. */
const IMPORT =
  /^\s*(?:import|export)\s+(type\s)?[^'"`;]*?\bfrom\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\('([^']+)'\)|(?:new URL\(|import\.meta\.dirname, )'([\w./-]+\.ts)'/gm

function importsOf(path: string, text: string): Import[] {
  return [...text.matchAll(IMPORT)].map((match) => {
    const from = (match[2] ?? match[3] ?? match[4] ?? match[5])!
    return {
      from,
      file: from.startsWith('.') || match[5] !== undefined ? normalize(join(dirname(path), from)) : null,
      isTypeOnly: match[1] !== undefined,
    }
  })
}

const sources: SourceFile[] = FOLDERS.flatMap(filesUnder)
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8')
    return { path, text, imports: importsOf(path, text) }
  })
const byPath = new Map(sources.map((source) => [source.path, source]))

/** Tests and what only tests use. */
function isTest(path: string): boolean {
  return /\.(test|contract|model)\.ts$|\/test\/|\/test-[\w-]+\.ts$/.test(path)
}

const product = sources.filter(({ path }) => !isTest(path))
const topFolder = (path: string): string => path.split('/')[0]!

test('imports of folders point one way: protocol <- rules <- server, protocol <- client', () => {
  const allowed: Record<string, readonly string[]> = {
    protocol: ['protocol'],
    rules: ['rules', 'protocol'],
    server: ['server', 'rules', 'protocol'],
    client: ['client', 'protocol'],
    bench: ['bench', 'protocol', 'rules', 'server', 'client'],
    examples: ['examples', 'client', 'server', 'rules', 'protocol'],
  }

  const wrong = product.flatMap(({ path, imports }) =>
    imports
      .filter(({ file }) => file !== null && !allowed[topFolder(path)]!.includes(topFolder(file)))
      .map(({ from }) => `${path} imports ${from}`),
  )

  expect(wrong).toEqual([])
})

test('benchmarks and examples enter other folders by the front door', () => {
  // Layouts of the store are compared, and its flushes held back, from within: a door for that would serve nobody else.
  const excused = /^bench\/(scenarios\/store|slow-disk-server)/

  const wrong = product
    .filter(({ path }) => ['bench', 'examples'].includes(topFolder(path)) && !excused.test(path))
    .flatMap(({ path, imports }) =>
      imports
        .filter(
          ({ file }) =>
            file !== null && topFolder(file) !== topFolder(path) && !/^\w+\/index\.ts$/.test(file),
        )
        .map(({ from }) => `${path} imports ${from}`),
    )

  expect(wrong).toEqual([])
})

/** From the top down; a file imports its own layer or one below. The first pattern that fits names a file's layer. */
const SERVER_LAYERS: readonly RegExp[] = [
  /^server\/(main|cli|serve|import-export|index)\.ts$/,
  /^server\/(server\.ts|front\.ts|workers\/)/,
  /^server\/(transport\/|databases\.ts)/,
  /^server\/sessions\//,
  /^server\/(database|on-disconnect|presence)\.ts$/,
  /^server\//,
]

test('inside the server imports point from main down to store, log and listeners', () => {
  const layerOf = (path: string): number => SERVER_LAYERS.findIndex((pattern) => pattern.test(path))

  const wrong = product
    .filter(({ path }) => topFolder(path) === 'server')
    .flatMap(({ path, imports }) =>
      imports
        .filter(({ file }) => file !== null && topFolder(file) === 'server' && layerOf(file) < layerOf(path))
        .map(({ from }) => `${path} imports ${from}`),
    )

  expect(wrong).toEqual([])
})

test('no file imports itself by a detour', () => {
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
      return
    }
    if (done.has(path)) return
    for (const { file, isTypeOnly } of byPath.get(path)?.imports ?? []) {
      if (file !== null && !isTypeOnly) visit(file, [...trail, path])
    }
    done.add(path)
  }

  for (const { path } of product) visit(path, [])

  expect(cycles).toEqual([])
})

function packageName(from: string): string {
  return from
    .split('/')
    .slice(0, from.startsWith('@') ? 2 : 1)
    .join('/')
}

/** A web page with a package.json of its own, whose dependencies are not the server's. */
const isOwnPackage = (path: string): boolean => path.startsWith('examples/firebase-chat/')

/** Importers of each outside library. Benchmarks measure libraries by themselves, so they do not count. */
function importersOf(files: readonly SourceFile[]): Map<string, Set<string>> {
  const importers = new Map<string, Set<string>>()
  for (const { path, imports } of files) {
    for (const { from, file, isTypeOnly } of imports) {
      // Types are gone at run time; whoever is handed a part of a library may name its type.
      if (file !== null || isTypeOnly || from.startsWith('node:')) continue
      const name = packageName(from)
      importers.set(name, (importers.get(name) ?? new Set()).add(path))
    }
  }
  return importers
}

test('each outside library is imported by one file', () => {
  const importers = importersOf(
    product.filter(({ path }) => topFolder(path) !== 'bench' && !isOwnPackage(path)),
  )
  importers.delete('hearthdb')

  const shared = [...importers]
    .filter(([, files]) => files.size > 1)
    .map(([name, files]) => `${name}: ${[...files].join(', ')}`)

  expect(shared).toEqual([])
})

test('each dependency is used, and each library that is used is a dependency', () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  const users = product.filter(({ path }) => topFolder(path) !== 'bench' && !isOwnPackage(path))
  const used = [...importersOf(users).keys()]

  expect(used.filter((name) => name !== 'hearthdb').sort()).toEqual(Object.keys(dependencies).sort())
})

/** What package.json offers, examples, and the programs benchmarks start in processes of their own. */
function entryPoints(): string[] {
  const { bin, exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    bin: Record<string, string>
    exports: Record<string, Record<string, string>>
  }
  const doors = Object.values(exports).flatMap((conditions) => Object.values(conditions))
  const built = [...Object.values(bin), ...doors.filter((path) => path.endsWith('.js'))]
  const entries = built.map((path) => path.replace(/^(\.\/)?dist\//, '').replace(/\.js$/, '.ts'))
  const programs = product.flatMap(({ path, text }) =>
    [...text.matchAll(/benchProgram\(\s*'([\w/-]+)'/g)].map((match) => `${topFolder(path)}/${match[1]}.ts`),
  )
  return [
    ...entries,
    ...programs,
    'bench/run.ts',
    ...product.map(({ path }) => path).filter((path) => path.startsWith('examples/')),
  ]
}

function reachableFrom(entries: readonly string[]): Set<string> {
  const reached = new Set<string>()
  const waiting = [...entries]
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (reached.has(path)) continue
    reached.add(path)
    for (const { file } of byPath.get(path)?.imports ?? []) if (file !== null) waiting.push(file)
  }
  return reached
}

test('every import names a file that exists', () => {
  const missing = sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ file }) => file !== null && !existsSync(join(ROOT, file)))
      .map(({ from }) => `${path} imports ${from}`),
  )

  expect(missing).toEqual([])
})

test('no file is dead: each is reached from an entry point, or from a test if only tests use it', () => {
  const reached = reachableFrom(entryPoints())
  const reachedByTests = reachableFrom(
    sources.map(({ path }) => path).filter((path) => path.endsWith('.test.ts')),
  )
  // The store contract's second implementation: what tests run on.
  const forTests = (path: string): boolean => isTest(path) || path === 'server/store/store-memory.ts'

  const dead = sources
    .map(({ path }) => path)
    .filter((path) => !reached.has(path) && !(forTests(path) && reachedByTests.has(path)))

  expect(dead).toEqual([])
})

test('an index re-exports and does nothing else', () => {
  const wrong = product
    .filter(({ path }) => /\/index(-node)?\.ts$/.test(path))
    .filter(({ text }) => {
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
      return code.replace(/export\s+(type\s+)?(\*|\{[^}]*\})\s+from\s+'[^']+'\s*;?/g, '').trim() !== ''
    })
    .map(({ path }) => path)

  expect(wrong).toEqual([])
})

test('every file opens by saying what it is for', () => {
  // Printed in the README, which says what it is for.
  const isPrinted = (path: string): boolean => path === 'examples/ten-lines.ts'

  const silent = product
    .filter(({ path }) => !isPrinted(path))
    .filter(({ path }) => !/\/index(-node)?\.ts$/.test(path))
    .filter(({ text }) => !/^(#!.*\n)?(\/\*\*|\/\/ )/.test(text))
    .map(({ path }) => path)

  expect(silent).toEqual([])
})

test('nothing names a machine: no paths of one, no registry hosts', () => {
  // Split, so that this file does not find itself.
  const places = ['home', 'Users', 'root', 'work', 'tmp'].join('|')
  const machinePath = new RegExp(`(?<![\\w.@-])/(${places})/(?!hearth)[\\w.-]+`)
  const registryHost = /https?:\/\/[^/\s'"]*(registry|artifactory|nexus|verdaccio|mirror)[^/\s'"]*/
  const files = [...FOLDERS.flatMap(filesUnder), ...filesUnder('docs'), ...filesUnder('.ci'), ...rootFiles()]

  const named = files
    .filter((path) => !path.startsWith('bench/results/'))
    .flatMap((path) => {
      const text = readFileSync(join(ROOT, path), 'utf8')
      const found = machinePath.exec(text)?.[0] ?? registryHost.exec(text)?.[0]
      return found === undefined ? [] : [`${path}: ${found}`]
    })

  expect(named).toEqual([])
})

test("the README's ten lines are those of the example", () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')

  const printed = /<!-- ten-lines -->\n```js\n([\s\S]*?)```/.exec(readme)?.[1]

  expect(printed).toBe(readFileSync(join(ROOT, 'examples/ten-lines.ts'), 'utf8'))
})

test('the lock file holds hashes and no addresses', () => {
  const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')

  expect(lock).not.toContain('"resolved": "http')
  expect(lock).toContain('"integrity"')
})

function rootFiles(): string[] {
  return readdirSync(ROOT).filter((name) => /\.(md|json|ts)$|^\.(npmrc|gitignore)$/.test(name))
}
