/**
 * A server under measurement: its own process, its CPU time as the operating system counts it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { daemonPath } from './systems/installed.ts'

/** A server must not outlive a benchmark that failed: it would be measured along with the next one. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

/** Ends those that a benchmark left running. */
export async function stopServers(): Promise<void> {
  await Promise.all([...running].map(killed))
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGKILL')
  await closed
}

function spawnServer(command: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const [program, ...args] = command
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'], env })
  running.add(child)
  child.once('close', () => running.delete(child))
  return child
}

export class ServerProcess {
  readonly #child: ChildProcess
  readonly port: number
  /** What it prints after its address. */
  readonly lines: string[] = []
  readonly #cleanUp: () => void

  private constructor(child: ChildProcess, port: number, cleanUp: () => void) {
    this.#child = child
    this.port = port
    this.#cleanUp = cleanUp
    let rest = ''
    child.stdout!.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop()!
      this.lines.push(...lines)
    })
  }

  /**
   * Starts a command and waits until it prints an address that ends in `:port`.
   * @param command Program and arguments.
   */
  static start(
    command: readonly string[],
    options: { env?: Record<string, string>; cleanUp?: () => void } = {},
  ): Promise<ServerProcess> {
    const child = spawnServer(command, { ...process.env, ...options.env })
    return new Promise((resolve, reject) => {
      let output = ''
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`${command.join(' ')} exited with ${code}: ${output}`)))
      child.stdout!.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        const port = /(?:127\.0\.0\.1|localhost|0\.0\.0\.0):(\d+)/.exec(output)?.[1]
        if (port !== undefined) {
          child.removeAllListeners('exit')
          resolve(new ServerProcess(child, Number(port), options.cleanUp ?? (() => {})))
        }
      })
    })
  }

  /**
   * Starts a server that is told its port, and waits until it accepts connections.
   * @param commandOn Program and arguments for a port.
   */
  static async startOn(
    commandOn: (port: number) => readonly string[],
    cleanUp: () => void = () => {},
  ): Promise<ServerProcess> {
    const port = await freePort()
    const command = commandOn(port)
    const child = spawnServer(command, { ...process.env, PATH: daemonPath() })
    let failure: Error | null = null
    child.once('error', (error) => {
      failure = error
    })
    child.once('exit', (code) => {
      failure = new Error(`${command[0]} exited with ${code}`)
    })
    for (let attempt = 0; attempt < 200 && !(await isReachable(port)); attempt++) {
      if (failure !== null) throw failure
      await pause(0.05)
    }
    child.removeAllListeners('exit')
    return new ServerProcess(child, port, cleanUp)
  }

  /**
   * Hearth on an empty data folder with the benchmark's rules, durability flushed.
   * @param rulesFile Of this folder.
   */
  static hearth(env: Record<string, string> = {}, rulesFile = 'database.rules.json'): Promise<ServerProcess> {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-bench-'))
    const main = fileURLToPath(new URL('../server/main.js', import.meta.url))
    const rules = fileURLToPath(new URL(`../../bench/${rulesFile}`, import.meta.url))
    return ServerProcess.start(
      [process.execPath, main, 'serve', '--port', '0', '--data', folder, '--rules', rules],
      {
        env: { HEARTH_LOG_LEVEL: 'warn', ...env },
        cleanUp: () => rmSync(folder, { recursive: true, force: true }),
      },
    )
  }

  /** Microseconds of CPU, user and system, of all the process's threads so far. */
  cpuMicros(): number {
    const tasks = `/proc/${this.#child.pid}/task`
    let nanos = 0
    for (const task of readdirSync(tasks)) {
      nanos += Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0])
    }
    return nanos / 1000
  }

  /** Resident memory, bytes. */
  residentBytes(): number {
    return Number(readFileSync(`/proc/${this.#child.pid}/statm`, 'utf8').split(' ')[1]) * 4096
  }

  async stop(): Promise<void> {
    await killed(this.#child)
    this.#cleanUp()
  }
}

/**
 * Below the ports that systems hand out by themselves (from 32768 on Linux): one of those could go to another process
 * before the server binds it, and that one would be measured.
 */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!isFree) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

function isReachable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** A program of this folder, run by this Node. */
export function benchProgram(name: string, ...args: string[]): string[] {
  return [process.execPath, fileURLToPath(new URL(`./${name}.js`, import.meta.url)), ...args]
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}
