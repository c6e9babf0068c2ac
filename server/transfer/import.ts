/**
 * Import: a JSON text of any size into a database, a batch at a time.
 */
import type { Readable } from 'node:stream'
import type { Path } from '../../protocol/index.ts'
import { type Batch, ImportBatches } from './import-batches.ts'
import { JsonReadError, JsonReader } from './json-reader.ts'
import { type RestClient, TransferError } from './rest-client.ts'

export interface ImportRequest {
  client: RestClient
  source: Readable
  /** How messages name the source. */
  name: string
  path: Path
  /** What happens to data that is there already. */
  existing: 'refuse' | 'overwrite' | 'merge'
  progress(bytes: number, values: number): void
}

/** Whoever started the import wants it to end; its source fails with this. */
export class InterruptedError extends TransferError {
  readonly signal: 'SIGINT' | 'SIGTERM'

  constructor(signal: 'SIGINT' | 'SIGTERM', message = 'interrupted') {
    super(message)
    this.signal = signal
  }
}

/** Containers within each other; a value may lie 32 keys deep, and its priority in an object of its own. */
const DEPTH_MAX = 40
/** The longest string is 10 MB, and each byte of it may be written as an escape of six. */
const TOKEN_BYTES_MAX = 64 * 1024 * 1024

/** @returns What was read. @throws {TransferError} */
export async function importJson(request: ImportRequest): Promise<{ bytes: number; values: number }> {
  const { client, source, path, existing, progress } = request
  // Nobody reads the source yet: without a listener its failure would end the process.
  if (existing === 'refuse' && (await Promise.race([client.hasData(path), failureOf(source)]))) {
    throw new TransferError(
      `there is data at /${path.join('/')} already; --overwrite replaces it, --merge keeps what the file does not name`,
    )
  }
  let mustRemove = existing === 'overwrite'
  const batches = new ImportBatches(existing === 'merge')
  const reader = new JsonReader(batches, { depthMax: DEPTH_MAX, tokenBytesMax: TOKEN_BYTES_MAX })
  let bytes = 0
  let storedCount = 0
  // The next batch is read while one is being written; never two are written at once, since a priority may come
  // after the node it belongs to.
  let writing: Promise<void> = Promise.resolve()
  const send = async (): Promise<void> => {
    for (let next = batches.ready.shift(); next !== undefined; next = batches.ready.shift()) {
      const { batch, valueCount } = next
      await writing
      // Not before there is something to write; and what comes in one piece replaces all there is by itself.
      if (mustRemove && !isWhole(batch)) await client.remove(path)
      mustRemove = false
      writing = write(client, path, batch).then(() => {
        storedCount = valueCount
      })
      // Heard of at the next turn of the loop; until then nobody awaits it.
      writing.catch(() => {})
    }
  }
  try {
    for await (const chunk of source) {
      bytes += chunk.length
      reader.write(chunk)
      await send()
      progress(bytes, batches.valueCount)
    }
    reader.end()
    batches.finish()
    await send()
    await writing
  } catch (error) {
    await writing.catch(() => {})
    if (!(error instanceof JsonReadError || error instanceof TransferError)) throw error
    const place = `${request.name}:${reader.line}:${reader.column}`
    if (error instanceof InterruptedError) {
      throw new InterruptedError(error.signal, `interrupted at ${place}${rest(storedCount, existing, '')}`)
    }
    // What the server refuses was read before this place.
    const what =
      error instanceof JsonReadError ? `${place}: ${error.message}` : `${error.message}; before ${place}`
    throw new TransferError(what + rest(storedCount, existing, 'mend it, and '))
  }
  return { bytes, values: batches.valueCount }
}

function failureOf(source: Readable): Promise<never> {
  return new Promise((_, reject) => source.once('error', reject))
}

/** A failed import is no transaction: what to do about the part that is there. */
function rest(storedCount: number, existing: ImportRequest['existing'], first: string): string {
  if (storedCount === 0) return ''
  const next = existing === 'merge' ? 'repeat the import' : '--overwrite begins anew'
  return `; the first ${storedCount.toLocaleString('en')} values are stored: ${first}${next}`
}

function isWhole(batch: Batch): boolean {
  return batch.length === 1 && batch[0]![0].length === 0
}

async function write(client: RestClient, path: Path, batch: Batch): Promise<void> {
  if (isWhole(batch)) await client.set(path, batch[0]![1])
  else await client.update(path, batch)
}
