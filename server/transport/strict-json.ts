/**
 * Strict JSON out of the dialect of rules files: comments and trailing commas go, raw line breaks and tabs inside
 * strings are escaped; everything else stays as it was written.
 */

const COMMENT_STRING_OR_COMMA =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\]|\\[\s\S])*"|,(?=(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*[}\]])/g

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** @param text Rules that were loaded, so its strings and comments are closed. */
export function strictJson(text: string): string {
  return text.replace(COMMENT_STRING_OR_COMMA, (part) => {
    if (part.startsWith('"')) return part.replace(/[\n\r\t]/g, (control) => ESCAPES[control]!)
    return part.startsWith('/') ? ' ' : ''
  })
}
