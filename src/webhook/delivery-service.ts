/** Deliveries as the API sees them: found, listed, and sent again. What is sent again is the same delivery, with its attempts. */
import { AppError } from '../errors.ts';
import { readDeliveryId } from '../identity.ts';
import type { RedisClient } from '../redis/client.ts';
import { decodeDelivery, type Delivery, type DeliveryState } from './delivery-record.ts';
import { keysOf, type DeliveryStore } from './delivery-store.ts';
import type { DueWebhooks } from './due-webhooks.ts';
import { claimMs, lookedThroughMax } from './limits.ts';
import { isGivenUp, wantsEvent, type Endpoint, type Endpoints, type WebhookRef } from './webhook.ts';

/** What is not given lets all through. Times are epoch milliseconds. */
export interface DeliveryFilter {
  states?: readonly DeliveryState[] | undefined;
  /** Of the event; a pattern. */
  type?: string | undefined;
  sinceMs?: number | undefined;
  untilMs?: number | undefined;
}

export interface DeliveryPage {
  items: Delivery[];
  next: string | null;
}

export interface DeliveryService {
  find(tenant: string, id: string): Promise<Delivery | null>;
  /** The newest first. A page may hold fewer than `limit` and have another behind it. */
  list(ref: WebhookRef, filter: DeliveryFilter, cursor: string | null, limit: number): Promise<DeliveryPage>;
  /** Null where there is none. @throws AppError `conflict` while it is pending or its webhook is disabled. */
  replay(tenant: string, id: string): Promise<Delivery | null>;
  /** Of those that have ended, the oldest first. @throws AppError `conflict` while the webhook is disabled. */
  replayMany(
    ref: WebhookRef,
    filter: DeliveryFilter,
    cursor: string | null,
  ): Promise<{ replayed: number; next: string | null }>;
}

export interface DeliveryServicePorts {
  clock: { now(): number };
  webhooks: Pick<Endpoints, 'find'>;
  deliveries: Pick<DeliveryStore, 'requeue'>;
  due: Pick<DueWebhooks, 'wake'>;
}

export function createDeliveryService(redis: RedisClient, ports: DeliveryServicePorts): DeliveryService {
  const { clock, webhooks, due } = ports;

  async function find(tenant: string, id: string): Promise<Delivery | null> {
    const { webhookId, eventId } = readDeliveryId(id);
    const ref = { tenant, id: webhookId };
    const value = await redis.hget(keysOf(ref).deliveries, eventId);
    return value === null ? null : decodeDelivery(ref, eventId, value);
  }

  async function look(
    ref: WebhookRef,
    { filter, cursor, limit, order }: { filter: DeliveryFilter; cursor: string | null; limit: number; order: Order },
  ): Promise<DeliveryPage> {
    const { deliveries } = keysOf(ref);
    const places = await readLog(redis, ref, filter, cursor, order);
    const items: Delivery[] = [];
    for (const [at, place] of places.entries()) {
      const value = await redis.hget(deliveries, place.eventId);
      const delivery = value === null ? null : decodeDelivery(ref, place.eventId, value);
      if (delivery && letsThrough(filter, delivery)) items.push(delivery);
      const isLast = at === places.length - 1 && places.length < lookedThroughMax;
      if (items.length === limit) return { items, next: isLast ? null : cursorOf(place) };
    }
    const last = places.at(-1);
    return { items, next: last && places.length === lookedThroughMax ? cursorOf(last) : null };
  }

  /** Null where it has changed meanwhile: then it is being sent. */
  async function requeue(webhook: Endpoint, delivery: Delivery): Promise<Delivery | null> {
    const nextAttemptAt = new Date(clock.now()).toISOString();
    const again: Delivery = { ...delivery, state: 'pending', spent: 0, nextAttemptAt };
    return (await ports.deliveries.requeue(webhook, delivery, again, webhook.settings.isOrdered)) ? again : null;
  }

  /** Null where there is none. */
  async function findEnabled(ref: WebhookRef): Promise<Endpoint | null> {
    const webhook = await webhooks.find(ref);
    if (webhook && isGivenUp(webhook)) {
      throw new AppError('conflict', 'The webhook of the fetch was given up: fetch again, with another one.');
    }
    if (webhook && webhook.disabled !== null) {
      throw new AppError('conflict', 'The webhook is disabled: nothing is sent to it. Enable it first.');
    }
    return webhook;
  }

  /** What is put in the queue is sent also where whoever does so dies before it has said that it is there. */
  async function wakeAround<T>(ref: WebhookRef, queueing: () => Promise<T>): Promise<T> {
    await due.wake(ref, clock.now() + claimMs);
    const queued = await queueing();
    await due.wake(ref, clock.now());
    return queued;
  }

  return {
    find,
    list: (ref, filter, cursor, limit) => look(ref, { filter, cursor, limit, order: 'newest' }),
    async replay(tenant, id) {
      const webhook = await findEnabled({ tenant, id: readDeliveryId(id).webhookId });
      const delivery = webhook && (await find(tenant, id));
      if (!webhook || !delivery) return null;
      const pending = new AppError('conflict', 'The delivery is pending: it is sent anyway.');
      if (delivery.state === 'pending') throw pending;
      const again = await wakeAround(webhook, () => requeue(webhook, delivery));
      if (!again) throw pending;
      return again;
    },
    async replayMany(ref, filter, cursor) {
      const webhook = await findEnabled(ref);
      if (!webhook) return { replayed: 0, next: null };
      const { items, next } = await look(ref, { filter, cursor, limit: lookedThroughMax, order: 'oldest' });
      const ended = items.filter(({ state }) => state !== 'pending');
      return wakeAround(ref, async () => {
        let replayed = 0;
        // One after the other: they are sent in that order.
        for (const delivery of ended) if (await requeue(webhook, delivery)) replayed += 1;
        return { replayed, next };
      });
    },
  };
}

