import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLiveness, type Liveness } from '../../src/telemetry/liveness.ts';

const silenceMsMax = 60_000;
let storage: 'answers' | 'is away' | 'hangs';
let liveness: Liveness;
let signMs: number;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  storage = 'answers';
  signMs = Date.now();
  liveness = createLiveness({
    clock: { now: () => Date.now() },
    silenceMsMax,
    storageAnswers: () =>
      storage === 'hangs'
        ? new Promise((resolve) => setTimeout(resolve, 5_000, false))
        : Promise.resolve(storage === 'answers'),
  });
  liveness.watch('worker', () => signMs);
});

afterEach(() => {
  liveness.close();
  vi.useRealTimers();
});

const pass = async (ms: number): Promise<void> => void (await vi.advanceTimersByTimeAsync(ms));

it('a part that gives signs of life is alive, for however long', async () => {
  for (let round = 0; round < 20; round += 1) {
    await pass(30_000);
    signMs = Date.now();
    expect(liveness.check()).toEqual({ worker: 'ok' });
  }
});

it('a part that gives none is alive for as long as it may be silent, and not any longer, though Redis answers', async () => {
  await pass(silenceMsMax);
  expect(liveness.check()).toEqual({ worker: 'ok' });
  await pass(1_000);
  expect(liveness.check()).toEqual({ worker: 'no sign of life for 61 s' });
  signMs = Date.now();
  expect(liveness.check()).toEqual({ worker: 'ok' });
});

it.each(['is away', 'hangs'] as const)(
  'while Redis %s nothing is stuck, and the silence counts from its return',
  async (how) => {
    storage = how;
    await pass(60 * 60_000);
    expect(liveness.check()).toEqual({ worker: 'ok' });
    storage = 'answers';
    await pass(silenceMsMax - 10_000);
    expect(liveness.check()).toEqual({ worker: 'ok' });
    await pass(silenceMsMax);
    expect(liveness.check()['worker']).toMatch(/^no sign of life/);
  },
);

it('a process that stood still as a whole is not stuck when it goes on', async () => {
  vi.setSystemTime(Date.now() + 60 * 60_000);
  expect(liveness.check()).toEqual({ worker: 'ok' });
  await pass(silenceMsMax + 10_000);
  expect(liveness.check()['worker']).toMatch(/^no sign of life/);
});

it('what stops may be silent', async () => {
  await pass(10 * silenceMsMax);
  liveness.close();
  expect(liveness.check()).toEqual({});
});
