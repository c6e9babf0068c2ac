/**
 * What is installed: programs of the system, packages of this repository, and packages of bench/peers.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const PEERS = fileURLToPath(new URL('../../../bench/peers', import.meta.url))
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** What the program says of its version, or null when there is none. Daemons often live outside of a user's PATH. */
export function programVersion(program: string, ...args: string[]): string | null {
  const { error, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: daemonPath() },
  })
  if (error !== undefined) return null
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? 'of unknown version'
}

export function daemonPath(): string {
  return `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`
}

export function peerVersion(name: string): string | null {
  return packageVersion(`${PEERS}/node_modules/${name}/package.json`)
}

export function dependencyVersion(name: string): string | null {
  return packageVersion(`${ROOT}/node_modules/${name}/package.json`)
}

function packageVersion(file: string): string | null {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
  } catch {
    return null
  }
}
