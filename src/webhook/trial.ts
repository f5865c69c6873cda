/** A delivery for trying a webhook: sent at once and once, whatever its state, and of no account afterwards. */
import { describeEvent } from '../event/event.ts';
import { attempt, type AttemptPorts } from './attempt.ts';
import { beginDelivery, type DeliveryAttempt } from './delivery-record.ts';
import type { WebhookRef } from './webhook.ts';
import type { WebhookStore } from './webhook-store.ts';

export interface TestDeliveryPorts extends Pick<AttemptPorts, 'clock' | 'buildPayload' | 'post'> {
  webhooks: Pick<WebhookStore, 'find' | 'openSecrets'>;
}

export interface TestDelivery {
  isAcknowledged: boolean;
  attempt: DeliveryAttempt;
}

/** Null where there is no such webhook. @throws AppError `credentials_unavailable`. */
export async function sendTest(ports: TestDeliveryPorts, ref: WebhookRef): Promise<TestDelivery | null> {
  const webhook = await ports.webhooks.find(ref);
  const secrets = webhook && (await ports.webhooks.openSecrets(ref));
  if (!webhook || !secrets) return null;
  const nowMs = ports.clock.now();
  const time = new Date(nowMs).toISOString();
  const about = { tenant: ref.tenant, subject: ref.id, time, mailboxId: null, fetchId: null, facts: {} };
  const event = { ...describeEvent('webhook.test', about, time), sequence: null };
  const delivery = beginDelivery(ref, event, 'pending', false, nowMs);
  const once = { ...ports, random: () => 0, retryDelaysMs: [] };
  const { outcome, delivery: tried } = await attempt(once, webhook, secrets, delivery);
  const made = tried.attempts.at(-1);
  if (!made) throw new Error('A test event has a payload');
  return { isAcknowledged: outcome?.kind === 'delivered', attempt: made };
}
