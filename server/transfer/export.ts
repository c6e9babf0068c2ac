/**
 * Export: a database as JSON, read a page at a time. What is small enough is read whole; of what is not, so many
 * children at once as make a page; and a child that is too large for a page is exported in the same way.
 *
 * Each page is true for the moment it was read. Whether anything was written meanwhile is told at the end.
 */
import { compareKeys, type Path } from '../../protocol/index.ts'
import type { RestClient } from './rest-client.ts'

export interface ExportRequest {
  client: RestClient
  path: Path
  /** Waits where the reader of the export is slow. */
  write(text: string): Promise<void>
  progress(bytes: number): void
}

export interface Exported {
  bytes: number
  /** Something was written to the database between the first page and the last. */
  hasChanged: boolean
}

/** Values of one page: a few milliseconds of the server's loop. */
const NODES_MAX = 10_000
/** Values and bytes a page should have: well below the most, since a page with more is read for nothing. */
const PAGE_NODES = 7500
const PAGE_BYTES = 1024 * 1024
const COUNT_MAX = 5000
/** Pages grow by this factor at most, since the next children may be larger. */
const GROWTH = 8

/** @throws {TransferError} */
export async function exportJson(request: ExportRequest): Promise<Exported> {
  const pages = new Pages(request)
  await pages.node(request.path)
  await pages.write('\n')
  return { bytes: pages.bytes, hasChanged: pages.revisions.size > 1 }
}

class Pages {
  readonly revisions = new Set<string>()
  bytes = 0
  readonly #request: ExportRequest

  constructor(request: ExportRequest) {
    this.#request = request
  }

  async write(text: string): Promise<void> {
    this.bytes += Buffer.byteLength(text)
    await this.#request.write(text)
    this.#request.progress(this.bytes)
  }

  async node(path: Path): Promise<void> {
    const whole = await this.#request.client.whole(path, NODES_MAX)
    if (whole === null) {
      await this.#children(path)
      return
    }
    this.#saw(whole.revision)
    await this.write(whole.text)
  }

  async #children(path: Path): Promise<void> {
    const { client } = this.#request
    let before = '{'
    let after: string | null = null
    let count = 1
    for (;;) {
      const page = await client.children(path, after, count, NODES_MAX)
      if (page === null && count > 1) {
        count = Math.max(1, Math.floor(count / GROWTH))
        continue
      }
      if (page === null) {
        const key = await client.keyAfter(path, after)
        if (key === null) break
        await this.write(`${before}${JSON.stringify(key)}:`)
        await this.node([...path, key])
        after = key
      } else {
        this.#saw(page.revision)
        const children = JSON.parse(page.text) as object | null
        const last = lastKey(children)
        if (last === null) break
        // The page is an object: its members go into the larger one as they are.
        await this.write(before + page.text.slice(1, -1))
        after = last
        // The next children are likely as large as these.
        const ideal = count * Math.min(PAGE_BYTES / page.text.length, PAGE_NODES / leavesOf(children))
        count = Math.min(COUNT_MAX, Math.max(1, Math.min(Math.ceil(ideal), count * GROWTH)))
      }
      before = ','
    }
    const priority = await client.priority(path)
    // Everything was deleted meanwhile.
    if (before === '{') await this.write('null')
    else await this.write(priority === null ? '}' : `,".priority":${JSON.stringify(priority)}}`)
  }

  #saw(revision: string): void {
    if (this.revisions.size < 2) this.revisions.add(revision)
  }
}

/** JSON objects have no order of their own. */
function lastKey(children: object | null): string | null {
  let last: string | null = null
  for (const key of Object.keys(children ?? {})) {
    if (last === null || compareKeys(key, last) > 0) last = key
  }
  return last
}

function leavesOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  let leaves = 0
  for (const child of Object.values(value)) leaves += leavesOf(child)
  return leaves
}
