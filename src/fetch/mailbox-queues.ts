/**
 * The fetch queues of stored mailboxes in BullMQ, one per shard, so that a Redis Cluster has them on several nodes. Jobs hold
 * ids only. The job's id is the mailbox's: however often a mailbox is added, it is queued once, until its run has ended.
 */
import { Queue } from 'bullmq';
import type { Logger } from 'pino';
import type { RedisClient } from '../redis/client.ts';
import { queuePrefix } from '../redis/keys.ts';
import { openQueue } from '../redis/queue.ts';
import { eventsMax, jobAttemptsMax, jobRetryMs, mailboxShards } from './limits.ts';
import type { MailboxRef } from '../mailbox/mailbox.ts';
import { shardOf } from './shard.ts';
import type { TickPorts } from './tick.ts';
import { jobIdOf } from './waiting-tenants.ts';

/** By shard. */
export const MAILBOX_QUEUES: readonly string[] = Array.from(
  { length: mailboxShards },
  (_, shard) => `mailboxes-${shard}`,
);

export interface MailboxQueues extends Readonly<TickPorts['queues']> {
  /** Forgets the job of a mailbox where it has not begun. */
  remove(ref: MailboxRef): Promise<void>;
  close(): Promise<void>;
}

/** They share the connection that is given, and open none. @throws AppError `storage_unavailable`. */
export async function createMailboxQueues(redis: RedisClient, logger: Logger): Promise<MailboxQueues> {
  const open = (name: string): Queue<MailboxRef> => {
    const queue = new Queue<MailboxRef>(name, {
      connection: redis,
      prefix: queuePrefix(name),
      skipWaitingForReady: true,
      streams: { events: { maxLen: eventsMax } },
      defaultJobOptions: {
        attempts: jobAttemptsMax,
        backoff: { type: 'fixed', delay: jobRetryMs },
        // At once, by no age or count: a job that is kept keeps its id, and the mailbox could not be queued again.
        removeOnComplete: true,
        removeOnFail: true,
      },
    });
    return queue.on('error', (error) => logger.debug({ err: error }, 'Mailbox queue error'));
  };
  const queues = await Promise.all(MAILBOX_QUEUES.map((name) => openQueue(() => open(name))));
  const queueOf = (shard: number): Queue<MailboxRef> => {
    const queue = queues[shard];
    if (!queue) throw new Error(`There is no shard ${shard}`);
    return queue;
  };

  return {
    countWaiting: (shard) => queueOf(shard).getJobCountByTypes('waiting'),
    async add(shard, mailboxes) {
      await queueOf(shard).addBulk(
        mailboxes.map(({ tenant, mailbox, dueMs }) => ({
          name: 'fetch',
          data: { tenant, mailbox },
          // Whoever takes the job up sees by its time how long the mailbox was due.
          opts: { jobId: jobIdOf(tenant, mailbox), timestamp: dueMs },
        })),
      );
    },
    async remove(ref) {
      await queueOf(shardOf(ref.mailbox)).remove(jobIdOf(ref.tenant, ref.mailbox));
    },
    async close() {
      await Promise.all(queues.map((queue) => queue.close()));
    },
  };
}
