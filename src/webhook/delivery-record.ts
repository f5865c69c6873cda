/**
 * A delivery: one event for one webhook, with its attempts. As it lies in Redis it is a letter for its state and JSON; it has ids and
 * facts of the event, and nothing of the mail.
 */
import type { EventRef } from '../event/event.ts';
import { deliveryId } from '../identity.ts';
import type { Phases } from './answer.ts';
import { attemptsKept } from './limits.ts';
import type { WebhookRef } from './webhook.ts';

/** `missed`: it happened while popbridge had the webhook disabled; nothing was sent. */
export type DeliveryState = 'pending' | 'delivered' | 'failed' | 'missed';

/** Times are ISO 8601. */
export interface DeliveryAttempt {
  at: string;
  status: number | null;
  /** What the endpoint said, or why there is no answer; bounded. */
  detail: string;
  phases: Phases;
  remoteAddress: string | null;
}

export interface Delivery {
  id: string;
  webhookId: string;
  event: EventRef;
  state: DeliveryState;
  createdAt: string;
  /** Null: nothing more is sent. */
  nextAttemptAt: string | null;
  /** How many of the schedule are spent; a replay begins anew. */
  spent: number;
  /** The last ones, in their order. */
  attempts: readonly DeliveryAttempt[];
  /** The event was for other webhooks, too, and they are waited for before its message counts as acknowledged. */
  isShared: boolean;
}

const LETTERS = { pending: 'p', delivered: 'd', failed: 'f', missed: 'm' } as const;
const STATES = new Map<string, DeliveryState>(
  Object.entries(LETTERS).map(([state, letter]) => [letter, state as DeliveryState]),
);

export function beginDelivery(
  ref: WebhookRef,
  event: EventRef,
  state: 'pending' | 'missed',
  isShared: boolean,
  nowMs: number,
): Delivery {
  const now = new Date(nowMs).toISOString();
  return {
    id: deliveryId(ref.id, event.id),
    webhookId: ref.id,
    event,
    state,
    createdAt: now,
    nextAttemptAt: state === 'pending' ? now : null,
    spent: 0,
    attempts: [],
    isShared,
  };
}

export function encodeDelivery({ event, state, ...delivery }: Delivery): string {
  const { id: _id, tenant: _tenant, ...rest } = event;
  const { createdAt, nextAttemptAt, spent, attempts, isShared } = delivery;
  const fields = {
    e: rest,
    c: Date.parse(createdAt),
    ...(nextAttemptAt !== null && { n: Date.parse(nextAttemptAt) }),
    ...(spent > 0 && { s: spent }),
    ...(attempts.length > 0 && { a: attempts.slice(-attemptsKept) }),
    ...(isShared && { o: 1 as const }),
  };
  return `${LETTERS[state]}${JSON.stringify(fields)}`;
}

interface Encoded {
  e: Omit<EventRef, 'id' | 'tenant'>;
  c: number;
  n?: number;
  s?: number;
  a?: DeliveryAttempt[];
  o?: 1;
}

export function decodeDelivery({ tenant, id }: WebhookRef, eventId: string, value: string): Delivery {
  const { e, c, n, s = 0, a = [], o } = JSON.parse(value.slice(1)) as Encoded;
  return {
    id: deliveryId(id, eventId),
    webhookId: id,
    event: { ...e, id: eventId, tenant } as EventRef,
    state: STATES.get(value.charAt(0)) ?? 'pending',
    createdAt: new Date(c).toISOString(),
    nextAttemptAt: n === undefined ? null : new Date(n).toISOString(),
    spent: s,
    attempts: a,
    isShared: o === 1,
  };
}
