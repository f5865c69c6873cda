/**
 * Makes one delivery attempt: builds the payload from what is stored, signs it, sends it, records the outcome. Knows no
 * queue: it says whether, and when, the next attempt is due.
 */
import type { EventRef } from '../event/event.ts';
import type { Answer } from './answer.ts';
import { retryDelaysMs } from './limits.ts';
import { countedAs, judge, nextDelayMs, type DeliveryOutcome } from './outcome.ts';
import { signWebhook } from './signing.ts';
import { deliverySpan, noteAnswer, traceHeaders } from './traced.ts';
import { untraced, type Trace } from '../trace.ts';
import type { SubscriptionStore } from './subscription-store.ts';

export interface DeliveryPorts {
  clock: { now(): number };
  /** 0 to 1. */
  random(): number;
  subscriptions: SubscriptionStore;
  /** The body of the event; null when what it is about has been deleted. */
  buildPayload(event: EventRef): Promise<string | null>;
  post(
    url: string,
    headers: Record<string, string>,
    body: Buffer,
  ): Promise<Pick<Answer, 'status' | 'detail' | 'retryAfter'>>;
  trace?: Trace;
  /** An attempt has ended; `dropped`: there was nothing left to send. */
  observeDelivery?(outcome: DeliveryOutcome, ms: number): void;
}

/** Null: the delivery has ended. */
export type NextAttempt = { delayMs: number } | null;

/**
 * @param attempt 1 for the first.
 * @throws for our own faults only, which cost the endpoint no attempt.
 */
export function attemptDelivery(ports: DeliveryPorts, event: EventRef, attempt: number): Promise<NextAttempt> {
  return (ports.trace ?? untraced).span(deliverySpan(event, null), () => deliver(ports, event, attempt));
}

async function deliver(ports: DeliveryPorts, event: EventRef, attempt: number): Promise<NextAttempt> {
  const { clock, subscriptions } = ports;
  const ref = { tenant: event.tenant, id: event.fetchId ?? '' };
  const subscription = await subscriptions.find(ref);
  if (!subscription || (await subscriptions.stateOf(ref, event.id)) !== 'pending') return null;

  const payload = await ports.buildPayload(event);
  if (payload === null) {
    await note('The message was deleted before it was delivered.', null, null);
    await subscriptions.settle(ref, event.id, 'failed');
    ports.observeDelivery?.('dropped', 0);
    return null;
  }
  const body = Buffer.from(payload);
  const headers = signWebhook(
    { secrets: [subscription.secret], ed25519Key: null },
    event.id,
    Math.floor(clock.now() / 1000),
    body,
  );
  const fromMs = clock.now();
  const answer = await ports.post(subscription.url, { ...headers, ...traceHeaders(ports.trace) }, body);
  noteAnswer(ports.trace, answer);
  const outcome = judge(answer, clock.now());
  const delayMs =
    outcome.kind === 'failed' ? nextDelayMs(retryDelaysMs, attempt, ports.random(), outcome.floorMs) : null;
  ports.observeDelivery?.(countedAs(outcome, delayMs === null ? 'failed' : 'pending'), clock.now() - fromMs);
  if (outcome.kind === 'delivered') {
    await subscriptions.settle(ref, event.id, 'delivered');
    return null;
  }
  // The reason first: who sees a delivery as failed finds why.
  await note(answer.detail, answer.status, delayMs);
  if (delayMs === null) await subscriptions.settle(ref, event.id, 'failed');
  return delayMs === null ? null : { delayMs };

  function note(detail: string, status: number | null, delay: number | null): Promise<void> {
    const nowMs = clock.now();
    return subscriptions.noteFailure(ref, {
      eventId: event.id,
      at: new Date(nowMs).toISOString(),
      attempt,
      status,
      detail,
      nextAttemptAt: delay === null ? null : new Date(nowMs + delay).toISOString(),
    });
  }
}

/** The queue has given the delivery up after too many faults of ours, or workers that died of it. @param attempts that were made. */
export async function abandonDelivery(
  { clock, subscriptions }: Pick<DeliveryPorts, 'clock' | 'subscriptions'>,
  event: EventRef,
  attempts: number,
): Promise<void> {
  const ref = { tenant: event.tenant, id: event.fetchId ?? '' };
  if ((await subscriptions.stateOf(ref, event.id)) !== 'pending') return;
  await subscriptions.noteFailure(ref, {
    eventId: event.id,
    at: new Date(clock.now()).toISOString(),
    attempt: attempts,
    status: null,
    detail: 'Given up after too many faults of popbridge itself. Its log says more.',
    nextAttemptAt: null,
  });
  await subscriptions.settle(ref, event.id, 'failed');
}
