/**
 * Conformance: the table of behaviours, through each SDK against a whole server. A row that does not apply to a
 * client is skipped by name, with the reason.
 */
import { describe, test, vi } from 'vitest'
import { OPEN, serve } from '../harness.ts'
import { clientKinds } from './clients.ts'
import { listenRows } from './rows-listens.ts'
import { presenceRows } from './rows-presence.ts'
import { queryRows } from './rows-queries.ts'
import { ruleRows } from './rows-rules.ts'
import { transactionRows } from './rows-transactions.ts'
import { valueRows } from './rows-values.ts'

// The SDKs tell developers about each refusal, and rows are full of them.
for (const method of ['log', 'warn'] as const) vi.spyOn(console, method).mockImplementation(() => {})

const groups = {
  values: valueRows,
  listens: listenRows,
  queries: queryRows,
  transactions: transactionRows,
  rules: ruleRows,
  presence: presenceRows,
}

describe.each(clientKinds)('$name', (kind) => {
  describe.each(Object.entries(groups))('%s', (_, rows) => {
    for (const row of rows) {
      const reason = row.except?.[kind.name]
      test.skipIf(reason !== undefined)(
        reason === undefined ? row.name : `${row.name} (does not apply: ${reason})`,
        async (t) => {
          const rules = row.rules ?? OPEN
          const server = await serve(t, { rules, config: { dev: true } })

          await row.run({
            t,
            server,
            open: (identity = {}) => kind.open(t, server, identity, 'demo', rules),
          })
        },
      )
    }
  })
})
