/**
 * Random ids that nobody can guess: sessions, denials, store epochs.
 */
import { nanoid } from 'nanoid'

/** @param length Characters of 6 bits each; 21 are as hard to guess as a UUID. */
export function randomId(length = 21): string {
  return nanoid(length)
}
