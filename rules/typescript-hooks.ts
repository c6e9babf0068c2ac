/**
 * TypeScript hooks: let Node import tables of tests written in TypeScript, and what those import, on every version of
 * Node alike. Loaded by Node into its thread for module hooks, never imported. The only importer of sucrase.
 */
import { readFile } from 'node:fs/promises'
import type { LoadHook, ResolveHook } from 'node:module'
import { fileURLToPath } from 'node:url'
import { transform } from 'sucrase'

const TYPESCRIPT = /^file:.*\.m?ts$/

/** A table may stand in a project that has not installed this package: `hearthdb/...` is then this one. */
export const resolve: ResolveHook = async (specifier, context, next) => {
  try {
    return await next(specifier, context)
  } catch (error) {
    if (!specifier.startsWith('hearthdb/')) throw error
    return next(specifier, { ...context, parentURL: import.meta.url })
  }
}

/** Types go, and with them imports of nothing but types; lines stay where they were. */
export const load: LoadHook = async (url, context, next) => {
  if (!TYPESCRIPT.test(url)) return next(url, context)
  const filePath = fileURLToPath(url)
  const { code } = transform(await readFile(filePath, 'utf8'), {
    transforms: ['typescript'],
    disableESTransforms: true,
  })
  return { format: 'module', source: code, shortCircuit: true }
}
