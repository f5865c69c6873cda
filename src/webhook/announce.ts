/**
 * An event becomes one delivery for each webhook that wants it, and for the webhook of the fetch that has received a message. Announced
 * again, as after a crash, it becomes the same ones.
 */
import type { EventRef } from '../event/event.ts';
import { webhookOfFetch } from '../identity.ts';
import { isToAcknowledge } from './acknowledgement.ts';
import type { Awaited } from './awaited.ts';
import { beginDelivery } from './delivery-record.ts';
import type { DeliveryStore } from './delivery-store.ts';
import type { DueWebhooks } from './due-webhooks.ts';
import { wantsEvent, type Webhook } from './webhook.ts';
import type { WebhookStore } from './webhook-store.ts';

export interface AnnouncePorts {
  clock: { now(): number };
  webhooks: Pick<WebhookStore, 'listFor'>;
  deliveries: Pick<DeliveryStore, 'begin'>;
  awaited: Pick<Awaited, 'begin'>;
  due: Pick<DueWebhooks, 'wake'>;
}

/** Resolves when each delivery is written and will be made. */
export async function announceToWebhooks(ports: AnnouncePorts, event: EventRef): Promise<void> {
  const { clock, awaited, deliveries, due } = ports;
  const near = await ports.webhooks.listFor(event.tenant, event.mailboxId);
  const wanting = near.filter((webhook) => isFor(webhook, event));
  const isShared = wanting.length > 1 && isToAcknowledge(event);
  if (isShared) {
    const ids = wanting.map(({ id }) => id);
    await awaited.begin(event.tenant, event.id, ids);
  }
  await Promise.all([
    announceToFetch(ports, event),
    ...wanting.map(async (webhook) => {
      const state = webhook.disabled === null ? 'pending' : 'missed';
      const nowMs = clock.now();
      const delivery = beginDelivery(webhook, event, state, isShared, nowMs);
      await deliveries.begin(webhook, delivery, webhook.settings.isOrdered);
      // Also where it was known: whoever began it may have died before it came to this.
      if (state === 'pending') await due.wake(webhook, nowMs);
    }),
  ]);
}

/** Also to one that was given up: what ends without being sent has failed. */
async function announceToFetch({ clock, deliveries, due }: AnnouncePorts, event: EventRef): Promise<void> {
  if (event.type !== 'message.received' || event.fetchId === null) return;
  const ref = { tenant: event.tenant, id: webhookOfFetch(event.fetchId) };
  const nowMs = clock.now();
  const isThere = await deliveries.begin(ref, beginDelivery(ref, event, 'pending', false, nowMs), false);
  if (isThere) await due.wake(ref, nowMs);
}

/** What an owner has disabled misses nothing. No webhook is told how it fares itself. */
function isFor({ id, settings, disabled }: Webhook, event: EventRef): boolean {
  if (disabled?.reason === 'owner' || event.subject === id) return false;
  if (event.type === 'delivery.exhausted' && event.facts.webhookId === id) return false;
  return wantsEvent(settings, event);
}
