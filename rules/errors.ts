/**
 * RulesError: what is wrong with a rules text, and where. Messages are Firebase's where Firebase has one, so
 * that a search for the text finds its answers; everything Hearth adds of its own goes into `hint`.
 */

/** A place in the text: lines and columns count from 1, columns in UTF-16 units, as editors show them. */
export interface Place {
  line: number
  column: number
}

export type RulesErrorCode =
  /** The text is not in the JSON dialect. */
  | 'json'
  /** The JSON is well formed, but it is not a tree of rules. */
  | 'structure'
  /** An expression does not parse. */
  | 'syntax'
  /** An expression uses an unknown name, a wrong type or a wrong number of arguments. */
  | 'type'
  /** A regular expression outside the dialect. */
  | 'regexp'
  /** The text passes one of the limits. */
  | 'limit'

export interface RulesError extends Place {
  code: RulesErrorCode
  message: string
  /** One more line that says what to do, or null. */
  hint: string | null
  /** How many characters the caret underlines, at least 1. */
  length: number
  /** The whole line the error stands on, without its line break. */
  lineText: string
}

/** `line:column: message`, the form in which Firebase answers a deploy. */
export function firebaseMessage(error: RulesError): string {
  return `${error.line}:${error.column}: ${error.message}`
}

/**
 * The error with its line and a caret under the place:
 *
 *   database.rules.json:14:17  Unknown variable 'newDta'.
 *      14 |     ".write": "newDta.exists()"
 *         |                ^^^^^^
 *         = did you mean `newData`?
 */
export function formatError(error: RulesError, fileName: string): string {
  return `${fileName}:${error.line}:${error.column}  ${error.message}\n${formatSnippet(error, error.hint)}`
}

export interface Snippet extends Place {
  length: number
  lineText: string
}

/** Characters of a line that are shown; a minified file would fill the screen otherwise. */
const SNIPPET_WIDTH = 110

export function formatSnippet(at: Snippet, note: string | null): string {
  let text = at.lineText.replaceAll('\t', ' ')
  let column = at.column
  if (text.length > SNIPPET_WIDTH) {
    const from = Math.max(0, Math.min(column - 1 - SNIPPET_WIDTH / 2, text.length - SNIPPET_WIDTH))
    text = `${from > 0 ? '…' : ''}${text.slice(from, from + SNIPPET_WIDTH)}${from + SNIPPET_WIDTH < text.length ? '…' : ''}`
    column = column - from + (from > 0 ? 1 : 0)
  }
  const number = String(at.line).padStart(5)
  const margin = ' '.repeat(number.length)
  const caret = '^'.repeat(Math.max(1, Math.min(at.length, text.length - column + 1)))
  const lines = [`${number} | ${text}`, `${margin} | ${' '.repeat(column - 1)}${caret}`]
  if (note !== null) for (const line of note.split('\n')) lines.push(`${margin} = ${line}`)
  return lines.join('\n')
}
