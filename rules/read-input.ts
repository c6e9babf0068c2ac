/** Files that a command is given: what cannot be read is told in one line. */
import { readFile } from 'node:fs/promises'

/** A file, or what is in it, cannot be used as asked. */
export class InputError extends Error {}

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EISDIR: 'is a folder',
  EACCES: 'may not be read',
}

/** @throws {InputError} */
export async function readInput(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new InputError(`${file}: ${PROBLEMS[code] ?? message}`)
  }
}
