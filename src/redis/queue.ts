/** What all of BullMQ's parts have in common. */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Closes, but waits no longer than `graceMs`: BullMQ's own close has no bound, and waits for a Redis that is away. A job
 * that is left behind is found by its expired lock and run again.
 */
export async function closeWithin(part: { close(): Promise<void> }, graceMs: number): Promise<void> {
  const late = new AbortController();
  const closed = part.close().finally(() => late.abort());
  await Promise.race([closed, sleep(graceMs, undefined, { signal: late.signal }).catch(() => undefined)]);
}
