/** The webhook worker in BullMQ: a failed attempt fails the job, and BullMQ retries it after the pause that was decided. */
import { DelayedError, Worker } from 'bullmq';
import type { Logger } from 'pino';
import type { EventRef } from '../event/event.ts';
import type { RedisClient } from '../redis/client.ts';
import { queuePrefix } from '../redis/keys.ts';
import { closeWithin } from '../redis/queue.ts';
import type { NextAttempt } from './delivery.ts';
import {
  jobLockMs,
  jobStallsMax,
  jobStartsMax,
  ownFaultDelayMs,
  ownFaultDelayMsMax,
  stalledCheckMs,
} from './limits.ts';
import { WEBHOOK_QUEUE } from './queue.ts';

export interface WebhookWorker {
  isRunning(): boolean;
  /** Takes no more jobs. An attempt that is still running after `graceMs` is made again by another worker, under the same id. */
  close(graceMs: number): Promise<void>;
}

export interface WebhookWorkerOptions {
  /** A connection that waits for Redis to come back. */
  blocking: RedisClient;
  concurrency: number;
  attempt(event: EventRef, attempt: number): Promise<NextAttempt>;
  /** The queue has given a delivery up, as nobody else will: it must not stay pending for ever. */
  abandon(event: EventRef, attempts: number): Promise<void>;
  clock: { now(): number };
  logger: Logger;
}

/** Makes BullMQ retry after `delayMs`. */
class NotAcknowledged extends Error {
  readonly delayMs: number;

  constructor(delayMs: number) {
    super(`Not acknowledged; the next attempt is due in ${Math.round(delayMs / 1000)} s`);
    this.delayMs = delayMs;
  }
}

export function createWebhookWorker(options: WebhookWorkerOptions): WebhookWorker {
  const { logger, clock } = options;
  const worker = new Worker<EventRef>(
    WEBHOOK_QUEUE,
    async (job, token) => {
      let next: NextAttempt;
      try {
        next = await options.attempt(job.data, job.attemptsMade + 1);
      } catch (error) {
        logger.error({ err: error, eventId: job.data.id }, 'Delivery put off by a fault of ours');
        const delayMs = Math.min(ownFaultDelayMs * job.attemptsStarted, ownFaultDelayMsMax);
        await job.moveToDelayed(clock.now() + delayMs, token);
        throw new DelayedError();
      }
      if (next) throw new NotAcknowledged(next.delayMs);
    },
    {
      connection: options.blocking,
      prefix: queuePrefix(WEBHOOK_QUEUE),
      concurrency: options.concurrency,
      lockDuration: jobLockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount: jobStallsMax,
      maxStartedAttempts: jobStartsMax,
      settings: {
        backoffStrategy: (_attempts, _type, error) =>
          error instanceof NotAcknowledged ? error.delayMs : ownFaultDelayMs,
      },
    },
  );
  worker.on('error', (error) => logger.debug({ err: error }, 'Webhook worker error'));
  worker.on('failed', (job, error) => {
    logger.info({ eventId: job?.data.id, reason: error.message }, 'Delivery failed');
    if (!job?.finishedOn) return; // Another attempt is due.
    options
      .abandon(job.data, job.attemptsMade)
      .catch((cause: unknown) => logger.error({ err: cause, eventId: job.data.id }, 'Delivery was not given up'));
  });

  return {
    isRunning: () => worker.isRunning() && !worker.isPaused(),
    close: (graceMs) => closeWithin(worker, graceMs),
  };
}
