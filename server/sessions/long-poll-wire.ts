/**
 * What long polls carry: segments of messages in the URL of a poll, and scripts that call back into the page.
 */
import { strict as assert } from 'node:assert'

/** Polls overtake each other, but there are at most two under way. */
const SEGMENTS_AHEAD_MAX = 64
/**
 * Messages out of the segments that polls bring: `seg<i>` counts all segments of a connection, `ts<i>` says how many
 * the message has, `d<i>` is a part of its web-safe base64.
 */
export class Segments {
  #next = 0
  readonly #ahead = new Map<number, { of: number; data: string }>()
  #parts: string[] = []
  #units = 0

  /** @returns Messages that are whole now, or null when this is no client of ours. */
  add(query: URLSearchParams, unitsMax: number): string[] | null {
    for (let i = 0; query.has(`seg${i}`); i++) {
      const number = Number(query.get(`seg${i}`))
      const of = Number(query.get(`ts${i}`))
      const data = query.get(`d${i}`) ?? ''
      if (!Number.isSafeInteger(number) || !Number.isSafeInteger(of) || of < 1) return null
      if (number > this.#next + SEGMENTS_AHEAD_MAX) return null
      if (number >= this.#next) this.#ahead.set(number, { of, data })
    }
    const messages: string[] = []
    for (;;) {
      const segment = this.#ahead.get(this.#next)
      if (segment === undefined) return messages
      this.#ahead.delete(this.#next)
      this.#next += 1
      this.#parts.push(segment.data)
      this.#units += segment.data.length
      // Base64 takes four characters for three bytes, and a unit is at most three bytes.
      if (this.#units > unitsMax * 4) return null
      if (this.#parts.length < segment.of) continue
      messages.push(decoded(this.#parts.join('')))
      this.#parts = []
      this.#units = 0
    }
  }
}

function decoded(webSafe: string): string {
  return Buffer.from(webSafe.replace(/\./g, ''), 'base64url').toString()
}

/** @param messages JSON texts: values of a script as they are, but for what would end it. */
export function dataScript(number: number, messages: readonly string[]): string {
  return `pRTLPCB(${number},[${messages.join(',').replace(/</g, '\\u003c')}]);`
}

export function closeScript(): string {
  return "pLPCommand('close');"
}

/**
 * The first script of a connection: makes the callbacks that later ones call, in the frame they are loaded into.
 * @param callback The page's number for this connection, as it sent it.
 * @param first What `start` gave.
 */
export function startScript(callback: string, id: string, password: string, first: string): string {
  assert(/^\w{0,32}$/.test(callback) && /^[\w-]+$/.test(id) && /^[\w-]+$/.test(password))
  const forward = (name: string, parameters: string): string =>
    `function ${name}(${parameters}){var f=parent.window[${JSON.stringify(name + callback)}];if(f)f(${parameters});}`
  return [
    forward('pLPCommand', 'c,a1,a2,a3,a4'),
    forward('pRTLPCB', 'n,d'),
    `pLPCommand('start','${id}','${password}');`,
    first,
  ].join('\n')
}

/** A page for a frame of its own: as it is taken down, the server is told that the page has left. */
export function farewellPage(url: string): string {
  const script = [
    `var url=${JSON.stringify(url)},told=false;`,
    "function tell(){if(told)return;told=true;try{fetch(url,{keepalive:true,mode:'no-cors'});}catch(e){}}",
    "addEventListener('pagehide',tell);addEventListener('unload',tell);",
  ].join('')
  return `<!doctype html><html><body><script>${script.replace(/</g, '\\u003c')}</script></body></html>`
}
