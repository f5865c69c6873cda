/**
 * The fetch worker in BullMQ: takes a job up, calls what runs it, and puts the job off where that wants to be called again.
 * One serves a single queue (fetches with inline settings) or the queues of all shards (stored mailboxes). Each queue costs a
 * connection that blocks, as BullMQ waits for one queue at a time and each may be in another slot.
 */
import { DelayedError, type Job } from 'bullmq';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { closeWithin, openQueue } from '../redis/queue.ts';
import { queuePrefix } from '../redis/keys.ts';
import { WatchedWorker } from '../redis/watched-worker.ts';
import { cutShare, jobLockMs, jobStallsMax, jobStartsMax, stalledCheckMs, windUpShare } from './limits.ts';
import type { NextCall } from './run.ts';
import type { Shutdown } from './shutdown.ts';
import { createTenantShare } from './tenant-share.ts';
import { readWaitingTenants } from './waiting-tenants.ts';

export interface FetchWorker {
  isRunning(): boolean;
  /** When the one of its queues that has been silent for the longest gave a sign of life, in epoch milliseconds. */
  signMs(): number;
  /**
   * Takes no more jobs. Running ones have a part of `graceMs` to end by themselves, and another to finish the messages that they
   * are at; those that have not by then are cut. What is not done is put back for another worker, and what is not even back by
   * the end is left to be found by the others.
   */
  close(graceMs: number): Promise<void>;
}

/** `Ref` is what the jobs hold. */
export interface FetchWorkerOptions<Ref> {
  queues: readonly string[];
  /** A connection that waits for Redis to come back. */
  blocking: RedisClient;
  /** Of all queues together, in equal shares; but each has one at least. */
  concurrency: number;
  run(ref: Ref, shutdown: Shutdown): Promise<NextCall>;
  /** The queue has given a job up: the fetch must not stay active for ever. */
  abandon(ref: Ref): Promise<void>;
  /** Called when a job is first taken up, with how long it waited; of a mailbox, since it was due. */
  observeLag?(lagMs: number): void;
  clock: { now(): number };
  logger: Logger;
}

/** @throws AppError `storage_unavailable`. */
export async function createFetchWorker<Ref extends { tenant: string }>(
  options: FetchWorkerOptions<Ref>,
): Promise<FetchWorker> {
  const { queues, concurrency } = options;
  const windUp = new AbortController();
  const cut = new AbortController();
  const shutdown: Shutdown = { windUp: windUp.signal, cut: cut.signal };
  const shareOf = (place: number): number => Math.max(1, Math.ceil((concurrency - place) / queues.length));
  const workers = await Promise.all(
    queues.map((queue, place) => openQueue(() => openWorker(queue, shareOf(place), options, shutdown))),
  );

  return {
    isRunning: () => workers.every((worker) => worker.isRunning() && !worker.isPaused()),
    signMs: () => Math.min(...workers.map((worker) => worker.signMs)),
    async close(graceMs) {
      const timers = [
        setTimeout(() => {
          options.logger.info({ queues }, 'Winding up: sessions finish the messages that they have asked for');
          windUp.abort();
        }, graceMs * windUpShare),
        setTimeout(
          () => cut.abort(new AppError('lease_lost', 'This process is stopping; another worker goes on.')),
          graceMs * cutShare,
        ),
      ];
      await Promise.all(workers.map((worker) => closeWithin(worker, graceMs)));
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

function openWorker<Ref extends { tenant: string }>(
  queue: string,
  concurrency: number,
  options: FetchWorkerOptions<Ref>,
  shutdown: Shutdown,
): WatchedWorker<Ref> {
  const { blocking, clock, logger } = options;
  const share = createTenantShare({
    capacity: concurrency,
    waitingTenants: () => readWaitingTenants(blocking, queue),
    clock,
  });
  const run = async ({ data, timestamp }: Job<Ref>): Promise<NextCall> => {
    const place = await share.enter(data.tenant, clock.now() - timestamp);
    if (!('leave' in place)) return { delayMs: place.retryAfterMs };
    try {
      return await options.run(data, shutdown);
    } finally {
      place.leave();
    }
  };
  const worker = new WatchedWorker<Ref>(
    queue,
    async (job, token) => {
      if (job.attemptsStarted <= 1) options.observeLag?.(clock.now() - job.timestamp);
      const next = await run(job);
      if (!next) return;
      await job.moveToDelayed(clock.now() + next.delayMs, token);
      throw new DelayedError();
    },
    {
      connection: blocking,
      prefix: queuePrefix(queue),
      concurrency,
      clock,
      lockDuration: jobLockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount: jobStallsMax,
      maxStartedAttempts: jobStartsMax,
    },
  );
  worker.on('error', (error) => logger.debug({ err: error }, 'Fetch worker error'));
  worker.on('failed', (job: Job<Ref> | undefined, error) => {
    const of = { tenant: job?.data.tenant, queue, jobId: job?.id };
    logger.warn({ err: error, ...of }, 'Fetch job failed');
    if (!job?.finishedOn) return; // Another attempt is due.
    options.abandon(job.data).catch((cause: unknown) => logger.error({ err: cause, ...of }, 'Fetch was not given up'));
  });
  return worker;
}