type Order = 'newest' | 'oldest';

interface Place {
  eventId: string;
  ms: number;
}

/** The next places of the log behind the cursor. */
async function readLog(
  redis: RedisClient,
  ref: WebhookRef,
  { sinceMs = -Infinity, untilMs = Infinity }: DeliveryFilter,
  cursor: string | null,
  order: Order,
): Promise<Place[]> {
  const isBackward = order === 'newest';
  const after = cursor === null ? null : placeOf(cursor);
  const { log } = keysOf(ref);
  const min = isBackward || !after ? sinceMs : Math.max(sinceMs, after.ms);
  const max = isBackward && after ? Math.min(untilMs, after.ms) : untilMs;
  const places: Place[] = [];
  // Many may have begun in the millisecond that the cursor is in.
  for (let offset = 0; places.length < lookedThroughMax; offset += lookedThroughMax) {
    const page = ['WITHSCORES', 'LIMIT', offset, lookedThroughMax] as const;
    const found = isBackward
      ? await redis.zrevrangebyscore(log, scoreOf(max), scoreOf(min), ...page)
      : await redis.zrangebyscore(log, scoreOf(min), scoreOf(max), ...page);
    for (let at = 0; at < found.length; at += 2) {
      const place = { eventId: found[at] ?? '', ms: Number(found[at + 1]) };
      const isBehind = after === null || (isBackward ? isBefore(place, after) : isBefore(after, place));
      if (isBehind && places.length < lookedThroughMax) places.push(place);
    }
    if (found.length < lookedThroughMax * 2) break;
  }
  return places;
}

function scoreOf(ms: number): string {
  return Number.isFinite(ms) ? String(ms) : ms > 0 ? '+inf' : '-inf';
}

function isBefore(place: Place, other: Place): boolean {
  return place.ms < other.ms || (place.ms === other.ms && place.eventId < other.eventId);
}

function letsThrough({ states, type }: DeliveryFilter, { state, event }: Delivery): boolean {
  if (states && !states.includes(state)) return false;
  return type === undefined || wantsEvent({ events: [type], mailboxes: null }, event);
}

function cursorOf({ ms, eventId }: Place): string {
  return `${ms}-${eventId}`;
}

function placeOf(cursor: string): Place {
  const dash = cursor.indexOf('-');
  return { ms: Number(cursor.slice(0, dash)), eventId: cursor.slice(dash + 1) };
}
