/**
 * A store in a process of its own, for tests that kill it: writes groups for ever to the folder it is given, and
 * says `acked N` once the writes below N are flushed. With `building` it makes a list of 3,000 if there is none, and
 * builds its index beside writes to it, saying `built to N`.
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

async function build(folder: string): Promise<void> {
  const store = await openLmdbStore({ folder, indexedAtOnce: 100 })
  if (store.flushed.valueAt(['old']) === null) {
    const old = Array.from({ length: 3000 }, (_, i) => [`k${String(i).padStart(7, '0')}`, { n: i % 97 }])
    store.stage([{ path: ['old'], value: Object.fromEntries(old) }])
    await store.flush()
  }
  store.declareIndexes([{ steps: ['old'], indexOn: 'n' }])
  for (let i = 0; ; i++) {
    const key = `k${String((i * 7919) % 3000).padStart(7, '0')}`
    store.stage([{ path: ['old', key], value: i % 5 === 0 ? null : { n: i } }])
    store.stage([{ path: ['old', `l${i}`], value: i % 2 === 0 ? { n: -i } : { n: i, '.priority': i } }])
    store.workOnIndexes(20)
    await store.flush()
    console.log(`built to ${store.indexProgress.childrenIndexed}`)
  }
}

const [folder, task] = process.argv.slice(2)
void (task === 'building' ? build(folder!) : writeForEver(folder!))
