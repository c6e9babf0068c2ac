import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { LogStream } from './log-stream.ts'

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

interface Pipe {
  /** Of who writes. */
  fd: number
  /** What is there now, maybe nothing. */
  read(): string
  leave(): void
  comeBack(): void
}

/** A pipe as a shell makes it between two programs. */
function openPipe(): Pipe {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-log-'))
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  let reader = openSync(path, O_RDONLY | O_NONBLOCK)
  const fd = openSync(path, O_WRONLY | O_NONBLOCK)
  onTestFinished(() => {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  })
  const bytes = Buffer.alloc(1024 * 1024)
  return {
    fd,
    read: () => {
      try {
        return bytes.toString('latin1', 0, readSync(reader, bytes))
      } catch {
        return ''
      }
    },
    leave: () => closeSync(reader),
    comeBack: () => {
      reader = openSync(path, O_RDONLY | O_NONBLOCK)
    },
  }
}

function line(n: number): string {
  return `${String(n).padStart(8, '0')} ${'x'.repeat(90)}\n`
}

test('lines arrive in their order', async () => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  const lines = Array.from({ length: 300 }, (_, n) => line(n))

  for (const one of lines) stream.write(one)
  await stream.finished(10_000)

  expect(pipe.read()).toBe(lines.join(''))
})

test('a reader that is stuck holds up nothing and costs a bounded memory; it is told whole lines when it reads on', async () => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  for (let n = 0; n < 200_000; n++) stream.write(line(n))
  await stream.finished(1)
  expect(stream.waitingLength).toBeLessThanOrEqual(8 * 1024 * 1024)

  let heard = ''
  while (stream.waitingLength > 0) {
    heard += pipe.read()
    await stream.finished(1)
  }
  await stream.finished(10_000)
  heard += pipe.read()

  const lines = heard.split(/(?<=\n)/)
  expect(lines.length).toBeGreaterThan(80_000)
  expect(lines.every((one, n) => one === line(n))).toBe(true)
})

test('how many lines were lost is said once, behind those that were not', async () => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  stream.onLost = (lines) => stream.write(`${lines} lost\n`)
  for (let n = 0; n < 200_000; n++) stream.write(line(n))

  let heard = ''
  while (stream.waitingLength > 0) {
    heard += pipe.read()
    await stream.finished(1)
  }
  await stream.finished(10_000)
  stream.write('later\n')
  await stream.finished(10_000)
  heard += pipe.read()

  const [later, told, last] = heard.trimEnd().split('\n').reverse()
  expect(later).toBe('later')
  expect(told).toBe(`${stream.linesLost} lost`)
  expect(`${last}\n`).toBe(line(200_000 - stream.linesLost - 1))
})

test('what was lost while there was no reader is told to the next one', async () => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  stream.onLost = (lines) => stream.write(`${lines} lost\n`)
  pipe.leave()
  for (let n = 0; n < 100; n++) stream.write(line(n))
  await stream.finished(10_000)

  pipe.comeBack()
  stream.write('again\n')
  await stream.finished(10_000)

  expect(pipe.read()).toBe('again\n100 lost\n')
})

test('when the reader has gone its lines are lost; who reads in its place hears what comes then', async () => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  pipe.leave()
  for (let n = 0; n < 100; n++) stream.write(line(n))
  await stream.finished(10_000)
  expect(stream.waitingLength).toBe(0)

  pipe.comeBack()
  stream.write('again\n')
  await stream.finished(10_000)

  expect(pipe.read()).toBe('again\n')
})

test.each(['stuck', 'gone'])('what is left at the end is not waited for where the reader is %s', (what) => {
  const pipe = openPipe()
  const stream = new LogStream(pipe.fd)
  if (what === 'gone') pipe.leave()
  for (let n = 0; n < 10_000; n++) stream.write(line(n))

  stream.writeRest()

  if (what === 'stuck') expect(pipe.read()).toContain(line(100))
})
