/**
 * REST client of `hearth import` and `hearth export`: the few requests they make, and what goes wrong with them in
 * one line.
 */
import {
  Agent as HttpAgent,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { formatPath, type Path } from '../../protocol/index.ts'

export interface Target {
  /** `http://host:port` */
  url: string
  database: string
  /** The admin key, or a token; null asks as nobody. */
  token: string | null
}

/** The server cannot be reached, or refused; the message is one line for people. */
export class TransferError extends Error {}

export interface Page {
  text: string
  /** `epoch:revision` it was read at. */
  revision: string
}

interface Answer extends Page {
  status: number
}

export class RestClient {
  readonly #target: Target
  readonly #httpAgent = new HttpAgent({ keepAlive: true })
  readonly #httpsAgent = new HttpsAgent({ keepAlive: true })

  constructor(target: Target) {
    this.#target = target
  }

  /** Whether anything is stored at a path. */
  async hasData(path: Path): Promise<boolean> {
    const { text } = await this.#ask('GET', path, { shallow: 'true', limitToFirst: '1' })
    return text !== 'null'
  }

  async remove(path: Path): Promise<void> {
    await this.#ask('DELETE', path, { print: 'silent' })
  }

  async set(path: Path, value: unknown): Promise<void> {
    await this.#ask('PUT', path, { print: 'silent' }, JSON.stringify(value))
  }

  /** Several locations below a path, in one write. */
  async update(path: Path, children: readonly (readonly [Path, unknown])[]): Promise<void> {
    const body = children.map(
      ([child, value]) => `${JSON.stringify(child.join('/'))}:${JSON.stringify(value)}`,
    )
    await this.#ask('PATCH', path, { print: 'silent' }, `{${body.join(',')}}`)
  }

  /**
   * The stored form of a value.
   * @returns null when it has more than `nodesMax` values.
   */
  whole(path: Path, nodesMax: number): Promise<Page | null> {
    return this.#read(path, { format: 'export', nodesMax: String(nodesMax) })
  }

  /**
   * The stored form of some children, in key order.
   * @param after The key before the first; null from the start.
   * @returns null when they have more than `nodesMax` values.
   */
  children(path: Path, after: string | null, count: number, nodesMax: number): Promise<Page | null> {
    return this.#read(path, {
      format: 'export',
      orderBy: '"$key"',
      limitToFirst: String(count),
      nodesMax: String(nodesMax),
      ...(after === null ? {} : { startAfter: JSON.stringify(after) }),
    })
  }

  /** The key that follows another, or null. */
  async keyAfter(path: Path, after: string | null): Promise<string | null> {
    const start: Record<string, string> = after === null ? {} : { startAfter: JSON.stringify(after) }
    const { text } = await this.#ask('GET', path, { shallow: 'true', limitToFirst: '1', ...start })
    return Object.keys((JSON.parse(text) as object | null) ?? {})[0] ?? null
  }

  async priority(path: Path): Promise<unknown> {
    return JSON.parse((await this.#ask('GET', [...path, '.priority'], {})).text)
  }

  async #read(path: Path, query: Record<string, string>): Promise<Page | null> {
    const { status, text, revision } = await this.#ask('GET', path, query, null, [400])
    if (status !== 400) return { text, revision }
    if (text.includes('exceeds the maximum size')) return null
    throw refusal(status, text)
  }

  async #ask(
    method: string,
    path: Path,
    query: Record<string, string>,
    body: string | null = null,
    expected: readonly number[] = [],
  ): Promise<Answer> {
    const { url, database, token } = this.#target
    const address = `${url.replace(/\/$/, '')}/${path.map(encodeURIComponent).join('/')}.json`
    const parameters = new URLSearchParams({ ns: database, ...query })
    const headers: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` }
    let response: Answer
    try {
      response = await this.#exchange(`${address}?${parameters}`, { method, headers }, body)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      throw new TransferError(`cannot reach ${url}: ${code ?? message}`)
    }
    const { status, text } = response
    if ((status >= 200 && status < 300) || expected.includes(status)) return response
    throw refusal(status, text, formatPath(path))
  }

  /** By `node:http`: `fetch` of Node 20 keeps the body of each request it has sent. */
  #exchange(address: string, options: RequestOptions, body: string | null): Promise<Answer> {
    const isSecure = address.startsWith('https:')
    const agent = isSecure ? this.#httpsAgent : this.#httpAgent
    return new Promise((resolve, reject) => {
      const take = (response: IncomingMessage): void => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          resolve({
            status: response.statusCode!,
            text: Buffer.concat(chunks).toString('utf8'),
            revision: String(response.headers['hearth-revision'] ?? ''),
          })
        })
      }
      const request = (isSecure ? requestHttps : requestHttp)(address, { ...options, agent }, take)
      request.on('error', reject)
      // Its length is told beforehand, so that the server can refuse at once.
      if (body !== null) request.setHeader('Content-Length', Buffer.byteLength(body))
      request.end(body)
    })
  }
}

function refusal(status: number, text: string, path = ''): TransferError {
  let why = text.slice(0, 200)
  try {
    why = String((JSON.parse(text) as { error: unknown }).error)
  } catch {
    // Not one of Hearth's own answers: a proxy's, perhaps.
  }
  const hint = status === 401 ? '; is HEARTH_ADMIN_KEY the key of this server?' : ''
  return new TransferError(
    `the server refused ${path === '' ? 'a request' : path}: ${why} (${status})${hint}`,
  )
}
