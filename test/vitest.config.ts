import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './support/longest-first.ts';

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/one-slot.ts'],
    // Tests start servers and signal processes: each file has a process of its own.
    pool: 'forks',
    // One more than the cores that CI has: there is always one that waits, for a server's time limit or for the disk.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    reporters: process.env['CI'] ? ['default', ['json', { outputFile: 'data/test-results.json' }]] : ['default'],
    // What is waited for comes about sooner or later, whatever else the machine has to do.
    expect: { poll: { timeout: 10_000 } },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
