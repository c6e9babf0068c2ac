/** docs/protocol.md against the code: its tables name every message and code, and its bytes are the vectors' bytes. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { closeReasons, requestErrors } from './errors.ts'
import { FRAME_VALUES_MAX, NESTING_MAX } from './msgpack.ts'
import { KEY_BYTES_MAX, PATH_DEPTH_MAX } from './path.ts'
import { BOUND_BYTES_MAX } from './query.ts'
import { ToClientType } from './to-client.ts'
import { ToServerType } from './to-server.ts'
import { STRING_BYTES_MAX } from './value.ts'
import { vectors } from './vectors.model.ts'
import { PROTOCOL_VERSION } from './version.ts'

const text = readFileSync(new URL('../docs/protocol.md', import.meta.url), 'utf8')
const lines = text.split('\n')

/** The rows of the table that follows a heading, cells trimmed, without its head. */
function tableAfter(heading: string, head: string): string[][] {
  const start = lines.indexOf(heading)
  expect(start, heading).toBeGreaterThan(-1)
  const at = lines.findIndex((line, i) => i > start && line.startsWith(head))
  expect(at, head).toBeGreaterThan(-1)
  const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'))
  return lines.slice(at + 2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** Fields of the first vector of a message, in the order of the wire, without type and id. */
function fieldCount(direction: string, type: string): number {
  const vector = vectors.messages.find((v) => v.direction === direction && v.message.type === type)!
  return vector.items.length - (direction === 'toServer' ? 2 : 1)
}

function countFields(cell: string): number {
  return cell === '' ? 0 : cell.split(',').length
}

test('every message to the server has its row, with as many fields as it has', () => {
  const rows = tableAfter('## 3. From client to server', '| Type | Name |')

  expect(rows.map(([number, name]) => [name, Number(number)])).toEqual(Object.entries(ToServerType))
  for (const [, name, fields] of rows)
    expect([name, countFields(fields!)]).toEqual([name, fieldCount('toServer', name!)])
})

test('every message to the client has its row, its fields named in order', () => {
  const rows = tableAfter('## 4. From server to client', '| Type | Name |')

  expect(rows.map(([number, name]) => [name, Number(number)])).toEqual(Object.entries(ToClientType))
  for (const [, name, fields] of rows) {
    if (name === 'ack') continue
    const { message } = vectors.messages.find((v) => v.direction === 'toClient' && v.message.type === name)!
    const named = fields!.split(', ').map((field) => field.replace(' or nil', ''))
    expect(named).toEqual(Object.keys(message).filter((key) => key !== 'type'))
  }
})

test('every error has its row, with its name and whether to retry', () => {
  const rows = tableAfter('## 11. Errors', '| Code | Name |')

  expect(rows.map(([code, name, retry]) => [Number(code), name, retry])).toEqual(
    Object.values(requestErrors).map(({ code, name, retry }) => [code, name, retry ? 'yes' : 'no']),
  )
})

test('every close code has its row', () => {
  const rows = tableAfter('## 10. Heartbeat and reconnecting', '| Code | Name |')

  expect(rows.map(([code, name]) => [Number(code), name])).toEqual(
    Object.entries(closeReasons).map(([name, { code }]) => [code, name]),
  )
})

test('the limits in the text are the limits in the code', () => {
  for (const words of [
    `at most ${PATH_DEPTH_MAX} keys`,
    `1 to ${KEY_BYTES_MAX} bytes`,
    `at most ${STRING_BYTES_MAX.toLocaleString('en')} bytes`,
    `at most ${BOUND_BYTES_MAX} bytes`,
    `more than ${NESTING_MAX} arrays`,
    `${FRAME_VALUES_MAX.toLocaleString('en')} values in a frame`,
    `# The native protocol, version ${PROTOCOL_VERSION}`,
    `/v${PROTOCOL_VERSION}?database=`,
  ]) {
    expect(text.replaceAll('\n', ' '), words).toContain(words)
  }
})

test('the bytes of every example are those of its vector', () => {
  const examples = [...text.matchAll(/```vector (.+)\n([^`]*(?:`[^`\n]+`[^`]*)*)```/g)]

  expect(examples.length).toBe(text.split('```vector').length - 1)
  for (const [, name, body] of examples) {
    expect(`${name}: ${bytesIn(body!)}`).toBe(
      `${name}: ${vectors.messages.find((v) => v.name === name)?.hex}`,
    )
  }
})

/** Of each line what stands before the comment: groups of hex digits, the comment after three spaces or more. */
function bytesIn(example: string): string {
  return example
    .split('\n')
    .map((line) => line.trim().split(/ {3,}/)[0]!.replaceAll(' ', ''))
    .join('')
}
