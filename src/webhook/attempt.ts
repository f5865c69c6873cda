/**
 * One attempt of a delivery to a webhook: builds the payload from what is stored, signs the very bytes, sends them, and says what came
 * of it. It writes nothing and knows no queue.
 */
import type { EventRef } from '../event/event.ts';
import type { TakeBytes } from '../event/inline-attachments.ts';
import type { Answer } from './answer.ts';
import type { Delivery, DeliveryAttempt } from './delivery-record.ts';
import type { PayloadRoom } from './payload-room.ts';
import { judge, nextDelayMs, type Outcome } from './outcome.ts';
import { validSecrets } from './secrets.ts';
import { signWebhook } from './signing.ts';
import { noteAnswer, traceHeaders } from './traced.ts';
import type { Trace } from '../trace.ts';
import type { Endpoint, PayloadForm, WebhookSecrets } from './webhook.ts';

export interface AttemptPorts {
  clock: { now(): number };
  /** 0 to 1. */
  random(): number;
  /** The pauses after the first attempt, the second, and so on, in milliseconds. */
  retryDelaysMs: readonly number[];
  /** The body of the event, with bytes of attachments as far as it may take them; null when what it is about has been deleted. */
  buildPayload(event: EventRef, form: PayloadForm, take?: TakeBytes): Promise<string | null>;
  /** For the bytes of attachments; without bound unless given. */
  room?: PayloadRoom;
  trace?: Pick<Trace, 'traceparent' | 'note'>;
  post(url: string, headers: Record<string, string>, body: Buffer, timeoutMs: number): Promise<Answer>;
}

export interface Attempted {
  /** As it is now: ended, or with its next attempt. */
  delivery: Delivery;
  /** Null where nothing was sent, as there is nothing to send any more. */
  outcome: Outcome | null;
  tookMs: number;
}

/** @throws for our own faults only, which cost the endpoint no attempt. */
export async function attempt(
  ports: AttemptPorts,
  webhook: Endpoint,
  secrets: WebhookSecrets,
  delivery: Delivery,
): Promise<Attempted> {
  const held = ports.room?.enter(webhook.tenant);
  try {
    return await attemptWithin(ports, webhook, secrets, delivery, held?.take);
  } finally {
    held?.leave();
  }
}

async function attemptWithin(
  ports: AttemptPorts,
  webhook: Endpoint,
  secrets: WebhookSecrets,
  delivery: Delivery,
  take: TakeBytes | undefined,
): Promise<Attempted> {
  const { clock } = ports;
  const { settings } = webhook;
  // The text itself is not kept while the endpoint hangs.
  const body = await ports
    .buildPayload(delivery.event, settings.payload, take)
    .then((text) => text && Buffer.from(text));
  if (!body) return { delivery: end(delivery, 'failed'), outcome: null, tookMs: 0 };

  const nowMs = clock.now();
  const keys = {
    secrets: validSecrets(secrets.secrets, nowMs),
    ed25519Keys: settings.hasEd25519 ? validSecrets(secrets.ed25519Keys, nowMs) : [],
  };
  const signed = signWebhook(keys, delivery.event.id, Math.floor(nowMs / 1000), body);
  const headers = { ...secrets.headers, ...signed, ...traceHeaders(ports.trace) };
  const answer = await ports.post(settings.url, headers, body, settings.timeoutMs);
  noteAnswer(ports.trace, answer);
  const outcome = judge(answer, clock.now());
  const made: DeliveryAttempt = {
    at: new Date(nowMs).toISOString(),
    status: answer.status,
    detail: answer.detail,
    phases: answer.phases,
    remoteAddress: answer.remoteAddress,
  };
  const tried = { ...delivery, spent: delivery.spent + 1, attempts: [...delivery.attempts, made] };
  return { delivery: settle(ports, tried, outcome), outcome, tookMs: answer.phases.totalMs };
}

function settle(ports: AttemptPorts, tried: Delivery, outcome: Outcome): Delivery {
  if (outcome.kind === 'delivered') return end(tried, 'delivered');
  if (outcome.kind === 'gone') return end(tried, 'failed');
  const delayMs = nextDelayMs(ports.retryDelaysMs, tried.spent, ports.random(), outcome.floorMs);
  if (delayMs === null) return end(tried, 'failed');
  return { ...tried, nextAttemptAt: new Date(ports.clock.now() + delayMs).toISOString() };
}

export function end(delivery: Delivery, state: 'delivered' | 'failed'): Delivery {
  return { ...delivery, state, nextAttemptAt: null };
}
