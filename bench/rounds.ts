/**
 * Rounds: every system is measured once a round, in turn, and the median over the rounds counts. A machine's other work
 * comes and goes; in turn it meets every system alike.
 */
export async function inRounds<Subject, Result>(
  rounds: number,
  subjects: readonly Subject[],
  measure: (subject: Subject) => Promise<Result>,
): Promise<Map<Subject, Result[]>> {
  const results = new Map<Subject, Result[]>(subjects.map((subject) => [subject, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const subject of subjects) results.get(subject)!.push(await measure(subject))
  }
  return results
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

/** The median of each number of equal records. */
export function medians<R extends Record<string, number>>(records: readonly R[]): R {
  const keys = Object.keys(records[0]!) as (keyof R)[]
  return Object.fromEntries(keys.map((key) => [key, median(records.map((record) => record[key]!))])) as R
}
