/**
 * A store in a process of its own, for tests that kill it: writes groups for ever to the folder it is given, and
 * says `acked N` once the writes below N are flushed.
 */
import { openLmdbStore } from './store-lmdb.ts'

async function writeForEver(folder: string): Promise<void> {
  const store = await openLmdbStore({ folder })
  store.declareIndexes([
    { steps: ['list'], indexOn: 'n' },
    { steps: ['churn'], indexOn: 'a' },
  ])
  for (let n = 0; ; ) {
    for (let i = 0; i < 20; i++, n++) {
      store.stage([{ path: ['list', `k${n}`], value: { n, text: `text of ${n}` } }])
      // Objects turn into branches and back into nothing on the way.
      store.stage([
        { path: ['churn', String(n % 50)], value: n % 3 === 0 ? null : { a: 'x'.repeat(n % 900) } },
      ])
    }
    store.workOnIndexes(10)
    await store.flush()
    console.log(`acked ${n}`)
  }
}

void writeForEver(process.argv[2]!)
