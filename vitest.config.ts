import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    // A busy machine may take more than the default second.
    expect: { poll: { timeout: 60_000 } },
    maxWorkers: 2,
  },
});
