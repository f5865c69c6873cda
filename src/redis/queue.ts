/** What all of BullMQ's parts have in common. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors.ts';
import { queueLimits } from './limits.ts';

/**
 * Closes, but waits no longer than `graceMs`: BullMQ's own close has no bound, and waits for a Redis that is away. A job
 * that is left behind is found by its expired lock and run again.
 */
export async function closeWithin(part: { close(): Promise<void> }, graceMs: number): Promise<void> {
  const late = new AbortController();
  const closed = part.close().finally(() => late.abort());
  await Promise.race([closed, sleep(graceMs, undefined, { signal: late.signal }).catch(() => undefined)]);
}

/**
 * Opens a queue that can be used. BullMQ asks the server what it is once, and a queue of which that failed, be it that an answer came
 * late, fails everything that it is asked from then on: another one is opened in its place.
 * @throws AppError `storage_unavailable` where that fails again and again.
 */
export async function openQueue<Q extends ReadyPart>(open: () => Q): Promise<Q> {
  for (let tries = 1; ; tries += 1) {
    const queue = open();
    try {
      await queue.waitUntilReady();
      return queue;
    } catch (error) {
      await closeWithin(queue, queueLimits.closeMs).catch(() => undefined);
      if (tries === queueLimits.opensMax) {
        throw new AppError('storage_unavailable', 'Redis does not answer in time: no queue can be opened.', {
          cause: error,
        });
      }
    }
  }
}

interface ReadyPart {
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}
