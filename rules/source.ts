/**
 * Source: a rules text with its line starts, and the list of errors found in it so far. Every part of the
 * pipeline reports through it, so that offsets become places in exactly one file.
 */
import type { Place, RulesError, RulesErrorCode, Snippet } from './errors.ts'

/** Errors, and warnings, of one text. A hostile one has a million of them; nobody reads past these. */
export const FINDINGS_MAX = 100

/** Half-open range of offsets into some text, in UTF-16 units. */
export interface Span {
  start: number
  end: number
}

export class Source {
  readonly text: string
  readonly errors: RulesError[] = []
  private lineStarts: number[] | null = null

  constructor(text: string) {
    this.text = text
  }

  /** Whether further errors would not be kept. */
  get isFull(): boolean {
    return this.errors.length >= FINDINGS_MAX
  }

  placeAt(offset: number): Place {
    const starts = this.starts()
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (starts[middle]! <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - starts[low]! + 1 }
  }

  /** The line a span starts on, with the part of the span that stands on this line. */
  snippet(span: Span): Snippet {
    const place = this.placeAt(span.start)
    const lineStart = span.start - place.column + 1
    let lineEnd = this.text.indexOf('\n', lineStart)
    if (lineEnd < 0) lineEnd = this.text.length
    if (this.text.charCodeAt(lineEnd - 1) === 13) lineEnd -= 1
    return {
      ...place,
      length: Math.max(1, Math.min(span.end, lineEnd) - span.start),
      lineText: this.text.slice(lineStart, Math.max(lineStart, lineEnd)),
    }
  }

  report(code: RulesErrorCode, span: Span, message: string, hint: string | null = null): void {
    if (this.isFull) return
    this.errors.push({ code, message, hint, ...this.snippet(span) })
  }

  private starts(): number[] {
    if (this.lineStarts === null) {
      this.lineStarts = [0]
      for (let at = this.text.indexOf('\n'); at >= 0; at = this.text.indexOf('\n', at + 1)) {
        this.lineStarts.push(at + 1)
      }
    }
    return this.lineStarts
  }
}
