import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{protocol,rules,server,client,bench,examples}/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})
