/** The fetch queue in BullMQ, as the API uses it. Jobs hold ids only: what they stand for is in the fetch record. */
import { Queue, QueueEvents } from 'bullmq';
import type { Logger } from 'pino';
import type { RedisClient } from '../redis/client.ts';
import { queuePrefix } from '../redis/keys.ts';
import { closeWithin, openQueue } from '../redis/queue.ts';
import type { FetchRef } from './fetch.ts';
import { eventsCloseMs, eventsMax, jobAttemptsMax, jobKeep, jobRetryMs } from './limits.ts';
import type { FetchServicePorts } from './service.ts';
import { jobIdOf } from './waiting-tenants.ts';

export const FETCH_QUEUE = 'fetch';

export interface FetchQueue {
  add(ref: FetchRef): Promise<void>;
  restore(ref: FetchRef): Promise<void>;
  /** Forgets a job that has not begun. */
  remove(ref: FetchRef): Promise<void>;
  ended: FetchServicePorts['queue']['ended'];
  close(): Promise<void>;
}

/**
 * @param blocking a connection of its own for reading the queue's events.
 * @throws AppError `storage_unavailable`.
 */
export async function createFetchQueue(redis: RedisClient, blocking: RedisClient, logger: Logger): Promise<FetchQueue> {
  const prefix = queuePrefix(FETCH_QUEUE);
  const open = (): Queue<FetchRef> =>
    new Queue<FetchRef>(FETCH_QUEUE, {
      connection: redis,
      prefix,
      skipWaitingForReady: true,
      streams: { events: { maxLen: eventsMax } },
      defaultJobOptions: {
        attempts: jobAttemptsMax,
        backoff: { type: 'fixed', delay: jobRetryMs },
        removeOnComplete: jobKeep,
        removeOnFail: jobKeep,
      },
    });
  const events = new QueueEvents(FETCH_QUEUE, { connection: blocking, prefix });
  const queue = await openQueue(() => open().on('error', (error) => logger.debug({ err: error }, 'Fetch queue error')));
  events.on('error', (error) => logger.debug({ err: error }, 'Fetch queue events error'));
  const waiting = new Map<string, Set<() => void>>();
  const wake = ({ jobId }: { jobId: string }): void => waiting.get(jobId)?.forEach((resolve) => resolve());
  events.on('completed', wake).on('failed', wake).on('removed', wake);

  // Ids and nothing else, whatever more the caller's object holds: a job is kept in clear text.
  const add = async ({ tenant, id }: FetchRef): Promise<void> => {
    await queue.add('fetch', { tenant, id }, { jobId: jobIdOf(tenant, id) });
  };

  return {
    add,
    async restore(ref) {
      const state = await queue.getJobState(jobIdOf(ref.tenant, ref.id));
      if (state === 'unknown') await add(ref);
    },
    async remove(ref) {
      await queue.remove(jobIdOf(ref.tenant, ref.id));
    },
    async ended(ref, timeoutMs, signal) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const jobId = jobIdOf(ref.tenant, ref.id);
      const resolvers = waiting.get(jobId) ?? new Set();
      waiting.set(jobId, resolvers.add(resolve));
      const timer = setTimeout(resolve, timeoutMs);
      signal.addEventListener('abort', () => resolve(), { once: true });
      await promise;
      clearTimeout(timer);
      resolvers.delete(resolve);
      if (resolvers.size === 0) waiting.delete(jobId);
    },
    async close() {
      await closeWithin(events, eventsCloseMs);
      await queue.close();
    },
  };
}
