/** The fetch worker in BullMQ: takes a job up, calls `run.ts`, and puts the job off where that wants to be called again. */
import { DelayedError, Worker, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import { closeWithin } from '../redis/queue.ts';
import { queuePrefix } from '../redis/keys.ts';
import type { FetchRef } from './fetch.ts';
import { drainShare, jobLockMs, jobStallsMax, jobStartsMax, stalledCheckMs } from './limits.ts';
import { FETCH_QUEUE } from './queue.ts';
import type { NextCall } from './run.ts';

export interface FetchWorker {
  isRunning(): boolean;
  /**
   * Takes no more jobs. Running ones have most of `graceMs` to end and are then interrupted and put back for another
   * worker; what is not even back by the end is left to be found by the others.
   */
  close(graceMs: number): Promise<void>;
}

export interface FetchWorkerOptions {
  /** A connection that waits for Redis to come back. */
  blocking: Redis;
  concurrency: number;
  run(ref: FetchRef, shutdown: AbortSignal): Promise<NextCall>;
  /** The queue has given a job up: the fetch must not stay active for ever. */
  abandon(ref: FetchRef): Promise<void>;
  clock: { now(): number };
  logger: Logger;
}

export function createFetchWorker(options: FetchWorkerOptions): FetchWorker {
  const { logger, clock } = options;
  const shutdown = new AbortController();
  const worker = new Worker<FetchRef>(
    FETCH_QUEUE,
    async (job, token) => {
      const next = await options.run(job.data, shutdown.signal);
      if (!next) return;
      await job.moveToDelayed(clock.now() + next.delayMs, token);
      throw new DelayedError();
    },
    {
      connection: options.blocking,
      prefix: queuePrefix(FETCH_QUEUE),
      concurrency: options.concurrency,
      lockDuration: jobLockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount: jobStallsMax,
      maxStartedAttempts: jobStartsMax,
    },
  );
  worker.on('error', (error) => logger.debug({ err: error }, 'Fetch worker error'));
  worker.on('failed', (job: Job<FetchRef> | undefined, error) => {
    logger.warn({ err: error, fetchId: job?.data.id }, 'Fetch job failed');
    if (!job?.finishedOn) return; // Another attempt is due.
    options.abandon(job.data).catch((cause: unknown) => logger.error({ err: cause }, 'Fetch was not given up'));
  });

  return {
    isRunning: () => worker.isRunning() && !worker.isPaused(),
    async close(graceMs) {
      const interrupt = setTimeout(
        () => shutdown.abort(new AppError('lease_lost', 'This process is stopping; another worker goes on.')),
        graceMs * drainShare,
      );
      await closeWithin(worker, graceMs);
      clearTimeout(interrupt);
    },
  };
}
