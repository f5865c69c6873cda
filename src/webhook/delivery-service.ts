/** Deliveries as the API sees them: found, listed, and sent again. What is sent again is the same delivery, with its attempts. */
import { AppError } from '../errors.ts';
import { readDeliveryId } from '../identity.ts';
import type { RedisClient } from '../redis/client.ts';
import { webhookKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { decodeDelivery, encodeDelivery, type Delivery, type DeliveryState } from './delivery-record.ts';
import type { DueWebhooks } from './due-webhooks.ts';
import { lookedThroughMax } from './limits.ts';
import { wantsEvent, type WebhookRef } from './webhook.ts';
import type { WebhookStore } from './webhook-store.ts';

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
  /** Of those that have ended. @throws AppError `conflict` while the webhook is disabled. */
  replayMany(
    ref: WebhookRef,
    filter: DeliveryFilter,
    cursor: string | null,
  ): Promise<{ replayed: number; next: string | null }>;
}

export interface DeliveryServicePorts {
  clock: { now(): number };
  webhooks: Pick<WebhookStore, 'find'>;
  due: Pick<DueWebhooks, 'wake'>;
}

/** KEYS: deliveries, queue, ended. ARGV: event id, delivery as it was, as it is to be, now. */
const requeueOne = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  return 1`);

export function createDeliveryService(redis: RedisClient, ports: DeliveryServicePorts): DeliveryService {
  const { clock, webhooks, due } = ports;
  const keysOf = ({ tenant, id }: WebhookRef) => webhookKeys(tenant, id);

  async function find(tenant: string, id: string): Promise<Delivery | null> {
    const { webhookId, eventId } = readDeliveryId(id);
    const ref = { tenant, id: webhookId };
    const value = await redis.hget(keysOf(ref).deliveries, eventId);
    return value === null ? null : decodeDelivery(ref, eventId, value);
  }

  async function list(
    ref: WebhookRef,
    filter: DeliveryFilter,
    cursor: string | null,
    limit: number,
  ): Promise<DeliveryPage> {
    const { deliveries } = keysOf(ref);
    const places = await readLog(redis, ref, filter, cursor);
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

  /** False where it has changed meanwhile: then it is being sent. */
  async function requeue(ref: WebhookRef, delivery: Delivery): Promise<Delivery | null> {
    const nowMs = clock.now();
    const { deliveries, queue, ended } = keysOf(ref);
    const again: Delivery = {
      ...delivery,
      state: 'pending',
      spent: 0,
      nextAttemptAt: new Date(nowMs).toISOString(),
    };
    const args = [delivery.event.id, encodeDelivery(delivery), encodeDelivery(again), nowMs];
    return (await requeueOne(redis, [deliveries, queue, ended], args)) === 1 ? again : null;
  }

  async function checkEnabled(ref: WebhookRef): Promise<void> {
    const webhook = await webhooks.find(ref);
    if (webhook && webhook.disabled !== null) {
      throw new AppError('conflict', 'The webhook is disabled: nothing is sent to it. Enable it first.');
    }
  }

  return {
    find,
    list,
    async replay(tenant, id) {
      const ref = { tenant, id: readDeliveryId(id).webhookId };
      await checkEnabled(ref);
      const delivery = await find(tenant, id);
      if (!delivery) return null;
      const again = delivery.state === 'pending' ? null : await requeue(ref, delivery);
      if (!again) throw new AppError('conflict', 'The delivery is pending: it is sent anyway.');
      await due.wake(ref, clock.now());
      return again;
    },
    async replayMany(ref, filter, cursor) {
      await checkEnabled(ref);
      const { items, next } = await list(ref, filter, cursor, lookedThroughMax);
      let replayed = 0;
      for (const delivery of items) {
        if (delivery.state !== 'pending' && (await requeue(ref, delivery))) replayed += 1;
      }
      await due.wake(ref, clock.now());
      return { replayed, next };
    },
  };
}

interface Place {
  eventId: string;
  ms: number;
}

/** The next places of the log behind the cursor, the newest first. */
async function readLog(
  redis: RedisClient,
  { tenant, id }: WebhookRef,
  { sinceMs, untilMs }: DeliveryFilter,
  cursor: string | null,
): Promise<Place[]> {
  const after = cursor === null ? null : placeOf(cursor);
  const { log } = webhookKeys(tenant, id);
  const from = Math.min(after?.ms ?? Infinity, untilMs ?? Infinity);
  const places: Place[] = [];
  // Many may have begun in the millisecond that the cursor is in.
  for (let offset = 0; places.length < lookedThroughMax; offset += lookedThroughMax) {
    const found = await redis.zrevrangebyscore(
      log,
      from === Infinity ? '+inf' : from,
      sinceMs ?? '-inf',
      'WITHSCORES',
      'LIMIT',
      offset,
      lookedThroughMax,
    );
    for (let at = 0; at < found.length; at += 2) {
      const place = { eventId: found[at] ?? '', ms: Number(found[at + 1]) };
      const isBehind = after === null || place.ms < after.ms || place.eventId < after.eventId;
      if (isBehind && places.length < lookedThroughMax) places.push(place);
    }
    if (found.length < lookedThroughMax * 2) break;
  }
  return places;
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
