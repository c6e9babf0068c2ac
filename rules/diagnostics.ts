/** Diagnostics: errors and warnings of one file, for people and for programs. What `hearth rules check` prints. */
import { firebaseMessage, formatError, formatSnippet, type RulesError } from './errors.ts'
import { lintRules, type Warning } from './lint.ts'
import { analyzeRules, type LoadOptions } from './load.ts'

export interface CheckReport {
  fileName: string
  errors: readonly RulesError[]
  warnings: readonly Warning[]
  /** Sound rules found. */
  rules: number
}

export function checkFile(
  fileName: string,
  text: string | Uint8Array,
  options: LoadOptions = {},
): CheckReport {
  const analysis = analyzeRules(text, options)
  return { fileName, errors: analysis.errors, warnings: lintRules(analysis), rules: analysis.rules.length }
}

export function formatReport({ fileName, errors, warnings, rules }: CheckReport): string {
  const blocks = [
    ...errors.map((error) => formatError(error, fileName)),
    ...warnings.map((warning) => formatWarning(warning, fileName)),
  ]
  const count = (number: number, word: string) => `${number} ${word}${number === 1 ? '' : 's'}`
  const summary = `${fileName}: ${count(rules, 'rule')}, ${count(errors.length, 'error')}, ${count(warnings.length, 'warning')}`
  return [...blocks, summary].join('\n\n')
}

function formatWarning(warning: Warning, fileName: string): string {
  const { line, column, message, id } = warning
  return `${fileName}:${line}:${column}  warning: ${message} [${id}]\n${formatSnippet(warning, warning.fix)}`
}

/** One object per finding, for editors and CI. */
export function reportJson({ fileName, errors, warnings, rules }: CheckReport): unknown {
  return {
    file: fileName,
    rules,
    errors: errors.map((error) => ({ ...error, firebase: firebaseMessage(error) })),
    warnings,
  }
}
