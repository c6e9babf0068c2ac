/**
 * REST client of `hearth import` and `hearth export`: the few requests they make, and what goes wrong with them in
 * one line.
 */
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

export class RestClient {
  readonly #target: Target

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
  ): Promise<Page & { status: number }> {
    const { url, database, token } = this.#target
    const address = `${url.replace(/\/$/, '')}/${path.map(encodeURIComponent).join('/')}.json`
    const parameters = new URLSearchParams({ ns: database, ...query })
    const headers: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` }
    let response: Response
    let text: string
    try {
      response = await fetch(`${address}?${parameters}`, { method, headers, body })
      text = await response.text()
    } catch (error) {
      const cause = (error as { cause?: { code?: string; message?: string } }).cause
      const why = cause?.code ?? cause?.message ?? (error as Error).message
      throw new TransferError(`cannot reach ${url}: ${why}`)
    }
    if (response.ok || expected.includes(response.status)) {
      return { status: response.status, text, revision: response.headers.get('hearth-revision') ?? '' }
    }
    throw refusal(response.status, text, formatPath(path))
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
