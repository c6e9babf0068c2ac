#!/usr/bin/env node
/**
 * The process: hands the world to the CLI and ends with its exit code.
 */
import { finishLog, withoutTokens } from './log.ts'
import { whyUnloadable } from './unloadable.ts'

// What nobody caught is a bug, and state may be half changed: say it and end; a supervisor starts anew.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    process.stderr.write(withoutTokens(`hearth: ${error instanceof Error ? error.stack : String(error)}\n`))
    process.exit(1)
  })
}
// Whoever read our output may go (`hearth serve | head -1`); the server does not end for that.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

const { runCli } = await import('./cli.ts').catch((error: unknown) => {
  process.stderr.write(`hearth: ${whyUnloadable(error, process)}\n`)
  process.exit(1)
})
const code = await runCli(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  env: process.env,
  signals: process,
})
await finishLog()
process.exit(code)
