/** What popbridge does about a webhook that fails for long, or wants no more, and the events that tell of it. */
import { describeEvent, type NewEvent } from '../event/event.ts';
import type { Delivery } from './delivery-record.ts';
import { dueNotice, type Health, type Recovery } from './health.ts';
import { isOfFetch, type Disabled, type Endpoints, type WebhookRef } from './webhook.ts';

export interface NoticePorts {
  clock: { now(): number };
  webhooks: Pick<Endpoints, 'disable'>;
  announce(event: NewEvent): Promise<void>;
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** Each recovery is one event, however often this is asked for. */
export async function tellRecovery(
  ports: Pick<NoticePorts, 'announce'>,
  ref: WebhookRef,
  { atMs, failingSinceMs }: Recovery,
): Promise<void> {
  const facts = { failingSince: failingSinceMs === null ? null : iso(failingSinceMs) };
  const occasion = facts.failingSince ?? iso(atMs);
  await tellOf(ports, ref, describeEvent('webhook.recovered', about(ref, atMs, facts), occasion));
}

/** @returns the share of the time that was told of, in percent; null for nothing. */
export async function tellFailing(ports: NoticePorts, ref: WebhookRef, now: Health): Promise<number | null> {
  const nowMs = ports.clock.now();
  const percent = dueNotice(now, nowMs);
  if (percent === null || now.failingSinceMs === null) return null;
  const failingSince = iso(now.failingSinceMs);
  if (percent === 100) await disable(ports, ref, 'failing');
  else {
    const facts = { failingSince, percent };
    await tellOf(ports, ref, describeEvent('webhook.failing', about(ref, nowMs, facts), failingSince, String(percent)));
  }
  return percent;
}

/** Unless it is. Whoever finds it so tells of it: `tellDisabled`. */
export async function disable(ports: NoticePorts, ref: WebhookRef, reason: 'failing' | 'gone'): Promise<void> {
  await ports.webhooks.disable(ref, { reason, at: iso(ports.clock.now()) });
}

/** Not of what its owner has done. Each time that it was disabled is one event, however often this is asked for. */
export async function tellDisabled(
  ports: Pick<NoticePorts, 'announce'>,
  ref: WebhookRef,
  { reason, at }: Disabled,
  { failingSinceMs }: Health,
): Promise<void> {
  if (reason === 'owner') return;
  const failingSince = reason === 'failing' && failingSinceMs !== null ? iso(failingSinceMs) : null;
  const described = about(ref, Date.parse(at), { reason, failingSince });
  await tellOf(ports, ref, describeEvent('webhook.disabled', described, reason, at));
}

/** There is nothing that anybody could do about the webhook of a fetch, which says itself how its deliveries stand. */
async function tellOf(ports: Pick<NoticePorts, 'announce'>, ref: WebhookRef, event: NewEvent): Promise<void> {
  if (!isOfFetch(ref)) await ports.announce(event);
}

/** Not of what is told of webhooks and deliveries itself: that would have no end. */
export async function tellExhausted(ports: NoticePorts, ref: WebhookRef, delivery: Delivery): Promise<void> {
  const { event, attempts, id } = delivery;
  if (event.type.startsWith('webhook.') || event.type.startsWith('delivery.')) return;
  const last = attempts.at(-1);
  const facts = {
    webhookId: ref.id,
    eventId: event.id,
    attempts: delivery.spent,
    status: last?.status ?? null,
  };
  const described = { ...about(ref, ports.clock.now(), facts), subject: id, mailboxId: event.mailboxId };
  await ports.announce(describeEvent('delivery.exhausted', described, last?.at ?? ''));
}

function about<Facts>({ tenant, id }: WebhookRef, nowMs: number, facts: Facts) {
  return { tenant, subject: id, time: iso(nowMs), mailboxId: null, fetchId: null, facts };
}
