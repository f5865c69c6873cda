/** What all BullMQ workers have in common. */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits for the running jobs, but no longer than `graceMs`: BullMQ's own close has no bound, and waits for a Redis that is
 * away. A job that is left behind is found by its expired lock and run again.
 */
export async function closeWorker(worker: { close(): Promise<void> }, graceMs: number): Promise<void> {
  const late = new AbortController();
  const closed = worker.close().finally(() => late.abort());
  await Promise.race([closed, sleep(graceMs, undefined, { signal: late.signal }).catch(() => undefined)]);
}
