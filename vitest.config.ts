import { defineConfig } from 'vitest/config'

/** Whole servers, by every door; run once more with two worker threads. */
const WITH_WORKERS = [
  'server/test/{core,query,rights,slow-consumer,messages,presence,delivery,resume,budget}.e2e.test.ts',
  'server/test/firebase/{conformance,wire,slow,bad-input,long-poll}.test.ts',
  'server/test/rest/{verbs,event-stream,settings,connections}.test.ts',
]

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 20_000,
    globalSetup: ['server/test/worker-entry.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'one-thread',
          include: ['{protocol,rules,server,client,bench,examples}/**/*.test.ts'],
        },
      },
      {
        extends: true,
        test: { name: 'two-workers', include: WITH_WORKERS, env: { TEST_WORKERS: '2' } },
      },
    ],
  },
})
