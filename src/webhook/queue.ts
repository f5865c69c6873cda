/** The webhook queue in BullMQ: one job per delivery, ids only. */
import { Queue } from 'bullmq';
import type { Logger } from 'pino';
import type { EventRef } from '../event/event.ts';
import type { RedisClient } from '../redis/client.ts';
import { queuePrefix } from '../redis/keys.ts';
import { openQueue } from '../redis/queue.ts';
import { attemptsMax, eventsMax, jobKeep, ownFaultDelayMs } from './limits.ts';
import type { SubscriptionStore } from './subscription-store.ts';

export const WEBHOOK_QUEUE = 'webhook';

export interface WebhookQueue {
  /** Queues the delivery of a received message to the webhook of its fetch, once; does nothing where the fetch has none. */
  announce(event: EventRef): Promise<void>;
  close(): Promise<void>;
}

/** @throws AppError `storage_unavailable`. */
export async function createWebhookQueue(
  redis: RedisClient,
  subscriptions: SubscriptionStore,
  logger: Logger,
): Promise<WebhookQueue> {
  const open = (): Queue<EventRef> =>
    new Queue<EventRef>(WEBHOOK_QUEUE, {
      connection: redis,
      prefix: queuePrefix(WEBHOOK_QUEUE),
      skipWaitingForReady: true,
      streams: { events: { maxLen: eventsMax } },
      defaultJobOptions: {
        attempts: attemptsMax,
        backoff: { type: 'webhook', delay: ownFaultDelayMs },
        removeOnComplete: jobKeep,
        removeOnFail: jobKeep,
      },
    });
  const queue = await openQueue(() =>
    open().on('error', (error) => logger.debug({ err: error }, 'Webhook queue error')),
  );
  return {
    async announce(event) {
      if (event.type !== 'message.received' || event.fetchId === null) return;
      const state = await subscriptions.begin({ tenant: event.tenant, id: event.fetchId }, event.id);
      // A job that was added before a crash is found by its id, and one that was not is added now.
      if (state === 'pending') await queue.add(event.type, event, { jobId: `${event.fetchId}-${event.id}` });
    },
    close: () => queue.close(),
  };
}
