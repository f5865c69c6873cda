/** What is written of a session's progress, and when. */
import { expect, test } from 'vitest';
import type { Fetch, FetchProgress } from '../../src/fetch/fetch.ts';
import { progressEveryMs } from '../../src/fetch/limits.ts';
import { Progress } from '../../src/fetch/progress.ts';

function open() {
  const written: Partial<FetchProgress>[] = [];
  const clock = { nowMs: 1_000_000, now: () => clock.nowMs };
  const records = { writeProgress: async (_ref: unknown, _token: number, what: object) => void written.push(what) };
  return { written, clock, progress: new Progress({ clock, records }, { id: 'fch_1' } as Fetch, 7) };
}

test('what is noted goes with the next write, once; what nobody wrote is there for the end', async () => {
  const { written, progress } = open();
  progress.note({ listed: 3 });
  progress.note({ skipped: 1 });
  expect(written).toEqual([]);
  await progress.write({ failed: 2 });
  expect(written).toEqual([{ listed: 3, skipped: 1, failed: 2, phases: {} }]);
  progress.note({ failed: 3 });
  expect(progress.unwritten).toEqual({ failed: 3, phases: {} });
});

test('a session of many messages writes its progress no oftener than somebody would see', async () => {
  const { written, clock, progress } = open();
  for (const failed of [1, 2, 3]) await progress.writeSometimes({ failed });
  expect(written).toMatchObject([{ failed: 1 }]);
  clock.nowMs += progressEveryMs;
  await progress.writeSometimes({ failed: 4 });
  expect(written).toMatchObject([{ failed: 1 }, { failed: 4 }]);
});

test('a phase is timed, whether it ends well or not', async () => {
  const { clock, progress } = open();
  await progress.timed('listMs', async () => void (clock.nowMs += 5));
  const failing = progress.timed('retrieveMs', async () => {
    clock.nowMs += 7;
    throw new Error('cut off');
  });
  await expect(failing).rejects.toThrow('cut off');
  expect(progress.unwritten).toEqual({ phases: { listMs: 5, retrieveMs: 7 } });
});
