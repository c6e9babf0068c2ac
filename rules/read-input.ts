/** Files that a command is given: what cannot be read or written is told in one line. */
import { readFile, writeFile } from 'node:fs/promises'

/** A file, or what is in it, cannot be used as asked. */
export class InputError extends Error {}

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EISDIR: 'is a folder',
  EACCES: 'is closed to this user',
}

/** @throws {InputError} */
export async function readInput(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file)
  } catch (error) {
    throw inputError(file, error)
  }
}

/** @throws {InputError} */
export async function writeOutput(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text)
  } catch (error) {
    throw inputError(file, error)
  }
}

function inputError(file: string, error: unknown): InputError {
  const { code = '', message } = error as NodeJS.ErrnoException
  return new InputError(`${file}: ${PROBLEMS[code] ?? message}`)
}
